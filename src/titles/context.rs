//! What stands around a title in running text and tells it from plain speech.

use super::words::{Script, Word};

/// Marks that titles are put between.
pub(super) fn is_quote(c: char) -> bool {
    matches!(
        c,
        '"' | '“'
            | '”'
            | '„'
            | '‟'
            | '‘'
            | '*'
            | '_'
            | '«'
            | '»'
            | '‹'
            | '›'
            | '「'
            | '」'
            | '『'
            | '』'
            | '《'
            | '》'
            | '〈'
            | '〉'
            | '【'
            | '】'
            | '＂'
    )
}

/// True when what stands before and after is a pair of quotes.
pub(super) fn is_quoted(before: &str, after: &str) -> bool {
    let after = after.trim_start_matches(['.', ',', '!', '?', '。', '！', '？']);
    // A straight single quote is an apostrophe as well: it must stand free.
    let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let single = |c: char| matches!(c, '\'' | '’');
    before.ends_with(is_quote) && after.starts_with(is_quote)
        || before.strip_suffix(['\'', '‘']).is_some_and(|b| free(b.chars().next_back()))
            && after.strip_prefix(single).is_some_and(|a| free(a.chars().next()))
}

/// Bytes of a sentence that are looked at, on either side.
const MOST_SENTENCE: usize = 240;

/// The sentence that holds the bytes `start..end` of `text`: what stands before and after them, as far as it is near.
pub(super) fn sentence(text: &str, start: usize, end: usize) -> (&str, &str) {
    let stop = |c: char| matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '\n' | '…' | '｡');
    let before = &text[text.ceil_char_boundary(start.saturating_sub(MOST_SENTENCE))..start];
    let after = &text[end..text.floor_char_boundary(end.saturating_add(MOST_SENTENCE))];
    (before.rsplit(stop).next().unwrap_or(""), after.split(stop).next().unwrap_or(""))
}

/// True when the sentence around `end` is over: nothing that comes later belongs to it.
pub(super) fn sentence_ended(text: &str, end: usize) -> bool {
    let (_, after) = sentence(text, end, end);
    end + after.len() < text.len()
}

// ------------------------------------------------------------------------------------------------ scripts without spaces

/// Parts of words that speak of films, in Japanese, Chinese, Korean and Thai.
const FILM: [&str; 60] = [
    "映画",
    "電影",
    "电影",
    "影片",
    "作品",
    "見た",
    "見て",
    "見ま",
    "見る",
    "見ました",
    "観",
    "观看",
    "看过",
    "看過",
    "看了",
    "看完",
    "みた",
    "みまし",
    "视频",
    "好き",
    "喜欢",
    "喜歡",
    "おすすめ",
    "オススメ",
    "お勧め",
    "推荐",
    "推薦",
    "面白",
    "好看",
    "怖",
    "泣",
    "感動",
    "似た",
    "類似",
    "类似",
    "みたい",
    "のような",
    "部片",
    "监督",
    "監督",
    "导演",
    "導演",
    "영화",
    "봤",
    "보고",
    "보았",
    "본 ",
    "볼 ",
    "좋",
    "추천",
    "재밌",
    "재미",
    "같은",
    "처럼",
    "비슷",
    "감독",
    "หนัง",
    "ภาพยนตร์",
    "ดู",
    "เรื่อง",
];
/// The same right before a title, and right behind it.
const BEFORE: [&str; 18] = [
    "看过",
    "看過",
    "看了",
    "看完",
    "电影",
    "電影",
    "影片",
    "映画",
    "映画「",
    "映画の",
    "라는",
    "영화",
    "영화 ",
    "หนัง",
    "หนังเรื่อง",
    "เรื่อง",
    "ภาพยนตร์",
    "像",
];
const BEHIND: [&str; 26] = [
    "这部",
    "那部",
    "這部",
    "电影",
    "電影",
    "を見",
    "を観",
    "をみ",
    "という映画",
    "って映画",
    "を視聴",
    "みたいな映画",
    "のような映画",
    "を 봤",
    "를 봤",
    "을 봤",
    "봤",
    "를 보",
    "을 보",
    "라는 영화",
    "이라는 영화",
    "같은 영화",
    " 같은 영화",
    " 영화",
    " 봤",
    "에 나오는",
];
/// Korean particles that are glued to a noun.
const PARTICLES: [&str; 44] = [
    "을",
    "를",
    "은",
    "는",
    "이",
    "가",
    "도",
    "의",
    "에",
    "와",
    "과",
    "랑",
    "이랑",
    "만",
    "처럼",
    "같은",
    "보다",
    "부터",
    "까지",
    "이나",
    "나",
    "이라는",
    "라는",
    "하고",
    "에서",
    "으로",
    "로",
    "이요",
    "요",
    "입니다",
    "이에요",
    "예요",
    "인데",
    "이고",
    "고",
    "같이",
    "이란",
    "란",
    "밖에",
    "마저",
    "조차",
    "에게",
    "이야",
    "야",
];

