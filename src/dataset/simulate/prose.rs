//! Reviews: a grammar over what the item is and what its reviewer thinks of it.

use super::world::{Pick, User, World, capital};
use crate::dataset::Review;
use crate::math::Random;

const OPENINGS: &[&str] = &[
    "I watched this {when} with {company}.",
    "Picked this up {when} without knowing anything about it.",
    "My {relative} had been telling me about this {film} for years.",
    "I must have seen this {film} {count} times by now.",
    "I came to {title} with high hopes.",
    "I usually avoid {genre}.",
    "I have always had a weakness for {genre}.",
    "As {genre} goes, this one is hard to pin down.",
    "Saw it {when} and it has been on my mind ever since.",
    "Somehow I had missed this {film} until {when}.",
    "I am not the usual audience for this kind of {film}.",
    "After a long week I put on {title}.",
    "There was a lot of talk about this {film} when it came out.",
];
const PRAISE: &[&str] = &[
    "{Np} won me over completely.",
    "I loved {np}.",
    "{Np} worked so well for me.",
    "What stayed with me most: {np}.",
    "Nobody does this better, and {np} proved it.",
    "I could watch {np} for hours.",
    "{Np} alone made the {film} worth my time.",
    "Few {films} get this right, but {np} felt true.",
    "I did not expect to be so taken by {np}.",
    "{Np} and {np2} fit together beautifully.",
    "The heart of it all came with {np}.",
    "Give me {np} any day.",
    "You can tell how much care went into {np}.",
    "{Np} kept me glued to the screen.",
    "I have a soft spot for {np}, and here they got it right.",
];
const COMPLAINT: &[&str] = &[
    "{Np} left me cold.",
    "I could not get past {np}.",
    "{Np} dragged on and on.",
    "If only they had cut {np}.",
    "{Np} felt like something from a lesser {film}.",
    "I never cared for {np}, and this did not change my mind.",
    "{Np} did nothing for me.",
    "Too much time went to {np}.",
    "{Np} and {np2} got in each other's way.",
    "Others may enjoy {np}; I did not.",
    "{Np} wore me out {early}.",
    "Sadly {np} took me out of the story.",
    "I rolled my eyes at {np}.",
];
const CREATOR_GOOD: &[&str] = &[
    "{director} directed this with a sure hand.",
    "Every frame has {director} written all over it.",
    "{star} gives the performance of a lifetime.",
    "{star} and {star2} are a joy to watch together.",
    "I will see anything {director} makes.",
    "{star} carries the {film} without seeming to try.",
    "{director} knows exactly when to hold a shot.",
];
const CREATOR_BAD: &[&str] = &[
    "{director} has done much better.",
    "{star} seems to be in a different {film}.",
    "Not even {star} could save it.",
    "{director} repeats old tricks here.",
    "{star} and {star2} have no spark at all.",
    "I expected more from {director}.",
];
const COMPARE_GOOD: &[&str] = &[
    "It reminded me of {other}, and that is high praise.",
    "If you enjoyed {other} you will feel at home here.",
    "Right up there with {other}.",
    "I even prefer it to {other}.",
    "It would make a fine double bill with {other}.",
];
const COMPARE_BAD: &[&str] = &[
    "{other} did all of this, and better.",
    "Watch {other} instead.",
    "It wants to be {other} and never gets there.",
    "After {other} this was a letdown.",
];
/// Here a reviewer speaks as those do who wish: what ties the two ways of speaking together.
const AUDIENCE: &[&str] = &[
    "If you want something {wish}, look no further.",
    "Just right when you need something {wish}.",
    "My {relative} asked for something {wish}, and this was it.",
    "Anyone who wants something {wish} will be happy here.",
];
const CRAFT_GOOD: &[&str] = &[
    "A fine piece of {genre}.",
    "The camera work is gorgeous.",
    "The score is lovely.",
    "The script never wastes a line.",
    "The ending landed perfectly.",
    "The pacing is spot on.",
    "Even the smallest parts are well played.",
    "It looks wonderful.",
    "The dialogue rings true.",
];
const CRAFT_BAD: &[&str] = &[
    "There is better {genre} out there.",
    "The script is a mess.",
    "The ending made no sense to me.",
    "It is at least half an hour too long.",
    "The editing is choppy.",
    "The music tells you what to feel in every scene.",
    "The dialogue is wooden.",
    "It looks cheap.",
];
const VERDICT_GOOD: &[&str] = &[
    "Highly recommended.",
    "A keeper.",
    "I will be watching this again.",
    "One of the best {films} I have seen in years.",
    "Do yourself a favour and find it.",
    "{count} stars if I could.",
    "My {relative} loved it too.",
    "Simply wonderful.",
];
const VERDICT_MIXED: &[&str] = &[
    "Worth a look if you have a free evening.",
    "Not bad, not great.",
    "A decent {film} all in all.",
    "I do not regret seeing it.",
    "It has its moments.",
    "Rent it, do not buy it.",
];
const VERDICT_BAD: &[&str] = &[
    "I want those two hours back.",
    "Skip it.",
    "I gave up {early}.",
    "A disappointment.",
    "I cannot recommend this to anyone.",
    "What a waste.",
];
const TITLES_GOOD: &[&str] = &[
    "A gem",
    "Loved it",
    "Wonderful",
    "Better than I expected",
    "One for the shelf",
    "Still thinking about it",
    "Go see it",
    "Superb",
    "What a {film}",
];
const TITLES_MIXED: &[&str] =
    &["Not bad", "Good in parts", "Decent", "Could have been more", "A mixed bag", "Fine for one evening"];
