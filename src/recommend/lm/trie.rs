//! The token trie of a catalogue's titles, as flat arrays.
//!
//! The titles' token sequences lie sorted, one behind the other. A node of the trie is then no object but a range of
//! titles that agree in their first `depth` tokens; its children are found by galloping over the range. A million titles
//! take about 50 MB, and a node with one title below it is known by its range alone.
//!
//! A *surface* is a token sequence under which an item can be named; an item may have several.

use crate::error::{Error, Result};
use crate::run::Run;
use rayon::prelude::*;
use std::ops::Range;

/// Token sequences with their items: what a trie is built from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surfaces {
    tokens: Vec<u32>,
    /// End of each surface in `tokens`.
    ends: Vec<u32>,
    items: Vec<u32>,
}

impl Surfaces {
    /// Adds a way to name `item`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for no tokens; [`crate::ErrorKind::Unsupported`] beyond 4 billion tokens.
    pub fn push(&mut self, item: u32, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::invalid(format!("catalogue trie: item {item} has a title without tokens")));
        }
        let end = u32::try_from(self.tokens.len() + tokens.len())
            .map_err(|_| Error::unsupported("catalogue trie: titles of more than 4 billion tokens in all"))?;
        self.tokens.extend_from_slice(tokens);
        self.ends.push(end);
        self.items.push(item);
        Ok(())
    }
    /// All of `parts`, one behind the other.
    ///
    /// # Errors
    /// As [`Surfaces::push`].
    pub fn concat(parts: Vec<Surfaces>) -> Result<Surfaces> {
        let (surfaces, tokens) = parts.iter().fold((0, 0), |(s, t), p| (s + p.len(), t + p.tokens.len()));
        if u32::try_from(tokens).is_err() {
            return Err(Error::unsupported("catalogue trie: titles of more than 4 billion tokens in all"));
        }
        let mut all = Surfaces::default();
        all.reserve(surfaces, tokens);
        for part in parts {
            let base = all.tokens.len() as u32;
            all.tokens.extend_from_slice(&part.tokens);
            all.ends.extend(part.ends.iter().map(|e| e + base));
            all.items.extend_from_slice(&part.items);
        }
        Ok(all)
    }
    /// Number of surfaces.
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
    /// The tokens of surface `i`.
    pub fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.tokens[start as usize..self.ends[i] as usize]
    }
    /// All surfaces: the item, and the tokens.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.items.iter().enumerate().map(|(i, item)| (*item, self.get(i)))
    }
    /// Gives back the memory that growing took beyond need.
    pub fn shrink(&mut self) {
        self.tokens.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.items.shrink_to_fit();
    }
    /// Room for so many more, so that building does not take twice the memory.
    pub fn reserve(&mut self, surfaces: usize, tokens: usize) {
        self.tokens.reserve_exact(tokens);
        self.ends.reserve_exact(surfaces);
        self.items.reserve_exact(surfaces);
    }
}

/// A node: titles `titles` (numbers in sorted order) that agree in their first `depth` tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Titles below it.
    pub titles: Range<u32>,
    /// Tokens from the root.
    pub depth: usize,
}

/// The trie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trie {
    /// Sorted by tokens, then by item.
    sorted: Surfaces,
    /// Titles of each item, item after item: `of_item[first[i]..first[i + 1]]`.
    of_item: Vec<u32>,
    first: Vec<u32>,
    /// Removed items are dead, not gone.
    dead: Vec<bool>,
    live: usize,
    longest: usize,
    most_titles: usize,
}

impl Trie {
    /// The trie of `surfaces` over a catalogue of `items` rows. Every row needs one surface or it can never be reached. They
    /// are held twice meanwhile: a whole catalogue goes through a [`super::sorter::Sorter`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an item row beyond the catalogue; [`crate::ErrorKind::Cancelled`].
    pub fn build(surfaces: Surfaces, items: usize, run: &Run) -> Result<Trie> {
        run.check()?;
        let mut order: Vec<u32> = (0..surfaces.len() as u32).collect();
        let key = |i: &u32| (surfaces.get(*i as usize), surfaces.items[*i as usize]);
        run.install(|| order.par_sort_unstable_by(|a, b| key(a).cmp(&key(b))));
        let mut sorted = Surfaces::default();
        sorted.reserve(surfaces.len(), surfaces.tokens.len());
        for i in order {
            sorted.push(surfaces.items[i as usize], surfaces.get(i as usize))?;
        }
        drop(surfaces);
        Trie::of_sorted(sorted, items)
    }

    /// The trie of surfaces that are sorted by tokens, then by item.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an item row beyond the catalogue.
    pub fn of_sorted(sorted: Surfaces, items: usize) -> Result<Trie> {
        if let Some(item) = sorted.items.iter().find(|i| **i as usize >= items) {
            return Err(Error::invalid(format!("catalogue trie: item row {item} of {items}")));
        }
        Ok(Trie::over(sorted, vec![false; items]))
    }

