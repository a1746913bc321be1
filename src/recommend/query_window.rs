//! How a conversation becomes the text that is embedded.

use crate::config::RecommendConfig;
pub use crate::config::Speakers;
use crate::dataset::{Conversation, Role};

/// How a conversation is cut to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryWindow {
    /// Whose words count.
    pub speakers: Speakers,
    /// The latest so many turns of those speakers; 0: all.
    pub turns: usize,
    /// At most so many characters, the latest ones; 0: all.
    pub chars: usize,
}

impl QueryWindow {
    /// From `recommend.context`, `.context_turns`, `.context_chars`.
    pub fn from_config(config: &RecommendConfig) -> QueryWindow {
        QueryWindow { speakers: config.context, turns: config.context_turns, chars: config.context_chars }
    }
    /// Whether it leaves out some of what its speakers say in `conversation`.
    pub fn cuts(self, conversation: &Conversation) -> bool {
        let spoken = self.spoken(conversation);
        // A line break between two turns is a character of the text.
        let chars = || spoken.iter().map(|turn| turn.chars().count() + 1).sum::<usize>().saturating_sub(1);
        (self.turns > 0 && spoken.len() > self.turns) || (self.chars > 0 && chars() > self.chars)
    }
    /// What is read of a conversation that it cuts: `the user's latest 4 turns`.
    pub fn in_words(self) -> String {
        let whose = match self.speakers {
            Speakers::User => "the user's",
            Speakers::All => "everybody's",
        };
        match (self.turns, self.chars) {
            (0, chars) => format!("{whose} latest {chars} characters"),
            (turns, 0) => format!("{whose} latest {turns} turns"),
            (turns, chars) => format!("{whose} latest {turns} turns, at most {chars} characters,"),
        }
    }
    /// The turns that count, oldest first. Where the chosen speaker said nothing, all speak.
    fn spoken(self, conversation: &Conversation) -> Vec<&str> {
        let counts = |role: Role| match (self.speakers, role) {
            (Speakers::All, _) | (Speakers::User, Role::User) => true,
            (Speakers::User, Role::Assistant) => false,
        };
        let of = |everyone: bool| -> Vec<&str> {
            let turns = conversation.turns.iter().filter(|t| everyone || counts(t.role));
            turns.map(|t| t.text.trim()).filter(|t| !t.is_empty()).collect()
        };
        let own = of(false);
        if own.is_empty() { of(true) } else { own }
    }
}

/// The turns that count, oldest first, one per line without speaker labels; cut from the oldest word on, so that an embedder
/// that reads only the beginning of a text still reads the latest request. Where the chosen speaker said nothing, all speak.
pub fn query_text(conversation: &Conversation, window: QueryWindow) -> String {
    let mut turns = window.spoken(conversation);
    if window.turns > 0 {
        turns.drain(..turns.len().saturating_sub(window.turns));
    }
    let text = turns.join("\n");
    let length = text.chars().count();
    if window.chars == 0 || length <= window.chars {
        return text;
    }
    let tail: String = text.chars().skip(length - window.chars).collect();
    // The first word is most likely half a word.
    match tail.split_once(char::is_whitespace) {
        Some((_, rest)) if !rest.trim().is_empty() => rest.trim_start().to_string(),
        Some(_) | None => tail,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::conversation;
    use super::*;

    #[test]
    fn the_latest_words_of_the_user_are_kept() {
        let talk = conversation(&["I like space", "Have you seen Alien?", " Yes, loved it "]);
        let context = |speakers, turns, chars| query_text(&talk, QueryWindow { speakers, turns, chars });
        assert_eq!(context(Speakers::User, 0, 0), "I like space\nYes, loved it");
        assert_eq!(context(Speakers::User, 1, 0), "Yes, loved it");
        assert_eq!(context(Speakers::All, 0, 0), "I like space\nHave you seen Alien?\nYes, loved it");
        assert_eq!(context(Speakers::All, 0, 9), "loved it");
        assert_eq!(context(Speakers::All, 0, 4), "d it".split_once(' ').unwrap().1);
    }

    #[test]
    fn a_window_cuts_where_the_text_that_is_read_is_not_all_that_was_said() {
        let talk = conversation(&["one two", "between", " three ", "", "four"]);
        for (turns, chars) in [(0, 0), (1, 0), (2, 0), (3, 0), (0, 17), (0, 18), (0, 19), (3, 18), (2, 18), (3, 5)] {
            for speakers in [Speakers::User, Speakers::All] {
                let (window, whole) =
                    (QueryWindow { speakers, turns, chars }, QueryWindow { speakers, turns: 0, chars: 0 });
                let cut = query_text(&talk, window) != query_text(&talk, whole);
                assert_eq!(window.cuts(&talk), cut, "{window:?}");
            }
        }
    }

    #[test]
    fn when_the_user_said_nothing_the_others_words_are_used() {
        let mut talk = conversation(&["", "Hello, do you like horror?"]);
        let context = QueryWindow { speakers: Speakers::User, turns: 0, chars: 0 };
        assert_eq!(query_text(&talk, context), "Hello, do you like horror?");
        talk.turns.clear();
        assert_eq!(query_text(&talk, context), "");
    }
}
