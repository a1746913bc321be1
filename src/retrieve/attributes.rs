//! Genres, creators and named attributes: which items share them, and which a text names.

use super::lists::Lists;
use crate::dataset::Dataset;
use std::collections::HashMap;

/// An attribute that more items have is too common to look for by its items.
const ITEMS_MOST: usize = 200_000;
/// Words that anybody says: a value of one of them alone ("You", a series) is not taken for named.
const SAID_ANYWAY: &str = "a about all also am an and another any anything are as at be because been but by can cant could did \
    do does dont else ever every find for from get give go good got great had has have he hello help her here hi his how i if in \
    into is it its just kind know let like liked little look looking lot love loved made make many may maybe me might more most \
    much my need never new next nice no not now of off ok on one only or other our out over please really right say see seen \
    she should so some something sure take tell than thank thanks that the their them then there these they thing things think \
    this those to too try two up us very want wanted was watch way we well were what when where which who why will with would \
    yes yet you your";
/// Values of an item that a text names which count: the most telling ones.
const NAMED_MOST: usize = 2;
/// Words of a name that is looked for in a text, at most.
const WORDS_MOST: usize = 4;

/// One kind of attribute.
pub(super) struct Attribute {
    /// Names as words in lower case.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Names of an item, and items of a name.
    of: Lists,
    having: Lists,
}

/// Letters and digits in lower case, in words; apostrophes are left out.
pub(crate) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let pieces = lower.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '’'));
    let bare = pieces.map(|w| w.replace(['\'', '’'], ""));
    bare.filter(|w| !w.is_empty()).collect()
}

