//! A title as somebody wrote it → the item of the catalogue, or none: out of catalogue (§3.3, §4.2.1).
//!
//! Looked up in this order; the first step that finds an item of a fitting year decides:
//! 1. the normalised title (case, accents, punctuation, `&`);
//! 2. the same without a leading article (`Movie, The` = `The Movie` = `Movie`);
//! 3. the same with numbers in digits (`Rocky II` = `Rocky 2`, `Ocean's Eleven` = `Ocean's 11`);
//! 4. other names of an item (`(a.k.a. …)`, a title in parentheses), and the written title without its parentheses;
//! 5. the same without spaces, for what is written in one word (`Spiderman`, `Xmen`, `MASH`);
//! 6. bounded edit distance with a margin, numbers being equal, when no step before knew the title at all.
//!
//! An item without a title is named by its id. Which of several items of one title is meant: [`super::edition`].

use super::edition::Editions;
use super::near::NearTitles;
use super::normal::{moved_article, names, normalise, numbers_in_digits, squeezed, without_article};
use super::table::{Builder, Spelling, Table};
use crate::dataset::Items;
use std::sync::Arc;

/// Step 1: the normalised title.
const FULL: Spelling = 1;
/// Step 2: without its article.
const BARE: Spelling = 2;
/// Step 3: with numbers in digits.
const DIGITS: Spelling = 4;
/// Step 4: another name, with numbers in digits.
const OTHER: Spelling = 8;
/// Step 5: without its spaces.
const SQUEEZED: Spelling = 16;

/// Finds items by their written titles. Lookups are read-only and may be made on any thread.
#[derive(Debug)]
pub(super) struct Grounder {
    editions: Arc<Editions>,
    titles: Table,
    /// Ids of items without a title, as they are.
    untitled: Table,
    near: NearTitles,
}

impl Grounder {
    /// The index of a catalogue.
    pub fn new(items: &Items, editions: Arc<Editions>) -> Grounder {
        let (mut titles, mut untitled) = (Builder::default(), Builder::default());
        for row in 0..items.len() {
            let (number, title) = (row as u32, items.title(row));
            if title.trim().is_empty() {
                // Its name is its id.
                untitled.add(items.id(row).trim(), number, FULL);
                titles.add(&normalise(items.id(row)), number, FULL);
                continue;
            }
            for (n, name) in names(title).iter().enumerate() {
                let full = normalise(name);
                let bare = without_article(&full);
                let folded = numbers_in_digits(bare);
                titles.add(&folded, number, if n == 0 { DIGITS | OTHER } else { OTHER });
                if n == 0 {
                    titles.add(bare, number, BARE);
                    titles.add(&full, number, FULL);
                    titles.add(&squeezed(&folded), number, SQUEEZED);
                }
            }
        }
        let titles = titles.build();
        let near = NearTitles::new(&titles, DIGITS);
        Grounder { editions, titles, untitled: untitled.build(), near }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.titles.bytes() + self.untitled.bytes() + self.near.bytes()
    }

    /// The item row that `title` names, with `year` where one was given; none: out of catalogue.
    pub fn find(&self, title: &str, year: Option<u16>) -> Option<u32> {
        if let Some(at) = self.untitled.find(title.trim()) {
            return self.untitled.rows(at, FULL).next();
        }
        let written = moved_article(title);
        let full = normalise(&written);
        let bare = without_article(&full);
        let folded = numbers_in_digits(bare);
        let mut known = false;
        let mut look = |key: &str, spelling: Spelling| {
            let at = self.titles.find(key)?;
            let rows = self.titles.rows(at, spelling);
            known |= rows.clone().next().is_some();
            self.editions.choose(rows, year)
        };
        let literal = look(&full, FULL)
            .or_else(|| look(bare, BARE))
            .or_else(|| look(&folded, DIGITS))
            .or_else(|| look(&folded, OTHER));
        // `Heat (1995)`, where no title is written so: the year says which.
        if literal.is_none()
            && year.is_none()
            && let Some((name, said)) = title.trim().strip_suffix(')').and_then(|t| t.rsplit_once('('))
            && let Some(said) = said.trim().parse().ok().filter(|y| (1870..=2100).contains(y))
        {
            return self.find(name.trim_end(), Some(said));
        }
        let found = literal
            .or_else(|| {
                // `Birdman (The Unexpected Virtue of Ignorance)`: what stands in parentheses may be left out, or be the name.
                let names = names(title);
                names
                    .iter()
                    .skip(1)
                    .find_map(|name| look(&numbers_in_digits(without_article(&normalise(name))), DIGITS))
            })
            .or_else(|| look(&squeezed(&folded), SQUEEZED));
        // A title of the catalogue with another year is a remake, not a slip of the pen.
        if found.is_some() || known {
            return found;
        }
        // `Heat 1995`, where no title ends so.
        if year.is_none()
            && let Some((bare, said)) = title.trim().rsplit_once(' ')
            && said.len() == 4
            && let Some(said) = said.parse().ok().filter(|y| (1870..=2100).contains(y))
        {
            return self.find(bare, Some(said)).filter(|row| self.editions.is_of(*row, said));
        }
        let at = self.near.nearest(&self.titles, &folded)?;
        self.editions.choose(self.titles.rows(at, DIGITS), year)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Item};
    use proptest::prelude::*;

