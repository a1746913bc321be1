//! NBCRS (Xie et al. 2024): recommend what the posts nearest to the conversation mention.
//!
//! Datastore: posts (seed reviews, synthetic queries, recorded conversations), each with the items it mentions. A
//! conversation's embedding is compared with all of them; of the k nearest, score(item) = number of posts that mention it.
//! Ties, in this order: the larger sum of (1 + similarity) / 2 over those posts, scaled to stay below one mention; for items
//! that none of them mentions, how many posts of the whole datastore do; then the lowest item row ([`super::rank`]).

use super::Recommender;
use super::neighbours::{Blocks, Neighbour};
use super::query_window::{QueryWindow, query_text};
use crate::dataset::Dialogue;
use crate::dataset::{Conversation, Dataset, Items, Post, load_conversations, load_posts};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::{Matrix, Random};
use crate::run::{Level, Run, log};
use crate::titles::Titles;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The candidates for k.
pub const CANDIDATES: [usize; 14] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 120, 200, 300, 500, 1000];
/// Posts held out to choose k, at most.
const HELD_OUT: usize = 500;

/// Posts before they are embedded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Posts {
    /// The texts, `[posts]`.
    pub texts: Vec<String>,
    /// Item rows that each mentions, `[posts]`, each list sorted and without repeats.
    pub mentions: Vec<Vec<u32>>,
    /// Posts of one group are held out together: those of one seed item, of one conversation. `[posts]`.
    pub groups: Vec<u32>,
}

impl Posts {
    /// Appends another datastore's posts; groups of the two stay apart.
    pub fn extend(&mut self, other: Posts) {
        let next = self.groups.iter().map(|g| g + 1).max().unwrap_or(0);
        self.texts.extend(other.texts);
        self.mentions.extend(other.mentions);
        self.groups.extend(other.groups.into_iter().map(|g| g.saturating_add(next)));
    }
    /// Adds a post; one that mentions nothing is left out.
    pub fn push(&mut self, text: &str, mut mentions: Vec<u32>, group: u32) {
        mentions.sort_unstable();
        mentions.dedup();
        if !mentions.is_empty() && !text.trim().is_empty() {
            self.texts.push(text.to_string());
            self.mentions.push(mentions);
            self.groups.push(group);
        }
    }
    /// Synthetic dialogues: the query, and the items listed for it.
    pub fn from_dialogues(dialogues: &[Dialogue], items: &Items) -> Posts {
        let mut posts = Posts::default();
        let mut groups = Groups::default();
        for dialogue in dialogues {
            let group = groups.of(dialogue.seed.as_ref().map_or(&dialogue.id, |s| &s.item));
            posts.push(&dialogue.query(), dialogue.items.iter().filter_map(|id| items.find(id)).collect(), group);
        }
        posts
    }
    /// What a file recorded: posts, which have a text, or conversations, which have turns; whichever reads is meant.
    ///
    /// # Errors
    /// Those of reading it as either, both said.
    pub fn read(path: &Path, titles: &Titles, window: QueryWindow, max_bad_lines: u64) -> Result<Posts> {
        let as_posts = match load_posts(path, max_bad_lines) {
            Ok(recorded) => return Ok(Posts::from_posts(&recorded, titles)),
            Err(e) => e,
        };
        match load_conversations(path, max_bad_lines) {
            Ok(recorded) => Ok(Posts::from_conversations(&recorded, titles, window)),
            Err(as_conversations) if as_conversations.to_string() == as_posts.to_string() => Err(as_posts),
            Err(as_conversations) => Err(Error::new(
                as_posts.kind(),
                format!("evaluate.posts: as posts: {as_posts}; as conversations: {as_conversations}"),
            )),
        }
    }
    /// Recorded posts, such as forum threads: the text, and the titles it is said to mention.
    pub fn from_posts(recorded: &[Post], mentions: &Titles) -> Posts {
        let mut posts = Posts::default();
        for (group, post) in recorded.iter().enumerate() {
            let rows = post.mentions.iter().filter_map(|title| mentions.resolve_text(title)).collect();
            posts.push(&post.text, rows, group as u32);
        }
        posts
    }
    /// Recorded conversations: the context as a recommender sees it, and the items then accepted.
    pub fn from_conversations(recorded: &[Conversation], mentions: &Titles, context: QueryWindow) -> Posts {
        let mut posts = Posts::default();
        let mut groups = Groups::default();
        for conversation in recorded {
            // `395/4` is the fourth request of conversation 395.
            let group = groups.of(conversation.id.rsplit_once('/').map_or(conversation.id.as_str(), |(id, _)| id));
            let rows = conversation.targets.iter().filter_map(|name| mentions.resolve(name)).collect();
            posts.push(&query_text(conversation, context), rows, group);
        }
        posts
    }
}

