//! One sentence to the user, written by the model, that names returned items and nothing else of the catalogue.
//!
//! The model writes freely; what it wrote is let out as far as no title can still be under way ([`Titles::settled`]). At a
//! title that was not returned it ends, before the title is out.

use super::prompt::SentenceRequest;
use super::recommender::LmRecommender;
use crate::dataset::Conversation;
use crate::error::{Error, ErrorKind, Result};
use crate::llama::Token;
use crate::recommend::{LanguageModel, Sentence};
use crate::run::Run;
use crate::titles::Titles;
use std::time::Instant;

/// Tokens of a sentence at most.
const MOST_TOKENS: usize = 80;
/// Items that the model is told of: the best ones.
const TOLD: usize = 3;
/// A sentence shorter than this says nothing.
const LEAST_CHARS: usize = 12;

/// Lets text out as far as it is settled and names `allowed` items (sorted rows) alone.
struct TitleFilter<'a> {
    titles: &'a Titles,
    allowed: &'a [u32],
    text: String,
    out: usize,
    /// A title came that must not.
    shut: bool,
}

impl<'a> TitleFilter<'a> {
    fn new(titles: &'a Titles, allowed: &'a [u32]) -> TitleFilter<'a> {
        TitleFilter { titles, allowed, text: String::new(), out: 0, shut: false }
    }
    /// Takes what was written; gives what may go out. `last`: nothing follows.
    fn pass(&mut self, piece: &str, last: bool) -> &str {
        self.text.push_str(piece);
        let settled = if last { self.text.len() } else { self.titles.settled(&self.text) };
        let found = self.titles.find(&self.text);
        let foreign = found.iter().find(|m| m.start < settled && self.allowed.binary_search(&m.item).is_err());
        let end = match foreign {
            Some(mention) => {
                self.shut = true;
                mention.start
            }
            None => settled,
        };
        let from = self.out;
        self.out = end.max(from);
        self.text.get(from..self.out).unwrap_or("")
    }
}

/// Where the first sentence of `text` ends, if it does: behind `.`, `!` or `?` before a space, or before a line break.
fn sentence_end(text: &str) -> Option<usize> {
    if let Some(end) = text.trim_start().find('\n') {
        return Some(end + text.len() - text.trim_start().len());
    }
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        // `Mr. Smith`, `Vol. 2`: a point behind a short word with a capital ends nothing.
        let word = text[..at].trim_end_matches(['.', '!', '?']).rsplit([' ', '"']).next().unwrap_or("");
        let short = before == '.' && word.len() <= 3 && word.starts_with(char::is_uppercase);
        if c == ' ' && matches!(before, '.' | '!' | '?') && !short {
            return Some(at);
        }
        before = c;
    }
    None
}

impl LmRecommender {
    /// [`LanguageModel::say_why`], until a deadline: then it stops short.
    ///
    /// # Errors
    /// As there.
    pub fn say_why_until(
        &self,
        conversation: &Conversation,
        rows: &[u32],
        names: &[String],
        deadline: Option<Instant>,
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<Sentence> {
        self.can_write()?;
        run.check()?;
        let mut said = Sentence::default();
        if rows.is_empty() || names.is_empty() {
            return Ok(said);
        }
        let told = &names[..names.len().min(TOLD)];
        let prompt = self.prompter.sentence(&SentenceRequest { conversation, names: told })?;
        let adapters = self.adapters.current();
        let mut answer = super::LmAnswer::default();
        let late = |e: &Error| e.kind() == ErrorKind::Cancelled && !run.is_cancelled();
        let (mut lane, row) = match self.prompted(&adapters, &prompt, &[], deadline, &mut answer, run) {
            Ok(prompted) => prompted,
            Err(e) if late(&e) => return Ok(said),
            Err(e) => return Err(e),
        };
        said.prompt_tokens = prompt.tokens.len();
        // Of several items with one name, whichever the name is taken for.
        let titles = self.titles();
        let same = names.iter().filter_map(|name| titles.resolve_title(name));
        let mut allowed: Vec<u32> = rows.iter().copied().chain(same).collect();
        allowed.sort_unstable();
        let mut filter = TitleFilter::new(&titles, &allowed);
        let (mut next, mut bytes, mut ended) = (row.best, Vec::new(), false);
        for n in 0..MOST_TOKENS {
            let token = next as Token;
            if self.model.is_end(token) {
                ended = true;
                break;
            }
            bytes.extend(self.model.piece(token, false));
            said.tokens += 1;
            // A character may take several tokens.
            let valid = match std::str::from_utf8(&bytes) {
                Ok(text) => text.len(),
                Err(e) => e.valid_up_to(),
            };
            let written = String::from_utf8_lossy(&bytes[..valid]);
            let written = written.trim_start();
            let end = sentence_end(written);
            let fresh = written.get(filter.text.len()..end.unwrap_or(written.len())).unwrap_or("").to_string();
            let out = filter.pass(&fresh, end.is_some());
            if !out.is_empty() {
                say(out)?;
            }
            if filter.shut || end.is_some() {
                ended = end.is_some();
                break;
            }
            match lane.advance(&adapters, next, prompt.tokens.len() + n, deadline, run) {
                Ok(best) => next = best,
                Err(e) if late(&e) || e.kind() == ErrorKind::Memory => break,
                Err(e) => return Err(e),
            }
        }
        if ended && !filter.shut {
            let out = filter.pass("", true);
            if !out.is_empty() {
                say(out)?;
            }
        }
        said.bytes = filter.out;
        said.whole = ended && !filter.shut && filter.text.trim().chars().count() >= LEAST_CHARS;
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_at_its_point_and_not_at_an_abbreviation() {
        for (text, end) in [
            ("Try Heat. It is", Some(9)),
            ("Try Mr. Nobody, it", None),
            ("What fun! And", Some(9)),
            ("It is 3.5 hours", None),
            ("One line\nanother", Some(8)),
            ("Not yet.", None),
        ] {
            assert_eq!(sentence_end(text), end, "{text}");
        }
    }

    #[test]
    fn what_was_not_returned_is_never_let_out() {
        let dataset = super::super::tests::catalogue(9);
        let titles = Titles::new(&dataset.items, &[]);
        let name = |row: usize| dataset.items.name(row);
        let text = format!("You asked for warmth, so take {} rather than {} tonight", name(5), name(3));
        let rows: Vec<u32> = titles.rows(&text);
        assert_eq!(rows, [3, 5], "both are titles of the catalogue");
        for grain in [1, 2, 5, 1000] {
            let said = |allowed: &[u32]| {
                let (mut filter, mut out) = (TitleFilter::new(&titles, allowed), String::new());
                let letters: Vec<char> = text.chars().collect();
                for piece in letters.chunks(grain) {
                    out += filter.pass(&piece.iter().collect::<String>(), false);
                    if filter.shut {
                        return out;
                    }
                }
                out += filter.pass("", true);
                out
            };
            assert_eq!(said(&[3, 5]), text);
            let cut = said(&[5]);
            assert!(text.starts_with(&cut) && cut.contains("Amélie"), "{cut}");
            assert!(titles.rows(&cut).iter().all(|r| *r == 5), "{cut}");
            assert!(cut.len() < text.len() - 10);
        }
    }
}
