//! The catalogue as the model writes it: each item's name in tokens, as it stands in the answers the model was tuned on.
//!
//! Training answers are `1. Heat (1995)` and one such line per item (`synthesize`), tokenised as one text. A title is hence
//! tokenised within such a line, not alone: a closing parenthesis and the new line behind it may be one token. The new line
//! belongs to the title: it says that the title is over, so that no title is the beginning of another, and its probability
//! is part of the title's.

use super::trie::{Surfaces, Trie};
use crate::dataset::Items;
use crate::error::{Error, Result};
use crate::run::Run;
use crate::tune::lm::Chat;
use rayon::prelude::*;

/// What follows a title's line in an answer; there so that the tokens at the line's end are those of training.
const NEXT: &str = "2.";
/// Titles per task of the thread pool.
const TASK: usize = 1024;

/// Turns names into tokens.
pub(super) struct Speller<'a> {
    chat: &'a Chat,
    start: &'a str,
    /// `start` in tokens: the first tokens of every answer.
    lead: Vec<u32>,
    /// Bytes of `NEXT`'s tokens, from the end of a line's.
    vocabulary: usize,
}

impl<'a> Speller<'a> {
    /// `start`: what stands before the first title of an answer (`1.`).
    pub fn new(chat: &'a Chat, start: &'a str) -> Result<Speller<'a>> {
        let start = start.trim_end();
        let lead = if start.is_empty() { Vec::new() } else { chat.answer(start)? };
        Ok(Speller { chat, start, lead, vocabulary: chat.model().vocabulary() })
    }
    /// The tokens that every answer begins with.
    pub fn lead(&self) -> &[u32] {
        &self.lead
    }
    /// The tokens of `name` behind the lead, the new line included.
    pub fn spell(&self, name: &str) -> Result<Vec<u32>> {
        // A line is a line: what breaks it would never be read back as one title.
        let name = if name.contains(char::is_control) {
            name.split(|c: char| c.is_control() || c.is_whitespace())
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        } else {
            name.trim().to_string()
        };
        let line = if self.start.is_empty() { format!("{name}\n") } else { format!("{} {name}\n", self.start) };
        let in_list = self.chat.answer(&format!("{line}{NEXT}"))?;
        let tokens = self.between(&in_list).map_or_else(
            // Tokens that reach over an end of the line: the line alone, then the title alone.
            || {
                let alone = self.chat.answer(&line)?;
                match alone.strip_prefix(self.lead.as_slice()) {
                    Some(rest) if !rest.is_empty() => Ok(rest.to_vec()),
                    Some(_) | None => {
                        let bare = self.chat.model().tokenise(&format!(" {name}\n"), false, false)?;
                        Ok(bare.into_iter().filter_map(|t| u32::try_from(t).ok()).collect())
                    }
                }
            },
            |tokens| Ok::<_, Error>(tokens.to_vec()),
        )?;
        if tokens.is_empty() || tokens.iter().any(|t| *t as usize >= self.vocabulary) {
            return Err(Error::invalid(format!("{name:?} has no tokens in this model's vocabulary")));
        }
        Ok(tokens)
    }
    /// What of a line's tokens stands between the lead and `NEXT`.
    fn between<'t>(&self, tokens: &'t [u32]) -> Option<&'t [u32]> {
        let rest = tokens.strip_prefix(self.lead.as_slice())?;
        let mut bytes = NEXT.len();
        let mut end = rest.len();
        while bytes > 0 {
            end = end.checked_sub(1)?;
            bytes = bytes.checked_sub(self.chat.model().piece(*rest.get(end)? as i32, true).len())?;
        }
        rest.get(..end).filter(|r| !r.is_empty())
    }

    /// The names of items `rows`, spelled on the run's threads.
    pub fn surfaces(&self, items: &Items, rows: &[u32], run: &Run) -> Result<Surfaces> {
        let mut all = Surfaces::default();
        let tasks: Vec<&[u32]> = rows.chunks(TASK).collect();
        // A few tasks at a time, so that a cancel comes through.
        for (n, some) in tasks.chunks(64).enumerate() {
            run.step("recommend", "titles", (n * 64 * TASK) as u64, rows.len() as u64)?;
            let parts: Vec<Result<Surfaces>> = run.install(|| {
                some.par_iter()
                    .map(|rows| {
                        let mut part = Surfaces::default();
                        for row in *rows {
                            part.push(*row, &self.spell(&items.name(*row as usize))?)?;
                        }
                        Ok(part)
                    })
                    .collect()
            });
            for part in parts {
                all.extend(&part?)?;
            }
        }
        Ok(all)
    }

    /// The trie of a whole catalogue.
    pub fn trie(&self, items: &Items, run: &Run) -> Result<Trie> {
        if items.is_empty() {
            return Err(Error::invalid("recommend: the catalogue is empty; import items first"));
        }
        let rows: Vec<u32> = (0..items.len() as u32).collect();
        Trie::build(self.surfaces(items, &rows, run)?, items.len(), run)
    }
}