    fn catalogue(titles: &[(&str, u16)]) -> Items {
        let mut dataset = Dataset::default();
        for (i, (title, year)) in titles.iter().enumerate() {
            let year = Some(*year).filter(|y| *y != 0);
            dataset.add_item(&Item { id: format!("i{i}"), title: title.to_string(), year, ..Item::default() }).unwrap();
        }
        dataset.items
    }

    fn index(items: &Items, counts: &[f32]) -> Grounder {
        Grounder::new(items, Arc::new(Editions::new(items, counts)))
    }

    #[test]
    fn titles_are_found_whatever_their_dress() {
        let items = catalogue(&[
            ("Outlaw and His Wife;The (a.k.a. You and I) (Berg-Ejvind och hans hustru)", 1918),
            ("Amélie", 2001),
            ("Fast & Furious", 2009),
            ("The Man from U.N.C.L.E.", 2015),
            ("Rocky II", 1979),
            ("Ocean's Eleven", 2001),
            ("Birdman or (The Unexpected Virtue of Ignorance)", 2014),
            ("Matrix, The", 1999),
            ("Dolce vita, La", 1960),
            ("20,000 Leagues Under the Sea", 1954),
            ("Sunset Blvd. (a.k.a. Sunset Boulevard)", 1950),
            ("Malcolm X", 1992),
        ]);
        let grounder = index(&items, &[]);
        for (written, row) in [
            ("The Outlaw and His Wife", 0),
            ("You and I", 0),
            ("Berg-Ejvind och hans hustru", 0),
            ("amelie", 1),
            ("Fast and Furious", 2),
            ("The Man From UNCLE", 3),
            ("Rocky 2", 4),
            ("Oceans 11", 5),
            ("Birdman", 6),
            ("Birdman (The Unexpected Virtue of Ignorance)", 6),
            ("Birdman: Or (The Unexpected Virtue of Ignorance)", 6),
            ("The Matrix", 7),
            ("Matrix", 7),
            ("La Dolce Vita", 8),
            ("20000 Leagues under the sea", 9),
            ("Sunset Boulevard", 10),
            ("Sunset Blvd", 10),
            ("Malcolm X", 11),
        ] {
            assert_eq!(grounder.find(written, None), Some(row), "{written}");
        }
        for absent in ["", "  ", "Rocky", "Rocky III", "Malcolm", "The", "Matrix Reloaded", "Ocean's Twelve"] {
            assert_eq!(grounder.find(absent, None), None, "{absent}");
        }
    }

    /// "Heat (1995)" without a year beside it meant the film of most reviews, so that the seen one came back.
    #[test]
    fn a_year_within_a_name_says_which_of_two_films_is_meant() {
        let items =
            catalogue(&[("Heat", 1986), ("Heat", 1995), ("Dune", 1984), ("Dune", 2021), ("Blade Runner (2049)", 2017)]);
        let grounder = index(&items, &[9.0, 1.0, 1.0, 9.0, 1.0]);
        for (written, row) in [
            ("Heat (1995)", Some(1)),
            ("Heat (1986)", Some(0)),
            ("Dune (1984)", Some(2)),
            (" Dune ( 2021 ) ", Some(3)),
            ("Heat (1950)", None),
            ("Blade Runner (2049)", Some(4)),
        ] {
            assert_eq!(grounder.find(written, None), row, "{written}");
        }
    }

    #[test]
    fn remakes_are_told_apart_by_their_year() {
        let items = catalogue(&[
            ("Halloween", 1978),
            ("Halloween", 2018),
            ("Halloween", 0),
            ("The Mask", 1994),
            ("Mask", 1985),
        ]);
        let grounder = index(&items, &[]);
        assert_eq!(grounder.find("Halloween", Some(1978)), Some(0));
        assert_eq!(grounder.find("Halloween", Some(2019)), Some(1), "a year beside it");
        assert_eq!(grounder.find("Halloween", Some(2007)), Some(2), "then the one without a year");
        assert_eq!(grounder.find("Halloween", None), Some(1), "without a year: the latest");
        assert_eq!(index(&items, &[9.0, 3.0, 1.0, 0.0, 0.0]).find("Halloween", None), Some(0), "the most reviewed");
        assert_eq!(grounder.find("The Mask", None), Some(3));
        assert_eq!(grounder.find("Mask", None), Some(4));
        assert_eq!(grounder.find("Mask", Some(1994)), Some(3), "an article left out, the year says which");
        assert_eq!(grounder.find("The Mask", Some(2020)), None, "a remake that is not in the catalogue");
    }

