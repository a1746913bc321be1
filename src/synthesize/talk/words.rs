//! The sentences of a domain for each move (`talk.txt`), and how items are said.

use crate::config::SynthesizeConfig;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::math::Random;
use crate::synthesize::leak::spoken;
use crate::synthesize::prompts::{Prompts, Template, blocks};
use std::path::Path;

/// Share of titles that are named with their year, as people do in recorded conversations.
const WITH_YEAR: f64 = 0.7;

/// What may stand in a sentence.
const TALK_SLOTS: &[&str] = &[
    "genre",
    "genre2",
    "mood",
    "creator",
    "liked",
    "liked2",
    "liked3",
    "disliked",
    "keyword",
    "sentence",
    "complaint",
    "decade",
    "item",
    "unwanted",
];

/// What a sentence is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// The user begins, and says hardly anything.
    Greet,
    /// The user begins with a request.
    Open,
    /// The user begins with what they did not like.
    Avoid,
    /// The recommender asks.
    Ask,
    /// The user answers.
    Tell,
    /// The recommender suggests {item}.
    Suggest,
    /// The user has seen it and liked it, did not like it, says no more.
    Liked,
    Disliked,
    Seen,
    /// The user does not want {unwanted}; wants something newer, older.
    Reject,
    Newer,
    Older,
    /// The user wants something else besides.
    Narrow,
    /// The user takes {item}.
    Accept,
}

/// Every move, as `talk.txt` names its section.
const SECTIONS: [(Move, &str); 14] = [
    (Move::Greet, "greet"),
    (Move::Open, "open"),
    (Move::Avoid, "avoid"),
    (Move::Ask, "ask"),
    (Move::Tell, "tell"),
    (Move::Suggest, "suggest"),
    (Move::Liked, "liked"),
    (Move::Disliked, "disliked"),
    (Move::Seen, "seen"),
    (Move::Reject, "reject"),
    (Move::Newer, "newer"),
    (Move::Older, "older"),
    (Move::Narrow, "narrow"),
    (Move::Accept, "accept"),
];

/// The sentences of a domain.
#[derive(Debug, Clone)]
pub(in crate::synthesize) struct Talk {
    /// In the order of [`SECTIONS`].
    sections: Vec<Vec<Template>>,
}

impl Talk {
    /// Reads `talk.txt`: sentences after the `[name]` of their move, separated by blank lines.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] with file and line: a section that is unknown or missing, a slot that is unknown, a
    /// suggestion that does not say {item}.
    pub(in crate::synthesize) fn parse(path: &Path, text: &str) -> Result<Talk> {
        let mut sections: Vec<Vec<Template>> = vec![Vec::new(); SECTIONS.len()];
        let mut current = None;
        for (line, block) in blocks(text) {
            let (head, rest) = block.split_once('\n').unwrap_or((&block, ""));
            let mut body = (line, block.as_str());
            if let Some(name) = head.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
                current = SECTIONS.iter().position(|(_, known)| *known == name);
                if current.is_none() {
                    let known = SECTIONS.map(|(_, name)| format!("[{name}]")).join(" ");
                    return Err(Error::format(path, line, format!("unknown [{name}]; known here: {known}")));
                }
                body = (line + 1, rest);
            }
            let Some(section) = current else {
                return Err(Error::format(path, line, "a sentence before the first [section]"));
            };
            if !body.1.trim().is_empty() {
                sections[section].push(Template::parse(path, body.0, body.1, TALK_SLOTS)?);
            }
        }
        for ((which, name), templates) in SECTIONS.iter().zip(&sections) {
            if templates.is_empty() {
                return Err(Error::format(path, 0, format!("no sentence under [{name}]")));
            }
            let names_it = |t: &Template| t.slots().any(|slot| slot == "item");
            if *which == Move::Suggest && !templates.iter().all(names_it) {
                return Err(Error::format(path, 0, "a sentence under [suggest] without {item}"));
            }
        }
        Ok(Talk { sections })
    }

    /// The sentences of a user who begins with what they did not like.
    pub(in crate::synthesize) fn avoiding(&self) -> &[Template] {
        self.of(Move::Avoid)
    }

    /// The sentences for a move.
    pub(super) fn of(&self, which: Move) -> &[Template] {
        SECTIONS.iter().position(|(known, _)| *known == which).map_or(&[], |at| &self.sections[at])
    }
}

/// The sentences of dialogues of several turns, where such are wanted.
///
/// # Errors
/// Those of [`Talk::parse`].
pub(in crate::synthesize) fn talk_of(config: &SynthesizeConfig, prompts: &Prompts) -> Result<Option<Talk>> {
    let (path, text) = &prompts.talk;
    (config.turns > 1).then(|| Talk::parse(path, text)).transpose()
}

/// Text without line breaks, which would part messages and lists.
pub(in crate::synthesize) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The name of an item as a user says it.
pub(in crate::synthesize) fn say(dataset: &Dataset, item: u32, random: &mut Random) -> String {
    let title = one_line(&spoken(dataset.items.label(item as usize)));
    match dataset.items.year(item as usize) {
        Some(year) if random.uniform() < WITH_YEAR => format!("{title} ({year})"),
        Some(_) | None => title,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_is_unknown_missing_or_empty_is_named() {
        let whole = include_str!("../../../prompts/movies/talk.txt");
        let talk = |text: &str| Talk::parse(Path::new("talk.txt"), text);
        assert!(talk(whole).unwrap().of(Move::Suggest).len() > 3);
        let message = |text: &str| talk(text).unwrap_err().message().to_string();
        assert!(message("Hello\n").contains("talk.txt:1: a sentence before the first [section]"));
        assert!(message("# c\n\n[oepn]\nHello\n").contains("talk.txt:3: unknown [oepn]; known here: [greet] [open]"));
        assert!(message(&whole.replace("[accept]", "[greet]")).contains("no sentence under [accept]"));
        assert!(message(&format!("{whole}\n\n[suggest]\nTry this.\n")).contains("without {item}"));
        assert!(message("[open]\nI want {itme}\n").contains("talk.txt:2: unknown {itme}"));
    }
}
