//! Which attributes of an item tell something: those that people choose by.

use crate::dataset::Dataset;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The names of a catalogue's attributes, and what each tells.
pub(super) struct Attributes<'a> {
    dataset: &'a Dataset,
    /// Items of the values that some have and not most: an id tells one item from all others and no item from another kind,
    /// and what all are made in tells nothing.
    told: HashMap<&'a str, u64>,
}

/// A name without case, spaces and marks, a plural's s and a British u: `Colours` is `color`.
fn plain(name: &str) -> String {
    let letters: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let letters = letters.replace("colour", "color").replace("flavour", "flavor");
    match letters.strip_suffix('s') {
        Some(one) if one.len() > 2 => one.to_string(),
        Some(_) | None => letters,
    }
}

impl<'a> Attributes<'a> {
    /// Reads the catalogue once.
    pub(super) fn new(dataset: &'a Dataset) -> Attributes<'a> {
        let mut items: HashMap<&str, u64> = HashMap::new();
        // Values by their hashes: of a million different ones none is kept.
        let mut values: HashMap<(&str, u64), u64> = HashMap::new();
        for item in 0..dataset.items.len() {
            let mut names: Vec<&str> = dataset.items.attributes(item).map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().for_each(|name| *items.entry(name).or_default() += 1);
            for (name, value) in dataset.items.attributes(item) {
                let mut hasher = DefaultHasher::new();
                value.to_lowercase().hash(&mut hasher);
                *values.entry((name, hasher.finish())).or_default() += 1;
            }
        }
        let mut told: HashMap<&str, u64> = items.keys().map(|name| (*name, 0)).collect();
        for ((name, _), having) in values {
            if having > 1 && 2 * having <= items[name] {
                *told.entry(name).or_default() += having;
            }
        }
        Attributes { dataset, told }
    }

    /// Whether any item has an attribute of this name; an empty one: any attribute.
    pub(super) fn any(&self, name: &str) -> bool {
        let wanted = plain(name);
        self.told.keys().any(|other| wanted.is_empty() || plain(other) == wanted)
    }

    /// The attributes of an item, those of the most telling name first; as they stand where equal.
    pub(super) fn of(&self, item: usize) -> Vec<(&'a str, &'a str)> {
        let mut all: Vec<(&str, &str)> = self.dataset.items.attributes(item).collect();
        all.sort_by_key(|(name, _)| std::cmp::Reverse(self.told.get(name).copied().unwrap_or(0)));
        all
    }

    /// Those of one name.
    pub(super) fn named(&self, item: usize, name: &str) -> Vec<(&'a str, &'a str)> {
        let wanted = plain(name);
        self.of(item).into_iter().filter(|(other, _)| plain(other) == wanted).collect()
    }

    /// Those that may be said without their name: of names that tell something, and in letters.
    pub(super) fn sayable(&self, item: usize) -> Vec<(&'a str, &'a str)> {
        let tells = |name: &str| self.told.get(name).is_some_and(|told| *told > 0);
        let in_words = |value: &str| {
            !value.contains(|c: char| c.is_ascii_digit())
                && !["yes", "no"].iter().any(|plain| value.eq_ignore_ascii_case(plain))
        };
        self.of(item).into_iter().filter(|(name, value)| tells(name) && in_words(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Item;

    #[test]
    fn what_some_share_and_most_do_not_tells_and_ids_and_what_all_have_do_not() {
        let mut dataset = Dataset::default();
        for (n, (colour, extra)) in
            [("red", "Spain"), ("Red", "Spain"), ("blue", "Spain"), ("blue", "Spain"), ("42 x", "Spain")]
                .iter()
                .enumerate()
        {
            let pairs = [("code", format!("c{n}")), ("origin", extra.to_string()), ("Colour", colour.to_string())];
            let attributes = pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            dataset.add_item(&Item { id: format!("i{n}"), attributes, ..Item::default() }).unwrap();
        }
        dataset.add_item(&Item { id: "bare".into(), ..Item::default() }).unwrap();
        let attributes = Attributes::new(&dataset);
        assert_eq!(attributes.of(1), [("colour", "Red"), ("code", "c1"), ("origin", "Spain")]);
        assert_eq!(attributes.sayable(1), [("colour", "Red")]);
        assert!(attributes.sayable(4).is_empty() && attributes.of(5).is_empty());
        assert_eq!(attributes.named(0, "Colors"), [("colour", "red")]);
        assert!(attributes.any("color") && attributes.any("") && !attributes.any("size"));
        assert!(!Attributes::new(&Dataset::default()).any(""));
    }
}