    #[test]
    fn slips_are_forgiven_only_in_long_titles_that_are_alone() {
        let items = catalogue(&[
            ("The Shawshank Redemption", 1994),
            ("Iron Man", 2008),
            ("Iron Man 2", 2010),
            ("Terminator Salvation", 2009),
            ("Terminator Salvations", 2010),
            ("Cats", 2019),
            ("Aliens", 1986),
        ]);
        let grounder = index(&items, &[]);
        assert_eq!(grounder.find("The Shawshenk Redemtion", None), Some(0));
        assert_eq!(grounder.find("The Shawshenk Redemtion", Some(2010)), None, "the year does not fit");
        assert_eq!(grounder.find("Iron Man 3", None), None, "another number is another film");
        assert_eq!(grounder.find("Terminator Salvatoon", None), None, "two are too near to each other");
        assert_eq!(grounder.find("Cars", None), None, "a short title needs all its letters");
        assert_eq!(grounder.find("Alien", None), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(title in "(?s).{0,80}", other in "(?s).{0,80}", year in proptest::option::of(any::<u16>())) {
            let grounder = index(&catalogue(&[(&other, 1999), ("Heat", 1995)]), &[]);
            grounder.find(&title, year);
            normalise(&title);
        }
    }

    #[test]
    fn a_large_catalogue_is_searched_without_a_look_at_every_title() {
        let mut random = crate::math::Random::new(0, b"titles");
        let words: Vec<String> = (0..4000)
            .map(|_| {
                (0..3 + random.below(6)).map(|_| char::from(b"etaoinshrdlucmfwypvbgk"[random.below(22)])).collect()
            })
            .collect();
        let mut dataset = Dataset::default();
        for i in 0..100_000 {
            let title = (0..2 + random.below(4))
                .map(|_| words[random.below(words.len())].as_str())
                .collect::<Vec<_>>()
                .join(" ");
            dataset.add_item(&Item { id: i.to_string(), title, ..Item::default() }).unwrap();
        }
        let items = dataset.items;
        let started = std::time::Instant::now();
        let grounder = index(&items, &[]);
        let made = started.elapsed();
        let started = std::time::Instant::now();
        let mut found = 0;
        for row in (0..items.len()).step_by(100) {
            // One letter doubled: a slip.
            let mut slip = items.title(row).to_string();
            let at = slip.len() / 2;
            slip.insert(at, slip.chars().nth(at).unwrap_or('e'));
            let hit = grounder.find(&slip, None);
            assert!(hit.is_none_or(|hit| items.title(hit as usize) == items.title(row)), "{slip}");
            found += usize::from(hit.is_some());
        }
        eprintln!("index of 100,000: {made:?}; a slip looked up: {:?}", started.elapsed() / 1000);
        // Slips in titles of 8 letters and more are forgiven, all but those with a near neighbour or an odd gap.
        assert!(found > 850, "{found} of 1000");
    }

    fn real_catalogue(file: &str) -> Option<Items> {
        let path = crate::testing::shared(file)?;
        let rows: Vec<serde_json::Value> = crate::artifact::read_jsonl(&path).unwrap();
        let mut dataset = Dataset::default();
        for (i, row) in rows.iter().enumerate() {
            let title = row["title"].as_str().unwrap().to_string();
            let year = row["year"].as_u64().map(|y| y as u16);
            dataset.add_item(&Item { id: i.to_string(), title, year, ..Item::default() }).unwrap();
        }
        Some(dataset.items)
    }

    #[test]
    fn every_real_item_is_found_by_its_own_name_as_an_answer_would_write_it() {
        for file in ["data/movies/meta.jsonl.gz", "data/conversations/inspired_items.jsonl"] {
            let Some(items) = real_catalogue(file) else { return };
            let grounder = index(&items, &[]);
            // The item itself, or one of the same title and year (of any year, where the name gives none).
            let same = |found: usize, row: usize| {
                assert_eq!(normalise(items.title(found)), normalise(items.title(row)));
                assert!(items.year(row).is_none_or(|year| items.year(found) == Some(year)), "{}", items.name(row));
            };
            for row in 0..items.len() {
                let (title, year) = (items.title(row), items.year(row));
                let found = grounder.find(title, year).unwrap_or_else(|| panic!("{title:?} {year:?}")) as usize;
                same(found, row);
                // … and through an answer that lists it.
                let answer = format!("1. {}\n2. {}", items.name(row), items.name(row));
                let parsed = crate::titles::parse_titles(&answer);
                assert_eq!(parsed.len(), 2, "{answer}");
                let found = grounder.find(&parsed[0].title, parsed[0].year);
                let found = found.unwrap_or_else(|| panic!("{title:?} {year:?} read as {:?}", parsed[0])) as usize;
                same(found, row);
            }
        }
    }
}