/// Numbers names in the order of their first appearance.
#[derive(Default)]
struct Groups(BTreeMap<String, u32>);

impl Groups {
    fn of(&mut self, name: &str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(name.to_string()).or_insert(next)
    }
}

/// The posts with their embeddings: all of NBCRS but the embedder.
#[derive(Debug, Clone, PartialEq)]
pub struct Datastore {
    /// Posts whose rows are zeros: they vote for nothing.
    blank: Vec<bool>,
    pub(super) rows: Blocks,
    pub(super) mentions: Vec<Vec<u32>>,
    pub(super) groups: Vec<u32>,
    pub(super) items: usize,
    /// Posts that mention each item, `[items]`.
    pub(super) totals: Vec<u32>,
    pub(super) embedder: String,
    pub(super) k: usize,
}

impl Datastore {
    /// From rows embedded already: `rows` `[posts, dim]`, `mentions` and `groups` as in [`Posts`]. k is 60 until chosen.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for no posts, lengths that differ, item rows outside the catalogue.
    pub fn new(
        rows: &Matrix,
        mentions: Vec<Vec<u32>>,
        groups: Vec<u32>,
        items: usize,
        embedder: &str,
    ) -> Result<Datastore> {
        if mentions.is_empty() {
            return Err(Error::invalid("nbcrs: no post mentions an item of the catalogue; nothing to search"));
        }
        if rows.rows() != mentions.len() || groups.len() != mentions.len() {
            return Err(Error::invalid(format!(
                "nbcrs: {} rows, {} lists of mentions, {} groups",
                rows.rows(),
                mentions.len(),
                groups.len()
            )));
        }
        let mut totals = vec![0u32; items];
        for (post, list) in mentions.iter().enumerate() {
            if list.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(Error::invalid(format!("nbcrs: the mentions of post {post} are not sorted or repeat")));
            }
            for &item in list {
                *totals.get_mut(item as usize).ok_or_else(|| {
                    Error::invalid(format!("nbcrs: post {post} mentions item row {item} of {items}"))
                })? += 1;
            }
        }
        let blank = (0..rows.rows()).map(|post| is_blank(rows.row(post))).collect();
        Ok(Datastore {
            blank,
            rows: Blocks::new(rows),
            mentions,
            groups,
            items,
            totals,
            embedder: embedder.to_string(),
            k: 60,
        })
    }
    /// Embeds `posts`.
    ///
    /// # Errors
    /// Those of [`Datastore::new`] and of the embedder.
    pub fn from_posts(posts: Posts, items: usize, embedder: &dyn Embedder, run: &Run) -> Result<Datastore> {
        let texts: Vec<&str> = posts.texts.iter().map(String::as_str).collect();
        let rows = embedder.embed(&texts, true, run)?;
        Datastore::new(&rows, posts.mentions, posts.groups, items, &embedder.name())
    }
    /// The seed reviews, embedded already: `rows` `[dataset.reviews(), dim]`; each mentions its own item.
    ///
    /// # Errors
    /// Those of [`Datastore::new`].
    pub fn from_reviews(dataset: &Dataset, rows: &Matrix, embedder: &str) -> Result<Datastore> {
        let mentions = (0..dataset.reviews()).map(|r| vec![dataset.review_item(r) as u32]).collect();
        let groups = (0..dataset.reviews() as u32).collect();
        Datastore::new(rows, mentions, groups, dataset.items.len(), embedder)
    }
    /// Number of posts.
    pub fn posts(&self) -> usize {
        self.mentions.len()
    }
    /// k, the neighbours that vote.
    pub fn neighbours(&self) -> usize {
        self.k
    }
    /// Name of the embedder that made the rows.
    pub fn embedder(&self) -> &str {
        &self.embedder
    }

    /// Sets k: `neighbours`, or where that is 0, the candidate with the best Recall@20 on held-out posts (ties to the
    /// smallest), each searched for among the posts of other groups. Gives the Recall@20 of every candidate tried.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn choose_k(&mut self, neighbours: usize, seed: u64, run: &Run) -> Result<Vec<(usize, f64)>> {
        if neighbours > 0 {
            self.k = neighbours;
            return Ok(Vec::new());
        }
        let mut groups: Vec<u32> = self.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        Random::new(seed, b"nbcrs holdout").shuffle(&mut groups);
        let most = HELD_OUT.min(self.posts() / 5);
        let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
        self.groups.iter().for_each(|g| *sizes.entry(*g).or_default() += 1);
        let mut posts_held_out = 0;
        let mut held: Vec<u32> = Vec::new();
        for group in groups {
            let size = sizes.get(&group).copied().unwrap_or(0);
            if posts_held_out + size <= most {
                posts_held_out += size;
                held.push(group);
            }
        }
        held.sort_unstable();
        let is_held = |post: usize| self.blank[post] || held.binary_search(&self.groups[post]).is_ok();
        let asked: Vec<usize> = (0..self.posts()).filter(|p| is_held(*p) && !self.blank[*p]).collect();
        if asked.is_empty() {
            log(Level::Warn, &format!("nbcrs: {} posts are too few to choose k on; k = {}", self.posts(), self.k));
            return Ok(Vec::new());
        }
        let mut data = Vec::with_capacity(asked.len() * self.rows.dim());
        asked.iter().for_each(|p| data.extend_from_slice(self.rows.row(*p)));
        let queries = Matrix::from_vec(asked.len(), self.rows.dim(), data)?;
        let left = self.posts() - asked.len();
        // Candidates beyond the posts that are left would all be the same.
        let candidates: Vec<usize> = CANDIDATES.into_iter().filter(|k| *k <= left.max(CANDIDATES[0])).collect();
        let lists = self.rows.nearest(&queries, candidates.last().copied().unwrap_or(0), &is_held, run)?;
        let mut recalls = Vec::with_capacity(candidates.len());
        for &k in &candidates {
            let mut sum = 0.0;
            for (list, post) in lists.iter().zip(&asked) {
                let wanted = &self.mentions[*post];
                let best = super::rank(&self.votes(&list[..k.min(list.len())]), &[], 20);
                let hits = best.iter().filter(|r| wanted.binary_search(&r.item).is_ok()).count();
                sum += hits as f64 / wanted.len() as f64;
            }
            recalls.push((k, sum / asked.len() as f64));
        }
        let mut best = f64::NEG_INFINITY;
        for &(k, recall) in &recalls {
            if recall > best {
                (self.k, best) = (k, recall);
            }
        }
        Ok(recalls)
    }

    /// Scores of all items by the votes of `neighbours`, `[items]`.
    fn votes(&self, neighbours: &[Neighbour]) -> Vec<f32> {
        // Below every vote and above -1: the share of the datastore's posts that mention the item, less one.
        let posts = self.posts() as f64 + 1.0;
        let mut scores: Vec<f64> = self.totals.iter().map(|t| f64::from(*t) / posts - 1.0).collect();
        let most = neighbours.len() as f64 + 1.0;
        for neighbour in neighbours {
            let vote = 1.0 + ((1.0 + f64::from(neighbour.similarity)) / 2.0).clamp(0.0, 1.0) / most;
            for &item in &self.mentions[neighbour.row as usize] {
                let score = &mut scores[item as usize];
                *score = score.max(0.0) + vote;
            }
        }
        scores.into_iter().map(|s| s as f32).collect()
    }

    /// The posts that vote for each query, nearest first, none for a query of zeros; `queries`: `[queries, dim]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the dimensions differ; [`crate::ErrorKind::Cancelled`].
    pub fn nearest(&self, queries: &Matrix, run: &Run) -> Result<Vec<Vec<Neighbour>>> {
        let mut lists = self.rows.nearest(queries, self.k, &|post| self.blank[post], run)?;
        // Of whom nothing is known, nobody is near: what is most mentioned comes first.
        lists.iter_mut().enumerate().filter(|(i, _)| is_blank(queries.row(*i))).for_each(|(_, list)| list.clear());
        Ok(lists)
    }
    /// Scores, `[queries, items]`; `queries`: `[queries, dim]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the dimensions differ; [`crate::ErrorKind::Cancelled`].
    pub fn score(&self, queries: &Matrix, run: &Run) -> Result<Matrix> {
        let mut scores = Vec::with_capacity(queries.rows() * self.items);
        for list in self.nearest(queries, run)? {
            scores.extend(self.votes(&list));
        }
        Matrix::from_vec(queries.rows(), self.items, scores)
    }
}

