//! What changes while the model serves: its adapters, and the items of its catalogue.

use super::adapters::Set;
use super::answer::Mode;
use super::catalogue::Speller;
use super::head_file;
use super::recommender::{LmRecommender, finite};
use super::trie::Surfaces;
use crate::dataset::{Conversation, Items};
use crate::error::{Error, ErrorKind, Result};
use crate::llama::Adapter;
use crate::recommend::{LanguageModel, Sentence};
use crate::run::Run;
use crate::titles::Titles;
use std::path::Path;
use std::sync::{Arc, PoisonError};

impl LanguageModel for LmRecommender {
    /// The adapter generation that serves now.
    fn generation(&self) -> u64 {
        self.adapters.current().generation()
    }
    /// Loads adapters (files with scales) and puts them in the place of generation `expected`; gives the new number.
    /// Requests in flight finish with the adapters they started with; none fails. In mode `head` the ranking head beside
    /// the adapter (beside the model, where there is none) comes along: it reads the states of no other weights.
    ///
    /// # Errors
    /// Those of [`Adapter::load`] and of the head, with nothing changed; [`ErrorKind::Invalid`] for a scale that is not
    /// finite, for several adapters in mode `head`, or when generation `expected` does not serve any more.
    fn swap_adapters(&self, expected: u64, adapters: &[(&Path, f32)]) -> Result<u64> {
        // All is read before the exchange, and while it is, answers go on.
        let load = |(path, scale): &(&Path, f32)| Ok((Adapter::load(&self.model, path)?, finite(*scale)?));
        let tuned = match (self.mode, adapters) {
            (Mode::Constrained | Mode::Generate, _) => None,
            (Mode::Head, []) => Some(self.model.header().path()),
            (Mode::Head, [(path, _)]) => Some(*path),
            (Mode::Head, _) => return Err(Error::invalid("a ranking head belongs to one adapter, not to several")),
        };
        let (list, head) = std::thread::scope(|scope| {
            let read = |tuned| std::thread::Builder::new().spawn_scoped(scope, move || head_file::beside(tuned));
            let head = tuned.map(read);
            let list = adapters.iter().map(load).collect::<Result<Vec<_>>>();
            let head = head.map(|thread| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(Error::bug("reading a ranking head panicked"))),
                Err(e) => Err(Error::new(ErrorKind::Io, format!("cannot start a thread to read a ranking head: {e}"))),
            });
            (list, head.transpose())
        });
        let (list, head) = (list?, head?);
        if let (Some(head), Some(now)) = (&head, self.adapters.current().head())
            && (head.ids() != now.ids() || head.text_dim() != now.text_dim())
        {
            return Err(Error::invalid("the ranking head beside this adapter is of another catalogue or model"));
        }
        let generation = self.adapters.swap(expected, Set { list, head: head.map(Arc::new) })?;
        self.cache.forget_before(generation);
        Ok(generation)
    }
    /// Puts the adapters before generation `expected` back, under a new number.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when generation `expected` does not serve any more, or nothing served before it.
    fn roll_back_adapters(&self, expected: u64) -> Result<u64> {
        let generation = self.adapters.roll_back(expected)?;
        self.cache.forget_before(generation);
        Ok(generation)
    }
    fn can_write(&self) -> Result<()> {
        match self.mode {
            Mode::Constrained | Mode::Generate => Ok(()),
            Mode::Head => Err(Error::unsupported(
                "in mode head the model's contexts give states, not words; use recommend.mode = constrained",
            )),
        }
    }
    fn say_why(
        &self,
        conversation: &Conversation,
        rows: &[u32],
        names: &[String],
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<Sentence> {
        self.say_why_until(conversation, rows, names, None, say, run)
    }
}

impl LmRecommender {
    /// Adds items of a catalogue that has grown (rows of `items`, its `titles`), or puts removed ones back; visible
    /// from the next request on. Rows that are neither there yet nor among `rows` stay out.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for rows beyond `items`, or in mode `head`, whose head has a catalogue of its own.
    pub fn add_items(&self, items: &Items, titles: Arc<Titles>, rows: &[u32], run: &Run) -> Result<()> {
        if let Some(row) = rows.iter().find(|r| **r as usize >= items.len()) {
            return Err(Error::invalid(format!("item row {row} of {}", items.len())));
        }
        let surfaces = match self.mode {
            Mode::Constrained => {
                Speller::new(self.prompter.chat(), &self.config.answer_start)?.surfaces(items, rows, run)?
            }
            // What it names is looked up in `titles`; the trie only says which items are there.
            Mode::Generate => Surfaces::default(),
            Mode::Head => {
                return Err(Error::invalid(
                    "an item joins a ranking head by its own vector: tune again with the grown catalogue, or add items \
                     with recommend.mode = constrained or generate",
                ));
            }
        };
        let mut trie = self.trie.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = trie.with(surfaces, items.len(), run)?;
        let mut asked = rows.to_vec();
        asked.sort_unstable();
        let beyond = trie.items() as u32..items.len() as u32;
        let missing: Vec<u32> = beyond.filter(|row| asked.binary_search(row).is_err()).collect();
        next.remove(&missing);
        next.restore(rows);
        *trie = Arc::new(next);
        self.set_titles(titles);
        Ok(())
    }
    /// Takes items out of the catalogue; from the next request on they are not named.
    pub fn remove_items(&self, rows: &[u32]) {
        let mut trie = self.trie.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut trie).remove(rows);
    }
}