    fn over(sorted: Surfaces, dead: Vec<bool>) -> Trie {
        let items = dead.len();
        let mut first = vec![0u32; items + 1];
        sorted.items.iter().for_each(|i| first[*i as usize + 1] += 1);
        (0..items).for_each(|i| first[i + 1] += first[i]);
        let mut next = first.clone();
        let mut of_item = vec![0u32; sorted.len()];
        for (title, item) in sorted.items.iter().enumerate() {
            let at = &mut next[*item as usize];
            of_item[*at as usize] = title as u32;
            *at += 1;
        }
        let longest = (0..sorted.len()).map(|i| sorted.get(i).len()).max().unwrap_or(0);
        let live = dead.iter().filter(|d| !**d).count();
        let most_titles = first.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0);
        Trie { sorted, of_item, first, dead, live, longest, most_titles }
    }

    /// The same with `more` merged in: what is there is neither tokenised nor sorted again. `more` may name rows that are
    /// new (`items`: rows in the catalogue from now on) and rows that were removed, which come back.
    ///
    /// # Errors
    /// As [`Trie::build`].
    pub fn with(&self, more: Surfaces, items: usize, run: &Run) -> Result<Trie> {
        let items = items.max(self.items());
        let more = Trie::build(more, items, run)?.sorted;
        let mut dead = self.dead.clone();
        dead.resize(items, false);
        more.items.iter().for_each(|i| dead[*i as usize] = false);
        let mut merged = Surfaces::default();
        merged.reserve(self.sorted.len() + more.len(), self.sorted.tokens.len() + more.tokens.len());
        let (mut a, mut b) = (0, 0);
        while a < self.sorted.len() || b < more.len() {
            let order = match (a < self.sorted.len(), b < more.len()) {
                (true, true) => (self.sorted.get(a), self.sorted.items[a]).cmp(&(more.get(b), more.items[b])),
                (true, false) => std::cmp::Ordering::Less,
                (false, _) => std::cmp::Ordering::Greater,
            };
            match order {
                std::cmp::Ordering::Less => {
                    merged.push(self.sorted.items[a], self.sorted.get(a))?;
                    a += 1;
                }
                std::cmp::Ordering::Greater => {
                    merged.push(more.items[b], more.get(b))?;
                    b += 1;
                }
                // The same name of the same item: once.
                std::cmp::Ordering::Equal => a += 1,
            }
        }
        Ok(Trie::over(merged, dead))
    }

    /// Takes items out: they are never reached again. Rows that are not there are passed over.
    pub fn remove(&mut self, items: &[u32]) {
        for item in items {
            if let Some(dead) = self.dead.get_mut(*item as usize)
                && !std::mem::replace(dead, true)
            {
                self.live -= 1;
            }
        }
    }

    /// Puts removed items back. Rows that are not there are passed over.
    pub fn restore(&mut self, items: &[u32]) {
        for item in items {
            if let Some(dead) = self.dead.get_mut(*item as usize)
                && std::mem::replace(dead, false)
            {
                self.live += 1;
            }
        }
    }

    /// Rows of the catalogue, removed ones included.
    pub fn items(&self) -> usize {
        self.dead.len()
    }
    /// Items that were not removed.
    pub fn live(&self) -> usize {
        self.live
    }
    /// Titles (surfaces) in the trie.
    pub fn titles(&self) -> usize {
        self.sorted.len()
    }
    /// Tokens of the longest title.
    pub fn longest(&self) -> usize {
        self.longest
    }
    /// True for an item that was removed, or never was.
    pub fn is_removed(&self, item: u32) -> bool {
        self.dead.get(item as usize).copied().unwrap_or(true)
    }
    /// Titles of the item that has the most.
    pub fn most_titles(&self) -> usize {
        self.most_titles
    }
    /// The item of a title.
    pub fn item(&self, title: u32) -> u32 {
        self.sorted.items[title as usize]
    }
    /// The tokens of a title.
    pub fn tokens(&self, title: u32) -> &[u32] {
        self.sorted.get(title as usize)
    }
    /// The titles of an item.
    pub fn titles_of(&self, item: u32) -> &[u32] {
        let item = item as usize;
        match (self.first.get(item), self.first.get(item + 1)) {
            (Some(from), Some(to)) => &self.of_item[*from as usize..*to as usize],
            (Some(_) | None, _) => &[],
        }
    }
    /// The tokens by which a title is ranked: all, or (`telling`) only so many first ones as tell it from every other title
    /// of the catalogue, allowed or not.
    pub fn ranked_tokens(&self, title: u32, telling: bool) -> &[u32] {
        let tokens = self.tokens(title);
        if !telling {
            return tokens;
        }
        // Titles of the very same tokens stand side by side; their neighbours are the nearest others.
        let same = |t: u32| self.tokens(t) == tokens;
        let after = gallop(title..self.sorted.len() as u32, same);
        let mut before = title;
        while before > 0 && same(before - 1) {
            before -= 1;
        }
        let shared = |other: u32| self.tokens(other).iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let left = before.checked_sub(1).map_or(0, shared);
        let right = if (after as usize) < self.sorted.len() { shared(after) } else { 0 };
        &tokens[..(left.max(right) + 1).min(tokens.len())]
    }
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        4 * (self.sorted.tokens.capacity() + self.sorted.ends.capacity() + self.sorted.items.capacity())
            + 4 * (self.of_item.capacity() + self.first.capacity())
            + self.dead.capacity()
    }
    /// The node of no tokens.
    pub fn root(&self) -> Node {
        Node { titles: 0..self.sorted.len() as u32, depth: 0 }
    }

    /// The titles that end at `node`: its first ones.
    pub fn ending(&self, node: &Node) -> Range<u32> {
        let end = gallop(node.titles.clone(), |t| self.tokens(t).len() == node.depth);
        node.titles.start..end
    }

    /// The children of `node` that have an allowed title, in the order of their tokens, each with its token.
    pub fn children<'a>(&'a self, node: &Node, allowed: &'a Allowed) -> impl Iterator<Item = (u32, Node)> + 'a {
        let depth = node.depth;
        let mut at = self.ending(node).end;
        let end = node.titles.end;
        std::iter::from_fn(move || {
            // Straight to the next allowed title: a subtree without one is not even looked at.
            at = allowed.next(at, end)?;
            let token = self.tokens(at)[depth];
            let below = gallop(at..end, |t| self.tokens(t)[depth] == token);
            let child = Node { titles: at..below, depth: depth + 1 };
            at = below;
            Some((token, child))
        })
    }

    /// Which titles may be reached: those of live items that `masked` (sorted item rows) does not hold.
    pub fn allowed(&self, masked: &[u32]) -> Allowed {
        let titles = self.sorted.len();
        let mut bits = vec![u64::MAX; titles.div_ceil(64)];
        if let Some(last) = bits.last_mut()
            && !titles.is_multiple_of(64)
        {
            *last = (1 << (titles % 64)) - 1;
        }
        let mut clear = |item: u32| {
            for title in self.titles_of(item) {
                bits[*title as usize / 64] &= !(1 << (title % 64));
            }
        };
        if self.live < self.dead.len() {
            self.dead.iter().enumerate().filter(|(_, d)| **d).for_each(|(i, _)| clear(i as u32));
        }
        masked.iter().for_each(|i| clear(*i));
        Allowed::of(bits)
    }
}

