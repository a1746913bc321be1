//! What a teacher chooses from: items of the catalogue that are retrieved for one query, as the prompt shows them.

use super::attributes::Attributes;
use super::prompts::defuse;
use crate::config::{Lists, SynthesizeConfig, TeacherKind};
use crate::dataset::Dataset;
use crate::math::Random;
use crate::retrieve::{Retriever, Wish};
use crate::titles::Titles;
use std::sync::Arc;

/// Characters of a name, and of an attribute, in a line of the prompt.
const NAME_CHARS: usize = 120;
const ATTRIBUTE_CHARS: usize = 40;
/// Genres, creators and keywords in a line, and named attributes beside them.
const PLAIN: usize = 3;
const NAMED: usize = 2;

/// Where the lists of these settings come from: [`Lists::Auto`] is settled. `built_in`: the teacher is the built-in one; one of
/// the caller's own, which stands in for it, is asked.
pub(super) fn lists_of(config: &SynthesizeConfig, built_in: bool) -> Lists {
    match (config.lists, config.teacher) {
        (Lists::Auto, TeacherKind::Offline) if built_in => Lists::Collaborative,
        (Lists::Auto, TeacherKind::Offline) => Lists::Open,
        (Lists::Auto, TeacherKind::Http | TeacherKind::Local) => Lists::Candidates,
        (lists @ (Lists::Open | Lists::Candidates | Lists::Collaborative), _) => lists,
    }
}

/// The items for one query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shortlist {
    /// Rows, best first; the seed's item leads, as it does with the built-in teacher.
    pub ranking: Vec<u32>,
    /// The same in the order of the prompt.
    pub shown: Vec<u32>,
    /// Whether the retrieval found the seed's item by itself; none: there is no seed, or the query names its item.
    pub seed_found: Option<bool>,
}

/// Makes shortlists.
pub(super) struct Shortlists<'a> {
    dataset: &'a Dataset,
    titles: Arc<Titles>,
    retriever: Arc<Retriever>,
    attributes: Attributes<'a>,
    count: usize,
    seed: u64,
}

impl<'a> Shortlists<'a> {
    /// For `lists`, [`Lists::Candidates`] or [`Lists::Collaborative`].
    pub(super) fn new(
        dataset: &'a Dataset,
        config: &SynthesizeConfig,
        lists: Lists,
        titles: Arc<Titles>,
        retriever: Arc<Retriever>,
    ) -> Shortlists<'a> {
        let count = match lists {
            Lists::Auto | Lists::Open | Lists::Candidates => config.candidates.max(config.items),
            Lists::Collaborative => config.items,
        };
        Shortlists { dataset, titles, retriever, attributes: Attributes::new(dataset), count, seed: config.seed }
    }

    /// Items that are retrieved for a query.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A ranking with the order of a prompt.
    pub(super) fn shuffled(&self, ranking: Vec<u32>, query: &str, draw: u64) -> Shortlist {
        let mut shown = ranking.clone();
        Random::new(self.seed, format!("candidates/{draw}/{query}").as_bytes()).shuffle(&mut shown);
        Shortlist { ranking, shown, seed_found: None }
    }

    /// For a query that was made of a review of `item`, or of a complaint about `avoided`. `draw` tells the queries of one
    /// prompt apart.
    pub(super) fn of(&self, item: Option<u32>, avoided: Option<u32>, query: &str, draw: u64) -> Shortlist {
        let mut wish = Wish::read(&self.titles, query);
        if avoided.is_some() && wish.items.len() > 1 {
            // What is like the others is wanted, not what is like it.
            wish.items.retain(|other| Some(*other) != avoided);
        }
        // Who names an item has seen it: it is no answer.
        let item = item.filter(|item| !wish.items.contains(item));
        let wish = wish.and(item);
        let mut ranking = self.retriever.candidates(&wish, item, self.count);
        let mut seed_found = None;
        if let Some(item) = item {
            let place = ranking.iter().position(|other| *other == item);
            seed_found = Some(place.is_some());
            match place {
                Some(place) => drop(ranking.remove(place)),
                None => ranking.truncate(self.count.saturating_sub(1)),
            }
            ranking.insert(0, item);
        }
        ranking.retain(|other| Some(*other) != avoided);
        Shortlist { seed_found, ..self.shuffled(ranking, query, draw) }
    }

    /// The items' names, as lists give them.
    pub(super) fn names(&self, shortlist: &Shortlist) -> Vec<String> {
        shortlist.shown.iter().map(|item| defuse(&self.dataset.items.name(*item as usize), NAME_CHARS)).collect()
    }

    /// The numbered lines of the prompt: `7. Title (1999) | Comedy, Drama, Ann Other, colour: red`.
    pub(super) fn lines(&self, shortlist: &Shortlist) -> String {
        let lines = shortlist.shown.iter().zip(self.names(shortlist)).enumerate();
        let line = |(n, (item, name)): (usize, (&u32, String))| {
            let telling = self.telling(*item as usize);
            let bar = if telling.is_empty() { "" } else { " | " };
            format!("{}. {name}{bar}{}", n + 1, telling.join(", "))
        };
        lines.map(line).collect::<Vec<_>>().join("\n")
    }

    /// What tells an item: two or three of its genres, its first creator and keywords, then at most two named attributes,
    /// the most telling ones, of a name one, that say something else.
    fn telling(&self, item: usize) -> Vec<String> {
        let items = &self.dataset.items;
        let mut out: Vec<String> = Vec::new();
        let first = items.genres(item).take(2).chain(items.creators(item).take(1));
        let more = items.keywords(item).chain(items.genres(item).skip(2)).chain(items.creators(item).skip(1));
        for value in first.chain(more) {
            let value = defuse(value, ATTRIBUTE_CHARS);
            if !value.is_empty() && !out.contains(&value) {
                out.push(value);
            }
            if out.len() == PLAIN {
                break;
            }
        }
        let (mut names, most): (Vec<&str>, usize) = (Vec::new(), out.len() + NAMED);
        for (name, value) in self.attributes.of(item) {
            let said = defuse(value, ATTRIBUTE_CHARS);
            if out.len() == most {
                break;
            }
            if !names.contains(&name) && !said.is_empty() && !out.iter().any(|other| other.eq_ignore_ascii_case(&said))
            {
                names.push(name);
                out.push(format!("{}: {said}", defuse(name, ATTRIBUTE_CHARS)));
            }
        }
        out
    }
}
