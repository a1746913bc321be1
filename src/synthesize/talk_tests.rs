//! Dialogues of several turns, and requests of people who did not like something.

use super::mock::{Mock, Reply};
use super::tests::{ITEMS, dataset, http};
use super::*;
use crate::config::SynthesizeConfig;
use crate::dataset::{Act, Dataset, Dialogue, Interaction, Polarity, Review};
use crate::select::{Pick, Selection};
use crate::titles::Titles;
use crate::{ErrorKind, Run};

const PEOPLE: usize = 30;

/// The films of the other tests, and people who have rated some of them and reviewed one.
fn rated() -> Dataset {
    let mut data = dataset();
    for user in 0..PEOPLE {
        for item in 0..ITEMS {
            let rating10 = match (item * 3 + user) % 10 {
                0 => Some(2.0),
                1..=3 if item % 2 == user % 2 => Some(9.0),
                _ => continue,
            };
            let (user, item) = (format!("w{user}"), format!("i{item}"));
            data.add_interaction(&Interaction { user, item, rating10, timestamp_ms: None }).unwrap();
        }
        let review = Review {
            item: format!("i{}", user * 7 % ITEMS),
            user: Some(format!("w{user}")),
            text: "The story is really funny and the acting is great.".into(),
            ..Default::default()
        };
        data.add_review(&review).unwrap();
    }
    data
}

/// The reviews of the first `count` of these people.
fn reviews_of(count: usize) -> Selection {
    let first = ITEMS * 4;
    Selection { picks: (0..count).map(|n| Pick { rank: n as u64, row: (first + n) as u64, gain: 0.0 }).collect() }
}

/// With a review that complains of film 4; its row.
fn complained() -> (Dataset, u64) {
    let mut data = rated();
    let text = "The ending was dull and the jokes were stupid all along. I left early with my aunt.";
    let review = Review {
        item: "i4".into(),
        user: Some("w1".into()),
        rating10: Some(2.0),
        text: text.into(),
        ..Default::default()
    };
    data.add_review(&review).unwrap();
    let row = data.reviews() as u64 - 1;
    (data, row)
}

fn offline(turns: usize) -> SynthesizeConfig {
    SynthesizeConfig { turns, items: 8, ..Default::default() }
}

fn go(data: &Dataset, config: &SynthesizeConfig, seeds: &Selection, threads: usize) -> crate::Result<Dialogues> {
    let folder = tempfile::tempdir().unwrap();
    synthesize(data, seeds, config, 0, &Run::new(threads).unwrap(), &folder.path().join("journal.jsonl"))
}

fn title<'a>(data: &'a Dataset, id: &str) -> &'a str {
    data.items.title(data.items.find(id).unwrap() as usize)
}

/// What must hold of every dialogue, by the dataset alone.
fn check(data: &Dataset, row: &Dialogue) {
    let titles = Titles::of(data);
    assert_eq!(row.messages.len(), row.labels.len());
    let target = &row.items[0];
    let list_at = row.labels.iter().position(|l| l.act == Act::List).unwrap();
    assert_eq!(list_at + 2, row.messages.len());
    let mut said: Vec<String> = Vec::new();
    let (mut unwanted, mut bounds) = (Vec::new(), (0u16, u16::MAX));
    let item = |id: &str| data.items.get(data.items.find(id).unwrap() as usize);
    let mut suggested: Option<String> = None;
    for (n, (message, label)) in row.messages.iter().zip(&row.labels).enumerate() {
        assert_eq!(message.role, if n % 2 == 0 { "user" } else { "assistant" }, "{row:?}");
        // What is named is what the labels say; the target is named by nobody before it is listed.
        if label.act != Act::List {
            for found in titles.rows(&message.content) {
                let id = data.items.id(found as usize);
                assert!(label.mentions.iter().any(|m| m.item == id), "{message:?} {label:?}");
                assert!(n > list_at || id != target, "{message:?}");
            }
        }
        // A suggestion's own list, and the last one, hold nothing that was said before or is not wanted.
        let listed = if label.act == Act::List { &row.items } else { &label.items };
        if label.act == Act::Suggest || label.act == Act::List {
            assert_eq!(&listed[0], target);
            for id in listed {
                assert!(!said.contains(id), "{id} in {row:?}");
                let (year, genres) = (item(id).year.unwrap(), item(id).genres);
                assert!(year > bounds.0 && year < bounds.1, "{id} {bounds:?} {row:?}");
                assert!(!genres.iter().any(|g| unwanted.contains(g)), "{id} {unwanted:?}");
            }
        } else {
            assert!(listed.is_empty());
        }
        unwanted.extend(label.unwanted.iter().cloned());
        let of_suggested = suggested.take().map(|id: String| item(&id).year.unwrap());
        match label.wanted.iter().find(|w| *w == "newer" || *w == "older").map(String::as_str) {
            Some("newer") => bounds.0 = of_suggested.unwrap(),
            Some(_) => bounds.1 = of_suggested.unwrap(),
            None => {}
        }
        if label.act == Act::Suggest {
            suggested = Some(label.mentions[0].item.clone());
        }
        said.extend(label.mentions.iter().map(|m| m.item.clone()));
    }
    assert_eq!(&row.labels.last().unwrap().mentions[0].item, target);
}

