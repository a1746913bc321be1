//! Held-out conversations, in the manner of people who type: greetings, what they liked, what they wish, a wrong guess.
//! Their wishes are worded unlike any review, and their people write no reviews.

use super::catalogue::WorldItem;
use super::world::World;
use crate::dataset::{Conversation, ItemName, Role, Turn};
use crate::math::Random;

const HELLO: &[&str] = &["hi!", "Hello", "hey there", "Hi, how are you?", "good evening", "hello :)"];
const ASK: &[&str] = &[
    "Hi! What kind of movies do you like?",
    "Hello! What are you in the mood for?",
    "hey, tell me a few movies you enjoyed",
    "Hi there, looking for anything special?",
    "Good, thanks. What do you usually watch?",
];
const LIKED: &[&str] = &[
    "i really liked {a} and {b}",
    "my favorites are {a} and {b}",
    "{a} was great. also {b}",
    "I have seen {a} and {b}, both awesome",
    "well, {a} is one i can watch again and again, and i enjoyed {b}",
];
const LIKED_ONE: &[&str] = &[
    "i loved {a}",
    "the last good one i saw was {a}",
    "have you seen {a} ? thats my kind of thing",
    "{a} was so good",
];
const WISH: &[&str] = &[
    "im looking for something {w}",
    "do you know something {w}?",
    "i want something {w} tonight",
    "I'd like something {w}",
    "anything {w} would be great",
];
const WISH_MORE: &[&str] = &[
    "and maybe {w}",
    "it should be something {w} too",
    "if it is also something {w}, even better",
    "oh and {w} please",
    "{w} would be nice",
];
const GUESS: &[&str] = &["Have you seen {a}?", "How about {a}?", "I would try {a}", "Maybe {a}? people like it"];
const REFUSE: &[&str] = &[
    "yes i saw that one already. something else?",
    "i didnt like that one, got anything else?",
    "not what i had in mind",
    "heard of it but its not for me. what else do you have",
];
const MORE: &[&str] = &[
    "Anything else you care about?",
    "ok, tell me more",
    "Got it. What else?",
    "Nice choices! What should it be like?",
];

fn any<'a>(random: &mut Random, list: &[&'a str]) -> &'a str {
    list[random.below(list.len())]
}

fn say(turns: &mut Vec<Turn>, role: Role, text: String) {
    turns.push(Turn { role, text });
}

fn named(world: &World, row: usize) -> ItemName {
    let item = &world.items[row];
    ItemName { title: item.title.clone(), year: Some(item.year), item: Some(World::item_id(row)) }
}

/// The title as people type it, sometimes with its year.
fn typed(item: &WorldItem, random: &mut Random) -> String {
    match random.below(3) {
        0 => format!("{} ({})", item.title, item.year),
        _ => item.title.clone(),
    }
}

/// A wish, as what stands after "something". Half of those for a genre name it as the catalogue does, as people do.
fn wish(world: &World, value: usize, random: &mut Random) -> String {
    let words = world.values[value];
    if world.is_genre(value) && random.below(2) == 0 {
        return format!("from the {} shelf", words.keyword.to_lowercase());
    }
    any(random, words.wish).to_string()
}

/// Conversation `number`. Its targets are what its person picks by taste; most of what is wished is true of the target.
pub(super) fn conversation(world: &World, number: usize) -> Conversation {
    let mut random = Random::new(world.seed, format!("simulate talk {number}").as_bytes());
    let random = &mut random;
    let user = world.user(random);
    let picks = world.picks(&user, 6.min(world.items.len()), random);
    let target = picks[random.below(2.min(picks.len()))];
    let mut others: Vec<usize> = picks.iter().copied().filter(|item| *item != target).collect();
    // A second accepted item, where one is much like the first.
    let second = others.iter().copied().max_by_key(|other| (world.shared(target, *other), usize::MAX - other));
    let second = second.filter(|other| world.shared(target, *other) >= 2 && random.below(2) == 0);
    others.retain(|item| Some(*item) != second);
    let liked: Vec<usize> = others.iter().copied().take(1 + random.below(2)).collect();
    let guess = others.get(liked.len()).copied().filter(|_| random.below(2) == 0);

    // What is wished: of the target's values those the person likes best; now and then one of another liked item.
    let mut wishes: Vec<usize> = world.items[target].values().to_vec();
    wishes.dedup();
    let key = |value: usize, random: &mut Random| world.likes(&user, value) + 0.5 * random.normal();
    let mut keyed: Vec<(f64, usize)> = wishes.iter().map(|value| (key(*value, random), *value)).collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.truncate(2 + random.below(2));
    let mut wishes: Vec<usize> = keyed.into_iter().map(|(_, value)| value).collect();
    if random.below(4) == 0
        && let Some(stray) = liked.first().map(|item| world.items[*item].values()[random.below(5)])
        && let Some(last) = wishes.last_mut()
    {
        *last = stray;
    }
    let mut wishes = wishes.into_iter().map(|value| wish(world, value, random)).collect::<Vec<_>>().into_iter();

    let mut turns = Vec::new();
    say(&mut turns, Role::User, any(random, HELLO).to_string());
    say(&mut turns, Role::Assistant, any(random, ASK).to_string());
    let mut titles = liked.iter().map(|item| typed(&world.items[*item], random)).collect::<Vec<_>>().into_iter();
    let mut text = match (titles.next(), titles.next()) {
        (Some(a), Some(b)) => any(random, LIKED).replace("{a}", &a).replace("{b}", &b),
        (Some(a), None) => any(random, LIKED_ONE).replace("{a}", &a),
        (None, _) => "im open to anything".to_string(),
    };
    let first_wish = wishes.next().unwrap_or_default();
    if random.below(2) == 0 {
        say(&mut turns, Role::User, text);
        say(&mut turns, Role::Assistant, any(random, MORE).to_string());
        text = any(random, WISH).replace("{w}", &first_wish);
    } else {
        text.push_str(". ");
        text.push_str(&any(random, WISH).replace("{w}", &first_wish));
    }
    say(&mut turns, Role::User, text);
    let mut more: Vec<String> = wishes.map(|wish| any(random, WISH_MORE).replace("{w}", &wish)).collect();
    match guess {
        Some(guess) => {
            say(&mut turns, Role::Assistant, any(random, GUESS).replace("{a}", &typed(&world.items[guess], random)));
            more.insert(0, any(random, REFUSE).to_string());
        }
        None => say(&mut turns, Role::Assistant, any(random, MORE).to_string()),
    }
    say(&mut turns, Role::User, more.join(", "));
    Conversation {
        id: format!("sim/{number}"),
        turns,
        targets: std::iter::once(target).chain(second).map(|row| named(world, row)).collect(),
        seen: liked.into_iter().chain(guess).map(|row| named(world, row)).collect(),
    }
}
