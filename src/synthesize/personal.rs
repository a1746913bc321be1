//! Personal data in reviews: masked before a text is sent to a teacher that is not on this machine. What looks like it is
//! taken for it: a number too many is a smaller loss than one too few.

use regex::{Captures, Regex};
use std::borrow::Cow;
use std::sync::LazyLock;

/// How many of each kind were masked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct PersonalData {
    /// E-mail addresses.
    pub emails: u64,
    /// Addresses of pages.
    pub links: u64,
    /// Names with an @ before them.
    pub handles: u64,
    /// Telephone numbers.
    pub phones: u64,
    /// Numbers of payment cards: 13 to 19 digits with a right check digit.
    pub cards: u64,
    /// Numbers of accounts, orders and persons: IBANs, and nine digits or more.
    pub accounts: u64,
}

impl PersonalData {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.emails + self.links + self.handles + self.phones + self.cards + self.accounts
    }
    /// Adds those of another text.
    pub(super) fn add(&mut self, other: PersonalData) {
        self.emails += other.emails;
        self.links += other.links;
        self.handles += other.handles;
        self.phones += other.phones;
        self.cards += other.cards;
        self.accounts += other.accounts;
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of the source")
}

static LINK: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"\b(?:[a-zA-Z][a-zA-Z0-9+.-]*://|[wW]{3}\.)[^\s<>"')\]]+|\b[\w-]+(?:\.[\w-]+)*\.[a-zA-Z]{2,}/[^\s<>"')\]]+"#,
    )
});
static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"[\w.%+'-]*\w(?:@|\s?[\[(]\s?[aA][tT]\s?[\])]\s?)[\w-]+(?:(?:\.|\s?[\[(]\s?[dD][oO][tT]\s?[\])]\s?)[\w-]+)+\b",
    )
});
static HANDLE: LazyLock<Regex> = LazyLock::new(|| regex(r"(^|[^\w@.])@\w[\w.]{1,29}"));
static IBAN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b"));
static CARD: LazyLock<Regex> = LazyLock::new(|| regex(r"\b[0-9](?:[ -]?[0-9]){12,18}\b"));
/// Of an order (three, seven and seven digits), of a person (three, two and four).
static PARTS: LazyLock<Regex> = LazyLock::new(|| regex(r"\b[0-9]{3}-(?:[0-9]{7}-[0-9]{7}|[0-9]{2}-[0-9]{4})\b"));
/// With a +; in parts of three, three and four; with a 0 in front.
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"\+[0-9](?:[\s().-]{0,2}[0-9]){6,14}\b|(?:\b1[\s.-]?)?(?:\([0-9]{3}\)\s?|\b[0-9]{3}[\s.-])[0-9]{3}[\s.-][0-9]{4}\b|\b0[0-9](?:[\s()/.-]{0,3}[0-9]){6,11}\b",
    )
});
static LONG: LazyLock<Regex> = LazyLock::new(|| regex(r"\b[0-9]{9,}\b"));

/// Whether the last digit checks the others (Luhn).
fn is_card(digits: &str) -> bool {
    let sum = digits.bytes().filter(u8::is_ascii_digit).rev().enumerate().fold(0u32, |sum, (i, b)| {
        let digit = u32::from(b - b'0');
        sum + if i % 2 == 0 { digit } else { digit * 2 - if digit > 4 { 9 } else { 0 } }
    });
    sum % 10 == 0
}

/// Whether the check digits are those of the rest (ISO 13616: 1 modulo 97).
fn is_iban(text: &str) -> bool {
    let plain: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let value = |b: &u8| u32::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 });
    let rest = plain[4..].iter().chain(&plain[..4]).map(value);
    rest.fold(0, |rest, v| (rest * if v > 9 { 100 } else { 10 } + v) % 97) == 1
}

/// The text with what looks like personal data in brackets instead: `[email]`, `[link]`, `[handle]`, `[phone]`, `[card]`,
/// `[account]`; and how much there was.
pub(super) fn mask_personal(text: &str) -> (Cow<'_, str>, PersonalData) {
    let mut found = PersonalData::default();
    let mut masked = Cow::Borrowed(text);
    let mut replace = |pattern: &Regex, count: &mut u64, with: &str, is: &dyn Fn(&str) -> bool| {
        let next = pattern.replace_all(&masked, |hit: &Captures<'_>| {
            if !is(&hit[0]) {
                return hit[0].to_string();
            }
            *count += 1;
            // What stands before a name.
            format!("{}{with}", hit.get(1).map_or("", |before| before.as_str()))
        });
        if let Cow::Owned(next) = next {
            masked = Cow::Owned(next);
        }
    };
    let any = |_: &str| true;
    replace(&LINK, &mut found.links, "[link]", &any);
    replace(&EMAIL, &mut found.emails, "[email]", &any);
    replace(&HANDLE, &mut found.handles, "[handle]", &any);
    replace(&IBAN, &mut found.accounts, "[account]", &is_iban);
    replace(&CARD, &mut found.cards, "[card]", &is_card);
    replace(&PARTS, &mut found.accounts, "[account]", &any);
    replace(&PHONE, &mut found.phones, "[phone]", &any);
    replace(&LONG, &mut found.accounts, "[account]", &any);
    (masked, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_identifies_a_person_is_masked_and_counted() {
        for (text, expected) in [
            ("write to jane.o'doe+films@mail.example.co.uk, please", "write to [email], please"),
            ("jane (at) example (dot) com", "[email]"),
            ("see https://example.com/me?id=7 and www.example.org.", "see [link] and [link]"),
            ("my list: example.com/u/jane", "my list: [link]"),
            ("thanks @jane_doe and @bob!", "thanks [handle] and [handle]!"),
            ("call +44 20 7946 0958 or (212) 555-0123 or 212-555-0199", "call [phone] or [phone] or [phone]"),
            ("ring 030 / 901820 today", "ring [phone] today"),
            // The test numbers that card schemes publish.
            ("paid with 4111 1111 1111 1111, then 378282246310005", "paid with [card], then [card]"),
            // The example of the standard's registry.
            ("to GB82 WEST 1234 5698 7654 32", "to [account]"),
            (
                "order 112-1234567-1234567, ssn 078-05-1120, account 123456789",
                "order [account], ssn [account], account [account]",
            ),
        ] {
            let (masked, found) = mask_personal(text);
            // A full stop at the end of an address goes with it.
            assert_eq!(masked.trim_end_matches('.'), expected, "{text}");
            assert_eq!(found.total() as usize, expected.matches('[').count(), "{text}");
        }
    }

    #[test]
    fn numbers_and_words_of_a_review_stay() {
        for text in [
            "10/10, a film of 1999-2004, 1080p, $1,299.00, 12 345 copies",
            "S01E02 at 8.30, room 101, 90210, 4.5 stars, 2,303 films",
            "I'll be @ home; it cost 20€ @ the shop",
            "size 10-12, 3.5 x 5.25, model XJ-900 (2021), amazon.com had it",
            "GB82 WEST 1234 5698 7654 33 is no account",
        ] {
            let (masked, found) = mask_personal(text);
            assert_eq!((masked.as_ref(), found.total()), (text, 0));
            assert!(matches!(masked, Cow::Borrowed(_)) || masked == text);
        }
    }

    #[test]
    fn check_digits_are_those_of_the_standards() {
        assert!(is_card("4111111111111111") && !is_card("4111111111111112"));
        assert!(is_iban("DE89370400440532013000") && !is_iban("DE88370400440532013000"));
    }
}
