//! A chat in a terminal, without the terminal: lines in, replies out. The command prints them.

use super::evidence::excerpt;
use super::ranking::RankedItem;
use super::service::{ItemList, Query, Service};
use crate::dataset::{Conversation, Role, Turn};
use crate::error::Result;
use crate::run::Run;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A turn of the conversation.
    Say(String),
    /// `/why 2`: the reviews behind the second item of the last answer.
    Why(usize),
    /// `/exclude 2` or `/exclude Heat (1995)`: never again.
    Exclude(String),
    /// `/more`: the next items, those shown so far left out.
    More,
    /// `/new`: forget the conversation, keep what is excluded.
    New,
    /// `/help`.
    Help,
    /// `/quit`.
    Quit,
    /// A blank line.
    Nothing,
    /// Not understood, and why.
    Unknown(String),
}

/// Reads one line.
pub fn parse(line: &str) -> Command {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return if line.is_empty() { Command::Nothing } else { Command::Say(line.to_string()) };
    };
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match name {
        "why" => match rest.parse() {
            Ok(place) if place > 0 => Command::Why(place),
            Ok(_) | Err(_) => Command::Unknown("/why takes the number of an item in the last answer: /why 1".into()),
        },
        "exclude" if !rest.is_empty() => Command::Exclude(rest.to_string()),
        "exclude" => Command::Unknown("/exclude takes a number of the last answer, an id or a title".into()),
        "more" => Command::More,
        "new" => Command::New,
        "help" => Command::Help,
        "quit" | "exit" | "q" => Command::Quit,
        other => Command::Unknown(format!("/{other} is not known; /help lists the commands")),
    }
}

/// What to show.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatReply {
    /// The text; may be empty.
    pub text: String,
    /// The items of the answer, if it is one.
    pub ranked: Vec<RankedItem>,
    /// The chat is over.
    pub done: bool,
}

const HELP: &str = "say what you are looking for, or:\n\
    /why N        the reviews behind item N of the last answer\n\
    /more         the next items\n\
    /exclude X    never show X again: a number of the last answer, an id or a title\n\
    /new          start a new conversation\n\
    /quit         leave";

/// Reviews that `/why` shows, and characters of each.
const REASONS: usize = 3;
const EXCERPT_CHARS: usize = 240;

/// The state of one chat.
pub struct Chat<'a> {
    service: &'a Service,
    query: Query,
    exclude: Vec<String>,
    shown: Vec<String>,
    last: Vec<RankedItem>,
}

impl<'a> Chat<'a> {
    /// A chat that has not begun, with `top_k` items in an answer.
    pub fn new(service: &'a Service, top_k: usize) -> Chat<'a> {
        let mut query = Query { top_k: Some(top_k), explain: Some(0), ..Query::default() };
        query.conversation.id = "chat".into();
        let (exclude, shown, last) = Default::default();
        Chat { service, query, exclude, shown, last }
    }
    /// The same chat in which the ids of `exclude` never come back, and only those of `allow` may (empty: all).
    pub fn masked(mut self, exclude: Vec<String>, allow: Vec<String>) -> Chat<'a> {
        self.exclude = exclude;
        self.query.allow = (!allow.is_empty()).then(|| ItemList::of_ids(allow));
        self
    }
    /// The conversation so far.
    pub fn conversation(&self) -> &Conversation {
        &self.query.conversation
    }

    /// Answers one line.
    ///
    /// # Errors
    /// Those of the recommender and of the embedder; the chat can go on afterwards.
    pub fn reply(&mut self, line: &str, run: &Run) -> Result<ChatReply> {
        let say = |text: String| ChatReply { text, ranked: Vec::new(), done: false };
        match parse(line) {
            Command::Say(text) => {
                self.query.conversation.turns.push(Turn { role: Role::User, text });
                self.shown.clear();
                let answer = self.answer(run);
                if answer.is_err() {
                    self.query.conversation.turns.pop();
                }
                answer
            }
            Command::More if self.query.conversation.turns.is_empty() => {
                Ok(say("say first what you are looking for".into()))
            }
            Command::More => self.answer(run),
            Command::Why(place) => Ok(say(self.why(place, run)?)),
            Command::Exclude(what) => Ok(say(self.leave_out(&what))),
            Command::New => {
                self.query.conversation.turns.clear();
                self.shown.clear();
                self.last.clear();
                Ok(say("a new conversation".into()))
            }
            Command::Help => Ok(say(HELP.into())),
            Command::Quit => Ok(ChatReply { text: String::new(), ranked: Vec::new(), done: true }),
            Command::Nothing => Ok(say(String::new())),
            Command::Unknown(why) => Ok(say(why)),
        }
    }