/// A row of zeros: of its text the embedder knows nothing.
fn is_blank(row: &[f32]) -> bool {
    row.iter().all(|v| *v == 0.0)
}

/// NBCRS as a recommender: a datastore, and the embedder that made its rows.
pub struct Nbcrs {
    name: String,
    store: Datastore,
    embedder: Arc<dyn Embedder>,
    context: QueryWindow,
}

impl Nbcrs {
    /// `name` as reports show it: `nbcrs, synthetic`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when another embedder made the datastore.
    pub fn new(
        name: impl Into<String>,
        store: Datastore,
        embedder: Arc<dyn Embedder>,
        context: QueryWindow,
    ) -> Result<Nbcrs> {
        if embedder.name() != store.embedder {
            return Err(Error::invalid(format!(
                "nbcrs: the datastore was made by embedder {}, this one is {}; use the same, or build the datastore again",
                store.embedder,
                embedder.name()
            )));
        }
        Ok(Nbcrs { name: name.into(), store, embedder, context })
    }
    /// The datastore.
    pub fn store(&self) -> &Datastore {
        &self.store
    }
}

impl Recommender for Nbcrs {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn items(&self) -> usize {
        self.store.items
    }
    fn bytes(&self) -> u64 {
        let rows = self.store.rows.rows() * (self.store.rows.dim() * 4 + size_of::<Vec<u32>>() + 4);
        let mentions: usize = self.store.mentions.iter().map(|m| size_of_val(m.as_slice())).sum();
        (rows + mentions) as u64 + self.embedder.bytes()
    }
    fn window(&self) -> Option<QueryWindow> {
        Some(self.context)
    }
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix> {
        let texts: Vec<String> = conversations.iter().map(|c| query_text(c, self.context)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.store.score(&self.embedder.embed(&texts, true, run)?, run)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Speakers;
    use super::super::testing::{BagOfWords, conversation, dialogue, movies};
    use super::*;
    use crate::dataset::ItemName;
    use crate::math::dot;

    fn random_store(posts: usize, items: usize) -> (Matrix, Datastore) {
        let mut random = Random::new(9, b"nbcrs test");
        let mut rows = Matrix::from_vec(posts, 8, (0..posts * 8).map(|_| random.normal() as f32).collect()).unwrap();
        rows.normalise_rows();
        let mentions = (0..posts)
            .map(|_| {
                let count = 1 + random.below(4);
                let mut list: Vec<u32> = random.sample(items, count).into_iter().map(|i| i as u32).collect();
                list.sort_unstable();
                list
            })
            .collect();
        let groups = (0..posts as u32).collect();
        let store = Datastore::new(&rows, mentions, groups, items, "test").unwrap();
        (rows, store)
    }

    #[test]
    fn scores_order_items_as_the_plain_definition_does() {
        let (rows, store) = random_store(500, 30);
        let queries = rows.gather(&[3, 77, 402]);
        let two = store.score(&queries, &Run::new(2).unwrap()).unwrap();
        assert_eq!(two, store.score(&queries, &Run::new(1).unwrap()).unwrap());
        for q in 0..3 {
            let mut near: Vec<(f64, usize)> = (0..500).map(|p| (dot(queries.row(q), rows.row(p)), p)).collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            // (mentions, summed similarity, mentions in all), as the head of this file orders them.
            let key = |item: u32| {
                let votes: Vec<f64> =
                    near[..60].iter().filter(|n| store.mentions[n.1].contains(&item)).map(|n| n.0).collect();
                let all = store.mentions.iter().filter(|m| m.contains(&item)).count();
                (votes.len(), votes.iter().map(|s| (1.0 + s) / 2.0).sum::<f64>(), all)
            };
            let mut slow: Vec<u32> = (0..30).collect();
            slow.sort_by(|a, b| {
                let ((n, s, t), (m, r, u)) = (key(*a), key(*b));
                m.cmp(&n).then(r.total_cmp(&s)).then(u.cmp(&t)).then(a.cmp(b))
            });
            let fast: Vec<u32> = super::super::rank(two.row(q), &[], 30).iter().map(|r| r.item).collect();
            assert_eq!(fast, slow);
        }
    }

    #[test]
    fn items_that_no_neighbour_mentions_come_after_all_that_one_does_most_mentioned_first() {
        let rows = Matrix::from_vec(4, 2, vec![-1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]).unwrap();
        let mentions = vec![vec![3], vec![1], vec![1, 2], vec![2]];
        let mut store = Datastore::new(&rows, mentions, vec![0, 1, 2, 3], 5, "test").unwrap();
        let run = Run::new(1).unwrap();
        store.choose_k(1, 0, &run).unwrap();
        // The nearest post is the exact opposite: its one vote still counts as a vote.
        let query = Matrix::from_vec(1, 2, vec![-1.0, 0.0]).unwrap();
        let scores = store.score(&query, &run).unwrap();
        let order: Vec<u32> = super::super::rank(scores.row(0), &[], 5).iter().map(|r| r.item).collect();
        assert_eq!(order, [3, 1, 2, 0, 4]);
        assert!(scores.row(0)[3] >= 1.0 && scores.row(0)[1] < 0.0);
    }

    #[test]
    fn k_is_the_candidate_that_finds_most_of_held_out_posts() {
        // Two topics of 300 posts; those of a topic mention its 30 items, five at random each. With one topic's posts
        // near, more of them always tell more of the 30 than ten do.
        let mut random = Random::new(1, b"topics");
        let (mut data, mut mentions) = (Vec::new(), Vec::new());
        for post in 0..600 {
            let topic = post % 2;
            data.extend((0..2).map(|d| if d == topic { 1.0f32 } else { random.uniform() as f32 * 0.3 }));
            let mut list: Vec<u32> = random.sample(30, 5).into_iter().map(|i| (topic * 30 + i) as u32).collect();
            list.sort_unstable();
            mentions.push(list);
        }
        let mut rows = Matrix::from_vec(600, 2, data).unwrap();
        rows.normalise_rows();
        let mut store = Datastore::new(&rows, mentions, (0..600).collect(), 60, "test").unwrap();
        let recalls = store.choose_k(0, 7, &Run::new(2).unwrap()).unwrap();
        let best = recalls.iter().map(|r| r.1).fold(0.0, f64::max);
        assert_eq!(recalls.iter().find(|r| r.1 == best).unwrap().0, store.neighbours());
        // Twenty of thirty items by chance: 2/3.
        assert!((best - 2.0 / 3.0).abs() < 0.1, "{recalls:?}");
        let mut again = store.clone();
        assert_eq!(again.choose_k(0, 7, &Run::new(1).unwrap()).unwrap(), recalls);
        assert!(again.choose_k(33, 7, &Run::new(1).unwrap()).unwrap().is_empty());
        assert_eq!(again.neighbours(), 33);
    }

    #[test]
    fn what_a_similar_query_was_answered_with_is_recommended() {
        let dataset = movies();
        let lists = [
            dialogue("a", "a ghost in a haunted house", &["m0", "m4"]),
            dialogue("b", "rocket to an alien planet", &["m1", "m5", "unknown"]),
            dialogue("c", "", &["m2"]),
        ];
        let run = Run::new(1).unwrap();
        let mut store =
            Datastore::from_posts(Posts::from_dialogues(&lists, &dataset.items), 24, &BagOfWords, &run).unwrap();
        assert_eq!(store.posts(), 2);
        store.choose_k(1, 0, &run).unwrap();
        let context = QueryWindow { speakers: Speakers::User, turns: 0, chars: 0 };
        let nbcrs = Nbcrs::new("nbcrs", store, Arc::new(BagOfWords), context).unwrap();
        let talk = conversation(&["I want an alien planet"]);
        let scores = nbcrs.score(&[&talk, &conversation(&[""])], &run).unwrap();
        let order: Vec<u32> = super::super::rank(scores.row(0), &[], 2).iter().map(|r| r.item).collect();
        assert_eq!(order, [1, 5]);
        assert!(scores.row(1).iter().all(|s| s.is_finite()));
    }

    #[test]
    fn recorded_posts_and_conversations_keep_what_the_catalogue_has() {
        let dataset = movies();
        let mentions = Titles::new(&dataset.items, &[]);
        let post = |text: &str, titles: &[&str]| Post {
            id: String::new(),
            text: text.into(),
            mentions: titles.iter().map(|t| (*t).into()).collect(),
        };
        let posts = Posts::from_posts(&[post("x", &["Saturn Voyage", "comedy"]), post("y", &["comedy"])], &mentions);
        assert_eq!(posts.mentions, [[1]]);
        let mut talk = conversation(&["rockets"]);
        talk.id = "395/4".into();
        talk.targets = vec![ItemName { item: Some("m5".into()), ..ItemName::default() }];
        let mut later = talk.clone();
        later.id = "395/6".into();
        let context = QueryWindow { speakers: Speakers::User, turns: 0, chars: 0 };
        let posts = Posts::from_conversations(&[talk, later], &mentions, context);
        assert_eq!((posts.mentions, posts.groups), (vec![vec![5], vec![5]], vec![0, 0]));
    }

    /// The error of the first reading was swallowed: a bad line in a file of posts was told as a conversation without turns.
    #[test]
    fn a_file_that_is_neither_posts_nor_conversations_is_refused_with_both_errors() {
        let dataset = movies();
        let titles = Titles::of(&dataset);
        let window = QueryWindow { speakers: Speakers::User, turns: 0, chars: 0 };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recorded.jsonl");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Posts::read(&path, &titles, window, 0)
        };
        let post = r#"{"text": "something in space", "mentions": ["m1"]}"#;
        let talk = r#"{"turns": [{"role": "user", "text": "hello"}], "targets": [{"item": "m1"}]}"#;
        assert_eq!(read(post).unwrap().mentions, [[1]]);
        assert_eq!(read(talk).unwrap().mentions, [[1]]);
        let e = read("{\"words\": 1}").unwrap_err();
        assert!(e.message().contains("as posts: ") && e.message().contains("as conversations: "), "{e}");
        let e = Posts::read(&folder.path().join("gone"), &titles, window, 0).unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::NotFound);
    }