const TITLES_BAD: &[&str] =
    &["Disappointing", "Not for me", "Skip this one", "Boring", "What happened here?", "Overrated"];

const FILM: &[&str] = &["film", "movie", "picture", "feature"];
const FILMS: &[&str] = &["films", "movies", "pictures"];
const WHEN: &[&str] = &[
    "last night",
    "over the weekend",
    "on a rainy Sunday",
    "years ago",
    "on a long flight",
    "at a festival",
    "during the holidays",
];
const COMPANY: &[&str] =
    &["my wife", "my husband", "a couple of friends", "my kids", "my mother", "nobody but the cat", "the whole family"];
const RELATIVE: &[&str] = &["brother", "sister", "father", "neighbour", "colleague", "aunt", "best friend"];
const COUNT: &[&str] = &["three", "four", "five", "six", "ten"];
const EARLY: &[&str] = &["after twenty minutes", "halfway through", "long before the end", "within the first hour"];

/// What a template's slots stand for.
struct Slots<'a> {
    world: &'a World,
    item: usize,
    /// Values for `{np}` and `{np2}`.
    values: [usize; 2],
    other: Option<usize>,
}

fn any<'a>(random: &mut Random, list: &[&'a str]) -> &'a str {
    list[random.below(list.len())]
}

/// Writes `template` with its slots filled. An unknown slot cannot occur: a test fills every template.
fn fill(out: &mut String, template: &str, slots: &Slots<'_>, random: &mut Random) {
    let world = slots.world;
    let item = &world.items[slots.item];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (slot, more) = after.split_once('}').unwrap_or((after, ""));
        rest = more;
        let phrase = |value: usize, random: &mut Random| any(random, world.values[value].review);
        match slot {
            "np" => out.push_str(phrase(slots.values[0], random)),
            "Np" => out.push_str(&capital(phrase(slots.values[0], random))),
            "wish" => out.push_str(any(random, world.values[slots.values[0]].wish)),
            "np2" => out.push_str(phrase(slots.values[1], random)),
            "title" => out.push_str(&item.title),
            "other" => out.push_str(slots.other.map_or("his earlier work", |other| &world.items[other].title)),
            "director" => out.push_str(world.director(item)),
            "star" => out.push_str(world.star(item, 0)),
            "star2" => out.push_str(world.star(item, 1)),
            "film" => out.push_str(any(random, FILM)),
            "films" => out.push_str(any(random, FILMS)),
            "when" => out.push_str(any(random, WHEN)),
            "company" => out.push_str(any(random, COMPANY)),
            "relative" => out.push_str(any(random, RELATIVE)),
            "count" => out.push_str(any(random, COUNT)),
            "early" => out.push_str(any(random, EARLY)),
            "genre" => out.push_str(&world.values[item.genre].keyword.to_lowercase()),
            unknown => out.push_str(unknown),
        }
    }
    out.push_str(rest);
}

/// One sentence after what is there.
fn sentence(out: &mut String, templates: &[&str], slots: &Slots<'_>, random: &mut Random) {
    if !out.is_empty() {
        out.push(' ');
    }
    let start = out.len();
    fill(out, any(random, templates), slots, random);
    if let Some(first) = out[start..].chars().next().filter(|c| c.is_lowercase()) {
        out.replace_range(start..start + first.len_utf8(), &first.to_uppercase().to_string());
    }
}