/// First of `range` for which `holds` is false; it holds for a first part of the range and for nothing behind it.
fn gallop(range: Range<u32>, holds: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut step) = (range.start, 1);
    // Everything before `low` holds.
    while low < range.end && holds(low) {
        let next = low.saturating_add(step).min(range.end);
        if next == range.end || !holds(next) {
            let mut high = next;
            low += 1;
            while low < high {
                let middle = low + (high - low) / 2;
                if holds(middle) { low = middle + 1 } else { high = middle }
            }
            return low;
        }
        low = next;
        step = step.saturating_mul(2);
    }
    low
}

/// Which titles a request may reach: one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    bits: Vec<u64>,
    count: usize,
}

impl Allowed {
    fn of(bits: Vec<u64>) -> Allowed {
        let count = bits.iter().map(|b| b.count_ones() as usize).sum();
        Allowed { bits, count }
    }
    /// Allowed titles in all.
    pub fn count(&self) -> usize {
        self.count
    }
    /// The first allowed title of `from..end`.
    pub fn next(&self, from: u32, end: u32) -> Option<u32> {
        if from >= end {
            return None;
        }
        let (mut word, last) = (from as usize / 64, (end - 1) as usize / 64);
        let mut bits = self.bits.get(word)? & (u64::MAX << (from % 64));
        loop {
            if bits != 0 {
                let title = word as u32 * 64 + bits.trailing_zeros();
                return (title < end).then_some(title);
            }
            word += 1;
            if word > last {
                return None;
            }
            bits = *self.bits.get(word)?;
        }
    }
    /// The allowed titles of `range`, in order.
    pub fn within(&self, range: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let title = self.next(at, range.end)?;
            at = title + 1;
            Some(title)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;
    use std::collections::{BTreeMap, BTreeSet};

    fn trie(titles: &[(u32, &[u32])], items: usize) -> Trie {
        let mut surfaces = Surfaces::default();
        titles.iter().for_each(|(item, tokens)| surfaces.push(*item, tokens).unwrap());
        Trie::build(surfaces, items, &Run::new(1).unwrap()).unwrap()
    }

    /// Everything reachable, as (item, tokens), by walking the nodes.
    fn walk(trie: &Trie, allowed: &Allowed) -> BTreeSet<(u32, Vec<u32>)> {
        let mut found = BTreeSet::new();
        let mut open = vec![(trie.root(), Vec::new())];
        while let Some((node, path)) = open.pop() {
            for title in allowed.within(trie.ending(&node)) {
                assert!(found.insert((trie.item(title), path.clone())), "{path:?} twice");
            }
            let mut last = None;
            for (token, child) in trie.children(&node, allowed) {
                assert!(last < Some(token), "children ascend");
                assert!(allowed.next(child.titles.start, child.titles.end).is_some(), "a subtree without a title");
                last = Some(token);
                open.push((child, [path.as_slice(), &[token]].concat()));
            }
        }
        found
    }

    #[test]
    fn prefixes_duplicates_and_several_spellings_are_all_reached() {
        let titles: [(u32, &[u32]); 6] =
            [(0, &[5, 6]), (1, &[5]), (2, &[5, 6, 7]), (3, &[5, 6]), (4, &[9, 9, 9]), (4, &[9, 8])];
        let trie = trie(&titles, 6);
        let all: BTreeSet<(u32, Vec<u32>)> = titles.iter().map(|(i, t)| (*i, t.to_vec())).collect();
        assert_eq!(walk(&trie, &trie.allowed(&[])), all);
        assert_eq!(trie.titles_of(4).len(), 2);
        assert_eq!(trie.titles_of(5), [0u32; 0]);
        assert_eq!(trie.titles_of(99), [0u32; 0]);
        let without: BTreeSet<_> = all.iter().filter(|(i, _)| *i != 4 && *i != 1).cloned().collect();
        assert_eq!(walk(&trie, &trie.allowed(&[1, 4])), without);
        assert!(Surfaces::default().push(0, &[]).is_err());
    }

    #[test]
    fn random_tries_masks_additions_and_removals_agree_with_a_plain_set() {
        let mut random = Random::new(4, b"trie");
        let run = Run::new(1).unwrap();
        for round in 0..200 {
            let items = 1 + random.below(200);
            let mut plain: BTreeMap<u32, BTreeSet<Vec<u32>>> = BTreeMap::new();
            let mut draw = |from: usize, to: usize, plain: &mut BTreeMap<u32, BTreeSet<Vec<u32>>>| {
                let mut surfaces = Surfaces::default();
                for item in from..to {
                    for _ in 0..1 + random.below(2) {
                        let tokens: Vec<u32> = (0..1 + random.below(5)).map(|_| random.below(4) as u32).collect();
                        if plain.entry(item as u32).or_default().insert(tokens.clone()) {
                            surfaces.push(item as u32, &tokens).unwrap();
                        }
                    }
                }
                surfaces
            };
            let mut trie = Trie::build(draw(0, items, &mut plain), items, &run).unwrap();
            let more = draw(items, items + 20, &mut plain);
            trie = trie.with(more, items + 20, &run).unwrap();
            let gone: Vec<u32> = (0..items as u32 + 20).filter(|i| (i + round) % 7 == 0).collect();
            trie.remove(&gone);
            trie.remove(&gone);
            let masked: Vec<u32> = (0..items as u32 + 20).filter(|i| (i * 13 + round) % 3 == 0).collect();
            let expected: BTreeSet<(u32, Vec<u32>)> = plain
                .iter()
                .filter(|(i, _)| !gone.contains(i) && !masked.contains(i))
                .flat_map(|(i, all)| all.iter().map(|t| (*i, t.clone())))
                .collect();
            let allowed = trie.allowed(&masked);
            assert_eq!(walk(&trie, &allowed), expected);
            assert_eq!(allowed.count(), expected.len());
            assert_eq!(trie.live(), items + 20 - gone.len());
        }
    }

    #[test]
    fn an_item_that_was_removed_comes_back_when_it_is_added_again() {
        let run = Run::new(1).unwrap();
        let mut trie = trie(&[(0, &[1, 2]), (1, &[1, 3])], 2);
        trie.remove(&[0]);
        assert_eq!(walk(&trie, &trie.allowed(&[])).len(), 1);
        let mut again = Surfaces::default();
        again.push(0, &[1, 2]).unwrap();
        trie = trie.with(again, 2, &run).unwrap();
        assert_eq!(walk(&trie, &trie.allowed(&[])).len(), 2);
        assert_eq!((trie.titles(), trie.live()), (2, 2));
    }
}
