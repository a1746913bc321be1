//! How long a query may be: a student reads a bounded number of tokens (`tune.max_tokens`), and needs most of them for the
//! answer. The students are not there yet when queries are made, so their tokens are estimated.

use super::queries::is_query;

/// Words before a colon at the beginning of a line that make a query a conversation.
const SPEAKERS: [&str; 9] =
    ["user", "seeker", "human", "customer", "system", "assistant", "recommender", "bot", "agent"];

/// Tokens of a text, by estimate: of ASCII three characters a token (tokenizers of large vocabularies need four), of other
/// alphabets two, of all other scripts one.
pub(super) fn tokens_of(text: &str) -> usize {
    let sixths = |c: char| match c {
        '\0'..='\x7f' => 2,
        '\u{80}'..='\u{7ff}' => 3,
        _ => 6,
    };
    text.chars().map(sixths).sum::<usize>().div_ceil(6)
}

/// The longest beginning of `query` that is a query, ends with a sentence and has at most `tokens` tokens; none: its first
/// sentence is too long, or it is a conversation, whose beginning asks for nothing yet.
pub(super) fn shorten(query: &str, tokens: usize) -> Option<&str> {
    let speaks = |line: &&str| {
        line.split_once(':').is_some_and(|(who, _)| SPEAKERS.contains(&who.trim().to_lowercase().as_str()))
    };
    if query.lines().filter(speaks).count() > 1 {
        return None;
    }
    let mut best = None;
    let mut chars = query.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '。' | '！' | '？' | '\n' => true,
            '.' | '!' | '?' | '…' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if ends {
            let head = query[..at + c.len_utf8()].trim();
            if tokens_of(head) > tokens {
                break;
            }
            best = Some(head).filter(|head| is_query(head)).or(best);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_estimated_by_script() {
        assert_eq!(tokens_of(""), 0);
        assert_eq!(tokens_of("abcdef"), 2);
        assert_eq!(tokens_of("комедия!"), 4);
        assert_eq!(tokens_of("面白い映画"), 5);
    }

    #[test]
    fn a_query_is_shortened_at_the_end_of_a_sentence_or_not_at_all() {
        let query = "I want a comedy. It cost 1.5 dollars to rent! And now, what else is there for me to see tonight?";
        assert_eq!(shorten(query, 1000), Some(query));
        assert_eq!(shorten(query, 20), Some("I want a comedy. It cost 1.5 dollars to rent!"));
        assert_eq!(shorten(query, 14), Some("I want a comedy."));
        assert_eq!(shorten(query, 5), None);
        assert_eq!(shorten("面白い映画が見たい。静かなものも好きです。", 10), Some("面白い映画が見たい。"));
        assert_eq!(shorten(&"word ".repeat(300), 100), None);
        assert_eq!(shorten("User: Hi!\nSystem: Hello.\nUser: Something sad, please.", 12), None);
    }
}