/// The reviews of user `number`, in the order of the file.
pub(super) fn reviews(world: &World, number: usize) -> Vec<Review> {
    let count = world.reviews_of[number] as usize;
    if count == 0 {
        return Vec::new();
    }
    let (user, picks) = world.picks_of(number);
    let mut random = Random::new(world.seed, format!("simulate prose {number}").as_bytes());
    picks
        .iter()
        .take(count)
        .map(|pick| {
            let (title, text) = review(world, &user, pick, &mut random);
            Review {
                item: World::item_id(pick.item),
                user: Some(World::user_id(number)),
                rating10: Some(f32::from(pick.rating10)),
                title,
                text,
                timestamp_ms: Some(pick.timestamp_ms),
                helpful: (-random.uniform().max(1e-12).ln() * 1.5) as u32,
            }
        })
        .collect()
}

/// A review's headline and text, 1 to 12 sentences.
fn review(world: &World, user: &User, pick: &Pick, random: &mut Random) -> (String, String) {
    let item = &world.items[pick.item];
    let rating = f64::from(pick.rating10);
    let mood = match pick.rating10 {
        8.. => 2,
        5..8 => 1,
        0..5 => 0,
    };
    let length = 1 + ((-random.uniform().max(1e-12).ln() * user.verbosity) as usize).min(11);
    let mut slots = Slots { world, item: pick.item, values: [item.genre, item.mood], other: None };
    let mut text = String::new();
    let mut body = length;
    let opening = length >= 3 && random.uniform() < 0.6;
    let verdict = length >= 2 && random.uniform() < 0.7;
    if opening {
        sentence(&mut text, OPENINGS, &slots, random);
    }
    body -= usize::from(opening) + usize::from(verdict);
    for _ in 0..body {
        // Good things are said of what is liked, more of them in a good review; craft follows the item's quality.
        let bent = (rating - 5.5) / 2.5;
        match random.below(20) {
            0..11 => {
                let values = item.values();
                let value = values[random.below(values.len())];
                let good = 2.0 * world.likes(user, value) + bent + 0.6 * random.normal() > 0.0;
                slots.values =
                    [value, values[(values.iter().position(|v| *v == value).unwrap_or(0) + 1) % values.len()]];
                sentence(&mut text, if good { PRAISE } else { COMPLAINT }, &slots, random);
            }
            11..14 => {
                let good = bent + 0.8 * random.normal() > 0.0;
                sentence(&mut text, if good { CREATOR_GOOD } else { CREATOR_BAD }, &slots, random);
            }
            14..16 => {
                slots.other = world.similar(pick.item, random);
                let good = bent + 0.8 * random.normal() > 0.0;
                sentence(&mut text, if good { COMPARE_GOOD } else { COMPARE_BAD }, &slots, random);
            }
            16..18 if bent > 0.0 => {
                let values = item.values();
                slots.values[0] = values[random.below(values.len())];
                sentence(&mut text, AUDIENCE, &slots, random);
            }
            _ => {
                let good = item.quality + 0.5 * bent + 0.8 * random.normal() > 0.0;
                sentence(&mut text, if good { CRAFT_GOOD } else { CRAFT_BAD }, &slots, random);
            }
        }
    }
    if verdict {
        sentence(&mut text, [VERDICT_BAD, VERDICT_MIXED, VERDICT_GOOD][mood], &slots, random);
    }
    let mut title = String::new();
    fill(&mut title, any(random, [TITLES_BAD, TITLES_MIXED, TITLES_GOOD][mood]), &slots, random);
    (title, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimulateConfig;

    #[test]
    fn every_slot_of_every_template_is_known() {
        let world =
            World::new(&SimulateConfig { items: 30, users: 10, reviews: 20, ..SimulateConfig::default() }).unwrap();
        let mut random = Random::new(0, b"test");
        let slots = Slots { world: &world, item: 0, values: [0, 1], other: Some(2) };
        let known = [
            "np", "Np", "np2", "title", "other", "director", "star", "star2", "film", "films", "when", "company",
            "relative", "count", "early", "genre", "wish",
        ];
        for list in [
            OPENINGS,
            PRAISE,
            COMPLAINT,
            CREATOR_GOOD,
            CREATOR_BAD,
            COMPARE_GOOD,
            COMPARE_BAD,
            AUDIENCE,
            CRAFT_GOOD,
            CRAFT_BAD,
            VERDICT_GOOD,
            VERDICT_MIXED,
            VERDICT_BAD,
            TITLES_GOOD,
            TITLES_MIXED,
            TITLES_BAD,
        ] {
            for template in list {
                for slot in template.split('{').skip(1) {
                    assert!(known.contains(&slot.split('}').next().unwrap()), "{template}");
                }
                let mut text = String::new();
                fill(&mut text, template, &slots, &mut random);
                assert!(!text.contains(['{', '}', '&', '<']), "{text}");
            }
        }
    }
}
