//! Amazon Reviews '23, 2018 and 2014 (McAuley's files). Fields may be absent, null or of another type; images, videos and
//! what else we do not keep are passed over by the parser without being held.

use super::super::clean;
use super::super::lines::Parsed;
use super::super::loose::{Loose, TimeUnit};
use super::super::table::{Item, Review};
use super::attributes;
use super::field::{distinct, helpful, json, rating10};
use serde::Deserialize;
use std::borrow::Cow;

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

/// Keys of `details` that tell a customer nothing, as they are or with other words around them: numbers of a catalogue, dates,
/// ranks, what the parcel measures.
const NOISE: &[&str] = &[
    "asin",
    "upc",
    "ean",
    "gtin",
    "global trade identification number",
    "isbn",
    "isbn-10",
    "isbn-13",
    "unspsc",
    "rank",
    "date",
    "dimensions",
    "model number",
    "part number",
    "number of discs",
    "customer reviews",
    "date first available",
    "domestic shipping",
    "international shipping",
    "shipping weight",
    "package weight",
    "item weight",
    "package quantity",
    "is discontinued by manufacturer",
    "warranty",
];
/// Names of features that are attributes: `Material: cotton`. Other features with a colon are prose.
const FEATURES: &[&str] = &[
    "brand", "material", "fabric", "color", "colour", "size", "style", "pattern", "finish", "flavor", "flavour",
    "scent", "platform",
];

/// Whether a key of `details` is among [`NOISE`].
fn is_noise(key: &str) -> bool {
    let key = format!(
        " {} ",
        key.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches([':', ' '])
    );
    NOISE.iter().any(|noise| key.contains(&format!(" {noise} ")))
}

/// A line of 2014, which wrote its metadata as Python dictionaries, as JSON; others as they are.
pub(super) fn as_json(line: &str) -> Cow<'_, str> {
    match line.trim_start().starts_with("{'") {
        true => Cow::Owned(python_as_json(line)),
        false => Cow::Borrowed(line),
    }
}

/// An item of '23, 2018 or 2014 ([`as_json`]).
pub(super) fn item(line: &str) -> Parsed<Item> {
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
    // Some copies of '23 hold the details as a text.
    let inner;
    let details = match &row.details {
        Loose::Text(text) if text.trim_start().starts_with('{') => {
            inner = serde_json::from_str(text).unwrap_or_default();
            &inner
        }
        other => other,
    };
    let year = year_in_title.or_else(|| features.iter().find_map(|f| clean::year(f))).or_else(|| {
        let date = details.entry(&["Release date", "Publication date", "Original Release Date"])?;
        clean::year_of_date(&date.text())
    });
    let author = row.author.entry(&["name"]).unwrap_or(&row.author);
    let mut creators: Vec<String> = people(&row.store.text());
    creators.extend(author.list());
    creators.extend(MAKERS.iter().filter_map(|key| details.entry(&[key])).flat_map(|value| match value {
        Loose::Text(names) => people(names),
        Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::List(_) | Loose::Map(_) => {
            value.list()
        }
    }));
    creators.extend(row.brand.list());
    let mut attributes = Vec::new();
    attributes::add("brand", &row.brand, &mut attributes);
    author.list().iter().for_each(|name| attributes.push(("author".to_string(), clean::html(name))));
    if let Loose::Map(entries) = details {
        entries
            .iter()
            .filter(|(key, _)| !is_noise(key))
            .for_each(|(key, value)| attributes::add(key, value, &mut attributes));
    }
    let named = features.iter().filter_map(|feature| feature.split_once(':'));
    let named = named.filter(|(name, _)| FEATURES.iter().any(|known| known.eq_ignore_ascii_case(name.trim())));
    attributes.extend(named.map(|(name, value)| (name.to_string(), value.to_string())));
    Ok(Item {
        id,
        title,
        year,
        genres,
        creators: distinct(creators.iter().map(|name| clean::html(name))),
        keywords: features.into_iter().filter(|f| clean::year(f).is_none() && !f.starts_with("IMDb ")).collect(),
        description: texts(&row.description).join(" ").trim().to_string(),
        price: row.price.number().filter(|price| *price >= 0.0).map(|price| price as f32),
        attributes,
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
        let row = item(&as_json(&line.replace("\n", ""))).unwrap();
        assert_eq!(row.title, "Crucible: \"Arthur's\" Miller's");
        assert_eq!(row.genres, ["Drama"]);
        assert_eq!(row.description, "café 'x' None");
        assert_eq!(row.price, Some(7.5));
        assert!(row.creators.is_empty());
    }

    #[test]
    fn details_are_attributes_but_for_what_tells_a_customer_nothing() {
        let details = r#"{"Brand": "Acme", "Color": "Deep &amp; dark red", "Material": ["Cotton", "Linen"], "Package Dimensions": "1 x 2",
            "ASIN: ": "B1", "Item model number": "x", "Best Sellers Rank": {"Lamps": 3}, "Date First Available": "May 1, 2015",
            "UPC": 12, "Theme": null, "Specific uses": {"a": {}}, "Is Dishwasher Safe": true, "Update level": "high"}"#
            .replace('\n', "");
        let wanted = [
            ("brand", "Old"),
            ("author", "Ann"),
            ("Brand", "Acme"),
            ("Color", "Deep & dark red"),
            ("Material", "Cotton"),
            ("Material", "Linen"),
            ("a", ""),
            ("Is Dishwasher Safe", "yes"),
            ("Update level", "high"),
            ("Size", " XL"),
        ];
        for details in [details.clone(), serde_json::to_string(&details).unwrap()] {
            let line = format!(
                r#"{{"asin": "B1", "title": "T", "brand": "Old", "author": {{"name": "Ann"}}, "details": {details},
                "features": ["Size: XL", "Note: it is small", "Imported"]}}"#
            );
            let row = item(&line.replace('\n', "")).unwrap();
            let got: Vec<(&str, &str)> = row.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(got, wanted);
            assert_eq!(row.creators, ["Ann", "Acme", "Old"]);
            assert_eq!(row.keywords, ["Size: XL", "Note: it is small", "Imported"]);
        }
        for details in ["null", "7", "\"none\"", "\"{broken\"", "[]", "[{\"a\": 1}]"] {
            let row = item(&format!(r#"{{"asin": "B1", "details": {details}}}"#)).unwrap();
            assert!(row.attributes.is_empty(), "{details}");
        }
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
