//! One title of a list.

/// A title as an answer lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ParsedTitle {
    /// The title without number, bullet, quotes, markdown, year and description; never empty.
    pub title: String,
    /// The year, when the answer gives one in 1870..=2100.
    pub year: Option<u16>,
}
