//! Amazon Reviews '23, 2018 and 2014 (McAuley's files). Fields may be absent, null or of another type; images, videos and
//! what else we do not keep are passed over by the parser without being held.

use super::super::clean;
use super::super::lines::Parsed;
use super::super::loose::{Loose, TimeUnit};
use super::super::table::{Item, Review};
use super::field::{distinct, helpful, json, rating10};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Review2023<'a> {
    #[serde(borrow)]
    rating: Loose<'a>,
    #[serde(borrow)]
    title: Loose<'a>,
    #[serde(borrow)]
    text: Loose<'a>,
    #[serde(borrow)]
    asin: Loose<'a>,
    #[serde(borrow)]
    parent_asin: Loose<'a>,
    #[serde(borrow)]
    user_id: Loose<'a>,
    #[serde(borrow)]
    timestamp: Loose<'a>,
    #[serde(borrow)]
    helpful_vote: Loose<'a>,
}

/// A review of '23. A text that is null or absent occurs in the genuine files: it is an empty review, not a bad line.
pub(super) fn review_2023(line: &str) -> Parsed<Review> {
    let mut spare = String::new();
    let row: Review2023<'_> = json(line, &mut spare)?;
    Ok(Review {
        item: row.parent_asin.id().or_else(|| row.asin.id()).ok_or("no item id (`parent_asin`)")?,
        user: row.user_id.id(),
        rating10: rating10(&row.rating, 2.0)?,
        title: clean::html(&row.title.text()),
        text: clean::html(&row.text.text()),
        timestamp_ms: row.timestamp.time(TimeUnit::BySize),
        helpful: helpful(&row.helpful_vote),
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Review2018<'a> {
    #[serde(borrow)]
    overall: Loose<'a>,
    #[serde(borrow)]
    summary: Loose<'a>,
    #[serde(borrow, rename = "reviewText")]
    review_text: Loose<'a>,
    #[serde(borrow)]
    asin: Loose<'a>,
    #[serde(borrow, rename = "reviewerID")]
    reviewer_id: Loose<'a>,
    #[serde(borrow, rename = "unixReviewTime")]
    unix_review_time: Loose<'a>,
    #[serde(borrow)]
    vote: Loose<'a>,
    #[serde(borrow)]
    helpful: Loose<'a>,
}

/// A review of 2018 or 2014. `reviewText` is absent in some genuine lines: an empty review, not a bad line.
pub(super) fn review_2018(line: &str) -> Parsed<Review> {
    let mut spare = String::new();
    let row: Review2018<'_> = json(line, &mut spare)?;
    Ok(Review {
        item: row.asin.id().ok_or("no item id (`asin`)")?,
        user: row.reviewer_id.id(),
        rating10: rating10(&row.overall, 2.0)?,
        title: clean::html(&row.summary.text()),
        text: clean::html(&row.review_text.text()),
        timestamp_ms: row.unix_review_time.time(TimeUnit::BySize),
        helpful: helpful(&row.vote).max(helpful(&row.helpful)),
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    parent_asin: Loose<'a>,
    #[serde(borrow)]
    asin: Loose<'a>,
    #[serde(borrow)]
    title: Loose<'a>,
    #[serde(borrow)]
    main_category: Loose<'a>,
    #[serde(borrow)]
    main_cat: Loose<'a>,
    #[serde(borrow)]
    categories: Loose<'a>,
    #[serde(borrow)]
    category: Loose<'a>,
    #[serde(borrow)]
    features: Loose<'a>,
    #[serde(borrow)]
    feature: Loose<'a>,
    #[serde(borrow)]
    description: Loose<'a>,
    #[serde(borrow)]
    price: Loose<'a>,
    #[serde(borrow)]
    store: Loose<'a>,
    #[serde(borrow)]
    brand: Loose<'a>,
    #[serde(borrow)]
    author: Loose<'a>,
    #[serde(borrow)]
    details: Loose<'a>,
}

/// Keys of `details` whose values are people or makers, in the order in which they are kept.
const MAKERS: &[&str] = &[
    "Director",
    "Directors",
    "Author",
    "Authors",
    "Artist",
    "Actors",
    "Starring",
    "Contributor",
    "Brand",
    "Manufacturer",
];
/// Categories and headings that say nothing of the item.
const EMPTY_WORDS: &[&str] =
    &["Genre for Featured Categories", "Featured Categories", "Movies & TV", "Product Description", "Books"];

/// An item of '23, 2018 or 2014.
pub(super) fn item(line: &str) -> Parsed<Item> {
    // 2014 wrote its metadata as Python dictionaries.
    let converted;
    let line = match line.trim_start().starts_with("{'") {
        true => {
            converted = python_as_json(line);
            &converted
        }
        false => line,
    };
    let mut spare = String::new();
    let row: Meta<'_> = json(line, &mut spare)?;
    let id = row.parent_asin.id().or_else(|| row.asin.id()).ok_or("no item id (`parent_asin` or `asin`)")?;
    let (title, year_in_title) = clean::title_and_year(&clean::html(&row.title.text()));
    let texts = |value: &Loose<'_>| -> Vec<String> {
        value.list().iter().map(|text| clean::html(text)).filter(|text| !EMPTY_WORDS.contains(&text.as_str())).collect()
    };
    let mut genres = distinct(texts(&row.categories).into_iter().chain(texts(&row.category)));
    if genres.is_empty() {
        genres = distinct(texts(&row.main_category).into_iter().chain(texts(&row.main_cat)));
    }
    let features = distinct(texts(&row.features).into_iter().chain(texts(&row.feature)));
    // Prime Video lists the year among the features: "IMDb 6.8", "2013", "22 episodes".
    let year = year_in_title.or_else(|| features.iter().find_map(|f| clean::year(f))).or_else(|| {
        let date = row.details.entry(&["Release date", "Publication date", "Original Release Date"])?;
        clean::year_of_date(&date.text())
    });
    let author = row.author.entry(&["name"]).unwrap_or(&row.author);
    let mut creators: Vec<String> = people(&row.store.text());
    creators.extend(author.list());
    creators.extend(MAKERS.iter().filter_map(|key| row.details.entry(&[key])).flat_map(|value| match value {
        Loose::Text(names) => people(names),
        Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::List(_) | Loose::Map(_) => {
            value.list()
        }
    }));
    creators.extend(row.brand.list());
    Ok(Item {
        id,
        title,
        year,
        genres,
        creators: distinct(creators.iter().map(|name| clean::html(name))),
        keywords: features.into_iter().filter(|f| clean::year(f).is_none() && !f.starts_with("IMDb ")).collect(),
        description: texts(&row.description).join(" ").trim().to_string(),
        price: row.price.number().filter(|price| *price >= 0.0).map(|price| price as f32),
    })
}

/// `Rick Lazzarini  (Actor),  Stan Winston  (Director)    Format: DVD` → the names: what stands outside of parentheses. A
/// text without parentheses is names separated by commas.
fn people(text: &str) -> Vec<String> {
    let text = text.split("Format:").next().unwrap_or("");
    let mut names = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (") {
        names.push_str(before);
        rest = match after.split_once(')') {
            Some((_, more)) => more,
            None => "",
        };
        // After a role comes a comma and the next person, or a remark on the disc.
        if !rest.starts_with(',') {
            rest = "";
        }
    }
    names.push_str(rest);
    names.split(", ").map(|name| name.trim_matches([' ', ',']).to_string()).filter(|name| !name.is_empty()).collect()
}

/// A Python dictionary as printed, as JSON: quotes, escapes, `None`, `True`, `False`. What is neither stays as it is, for
/// the JSON parser to refuse.
fn python_as_json(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 16);
    let mut chars = line.chars().peekable();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        out.push_str(match word.as_str() {
            "None" => "null",
            "True" => "true",
            "False" => "false",
            // u'text': the prefix of Python 2.
            "u" => "",
            other => other,
        });
        word.clear();
    };
    while let Some(c) = chars.next() {
        if c != '\'' && c != '"' {
            if c.is_ascii_alphabetic() {
                word.push(c);
            } else {
                flush(&mut word, &mut out);
                out.push(c);
            }
            continue;
        }
        flush(&mut word, &mut out);
        out.push('"');
        while let Some(inner) = chars.next() {
            match inner {
                end if end == c => break,
                '"' => out.push_str("\\\""),
                '\\' => match chars.next() {
                    Some('\'') => out.push('\''),
                    // \xe9 is a code point of one byte.
                    Some('x') => out.push_str("\\u00"),
                    Some(other) => {
                        out.push('\\');
                        out.push(other);
                    }
                    None => {}
                },
                '\t' => out.push_str("\\t"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    flush(&mut word, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_numbers_texts_or_null() {
        for (price, kept) in [
            ("12.5", Some(12.5)),
            ("\"$12.50\"", Some(12.5)),
            ("null", None),
            ("\"\"", None),
            ("[1]", None),
            ("\"from\"", None),
        ] {
            let line = format!(r#"{{"parent_asin": "B1", "title": "T", "price": {price}}}"#);
            assert_eq!(item(&line).unwrap().price, kept, "{price}");
        }
    }

    #[test]
    fn fields_of_the_wrong_type_cost_the_field_and_not_the_line() {
        let line = r#"{"asin": 42, "title": ["A", "B"], "categories": "Comedy", "description": null, "details": "none",
            "features": {"a": 1}, "store": 7, "author": {"name": "Ann"}, "images": [{"x": [[[]]]}], "videos": 3}"#;
        let row = item(line).unwrap();
        assert_eq!((row.id.as_str(), row.title.as_str()), ("42", "A B"));
        assert_eq!(row.genres, ["Comedy"]);
        assert_eq!(row.creators, ["7", "Ann"]);
        assert!(row.description.is_empty() && row.keywords.is_empty());
    }

    #[test]
    fn the_metadata_of_2014_is_python_and_is_read() {
        let line = r#"{'asin': '0001048791', 'salesRank': {'Books': 6334800}, 'title': "Crucible: \"Arthur's\" Miller's", 'price': 7.5,
            'categories': [['Books', 'Drama'], ['Drama']], 'description': 'caf\xe9 \'x\' None', 'brand': None}"#;
        let row = item(&line.replace("\n", "")).unwrap();
        assert_eq!(row.title, "Crucible: \"Arthur's\" Miller's");
        assert_eq!(row.genres, ["Drama"]);
        assert_eq!(row.description, "café 'x' None");
        assert_eq!(row.price, Some(7.5));
        assert!(row.creators.is_empty());
    }

    #[test]
    fn stores_of_films_are_their_people() {
        assert_eq!(
            people("Rick Lazzarini  (Actor),     Stan Winston School  (Director)    Format: DVD"),
            ["Rick Lazzarini", "Stan Winston School"]
        );
        assert_eq!(people("Sterling Hayden (Actor, Director)  Rated: NR"), ["Sterling Hayden"]);
        assert_eq!(people("Bluetime"), ["Bluetime"]);
        assert!(people("").is_empty());
    }

    #[test]
    fn votes_are_numbers_texts_or_pairs() {
        for (field, votes) in
            [("\"vote\": \"1,204\"", 1204), ("\"helpful\": [2, 3]", 2), ("\"vote\": null", 0), ("\"vote\": -4", 0)]
        {
            let line = format!(r#"{{"asin": "B", "reviewText": "x", "overall": 5.0, {field}}}"#);
            assert_eq!(review_2018(&line).unwrap().helpful, votes, "{field}");
        }
    }
}