#[test]
fn dialogues_of_several_turns_are_planned_from_what_the_author_liked() {
    let data = rated();
    let made = go(&data, &offline(4), &reviews_of(30), 2).unwrap();
    assert_eq!((made.rows.len(), made.report.reworded), (60, 0));
    assert_eq!(made.report.lists, "collaborative");
    let (mut acts, mut polarities) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    for row in &made.rows {
        check(&data, row);
        let seed = row.seed.as_ref().unwrap();
        assert_eq!(row.items[0], seed.item);
        // Who speaks is the review's author: what is said to be disliked was rated so by them.
        let user = data.review_user(seed.row as usize).unwrap();
        let rating = |id: &str| {
            let item = data.items.find(id).unwrap() as usize;
            let own = (0..data.interactions()).map(|n| data.interaction(n)).find(|i| (i.0, i.1) == (user, item));
            own.and_then(|own| own.2)
        };
        for label in &row.labels {
            *acts.entry(format!("{:?}", label.act)).or_insert(0) += 1;
            for mention in &label.mentions {
                *polarities.entry(format!("{:?}", mention.polarity)).or_insert(0) += 1;
                match mention.polarity {
                    Polarity::Disliked => assert_eq!(rating(&mention.item), Some(2.0)),
                    Polarity::Liked => assert_ne!(rating(&mention.item), Some(2.0)),
                    Polarity::Seen | Polarity::Neutral => {}
                }
            }
        }
    }
    for act in ["Open", "Ask", "Tell", "Suggest", "Seen", "Reject", "Narrow", "List", "Accept"] {
        assert!(acts.contains_key(act), "{acts:?}");
    }
    assert!(["Liked", "Disliked", "Neutral"].iter().all(|p| polarities[*p] > 5), "{polarities:?}");
    // The same bytes on any number of threads.
    let text = |made: &Dialogues| format!("{:?}", made.rows);
    assert_eq!(text(&go(&data, &offline(4), &reviews_of(30), 1).unwrap()), text(&made));
    // As many turns as asked for, or one less where the answer to a question could not be filled.
    let users = |row: &Dialogue| row.messages.iter().filter(|m| m.role == "user").count();
    assert!(made.rows.iter().filter(|row| users(row) == 5).count() > 50);
    assert!(made.rows.iter().all(|row| users(row) <= 5));
}

#[test]
fn a_review_that_complains_makes_requests_that_avoid_its_item() {
    let (data, row) = complained();
    let seeds = Selection { picks: vec![Pick { rank: 0, row, gain: 1.0 }] };
    for turns in [1, 3] {
        for lists in ["open", "candidates", "collaborative"] {
            let config = SynthesizeConfig { lists: lists.into(), queries: 12, ..offline(turns) };
            let made = go(&data, &config, &seeds, 1).unwrap();
            assert!((6..=12).contains(&made.rows.len()), "{turns} {lists} {}", made.report);
            let mut complaints = 0;
            for row in &made.rows {
                assert!(!row.items.contains(&"i4".to_string()), "{turns} {lists} {row:?}");
                assert_eq!(row.seed.as_ref().unwrap().item, "i4");
                let label = &row.labels[0];
                let disliked = label.mentions.iter().find(|m| m.item == "i4").unwrap();
                assert_eq!((label.act, disliked.polarity), (Act::Open, Polarity::Disliked));
                assert!(row.messages[0].content.contains(title(&data, "i4")));
                complaints += usize::from(row.messages[0].content.contains("The ending was dull"));
                // What a teacher names from memory is its own affair.
                if turns > 1 && lists != "open" {
                    check(&data, row);
                    // What this user liked is looked for.
                    let user = data.find_user("w1").unwrap() as usize;
                    let target = data.items.find(&row.items[0]).unwrap() as usize;
                    let liked = (0..data.interactions()).map(|n| data.interaction(n));
                    assert!(liked.into_iter().any(|i| (i.0, i.1) == (user, target) && i.2 == Some(9.0)));
                }
            }
            assert!(complaints > 0);
        }
    }
}