impl Attribute {
    /// About how many bytes of memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| 2 * (name.len() + size_of::<String>())).sum();
        names + self.of.bytes() + self.having.bytes()
    }

    /// `of`: the values of an item.
    pub(super) fn new<V: Iterator<Item: AsRef<str>>>(dataset: &Dataset, of: impl Fn(usize) -> V) -> Attribute {
        let items = dataset.items.len();
        let (mut names, mut numbers, mut pairs) = (Vec::new(), HashMap::new(), Vec::new());
        for item in 0..items {
            for value in of(item) {
                let name = words(value.as_ref()).join(" ");
                if name.is_empty() {
                    continue;
                }
                let next = names.len() as u32;
                let number = *numbers.entry(name.clone()).or_insert(next);
                if number == next {
                    names.push(name);
                }
                pairs.push((item as u32, number));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let of = Lists::new(items, pairs.iter().copied());
        pairs.iter_mut().for_each(|p| *p = (p.1, p.0));
        pairs.sort_unstable();
        let having = Lists::new(names.len(), pairs.into_iter());
        Attribute { names, numbers, of, having }
    }

    /// Adds to each other item what `value(shared names, own names of it, names of `item`)` says.
    pub(super) fn add_shared(&self, item: u32, value: impl Fn(f32, f32, f32) -> f32, out: &mut [f32]) {
        let own = self.of.row(item as usize);
        let mut shared: HashMap<u32, u32> = HashMap::new();
        for name in own {
            let having = self.having.row(*name as usize);
            if having.len() <= ITEMS_MOST {
                having.iter().filter(|other| **other != item).for_each(|other| *shared.entry(*other).or_default() += 1);
            }
        }
        for (other, count) in shared {
            out[other as usize] += value(count as f32, self.of.row(other as usize).len() as f32, own.len() as f32);
        }
    }

    /// The names that stand in a text word for word; names of one word with fewer than `letters` letters do not count.
    pub(super) fn named(&self, text: &[String], letters: usize) -> Vec<u32> {
        let mut found = Vec::new();
        for at in 0..text.len() {
            for length in 1..=WORDS_MOST.min(text.len() - at) {
                let name = text[at..at + length].join(" ");
                if (length > 1 || name.chars().count() >= letters)
                    && let Some(number) = self.numbers.get(&name)
                {
                    found.push(*number);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The names that a text speaks of in some form: `comedies` of Comedy, `animated` of Animation, `scifi` of Sci-Fi.
    pub(super) fn spoken_of(&self, text: &[String]) -> Vec<u32> {
        let joined = text.join("");
        let speaks = |name: &str| match name.contains(' ') {
            true => joined.contains(&name.replace(' ', "")),
            false => text.iter().any(|word| related(word, name)),
        };
        (0..self.names.len() as u32).filter(|n| speaks(&self.names[*n as usize])).collect()
    }

    /// Adds to each other item, for each name that it shares, how much the name tells ([`Attribute::tells`]).
    pub(super) fn add_shared_telling(&self, item: u32, weight: f32, out: &mut [f32]) {
        for name in self.of.row(item as usize) {
            let having = self.having.row(*name as usize);
            if having.len() <= ITEMS_MOST {
                let told = weight * self.tells(*name);
                having.iter().filter(|other| **other != item).for_each(|other| out[*other as usize] += told);
            }
        }
    }

    /// How much a name tells: 0 where every item has it, 1 where one has, the logarithms of their numbers between.
    fn tells(&self, name: u32) -> f32 {
        let items = (self.of.rows() as f32).max(2.0);
        1.0 - (self.having.row(name as usize).len() as f32).ln() / items.ln()
    }

    /// Adds for each of `names` how much it tells to the items that have it: of an item's the most telling [`NAMED_MOST`]. A
    /// name of one word that anybody says does not count.
    pub(super) fn add_having_telling(&self, names: &[u32], weight: f32, out: &mut [f32]) {
        let said_anyway = |name: &str| SAID_ANYWAY.split_whitespace().any(|word| word == name);
        let names = names.iter().filter(|name| !said_anyway(&self.names[**name as usize]));
        let mut named: Vec<(f32, u32)> = names.map(|name| (weight * self.tells(*name), *name)).collect();
        named.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut counted: HashMap<u32, usize> = HashMap::new();
        for (told, name) in named {
            for item in self.having.row(name as usize) {
                let count = counted.entry(*item).or_default();
                if *count < NAMED_MOST {
                    *count += 1;
                    out[*item as usize] += told;
                }
            }
        }
    }

    /// Adds `weight` for each of `names` to the items that have it.
    pub(super) fn add_having(&self, names: &[u32], weight: f32, out: &mut [f32]) {
        for name in names {
            self.having.row(*name as usize).iter().for_each(|item| out[*item as usize] += weight);
        }
    }
}

/// Two forms of one word: they begin alike for two thirds of the name, and for five letters where there are more.
fn related(word: &str, name: &str) -> bool {
    if word == name {
        return true;
    }
    let (long, alike) = (name.chars().count(), word.chars().zip(name.chars()).take_while(|(a, b)| a == b).count());
    let least = (2 * long).div_ceil(3).max(4).max(5.min(long.saturating_sub(1)));
    alike >= least && word.chars().count() <= long + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Item;

    fn dataset() -> Dataset {
        let mut dataset = Dataset::default();
        for (id, genres, creators) in [
            ("a", vec!["Comedy", "Sci-Fi"], vec!["Ann O'Neil", "Bo"]),
            ("b", vec!["Comedy"], vec!["Ann O'Neil"]),
            ("c", vec!["Animation", "comedy"], vec!["Carla van der Berg"]),
            ("d", vec![], vec![]),
        ] {
            let strings = |list: Vec<&str>| list.into_iter().map(str::to_string).collect();
            let (genres, creators) = (strings(genres), strings(creators));
            dataset.add_item(&Item { id: id.into(), genres, creators, ..Default::default() }).unwrap();
        }
        dataset
    }

    #[test]
    fn names_are_found_in_texts_in_their_forms() {
        let data = dataset();
        let genres = Attribute::new(&data, |i| data.items.genres(i));
        let creators = Attribute::new(&data, |i| data.items.creators(i));
        let spoken = |text: &str| {
            let mut out = vec![0.0; 4];
            genres.add_having(&genres.spoken_of(&words(text)), 1.0, &mut out);
            out
        };
        assert_eq!(spoken("some funny comedies"), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(spoken("An animated scifi film"), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(spoken("comet"), [0.0; 4]);
        let named = |text: &str| {
            let mut out = vec![0.0; 4];
            creators.add_having(&creators.named(&words(text), 5), 1.0, &mut out);
            out
        };
        assert_eq!(named("with ann o’neil, or Bo?"), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(named("by Carla van der Berg"), [0.0, 0.0, 1.0, 0.0]);
    }

    /// A series named "You" came first whenever anybody said "Can you recommend…", and a list of everyday tags always.
    #[test]
    fn a_value_that_anybody_says_is_not_named_and_many_values_count_as_two() {
        let mut data = Dataset::default();
        let tags = [vec!["You"], vec!["blue", "soft", "warm", "Can"], vec!["blue"], vec![]];
        for (n, tags) in tags.iter().enumerate() {
            let attributes = tags.iter().map(|tag| ("tag".to_string(), (*tag).to_string())).collect();
            data.add_item(&Item { id: format!("i{n}"), attributes, ..Item::default() }).unwrap();
        }
        let values = Attribute::new(&data, |i| data.items.attributes(i).map(|(_, value)| value));
        let scores = |text: &str| {
            let mut out = vec![0.0; 4];
            values.add_having_telling(&values.named(&words(text), 3), 1.0, &mut out);
            out
        };
        assert_eq!(scores("Can you recommend anything?"), [0.0; 4]);
        let (two, all) = (scores("soft and warm"), scores("blue, soft and warm"));
        assert_eq!(two[1], all[1]);
        assert!(two[1] > 0.0 && all[2] > 0.0 && all[2] < all[1]);
    }

    #[test]
    fn items_that_share_a_name_are_told_and_the_item_itself_is_not() {
        let data = dataset();
        let genres = Attribute::new(&data, |i| data.items.genres(i));
        let mut out = vec![0.0; 4];
        genres.add_shared(0, |shared, theirs, own| shared / (theirs * own).sqrt(), &mut out);
        assert!((out[1] - 1.0 / 2f32.sqrt()).abs() < 1e-6 && (out[2] - 0.5).abs() < 1e-6, "{out:?}");
        assert_eq!((out[0], out[3]), (0.0, 0.0));
    }
}
