//! Texts near a text: TF-IDF over one document per item, kept as an inverted index.

use std::collections::HashMap;

/// Terms of one document that are kept, the heaviest.
const TERMS_MOST: usize = 128;
/// Terms of a document by which it looks for its like.
const TELLING: usize = 80;
/// A term that stands in a greater share of the documents tells nothing.
const SHARE_MOST: f32 = 0.4;
/// So many documents are needed before rare and common terms are told apart.
const FEW: usize = 20;

/// One text per item, and which texts are near another.
pub(super) struct Documents {
    /// Of each known term its number.
    numbers: HashMap<u64, u32>,
    idf: Vec<f32>,
    /// Terms of a document, heaviest first; weights of unit length.
    of: Vec<Vec<(u32, f32)>>,
    /// Documents of a term, by row.
    having: Vec<Vec<(u32, f32)>>,
}

/// Scripts that put no spaces between words.
fn unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// FNV-1a, 64 bits.
fn hash(chars: impl Iterator<Item = char>) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut bytes = [0; 4];
    chars.fold(0xcbf2_9ce4_8422_2325, |h, c| c.encode_utf8(&mut bytes).bytes().fold(h, step))
}

/// Calls `each` with the hash of every term of a text: words of two letters or digits and more in lower case, and pairs of
/// neighbouring characters of scripts without spaces.
pub(super) fn for_each_term(text: &str, mut each: impl FnMut(u64)) {
    let mut word = String::new();
    let mut before = None;
    for c in text.chars().chain([' ']) {
        let inside = c.is_alphanumeric() && !unspaced(c);
        if inside {
            word.extend(c.to_lowercase());
        } else if !matches!(c, '\'' | '’') && !word.is_empty() {
            if word.chars().nth(1).is_some() {
                each(hash(word.chars()));
            }
            word.clear();
        }
        let here = Some(c).filter(|c| unspaced(*c));
        if let (Some(a), Some(b)) = (before, here) {
            each(hash([a, b].into_iter()));
        }
        before = here;
    }
}

/// Terms of a text with how often each occurs, by hash.
fn counts(text: &str) -> Vec<(u64, u32)> {
    let mut all = Vec::new();
    for_each_term(text, |term| all.push(term));
    all.sort_unstable();
    let mut counted: Vec<(u64, u32)> = Vec::new();
    for term in all {
        match counted.last_mut() {
            Some((last, n)) if *last == term => *n += 1,
            Some(_) | None => counted.push((term, 1)),
        }
    }
    counted
}

fn unit(terms: &mut [(u32, f32)]) {
    let norm = terms.iter().map(|(_, w)| w * w).sum::<f32>().sqrt();
    if norm > 0.0 {
        terms.iter_mut().for_each(|(_, w)| *w /= norm);
    }
}

impl Documents {
    /// About how many bytes of memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let lists = |lists: &[Vec<(u32, f32)>]| -> usize {
            lists.iter().map(|list| size_of_val(&**list) + size_of::<Vec<(u32, f32)>>()).sum()
        };
        self.numbers.len() * 16 + size_of_val(&*self.idf) + lists(&self.of) + lists(&self.having)
    }

    /// Of `count` documents, whose text is `text(row)`; each is asked for twice. A term must stand in `least` of them.
    pub(super) fn new(count: usize, least: u32, text: impl Fn(usize) -> String) -> Documents {
        let mut frequency: HashMap<u64, u32> = HashMap::new();
        for row in 0..count {
            for (term, _) in counts(&text(row)) {
                *frequency.entry(term).or_default() += 1;
            }
        }
        let (least, most) = if count < FEW { (1, count as f32) } else { (least, SHARE_MOST * count as f32) };
        let mut known: Vec<(u64, u32)> =
            frequency.into_iter().filter(|(_, n)| *n >= least && *n as f32 <= most).collect();
        known.sort_unstable();
        let idf: Vec<f32> = known.iter().map(|(_, n)| ((1.0 + count as f32) / (1.0 + *n as f32)).ln() + 1.0).collect();
        let numbers = known.iter().enumerate().map(|(number, (term, _))| (*term, number as u32)).collect();
        let mut documents =
            Documents { numbers, having: vec![Vec::new(); idf.len()], idf, of: Vec::with_capacity(count) };
        for row in 0..count {
            let terms = documents.terms(&text(row));
            for (term, weight) in &terms {
                documents.having[*term as usize].push((row as u32, *weight));
            }
            documents.of.push(terms);
        }
        documents
    }

    /// The known terms of a text, heaviest first, of unit length.
    fn terms(&self, text: &str) -> Vec<(u32, f32)> {
        let known = counts(text).into_iter().filter_map(|(term, n)| Some((*self.numbers.get(&term)?, n)));
        let mut terms: Vec<(u32, f32)> =
            known.map(|(term, n)| (term, (1.0 + (n as f32).ln()) * self.idf[term as usize])).collect();
        terms.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        terms.truncate(TERMS_MOST);
        unit(&mut terms);
        terms
    }

    fn add(&self, terms: &[(u32, f32)], weight: f32, out: &mut [f32]) {
        for (term, theirs) in terms {
            for (row, own) in &self.having[*term as usize] {
                out[*row as usize] += weight * theirs * own;
            }
        }
    }

    /// Adds `weight` times the cosine of `text` to each document.
    pub(super) fn add_near(&self, text: &str, weight: f32, out: &mut [f32]) {
        self.add(&self.terms(text), weight, out);
    }

    /// Adds `weight` times the nearness of document `row` to each of the others: the cosine to its most telling terms.
    pub(super) fn add_like(&self, row: u32, weight: f32, out: &mut [f32]) {
        let terms = &self.of[row as usize];
        let own = out[row as usize];
        self.add(&terms[..terms.len().min(TELLING)], weight, out);
        out[row as usize] = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(documents: &Documents, text: &str) -> Vec<f32> {
        let mut out = vec![0.0; documents.of.len()];
        documents.add_near(text, 1.0, &mut out);
        out
    }

    #[test]
    fn a_text_is_nearest_to_the_document_with_its_rare_words() {
        let texts = ["a warm blue coat of wool", "a blue shirt", "red boots for rain, red!", ""];
        let documents = Documents::new(4, 1, |row| texts[row].into());
        let found = near(&documents, "WOOL coats? a coat, please");
        assert!(
            found[0] > 0.4 && found[0] <= 1.0 && found[1] < found[0] && found[2] == 0.0 && found[3] == 0.0,
            "{found:?}"
        );
        assert_eq!(near(&documents, ""), [0.0; 4]);
        let mut like = vec![0.0; 4];
        documents.add_like(0, 2.0, &mut like);
        assert!(like[0] == 0.0 && like[1] > 0.0 && like[2] == 0.0, "{like:?}");
    }

    #[test]
    fn scripts_without_spaces_are_read_in_pairs() {
        let texts = ["静かな映画が好き", "派手なアクション", "조용한 영화"];
        let documents = Documents::new(3, 1, |row| texts[row].into());
        let found = near(&documents, "とても静かな作品");
        assert!(found[0] > 0.0 && found[1] == 0.0, "{found:?}");
        assert!(near(&documents, "영화")[2] > 0.0);
    }

    #[test]
    fn a_word_of_every_document_counts_for_nothing_where_there_are_many() {
        let documents = Documents::new(40, 2, |row| format!("film number{}", row / 2));
        assert!(near(&documents, "film").iter().all(|s| *s == 0.0));
        assert!(near(&documents, "number3")[6] > 0.9);
    }
}
