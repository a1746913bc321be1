//! The one place that says which item of the catalogue a name means.

use super::edition::Editions;
use super::ground::Grounder;
use super::lists::title_and_year;
use super::mentions::{Mention, Mentions};
use super::table::{Builder, Spelling, Table};
use crate::dataset::{Conversation, Dataset, ItemName, Items};
use std::sync::Arc;

/// The spelling of an id: there is one.
const ID: Spelling = 1;

/// The titles of a catalogue: finds the item of a name, and the items that running text names. Made once per catalogue;
/// lookups are read-only and may be made on any thread.
///
/// Whoever asks what an item is called asks here, so that a name means one item everywhere: what an evaluation counts as
/// seen does not come back when it is served.
#[derive(Debug)]
pub struct Titles {
    ids: Table,
    grounder: Grounder,
    mentions: Mentions,
    editions: Arc<Editions>,
}

impl Titles {
    /// The titles of `items`. Of several items of one title, the one with the highest count is meant where no year says
    /// which (`counts`: `[items]`, or empty), then the latest, then the lowest row.
    pub fn new(items: &Items, counts: &[f32]) -> Titles {
        let editions = Arc::new(Editions::new(items, counts));
        let mut ids = Builder::default();
        (0..items.len()).for_each(|row| ids.add(items.id(row), row as u32, ID));
        Titles {
            ids: ids.build(),
            grounder: Grounder::new(items, editions.clone()),
            mentions: Mentions::new(items, editions.clone()),
            editions,
        }
    }
    /// The titles of a dataset; an item counts once for each of its reviews and interactions.
    pub fn of(dataset: &Dataset) -> Titles {
        let mut counts = vec![0f32; dataset.items.len()];
        (0..dataset.reviews()).for_each(|r| counts[dataset.review_item(r)] += 1.0);
        (0..dataset.interactions()).for_each(|n| counts[dataset.interaction(n).1] += 1.0);
        Titles::new(&dataset.items, &counts)
    }
    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> u64 {
        self.ids.bytes() + self.grounder.bytes() + self.mentions.bytes() + self.editions.bytes()
    }

    /// The item of a name: by its id where the catalogue has that id, else by its title and year.
    pub fn resolve(&self, name: &ItemName) -> Option<u32> {
        let by_id = name.item.as_deref().and_then(|id| self.by_id(id));
        by_id.or_else(|| self.ground(&name.title, name.year))
    }
    /// The item that a text names which may be an id, or a title with or without its year: `tt0113277`, `Heat (1995)`.
    pub fn resolve_text(&self, text: &str) -> Option<u32> {
        self.by_id(text).or_else(|| self.resolve_title(text))
    }
    /// The item of a title, which may end in its year: `Heat (1995)`.
    pub fn resolve_title(&self, text: &str) -> Option<u32> {
        let (title, year) = title_and_year(text);
        self.ground(&title, year)
    }
    /// The item of a title, with its year where one is known; none: it is not in the catalogue. An item without a title is
    /// named by its id.
    pub fn ground(&self, title: &str, year: Option<u16>) -> Option<u32> {
        if title.trim().is_empty() { None } else { self.grounder.find(title, year) }
    }
    fn by_id(&self, id: &str) -> Option<u32> {
        self.ids.find(id).and_then(|at| self.ids.rows(at, ID).next())
    }

    /// The titles in running text, in order, none overlapping another.
    pub fn find(&self, text: &str) -> Vec<Mention> {
        self.mentions.find(text)
    }
    /// The first byte of `text` from which on a title may still be under way: what comes next may make, lengthen or rule out
    /// a title that begins there, and none that begins before. For text that is being written.
    pub fn settled(&self, text: &str) -> usize {
        self.mentions.settled(text)
    }
    /// The item rows named in running text: sorted, each once.
    pub fn rows(&self, text: &str) -> Vec<u32> {
        sorted(self.find(text).into_iter().map(|m| m.item).collect())
    }
    /// The item rows that a conversation names in its turns or lists as seen: sorted, each once.
    pub fn of_conversation(&self, conversation: &Conversation) -> Vec<u32> {
        let mut rows: Vec<u32> = conversation.seen.iter().filter_map(|name| self.resolve(name)).collect();
        rows.extend(conversation.turns.iter().flat_map(|turn| self.find(&turn.text)).map(|m| m.item));
        sorted(rows)
    }
}

fn sorted(mut rows: Vec<u32>) -> Vec<u32> {
    rows.sort_unstable();
    rows.dedup();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Item;

    fn titles(items: &[(&str, &str, u16)]) -> Titles {
        let mut dataset = Dataset::default();
        for (id, title, year) in items {
            let year = Some(*year).filter(|y| *y != 0);
            dataset.add_item(&Item { id: (*id).into(), title: (*title).into(), year, ..Item::default() }).unwrap();
        }
        Titles::of(&dataset)
    }

    fn name(title: &str, year: Option<u16>, item: Option<&str>) -> ItemName {
        ItemName { title: title.into(), year, item: item.map(Into::into) }
    }

    #[test]
    fn a_name_is_resolved_by_id_first_then_by_title_and_year() {
        let titles = titles(&[
            ("i0", "Heat", 1995),
            ("i1", "Up", 2009),
            ("i2", "Usual Suspects, The", 1995),
            ("i3", "Ocean's Eleven", 2001),
            ("i4", "Star Wars: Episode IV - A New Hope", 1977),
        ]);
        for (name, row) in [
            (name("Heat", None, Some("i1")), Some(1)),
            (name("Heat", None, Some("tt9")), Some(0)),
            (name("Heat", Some(1986), Some("tt9")), None),
            (name("", None, None), None),
            (name("  ", Some(1995), None), None),
            (name("The Usual Suspects", None, None), Some(2)),
            (name("Ocean's 11", None, None), Some(3)),
            (name("Nothing", None, None), None),
        ] {
            assert_eq!(titles.resolve(&name), row, "{name:?}");
        }
        for (text, row) in [
            ("Heat (1995)", Some(0)),
            ("Heat, 1995", Some(0)),
            (" Heat [1995] ", Some(0)),
            ("Heat (1950)", None),
            ("Star Wars", None),
            ("i3", Some(3)),
            ("", None),
        ] {
            assert_eq!(titles.resolve_text(text), row, "{text}");
        }
        assert_eq!(titles.resolve_title("i3"), None, "an id is no title where items have titles");
    }
}
