//! What several formats read alike: the object of a line, ratings, votes.

use super::super::lines::Parsed;
use super::super::loose::{Loose, is_missing};
use crate::json;

/// The JSON object in `line`; `spare` holds it where it had to be mended.
pub(super) fn json<'a, T: serde::Deserialize<'a>>(line: &'a str, spare: &'a mut String) -> Parsed<T> {
    if !line.trim_start().starts_with('{') {
        return Err("not a JSON object".into());
    }
    json::parse(line, spare).map_err(|cause| format!("bad JSON: {cause}"))
}

/// A rating times `scale` as 1 to 10. Absent and 0 (Amazon's and others' "not rated") are none; what is no number, or out
/// of the scale, makes the line a bad one.
pub(super) fn rating10(value: &Loose<'_>, scale: f64) -> Parsed<Option<f32>> {
    let number = match value {
        Loose::Null => return Ok(None),
        Loose::Text(text) if is_missing(text) => return Ok(None),
        Loose::Float(v) if v.is_nan() => return Ok(None),
        Loose::Text(text) => text.trim().parse::<f64>().ok().filter(|v| v.is_finite()),
        Loose::Integer(_) | Loose::Float(_) => value.number(),
        Loose::Bool(_) | Loose::List(_) | Loose::Map(_) => None,
    };
    match number.map(|v| v * scale) {
        None => Err("the rating is not a number".into()),
        Some(0.0) => Ok(None),
        Some(v) if v > 0.0 && v <= 10.0 => Ok(Some(v.max(1.0) as f32)),
        Some(v) => Err(format!("a rating of {} on a scale to {}", v / scale, 10.0 / scale)),
    }
}

/// The texts without repetitions and without empty ones, in their order.
pub(super) fn distinct(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in texts {
        if !text.is_empty() && !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// Helpful votes: a number, a text (`1,204`), or the pair [helpful, all].
pub(super) fn helpful(value: &Loose<'_>) -> u32 {
    let value = match value {
        Loose::List(list) => list.first().unwrap_or(&Loose::Null),
        Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::Text(_) | Loose::Map(_) => value,
    };
    // `as` saturates: a negative number of votes is none.
    value.number().map_or(0, |votes| votes as u32)
}