/// True when a title in a script without spaces stands in its text as a title would: it is long, or it is not a part of
/// another word and the sentence speaks of films.
pub(super) fn stands_out_unspaced(text: &str, all: &[Word], at: usize, length: usize) -> bool {
    let words = &all[at..at + length];
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    let previous = at.checked_sub(1).map(|p| &all[p]).filter(|w| w.end == first.start);
    let next = all.get(at + length).filter(|w| w.start == last.end);
    // A part of a longer word in katakana or Korean.
    let within =
        |own: &Word, other: Option<&Word>, script| own.script == script && other.is_some_and(|w| w.script == script);
    if within(first, previous, Script::Katakana)
        || within(last, next, Script::Katakana)
        || within(first, previous, Script::Hangul)
    {
        return false;
    }
    if within(last, next, Script::Hangul) {
        let rest = &text[last.end..];
        let end = rest.find(|c: char| !('\u{ac00}'..='\u{d7a3}').contains(&c)).unwrap_or(rest.len());
        if !PARTICLES.contains(&&rest[..end]) {
            return false;
        }
    }
    let letters: usize = words.iter().map(|w| if w.script == Script::Spaced { 2 } else { 1 }).sum();
    let scripts = |script| words.iter().filter(|w| w.script == script).count();
    let mixed =
        [Script::Han, Script::Hiragana, Script::Katakana, Script::Spaced].iter().filter(|s| scripts(**s) > 0).count()
            > 1;
    // Letters from which on a title cannot well be plain speech, and those from which on the sentence must speak of films.
    let (sure, likely) = match last.script {
        Script::Han if mixed => (4, 3),
        Script::Han => (4, 3),
        Script::Hiragana | Script::Katakana if mixed => (4, 3),
        Script::Hiragana => (6, 4),
        Script::Katakana => (5, 3),
        Script::Hangul => (4, 2),
        Script::Thai => (9, 4),
        Script::Spaced => (4, 3),
    };
    if letters >= sure {
        return true;
    }
    let (before, after) = sentence(text, first.start, last.end);
    if letters >= likely {
        return FILM.iter().any(|film| before.contains(film) || after.contains(film));
    }
    letters > 1
        && (BEFORE.iter().any(|film| before.ends_with(film)) || BEHIND.iter().any(|film| after.starts_with(film)))
}

// ------------------------------------------------------------------------------------------------------------- numbers

