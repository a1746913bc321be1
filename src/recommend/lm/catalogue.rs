//! The catalogue as the model writes it: each item's name in tokens, as it stands in the answers the model was tuned on.
//!
//! Training answers are `1. Heat (1995)` and one such line per item (`synthesize`), tokenised as one text. A title is hence
//! tokenised within such a line, not alone: a closing parenthesis and the new line behind it may be one token. The new line
//! belongs to the title: it says that the title is over, so that no title is the beginning of another, and its probability
//! is part of the title's.

use super::sorter::Sorter;
use super::trie::{Surfaces, Trie};
use crate::dataset::Items;
use crate::error::{Error, Result};
use crate::run::Run;
use crate::tune::lm::Chat;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// What follows a title's line in an answer; there so that the tokens at the line's end are those of training.
const NEXT: &str = "2.";
/// Titles per task of the thread pool.
const TASK: usize = 8192;
/// Titles of a bucket of the sorter, buckets at most, and titles that a bucket's borders are drawn from.
const BUCKET: usize = 16_384;
const MOST_BUCKETS: usize = 64;
const SAMPLE: usize = 64;

/// Tokens of pieces of text seen before: a catalogue says `The` and `(1995)` many times.
type Pieces = HashMap<Box<str>, Box<[u32]>>;

/// Turns names into tokens.
pub(super) struct Speller<'a> {
    chat: &'a Chat,
    start: &'a str,
    /// `start` in tokens: the first tokens of every answer.
    lead: Vec<u32>,
    vocabulary: usize,
    /// The vocabulary is a byte-level BPE, whose words never reach over a space: pieces can be tokenised one by one.
    by_pieces: bool,
}