#[test]
fn a_teachers_words_are_taken_where_they_say_what_is_planned() {
    let data = rated();
    // Says every line of the draft in other words; in the second line it speaks of another film, the third is empty.
    let mock = Mock::new(|_, body| {
        let prompt: serde_json::Value = serde_json::from_str(body).unwrap();
        let prompt = prompt["messages"][0]["content"].as_str().unwrap().to_string();
        let lines = prompt.lines().filter(|l| l.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok()));
        let lines = lines.map(|line| {
            let (number, rest) = line.split_once(". ").unwrap();
            let (speaker, words) = rest.split_once(": ").unwrap();
            match number {
                "2" => format!("2. {speaker}: Well, The Winter of Hugo and The Road of Greta!"),
                "3" => "3. ".to_string(),
                _ => format!("{number}. {speaker}: Well now: {words}"),
            }
        });
        Reply::Text(lines.collect::<Vec<_>>().join("\n"))
    });
    let config = SynthesizeConfig { turns: 3, lists: "collaborative".into(), ..http(&mock.url) };
    let made = go(&data, &config, &reviews_of(5), 1).unwrap();
    assert_eq!((made.rows.len(), mock.count()), (10, 10));
    let mut own = 0;
    for row in &made.rows {
        check(&data, row);
        let begins: Vec<bool> = row.messages.iter().map(|m| m.content.starts_with("Well now: ")).collect();
        own += begins.iter().filter(|b| **b).count();
        assert!(begins[0] && !begins[1] && !begins[2], "{row:?}");
    }
    let messages: usize = made.rows.iter().map(|row| row.messages.len() - 1).sum();
    assert_eq!(made.report.reworded as usize, messages - own);
    assert!(made.report.reworded >= 20 && made.report.to_string().contains("in the domain's own words"));
}

#[test]
fn a_teacher_that_says_nothing_of_use_still_gives_dialogues() {
    let data = rated();
    for (text, reworded) in [("I cannot help with that.", true), ("7 7 7", true), ("[]", true)] {
        let mock = Mock::new(move |_, _| Reply::Text(text.into()));
        let config = SynthesizeConfig { turns: 2, ..http(&mock.url) };
        let config = SynthesizeConfig { lists: "candidates".into(), ..config };
        let made = go(&data, &config, &reviews_of(3), 1).unwrap();
        assert_eq!((made.rows.len(), made.report.out_of_catalogue), (6, 0.0), "{text}");
        assert_eq!(made.report.reworded > 0, reworded);
        made.rows.iter().for_each(|row| assert!(!row.items.is_empty()));
    }
}

#[test]
fn catalogues_with_next_to_nothing_are_talked_about_as_far_as_it_goes() {
    use crate::dataset::Item;
    // One item; two of one title; no interactions, no user, no metadata.
    for count in [1, 2, 3] {
        let mut data = Dataset::default();
        for n in 0..count {
            data.add_item(&Item { id: format!("x{n}"), title: "Thing".into(), ..Default::default() }).unwrap();
        }
        let review =
            Review { item: "x0".into(), text: "It is fine and works well enough.".into(), ..Default::default() };
        data.add_review(&review).unwrap();
        let seeds = Selection { picks: vec![Pick { rank: 0, row: 0, gain: 1.0 }] };
        for turns in [2, 6] {
            let made = go(&data, &offline(turns), &seeds, 1).unwrap();
            assert!(made.rows.iter().all(|row| row.items[0] == "x0"), "{:?}", made.rows);
            assert!(!made.rows.is_empty());
        }
        // The baseline without seeds has nobody to speak of.
        let naive = SynthesizeConfig { naive: true, ..offline(3) };
        let made = go(&data, &naive, &seeds, 1).unwrap();
        assert!(made.rows.iter().all(|row| row.seed.is_none()));
    }
    let bad = SynthesizeConfig { prompts: "/nowhere".into(), ..offline(3) };
    assert_eq!(go(&rated(), &bad, &reviews_of(1), 1).unwrap_err().kind(), ErrorKind::NotFound);
}

/// A teacher of the caller's own, beside the default `synthesize.teacher`, was taken for the built-in one: it was asked for no
/// list, and its words were thrown away.
#[test]
fn a_teacher_of_the_callers_own_is_asked_for_words_and_lists() {
    struct Own;
    impl Teacher for Own {
        fn name(&self) -> String {
            "own".into()
        }
        fn in_flight(&self) -> usize {
            1
        }
        fn answer(&self, request: &Request, _: usize, _: &Run) -> Result<Answer, Failure> {
            let text = match request.kind {
                Kind::Query => "Something slow and sad, please\nSomething warm and funny".to_string(),
                Kind::Recommend => "1. The Garden of Alma\n2. The Tower of Alma".to_string(),
                Kind::Dialogue => {
                    let line = |(n, draft): (usize, &String)| format!("{}. Well now: {draft}", n + 1);
                    request.facts.draft.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
                }
                Kind::Judge => "5, 5, 5".to_string(),
            };
            Ok(Answer { text, prompt_tokens: 1, completion_tokens: 1 })
        }
    }
    let (data, folder, run) = (rated(), tempfile::tempdir().unwrap(), Run::new(1).unwrap());
    for turns in [1, 2] {
        let config = SynthesizeConfig { turns, ..Default::default() };
        let journal = folder.path().join(format!("{turns}.jsonl"));
        let made = synthesize_with(&data, &reviews_of(3), &Own, &config, 0, &run, &journal).unwrap();
        assert_eq!(made.report.lists, "open");
        assert!(!made.rows.is_empty());
        for row in &made.rows {
            assert!(row.items.iter().all(|id| ["i0", "i1"].contains(&id.as_str())), "{row:?}");
            assert!(turns == 1 || row.messages[0].content.starts_with("Well now: "), "{row:?}");
        }
    }
}