    fn answer(&mut self, run: &Run) -> Result<ChatReply> {
        self.query.exclude = ItemList::of_ids(self.exclude.iter().chain(&self.shown).map(String::as_str));
        let answer = self.service.answer(&self.query, run)?;
        let (ranked, items) = (answer.items, self.service.items());
        if ranked.is_empty() {
            let text = match answer.partial {
                true => "the time was up before anything was found; ask again, or raise recommend.timeout_ms",
                false => "nothing is left to recommend; /new starts again",
            };
            return Ok(ChatReply { text: text.into(), ranked, done: false });
        }
        let mut lines: Vec<String> = ranked
            .iter()
            .enumerate()
            .map(|(place, r)| format!("{:>3}. {}  [{:.3}]", place + 1, items.name(r.item as usize), r.score))
            .collect();
        if answer.partial {
            lines.push("the time was up: these were found by then".into());
        }
        self.shown.extend(ranked.iter().map(|r| items.id(r.item as usize).to_string()));
        self.last = ranked.clone();
        Ok(ChatReply { text: lines.join("\n"), ranked, done: false })
    }

    fn why(&self, place: usize, run: &Run) -> Result<String> {
        let Some(ranked) = self.last.get(place - 1) else {
            return Ok(format!("the last answer has {} items", self.last.len()));
        };
        if !self.service.explains() {
            return Ok("the reviews' embeddings are not at hand".into());
        }
        let reviews = self.service.explain(&self.query.conversation, ranked.item, REASONS, run)?;
        let dataset = self.service.dataset();
        let mut lines = vec![format!("{}:", dataset.items.name(ranked.item as usize))];
        if reviews.is_empty() {
            lines.push("  no reviews of it; its own description speaks for it".into());
        }
        lines.extend(reviews.iter().map(|n| {
            format!("  [{:.2}] \"{}\"", n.similarity, excerpt(dataset.review_text(n.row as usize), EXCERPT_CHARS))
        }));
        Ok(lines.join("\n"))
    }

    fn leave_out(&mut self, what: &str) -> String {
        let items = self.service.items();
        let by_place = what.parse::<usize>().ok().and_then(|n| self.last.get(n.checked_sub(1)?)).map(|r| r.item);
        let found = by_place.or_else(|| self.service.titles().resolve_text(what));
        match found {
            Some(item) => {
                self.exclude.push(items.id(item as usize).to_string());
                format!("{} will not come back", items.name(item as usize))
            }
            None => format!("{what:?} is not in the catalogue"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BagOfWords, movies, service};
    use super::*;
    use crate::dataset::Review;
    use crate::embed::Embedder;

    #[test]
    fn lines_are_read_as_commands_or_speech() {
        assert_eq!(parse("  hello there "), Command::Say("hello there".into()));
        assert_eq!(parse("/why 2"), Command::Why(2));
        assert!(matches!(parse("/why 0"), Command::Unknown(_)));
        assert!(matches!(parse("/exclude"), Command::Unknown(_)));
        assert_eq!(parse("/exclude Heat (1995)"), Command::Exclude("Heat (1995)".into()));
        assert_eq!(parse("/quit"), Command::Quit);
        assert_eq!(parse("   "), Command::Nothing);
        assert!(matches!(parse("/frobnicate now"), Command::Unknown(_)));
    }

    #[test]
    fn a_chat_begun_with_masks_keeps_to_them() {
        let service = service(movies(), None);
        let run = Run::new(1).unwrap();
        let ids = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>();
        let mut chat = Chat::new(&service, 20).masked(ids(&["m3"]), ids(&["m1", "m3", "m5"]));
        for line in ["anything", "something else"] {
            let answer = chat.reply(line, &run).unwrap();
            assert_eq!(answer.ranked.iter().map(|r| r.item).collect::<Vec<_>>(), [5, 1]);
        }
    }

    #[test]
    fn excluded_and_shown_items_do_not_come_back_and_reviews_say_why() {
        let mut dataset = movies();
        let last = dataset.items.len() - 1;
        let id = dataset.items.id(last).to_string();
        for text in ["dull", "a fine voyage among the stars"] {
            dataset.add_review(&Review { item: id.clone(), text: text.into(), ..Review::default() }).unwrap();
        }
        let run = Run::new(1).unwrap();
        let rows = BagOfWords.embed(&["dull", "a fine voyage among the stars"], false, &run).unwrap();
        let service = service(dataset, Some(rows));
        let mut chat = Chat::new(&service, 2);
        assert!(chat.reply("/more", &run).unwrap().ranked.is_empty());
        let items = |reply: &ChatReply| reply.ranked.iter().map(|r| r.item as usize).collect::<Vec<_>>();
        let first = chat.reply("a voyage to the stars", &run).unwrap();
        assert_eq!(items(&first), [last, last - 1]);
        let why = chat.reply("/why 1", &run).unwrap().text;
        assert!(why.find("a fine voyage").unwrap() < why.find("dull").unwrap(), "{why}");
        assert!(chat.reply("/why 9", &run).unwrap().text.contains("2 items"));
        assert_eq!(items(&chat.reply("/more", &run).unwrap()), [last - 2, last - 3]);
        chat.reply("/exclude 1", &run).unwrap();
        chat.reply(&format!("/exclude {id}"), &run).unwrap();
        assert_eq!(items(&chat.reply("again", &run).unwrap()), [last - 1, last - 3]);
        assert_eq!(chat.conversation().turns.len(), 2);
        chat.reply("/new", &run).unwrap();
        assert!(chat.conversation().turns.is_empty());
        assert!(chat.reply("/quit", &run).unwrap().done);
    }
}