impl<'a> Speller<'a> {
    /// `start`: what stands before the first title of an answer (`1.`).
    pub fn new(chat: &'a Chat, start: &'a str) -> Result<Speller<'a>> {
        let start = start.trim_end();
        let lead = if start.is_empty() { Vec::new() } else { chat.answer(start)? };
        let by_pieces = chat.model().header().text("tokenizer.ggml.model")? == Some("gpt2");
        Ok(Speller { chat, start, lead, vocabulary: chat.model().vocabulary(), by_pieces })
    }
    /// The tokens that every answer begins with.
    pub fn lead(&self) -> &[u32] {
        &self.lead
    }
    /// The tokens of `name` behind the lead, the new line included.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a name without tokens; those of llama.cpp.
    pub fn spell(&self, name: &str) -> Result<Vec<u32>> {
        self.spell_with(name, None)
    }

    fn spell_with(&self, name: &str, pieces: Option<&mut Pieces>) -> Result<Vec<u32>> {
        // A line is a line: what breaks it would never be read back as one title.
        let name = if name.contains(char::is_control) {
            let words = name.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty());
            words.collect::<Vec<_>>().join(" ")
        } else {
            name.trim().to_string()
        };
        let line = if self.start.is_empty() { format!("{name}\n") } else { format!("{} {name}\n", self.start) };
        let in_list = format!("{line}{NEXT}");
        let in_list = match pieces {
            Some(pieces) => self.answer_by_pieces(&in_list, pieces)?,
            None => self.chat.answer(&in_list)?,
        };
        let tokens = match self.between(&in_list) {
            Some(tokens) => tokens.to_vec(),
            // Tokens that reach over an end of the line: the line alone, then the title alone.
            None => match self.chat.answer(&line)?.strip_prefix(self.lead.as_slice()) {
                Some(rest) if !rest.is_empty() => rest.to_vec(),
                Some(_) | None => self.plain(&format!(" {name}\n"))?,
            },
        };
        if tokens.is_empty() || tokens.iter().any(|t| *t as usize >= self.vocabulary) {
            return Err(Error::invalid(format!("{name:?} has no tokens in this model's vocabulary")));
        }
        Ok(tokens)
    }

    fn plain(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.chat.model().tokenise(text, false, false)?;
        Ok(tokens.into_iter().filter_map(|t| u32::try_from(t).ok()).collect())
    }

    /// [`Chat::answer`], piece by piece: cut before every single space between visible ASCII characters.
    fn answer_by_pieces(&self, text: &str, pieces: &mut Pieces) -> Result<Vec<u32>> {
        let bytes = text.as_bytes();
        let border = |at: usize| {
            bytes[at] == b' ' && bytes[at - 1].is_ascii_graphic() && bytes.get(at + 1).is_some_and(u8::is_ascii_graphic)
        };
        let mut tokens = Vec::with_capacity(16);
        let mut from = 0;
        while from < text.len() {
            let to = (from + 1..text.len()).find(|at| border(*at)).unwrap_or(text.len());
            let piece = &text[from..to];
            if from == 0 {
                // Only the chat format knows how an answer begins; it always begins the same.
                if piece == self.start {
                    tokens.extend_from_slice(&self.lead)
                } else {
                    tokens.extend(self.chat.answer(piece)?)
                }
            } else if let Some(known) = pieces.get(piece) {
                tokens.extend_from_slice(known);
            } else {
                let new = self.plain(piece)?;
                tokens.extend_from_slice(&new);
                pieces.insert(piece.into(), new.into());
            }
            from = to;
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
    ///
    /// # Errors
    /// As [`Speller::spell`]; [`crate::ErrorKind::Cancelled`].
    pub fn surfaces(&self, items: &Items, rows: &[u32], run: &Run) -> Result<Surfaces> {
        self.checked(|differs| {
            let mut parts = Vec::new();
            self.spell_all(items, rows, differs, run, |part| {
                parts.push(part);
                Ok(())
            })?;
            Surfaces::concat(parts)
        })
    }

    /// Runs `spell_all`, which notes in the flag that lines cannot be spelled by pieces: then again, each as a whole.
    fn checked<T>(&self, spell_all: impl Fn(Option<&AtomicBool>) -> Result<T>) -> Result<T> {
        let differs = AtomicBool::new(false);
        let all = spell_all(self.by_pieces.then_some(&differs))?;
        // A vocabulary whose words do reach over spaces.
        if differs.load(Ordering::Relaxed) { spell_all(None) } else { Ok(all) }
    }

    fn spell_all(
        &self,
        items: &Items,
        rows: &[u32],
        differs: Option<&AtomicBool>,
        run: &Run,
        mut take: impl FnMut(Surfaces) -> Result<()>,
    ) -> Result<()> {
        let task = |rows: &&[u32]| -> Result<Surfaces> {
            let mut part = Surfaces::default();
            let mut pieces = Pieces::new();
            for (n, row) in rows.iter().enumerate() {
                let name = items.name(*row as usize);
                let tokens = self.spell_with(&name, differs.map(|_| &mut pieces))?;
                if let Some(differs) = differs.filter(|_| n % 256 == 0)
                    && self.spell(&name)? != tokens
                {
                    differs.store(true, Ordering::Relaxed);
                }
                part.push(*row, &tokens)?;
            }
            part.shrink();
            Ok(part)
        };
        let tasks: Vec<&[u32]> = rows.chunks(TASK).collect();
        // A few tasks at a time, so that a cancel comes through and what waits to be taken stays small.
        let at_once = 4 * run.threads();
        for (n, some) in tasks.chunks(at_once).enumerate() {
            run.step("recommend", "titles", (n * at_once * TASK) as u64, rows.len() as u64)?;
            let some: Vec<Result<Surfaces>> = run.install(|| some.par_iter().map(task).collect());
            for part in some {
                take(part?)?;
            }
        }
        Ok(())
    }

    /// The trie of a whole catalogue.
    pub fn trie(&self, items: &Items, run: &Run) -> Result<Trie> {
        if items.is_empty() {
            return Err(Error::invalid("recommend: the catalogue is empty; import items first"));
        }
        let rows: Vec<u32> = (0..items.len() as u32).collect();
        let buckets = items.len().div_ceil(BUCKET).min(MOST_BUCKETS);
        // All over the catalogue: it may be sorted by title.
        let some: Vec<u32> = rows.iter().copied().step_by(items.len().div_ceil(buckets * SAMPLE)).collect();
        let spell = |row: &u32| Ok((*row, self.spell(&items.name(*row as usize))?));
        let some: Vec<Result<_>> = run.install(|| some.par_iter().map(spell).collect());
        let mut sample = Surfaces::default();
        for one in some {
            let (row, tokens) = one?;
            sample.push(row, &tokens)?;
        }
        let sorter = self.checked(|differs| {
            let mut sorter = Sorter::new(&sample, buckets);
            self.spell_all(items, &rows, differs, run, |part| sorter.add(&part))?;
            Ok(sorter)
        })?;
        drop(rows);
        sorter.trie(items.len(), run)
    }
}
