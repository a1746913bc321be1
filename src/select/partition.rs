//! A selection that several machines share, in two rounds (GreeDi, Mirzasoleiman et al. 2013; random parts: Barbosa et al.
//! 2015): every part selects from its own rows, the picks of all parts are laid together, and from those the selection is
//! made. Three calls: [`select_part`] on each machine, [`merge`], [`finalise`].
//!
//! Rows are dealt to the parts by a hash, as good as at random: then Fisher is in expectation within (1 - 1/e) / 2 of the
//! best. What it is in fact is said by the certificate, which [`finalise`] takes over all rows.

use super::field::Named;
use super::fisher::Fisher;
use super::greedy::Greedy;
use super::{Kind, Method, Pick, Selected, Selection, Terms, checkpoint, kmeans};
use crate::artifact;
use crate::config::SelectConfig;
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows, squares};
use crate::run::Run;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The part of row `row` among `parts`, from 0: the same on every machine.
pub fn part_of(row: u64, parts: u64) -> u64 {
    // splitmix64: neighbours go different ways.
    let mut z = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % parts.max(1)
}

/// What one part picked, as a JSON file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Format number.
    pub format: u64,
    /// Version that made it.
    pub made_by: String,
    /// Which part, from 0.
    pub part: u64,
    /// Of how many.
    pub parts: u64,
    /// Rows, settings and terms that all parts must share.
    pub fingerprint: String,
    /// Its picks, by rows of the whole.
    pub picks: Vec<Pick>,
}

/// The picks of all parts laid together, as a JSON file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// Format number.
    pub format: u64,
    /// Version that made it.
    pub made_by: String,
    /// Rows, settings and terms that the parts shared.
    pub fingerprint: String,
    /// How many parts there were.
    pub parts: u64,
    /// Rows that any part picked, in rising order.
    pub rows: Vec<u32>,
    /// The picks of the part whose objective was greatest.
    pub best: Vec<Pick>,
}

fn save<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    artifact::write_atomic(path, |out| serde_json::to_writer(out, value).map_err(|e| Error::io(path, e.into())))
}

fn load<T: for<'a> Deserialize<'a>>(path: &Path, what: &str) -> Result<T> {
    serde_json::from_str(&artifact::read_text(path)?).map_err(|e| Error::format(path, 0, format!("not {what}: {e}")))
}

impl Part {
    /// Writes the part, all or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self)
    }
    /// Reads what [`Part::save`] wrote.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`].
    pub fn load(path: &Path) -> Result<Part> {
        load(path, "the picks of one part (`causerie select --partition`)")
    }
}

impl Merged {
    /// Writes the rows, all or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self)
    }
    /// Reads what [`Merged::save`] wrote.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`].
    pub fn load(path: &Path) -> Result<Merged> {
        load(path, "the merged picks of several parts (`causerie select --merge`)")
    }
}

/// Some rows of others, as rows of their own: nothing is copied.
struct Subset<'a> {
    x: &'a dyn Rows,
    rows: &'a [u32],
}

impl Rows for Subset<'_> {
    fn count(&self) -> usize {
        self.rows.len()
    }
    fn width(&self) -> usize {
        self.x.width()
    }
    fn row_bytes(&self) -> usize {
        self.x.row_bytes()
    }
    fn direct(&self, first: usize, rows: usize) -> Option<&[f32]> {
        // Neighbours here are strangers there.
        if rows == 1 { self.x.direct(*self.rows.get(first)? as usize, 1) } else { None }
    }
    fn touch(&self, i: usize) -> u32 {
        self.x.touch(self.rows[i] as usize)
    }
    fn decode(&self, first: usize, out: &mut [f32]) {
        let width = self.width();
        self.rows[first..].iter().zip(out.chunks_exact_mut(width)).for_each(|(&row, out)| {
            self.x.decode(row as usize, out);
        });
    }
}

