//! What somebody says, as retrieval takes it: the items spoken of, and the other words.

use crate::titles::Titles;

/// What somebody wishes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// Rows of the items that are spoken of, each once.
    pub items: Vec<u32>,
    /// The words without those items' names.
    pub words: String,
}

impl Wish {
    /// Reads a text.
    pub fn read(titles: &Titles, text: &str) -> Wish {
        let mut wish = Wish::default();
        let mut at = 0;
        for mention in titles.find(text) {
            if !wish.items.contains(&mention.item) {
                wish.items.push(mention.item);
            }
            wish.words.push_str(&text[at..mention.start]);
            wish.words.push(' ');
            at = mention.end;
            // The year behind a title says nothing of what is wished.
            let rest = text[at..].trim_start();
            if let Some(year) = rest.strip_prefix('(')
                && let Some((digits, rest)) = year.split_at_checked(4)
                && digits.bytes().all(|b| b.is_ascii_digit())
                && rest.starts_with(')')
            {
                at = text.len() - rest.len() + 1;
            }
        }
        wish.words.push_str(&text[at..]);
        wish
    }

    /// With one more item, unless it is there.
    pub fn and(mut self, item: Option<u32>) -> Wish {
        self.items.extend(item.filter(|item| !self.items.contains(item)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Item};

    #[test]
    fn titles_and_their_years_are_taken_out_of_the_words() {
        let mut data = Dataset::default();
        for (id, title, year) in [("a", "Blade Runner", 1982), ("b", "The Garden of Alma", 1990)] {
            let item = Item { id: id.into(), title: title.into(), year: Some(year), ..Default::default() };
            data.add_item(&item).unwrap();
        }
        let wish = Wish::read(&Titles::of(&data), "I loved Blade Runner (1982), something slow like that (of 1999)");
        assert_eq!(wish.items, [0]);
        assert_eq!(wish.words, "I loved  , something slow like that (of 1999)");
        assert_eq!(wish.clone().and(Some(0)).and(None), wish);
        assert_eq!(wish.and(Some(1)).items, [0, 1]);
        assert_eq!(Wish::read(&Titles::of(&data), "").words, "");
    }
}
