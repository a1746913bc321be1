//! A ranking: the best items for one conversation, and what is to be said of it.

/// One recommended item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedItem {
    /// Row in the catalogue.
    pub item: u32,
    /// What it was ranked by; higher is better.
    pub score: f32,
    /// log P(title | conversation), in nats, of the title's telling tokens or of all (`recommend.ranked_by`); none where no
    /// language model was asked for it.
    pub log_probability: Option<f32>,
}

/// Tokens that a language model read and wrote. A recommender without one reads and writes none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens read.
    pub read: u64,
    /// Tokens written.
    pub written: u64,
}

impl std::ops::Add for TokenCount {
    type Output = TokenCount;
    fn add(self, other: TokenCount) -> TokenCount {
        TokenCount { read: self.read + other.read, written: self.written + other.written }
    }
}

/// What a recommender found for one conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranking {
    /// Best first, each once, none masked.
    pub items: Vec<RankedItem>,
    /// The deadline came first: these are the items found by then.
    pub partial: bool,
    /// Where not all of the conversation was read: what was, in words.
    pub window: Option<String>,
    /// What a language model read and wrote for it.
    pub tokens: TokenCount,
}

/// The `top_k` best items whose score is not `-inf` and that `masked` does not hold (sorted item rows);
/// ties go to the lowest item row. The one place where seen and excluded items are removed.
pub fn rank(scores: &[f32], masked: &[u32], top_k: usize) -> Vec<RankedItem> {
    // Both are in the order of rows: where an allow list masks a million of them, each is passed once.
    let mut masked = masked.iter().copied().peekable();
    let mut free = |item: u32| {
        while masked.next_if(|row| *row < item).is_some() {}
        masked.peek() != Some(&item)
    };
    let mut ranked: Vec<RankedItem> = scores
        .iter()
        .enumerate()
        .map(|(item, &score)| RankedItem { item: item as u32, score, log_probability: None })
        .filter(|r| free(r.item) && r.score > f32::NEG_INFINITY)
        .collect();
    let order = |a: &RankedItem, b: &RankedItem| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item));
    if ranked.len() > top_k {
        if top_k == 0 {
            return Vec::new();
        }
        ranked.select_nth_unstable_by(top_k - 1, order);
        ranked.truncate(top_k);
    }
    ranked.sort_unstable_by(order);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_row_and_masked_items_never_come_back() {
        let scores = [1.0, 3.0, 3.0, f32::NEG_INFINITY, 2.0, f32::NAN];
        let items = |masked: &[u32], k| rank(&scores, masked, k).iter().map(|r| r.item).collect::<Vec<_>>();
        assert_eq!(items(&[], 2), [1, 2]);
        assert_eq!(items(&[1], 10), [2, 4, 0]);
        assert_eq!(items(&[], 0), [0u32; 0]);
        // A list of masked rows in which some stand twice, or stand past the end, masks the same.
        assert_eq!(items(&[0, 1, 1, 2, 9], 10), [4]);
    }
}