/// Selects from the rows `rows` (rising) of `x` alone, as if there were no others; picks are rows of `x`.
fn select_among(
    rows: &[u32],
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<Selected> {
    let total = x.count() as u64;
    // Numbers of rows are those of the whole: they are resolved before there are rows of a part.
    let named = Named::of(terms, config, terms.already)?;
    let terms = &named.put(terms);
    let config = &SelectConfig { force: Vec::new(), exclude: Vec::new(), ..config.clone() };
    if let Some(wrong) = terms.forced.iter().chain(terms.excluded).chain(terms.already).find(|row| **row >= total) {
        return Err(Error::invalid(format!("select: row {wrong} is named, but there are {total} rows")));
    }
    let place = |row: u64| rows.binary_search(&(row as u32)).ok().map(|at| at as u64);
    let among = |given: &[u64]| given.iter().filter_map(|&row| place(row)).collect::<Vec<u64>>();
    if among(terms.already).len() < terms.already.len() {
        return Err(Error::invalid("select: earlier picks cannot be folded into one part; they are rows of all parts"));
    }
    let columns = |column: Option<&[u32]>| -> Result<Option<Vec<u32>>> {
        let get =
            |column: &[u32]| rows.iter().map(|&row| column.get(row as usize).copied()).collect::<Option<Vec<u32>>>();
        match column {
            None => Ok(None),
            Some(column) => {
                let short = || Error::invalid(format!("select: a column of {} values for {total} rows", column.len()));
                get(column).map(Some).ok_or_else(short)
            }
        }
    };
    let (items, users) = (columns(terms.items)?, columns(terms.users)?);
    let candidates: Option<Vec<u32>> =
        terms.candidates.map(|c| c.iter().filter_map(|&row| place(u64::from(row))).map(|row| row as u32).collect());
    let gathered = features.map(|f| f.gather(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>()));
    // K-means sees all rows, so that every part has the same clusters.
    let fitted = match Method::of(&config.strategy)?.kind {
        Kind::Js if terms.centers.is_none() => Some(kmeans::kmeans(x, &kmeans::Options::of(config), run)?.centers),
        Kind::Js | Kind::Fisher | Kind::Random => None,
    };
    let terms = Terms {
        centers: terms.centers.or(fitted.as_ref()),
        candidates: candidates.as_deref(),
        excluded: &among(terms.excluded),
        forced: &among(terms.forced),
        already: &among(terms.already),
        items: items.as_deref(),
        users: users.as_deref(),
    };
    let mut selected = super::select_with(&Subset { x, rows }, gathered.as_ref(), &terms, config, run)?;
    for pick in &mut selected.selection.picks {
        pick.row = u64::from(rows[pick.row as usize]);
    }
    Ok(selected)
}

/// The first call: part `part` of `parts` selects `config.budget` of its own rows.
///
/// Rows forced in are picked by the part that holds them. Aware JS strategies need `terms.centers`.
///
/// # Errors
/// Those of [`super::select_with`]; [`crate::ErrorKind::Invalid`] for a part that is not there or holds no rows.
pub fn select_part(
    (part, parts): (u64, u64),
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<Part> {
    if part >= parts {
        return Err(Error::invalid(format!("select: part {part} of {parts}; parts count from 0")));
    }
    super::check(x, config)?;
    let aware_js = config.strategy == "metadata_js" || config.strategy == "user_js";
    if aware_js && terms.centers.is_none() {
        let why = "needs --centers in partitions: K-means of one part would not be that of another";
        return Err(Error::invalid(format!("select: strategy {} {why}", config.strategy)));
    }
    let rows: Vec<u32> = (0..x.count() as u32).filter(|&row| part_of(u64::from(row), parts) == part).collect();
    if rows.is_empty() {
        return Err(Error::invalid(format!("select: part {part} of {parts} holds none of {} rows", x.count())));
    }
    let selected = select_among(&rows, x, features, terms, config, run)?;
    Ok(Part {
        format: artifact::FORMAT,
        made_by: artifact::made_by(),
        part,
        parts,
        fingerprint: checkpoint::fingerprint(x, features, terms, config),
        picks: selected.selection.picks,
    })
}

/// The second call: lays the picks of all parts together.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for parts of different selections, a part that is missing or there twice.
pub fn merge(parts: &[Part]) -> Result<Merged> {
    let first = parts.first().ok_or_else(|| Error::invalid("select: no parts to merge"))?;
    let mut there = vec![false; usize::try_from(first.parts).unwrap_or(0).min(1 << 20)];
    for part in parts {
        if (part.parts, &part.fingerprint) != (first.parts, &first.fingerprint) {
            return Err(Error::invalid(format!(
                "select: part {} of {} and part {} of {} are of different selections (rows, settings or terms)",
                first.part, first.parts, part.part, part.parts
            )));
        }
        match there.get_mut(part.part as usize) {
            Some(seen @ false) => *seen = true,
            Some(true) => return Err(Error::invalid(format!("select: part {} is there twice", part.part))),
            None => return Err(Error::invalid(format!("select: part {} of {}", part.part, part.parts))),
        }
    }
    if let Some(missing) = there.iter().position(|there| !there) {
        return Err(Error::invalid(format!("select: part {missing} of {} is missing", first.parts)));
    }
    let mut rows: Vec<u32> = parts.iter().flat_map(|p| p.picks.iter().map(|pick| pick.row as u32)).collect();
    rows.sort_unstable();
    rows.dedup();
    let objective = |part: &&Part| part.picks.iter().map(|p| p.gain).sum::<f64>();
    // The first of equals.
    let best = parts.iter().reduce(|a, b| if objective(&b) > objective(&a) { b } else { a });
    Ok(Merged {
        format: artifact::FORMAT,
        made_by: artifact::made_by(),
        fingerprint: first.fingerprint.clone(),
        parts: first.parts,
        rows,
        best: best.map(|p| p.picks.clone()).unwrap_or_default(),
    })
}

/// The third call: selects from the merged rows; the better of that and of the best single part. Fisher's certificate is
/// about all rows of `x`: one pass over them.
///
/// # Errors
/// Those of [`super::select_with`]; [`crate::ErrorKind::Invalid`] for merged rows of another selection.
pub fn finalise(
    merged: &Merged,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<Selected> {
    super::check(x, config)?;
    if merged.fingerprint != checkpoint::fingerprint(x, features, terms, config) {
        return Err(Error::invalid(
            "select: the merged picks are of another selection (other rows, settings or terms)",
        ));
    }
    if let Some(wrong) = merged.rows.iter().find(|row| **row as usize >= x.count()) {
        return Err(Error::invalid(format!("select: merged row {wrong}, but there are {} rows", x.count())));
    }
    let named = Named::of(terms, config, terms.already)?;
    let terms = &named.put(terms);
    let config = &SelectConfig { force: Vec::new(), exclude: Vec::new(), ..config.clone() };
    let mut selected = select_among(&merged.rows, x, features, terms, config, run)?;
    selected.report.rows = x.count();
    // H of the merged rows says nothing of all rows.
    selected.report.entropy = None;
    let sum = |picks: &[Pick]| picks.iter().map(|p| p.gain).sum::<f64>();
    // A part need not hold the rows that are forced in.
    let complete = terms.forced.is_empty() && merged.best.len() == selected.selection.picks.len();
    if matches!(Method::of(&config.strategy)?.kind, Kind::Fisher) {
        if complete && sum(&merged.best) > sum(&selected.selection.picks) {
            selected.selection = Selection { picks: merged.best.clone() };
        }
        selected.report.finish(&selected.selection.picks);
        certify(&mut selected, x, features, terms, config, run)?;
    }
    Ok(selected)
}

/// Brings the certificate of Fisher picks to hold over all rows of `x`, however they were found.
fn certify(
    selected: &mut Selected,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<()> {
    let lengths = squares(x, "select: embeddings", run)?;
    let blocks = match features.filter(|_| Method::of(&config.strategy).is_ok_and(|m| m.aware)) {
        Some(features) => Some(run.install(|| super::aware::Blocks::new(x, &lengths, features, config.weight))?),
        None => None,
    };
    let (x, lengths) = match &blocks {
        Some(blocks) => (blocks as &dyn Rows, squares(blocks, "select: embeddings and features", run)?),
        None => (x, lengths),
    };
    let mut field = super::field::Field::new(x.count(), terms, config)?;
    let mut engine = Fisher::new(x, lengths, run)?;
    for pick in &selected.selection.picks {
        engine.fold(pick.row as usize, run)?;
        field.take(pick.row as usize);
    }
    engine.settle(run)?;
    selected.report.certify(&engine.bounds_on_all(&selected.selection.picks, &field, run));
    Ok(())
}