    #[test]
    fn a_conversation_without_a_known_word_is_answered_by_popularity_and_such_posts_do_not_vote() {
        let rows = Matrix::from_vec(4, 2, vec![0.0, 0.0, -1.0, 0.0, -1.0, 0.0, 0.0, 0.0]).unwrap();
        let mentions = vec![vec![0], vec![3], vec![2, 3], vec![0]];
        let mut store = Datastore::new(&rows, mentions, vec![0, 1, 2, 3], 4, "test").unwrap();
        let run = Run::new(1).unwrap();
        store.choose_k(2, 0, &run).unwrap();
        let order = |query: Vec<f32>| -> Vec<u32> {
            let scores = store.score(&Matrix::from_vec(1, 2, query).unwrap(), &run).unwrap();
            super::super::rank(scores.row(0), &[], 4).iter().map(|r| r.item).collect()
        };
        // Mentioned twice: 0 and 3; once: 2; never: 1.
        assert_eq!(order(vec![0.0, 0.0]), [0, 3, 2, 1]);
        // The posts that say something are opposite to the query, those of zeros would be nearer.
        assert_eq!(order(vec![1.0, 0.0]), [3, 2, 0, 1]);
    }

    #[test]
    fn a_datastore_without_posts_is_refused() {
        let e = Datastore::new(&Matrix::zeros(0, 4), Vec::new(), Vec::new(), 3, "test").unwrap_err();
        assert!(e.message().contains("nothing to search"), "{e}");
        assert!(Datastore::new(&Matrix::zeros(1, 4), vec![vec![3]], vec![0], 3, "test").is_err());
    }
}