/// Words right before a title that say that it was seen, liked, or is called so.
const SEEN: [&str; 44] = [
    "seen",
    "saw",
    "see",
    "watched",
    "watch",
    "watching",
    "rewatched",
    "rewatch",
    "rewatching",
    "loved",
    "love",
    "liked",
    "enjoyed",
    "enjoy",
    "hated",
    "adored",
    "called",
    "titled",
    "named",
    "recommend",
    "recommended",
    "movie",
    "film",
    "movies",
    "films",
    "flick",
    "like",
    "vu",
    "vi",
    "visto",
    "gesehen",
    "film",
    "pelicula",
    "фильм",
    "фильма",
    "фильме",
    "смотрел",
    "смотрела",
    "видел",
    "видела",
    "фільм",
    "бачив",
    "посмотрел",
    "посмотрела",
];
/// Words behind a number that leave it a title.
const GOES_ON: [&str; 48] = [
    "and",
    "or",
    "but",
    "with",
    "was",
    "is",
    "which",
    "because",
    "too",
    "as",
    "yesterday",
    "again",
    "last",
    "it",
    "the",
    "starring",
    "when",
    "then",
    "not",
    "though",
    "although",
    "very",
    "really",
    "movie",
    "film",
    "yet",
    "recently",
    "already",
    "tonight",
    "today",
    "also",
    "better",
    "since",
    "both",
    "are",
    "were",
    "has",
    "had",
    "if",
    "i",
    "we",
    "my",
    "and",
    "и",
    "et",
    "y",
    "und",
    "por",
];
/// Words that stand between a number of films and the verb's object: `movies like 1917`, not `like 300 people`.
fn speaks_of_films(words: &[Word]) -> bool {
    const FILMS: [&str; 14] = [
        "movie",
        "movies",
        "film",
        "films",
        "something",
        "anything",
        "similar",
        "stuff",
        "more",
        "show",
        "shows",
        "favorite",
        "favourite",
        "ones",
    ];
    words.iter().rev().take(4).any(|w| FILMS.contains(&w.text.as_str()))
}

/// True when the words before `at` say that a title follows: `I loved …`, `have you seen …`, `movies like …`.
pub(super) fn film_before(text: &str, all: &[Word], at: usize) -> bool {
    let Some(previous) = at.checked_sub(1).map(|p| &all[p]) else { return false };
    let between = &text[previous.end..all[at].start];
    if !between.chars().all(|c| c.is_whitespace() || c == ':') {
        return false;
    }
    match previous.text.as_str() {
        "like" => speaks_of_films(&all[..at - 1]) || at == 1,
        "is" | "was" | "are" => {
            let favourite = all[..at - 1].iter().rev().take(4);
            favourite.clone().any(|w| matches!(w.text.as_str(), "movie" | "film" | "favorite" | "favourite"))
        }
        // `the movie 300`, not `in movies 300 people die`.
        "movies" | "films" => false,
        "watch" | "see" | "love" | "enjoy" | "recommend" => true,
        word => SEEN.contains(&word),
    }
}

/// True when the word behind a number does not make it a count: `300 people`, `1917 movies`.
pub(super) fn no_count(text: &str, all: &[Word], at: usize, length: usize) -> bool {
    let last = &all[at + length - 1];
    let Some(next) = all.get(at + length) else { return text[last.end..].chars().all(|c| c != '%') };
    let between = &text[last.end..next.start];
    if between.contains(['%', '$', '€', '£', '/', '-', ':']) {
        return false;
    }
    if between.chars().any(|c| !c.is_whitespace()) {
        // `1,000` and `3.5`: a digit right behind a mark goes on.
        return !(next.is_number() && between.len() == 1);
    }
    GOES_ON.contains(&next.text.as_str())
}

/// Words before a number that make it no title: `in 1917`, `it cost 300`, `$300`.
pub(super) fn no_amount(text: &str, all: &[Word], at: usize) -> bool {
    let before = &text[..all[at].start];
    if before.ends_with(['$', '€', '£', '#', '-', '.', ',', '+', '/']) {
        return false;
    }
    let Some(previous) = at.checked_sub(1).map(|p| &all[p]) else { return true };
    const AMOUNT: [&str; 34] = [
        "in", "since", "from", "of", "before", "after", "by", "until", "around", "during", "circa", "at", "to", "for",
        "over", "than", "cost", "costs", "paid", "only", "under", "age", "aged", "year", "years", "about", "the",
        "another", "my", "some", "all", "least", "summer", "these",
    ];
    !(AMOUNT.contains(&previous.text.as_str()) && before[previous.end..].trim().is_empty())
}

/// True for what stands between two titles of a list: `Heat, 300 and Alien`.
pub(super) fn is_list_gap(gap: &str) -> bool {
    let gap = gap.trim_matches(is_quote).trim();
    let rest = gap.trim_start_matches([',', ';', '/', '、', '，', '&']).trim();
    !gap.is_empty() && matches!(rest, "" | "and" | "or" | "und" | "et" | "y" | "и")
}
