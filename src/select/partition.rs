//! A selection that several machines share, in two rounds (GreeDi, Mirzasoleiman et al. 2013; random parts: Barbosa et al.
//! 2015): every part selects from its own rows, the picks of all parts are laid together, and from those the selection is
//! made. Three calls: [`select_part`] on each machine, [`merge`], [`finalise`].
//!
//! Rows are dealt to the parts by a hash, as good as at random: then Fisher is in expectation within (1 - 1/e) / 2 of the
//! best. What it is in fact is said by the certificate, which [`finalise`] takes over all rows.

use super::cost::Meter;
use super::field::NamedRows;
use super::field::Terms;
use super::fisher::Fisher;
use super::greedy::Greedy;
use super::inputs::{Kind, blocks, check};
use super::picks::{Order, Pick, Selection};
use super::report::Parts;
use super::stage::SelectionResult;
use super::{given_centers as centers, keeper, kmeans, memory};
use crate::artifact;
use crate::config::{CompareWhole, SelectConfig};
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows, squares};
use crate::run::{Level, Run, log};
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
    /// JS on centres that were given: what they hold ([`centers::hash`]), which all parts must share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centers: Option<String>,
    /// Picks that it was asked for; 0: an older file, which does not say.
    #[serde(default)]
    pub budget: usize,
    /// Its picks, by rows of the whole.
    pub picks: Vec<Pick>,
}

/// The picks of all parts laid together, as a JSON file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergedPicks {
    /// Format number.
    pub format: u64,
    /// Version that made it.
    pub made_by: String,
    /// Rows, settings and terms that the parts shared.
    pub fingerprint: String,
    /// JS on centres that were given: what they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centers: Option<String>,
    /// Picks that each part was asked for, the least of all; 0: not known.
    #[serde(default)]
    pub budget: usize,
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

/// Reads a file of `what`; `parts` gives its format number, the version that made it, and its picks.
fn load<T: for<'a> Deserialize<'a>>(path: &Path, what: &str, parts: impl Fn(&T) -> (u64, &str, &[Pick])) -> Result<T> {
    let read: T = serde_json::from_str(&artifact::read_text(path)?)
        .map_err(|e| Error::format(path, 0, format!("not {what}: {e}")))?;
    let (format, made_by, picks) = parts(&read);
    if format > artifact::FORMAT {
        let cause = format!("format {format}, made by {made_by}; this is {}", artifact::made_by());
        return Err(Error::format(path, 0, cause));
    }
    Order::of(picks).map_err(|cause| Error::format(path, 0, cause))?;
    Ok(read)
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
        let what = "the picks of one part (`causerie select --partition`)";
        load(path, what, |p: &Part| (p.format, &p.made_by, &p.picks))
    }
}

impl MergedPicks {
    /// Writes the rows, all or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self)
    }
    /// Reads what [`MergedPicks::save`] wrote.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`].
    pub fn load(path: &Path) -> Result<MergedPicks> {
        let what = "the merged picks of several parts (`causerie select --merge`)";
        let merged = load(path, what, |m: &MergedPicks| (m.format, &m.made_by, &m.best))?;
        if merged.rows.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::format(path, 0, "its rows do not rise; the file was edited"));
        }
        Ok(merged)
    }
}

/// Parts that can be merged.
const MOST_PARTS: u64 = 1 << 20;

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
    fn name(&self, i: usize) -> u64 {
        u64::from(self.rows[i])
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
) -> Result<SelectionResult> {
    let total = x.count() as u64;
    // Numbers of rows are those of the whole: they are resolved before there are rows of a part.
    let named = NamedRows::of(terms, config, terms.already)?;
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
                let other =
                    || Error::invalid(format!("select: items or users of {} rows for {total} rows", column.len()));
                if column.len() as u64 == total { get(column).map(Some).ok_or_else(other) } else { Err(other()) }
            }
        }
    };
    let (items, users) = (columns(terms.items)?, columns(terms.users)?);
    let candidates: Option<Vec<u32>> =
        terms.candidates.map(|c| c.iter().filter_map(|&row| place(u64::from(row))).map(|row| row as u32).collect());
    let features = features.filter(|_| config.strategy.is_aware());
    if let Some(features) = features.filter(|f| f.rows() as u64 != total) {
        return Err(Error::invalid(format!("select: {} rows of features for {total} rows", features.rows())));
    }
    let gathered = features.map(|f| f.gather(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>()));
    // K-means sees all rows, so that every part has the same clusters.
    let fitted = match Kind::of(config.strategy) {
        Kind::Js if terms.centers.is_none() => {
            memory::of_kmeans(x, features, config)?.allow(config)?;
            // A bad row would make bad centres, and these would be named in its stead.
            squares(x, "select: embeddings", run)?;
            Some(kmeans::kmeans(x, &kmeans::Options::of(config), run)?.centers)
        }
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
/// Rows forced in are picked by the part that holds them. Aware JS strategies need centres: `terms.centers` or
/// `select.centers`. A part that holds fewer rows than the budget gives all of them, one that holds none gives none.
///
/// # Errors
/// Those of [`super::select_with`]; [`crate::ErrorKind::Invalid`] for a part that is not there.
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
    check(x, config)?;
    let centers = centers::given(x, features, terms, config)?;
    let terms = &Terms { centers: centers.as_deref(), ..*terms };
    let aware_js = config.strategy.is_aware() && config.strategy.has_clusters();
    if aware_js && terms.centers.is_none() {
        return Err(Error::invalid(format!(
            "select: strategy {} needs select.centers in partitions: K-means of one part would not be that of another; \
             `causerie select --fit-centers` makes them once for all",
            config.strategy
        )));
    }
    let rows: Vec<u32> = (0..x.count() as u32).filter(|&row| part_of(u64::from(row), parts) == part).collect();
    let picks = match rows.len() {
        0 => Vec::new(),
        held => {
            // All rows of a small part are no reason to warn.
            let config = SelectConfig { budget: config.budget.min(held), ..config.clone() };
            select_among(&rows, x, features, terms, &config, run)?.selection.picks
        }
    };
    Ok(Part {
        format: artifact::FORMAT,
        made_by: artifact::made_by(),
        part,
        parts,
        fingerprint: keeper::fingerprint(x, features, terms, config)?,
        centers: terms.centers.map(centers::hash),
        budget: config.budget,
        picks,
    })
}

/// `centres 1f0a…` or `K-means of its own`, for what a part or a merge says of its centres.
fn whose(centers: Option<&String>) -> String {
    centers.map_or("no centres given".to_string(), |hash| format!("the centres {}", hash.get(..8).unwrap_or(hash)))
}

/// The second call: lays the picks of all parts together.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for parts of different selections or on different centres, a part that is missing or there
/// twice, picks that are not its own.
pub fn merge(parts: &[Part]) -> Result<MergedPicks> {
    let first = parts.first().ok_or_else(|| Error::invalid("select: no parts to merge"))?;
    if first.parts == 0 || first.parts > MOST_PARTS {
        return Err(Error::invalid(format!("select: {} parts; 1 to {MOST_PARTS} can be merged", first.parts)));
    }
    let mut there = vec![false; first.parts as usize];
    for part in parts {
        if part.centers != first.centers {
            return Err(Error::invalid(format!(
                "select: part {} was selected with {}, part {} with {}: give every part the same select.centers",
                first.part,
                whose(first.centers.as_ref()),
                part.part,
                whose(part.centers.as_ref())
            )));
        }
        if (part.parts, &part.fingerprint) != (first.parts, &first.fingerprint) {
            return Err(Error::invalid(format!(
                "select: part {} of {} and part {} of {} are of different selections (rows, settings or terms)",
                first.part, first.parts, part.part, part.parts
            )));
        }
        match usize::try_from(part.part).ok().and_then(|at| there.get_mut(at)) {
            Some(seen @ false) => *seen = true,
            Some(true) => return Err(Error::invalid(format!("select: part {} is there twice", part.part))),
            None => {
                return Err(Error::invalid(format!("select: part {} of {}; they count from 0", part.part, part.parts)));
            }
        }
        let own = |pick: &&Pick| pick.row > u64::from(u32::MAX) || part_of(pick.row, part.parts) != part.part;
        if let Some(pick) = part.picks.iter().find(own) {
            return Err(Error::invalid(format!(
                "select: row {} among the picks of part {} of {} is not dealt to it; the file was edited",
                pick.row, part.part, part.parts
            )));
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
    Ok(MergedPicks {
        format: artifact::FORMAT,
        made_by: artifact::made_by(),
        fingerprint: first.fingerprint.clone(),
        centers: first.centers.clone(),
        budget: parts.iter().map(|p| p.budget).min().unwrap_or(0),
        parts: first.parts,
        rows,
        best: best.map(|p| p.picks.clone()).unwrap_or_default(),
    })
}

/// The third call: selects from the merged rows; the better of that and of the best single part. Fisher's certificate is
/// about all rows of `x`: one pass over them. By `select.compare_whole` the selection is then made from all rows as well, and
/// the report says what the parts lost.
///
/// # Errors
/// Those of [`super::select_with`]; [`crate::ErrorKind::Invalid`] for merged rows of another selection or other centres.
pub fn finalise(
    merged: &MergedPicks,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<SelectionResult> {
    check(x, config)?;
    let given = centers::given(x, features, terms, config)?;
    let terms = &Terms { centers: given.as_deref(), ..*terms };
    let ours = terms.centers.map(centers::hash);
    if merged.centers != ours {
        return Err(Error::invalid(format!(
            "select: the parts were selected with {}, this is with {}: other select.centers than the parts had",
            whose(merged.centers.as_ref()),
            whose(ours.as_ref())
        )));
    }
    if merged.fingerprint != keeper::fingerprint(x, features, terms, config)? {
        return Err(Error::invalid(
            "select: the merged picks are of another selection (other rows, settings or terms)",
        ));
    }
    let best = merged.best.iter().map(|p| p.row);
    if let Some(wrong) = merged.rows.iter().map(|row| u64::from(*row)).chain(best).find(|row| *row >= x.count() as u64)
    {
        return Err(Error::invalid(format!("select: merged row {wrong}, but there are {} rows", x.count())));
    }
    if merged.rows.is_empty() {
        return Err(Error::invalid("select: no part picked anything"));
    }
    if merged.budget > 0 && merged.budget < config.budget.min(x.count()) {
        let text = format!(
            "select: a budget of {}, but a part was asked for {} picks alone: what the parts lose may be more than it need be",
            config.budget, merged.budget
        );
        log(Level::Warn, &text);
    }
    let meter = Meter::begin(second_round(merged, x, features, terms, config)?, run);
    meter.estimate.allow(config)?;
    let whole_config = config;
    let whole_terms = terms;
    let named = NamedRows::of(terms, config, terms.already)?;
    let terms = &named.put(terms);
    let config = &SelectConfig { force: Vec::new(), exclude: Vec::new(), ..config.clone() };
    let mut selected = select_among(&merged.rows, x, features, terms, config, run)?;
    selected.report.rows = x.count();
    selected.report.centers = ours;
    // H of the merged rows says nothing of all rows.
    selected.report.entropy = None;
    let sum = |picks: &[Pick]| picks.iter().map(|p| p.gain).sum::<f64>();
    // A part need not hold the rows that are forced in.
    let complete = terms.forced.is_empty() && merged.best.len() == selected.selection.picks.len();
    let mut parts = Parts::new(merged.parts, merged.rows.len(), sum(&merged.best));
    let kind = Kind::of(config.strategy);
    if matches!(kind, Kind::Fisher) {
        if complete && sum(&merged.best) > sum(&selected.selection.picks) {
            selected.selection = Selection { picks: merged.best.clone() };
            parts.best_part_stands = true;
        }
        selected.report.finish(&selected.selection.picks);
        certify(&mut selected, x, features, terms, config, run)?;
    }
    selected.cost = meter.end();
    if !matches!(kind, Kind::Random) && compared(x, features, whole_terms, whole_config)? {
        let whole = super::select_with(x, features, whole_terms, whole_config, run)?;
        parts.compare(selected.report.objective, whole.report.objective);
    }
    selected.report.parts = Some(parts);
    Ok(selected)
}

/// What [`finalise`] takes: Fisher's certificate is about all rows, and so is K-means.
fn second_round(
    merged: &MergedPicks,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
) -> Result<memory::Estimate> {
    let kind = Kind::of(config.strategy);
    let among = memory::estimate(&Subset { x, rows: &merged.rows }, features, terms, config)?;
    let all = match kind {
        Kind::Fisher => memory::estimate(x, features, terms, config)?,
        Kind::Js if terms.centers.is_none() => memory::of_kmeans(x, features, config)?,
        Kind::Js | Kind::Random => among,
    };
    let rows_bytes = x.count() as u64 * x.row_bytes() as u64;
    Ok(memory::Estimate { working_bytes: all.working_bytes.max(among.working_bytes), rows_bytes })
}

/// Rows x values x budget up to which a selection is made again from all rows where nothing else is asked for.
const COMPARED: f64 = 1e10;

/// Whether `select.compare_whole` asks for the selection from all rows.
fn compared(x: &dyn Rows, features: Option<&Matrix>, terms: &Terms, config: &SelectConfig) -> Result<bool> {
    match config.compare_whole {
        CompareWhole::Always => Ok(true),
        CompareWhole::Auto => {
            let work = x.count() as f64 * x.width() as f64 * config.budget.min(x.count()) as f64;
            Ok(work <= COMPARED && memory::estimate(x, features, terms, config)?.allow(config).is_ok())
        }
        CompareWhole::Never => Ok(false),
    }
}

/// Brings the certificate of Fisher picks to hold over all rows of `x`, however they were found.
fn certify(
    selected: &mut SelectionResult,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<()> {
    let texts = squares(x, "select: embeddings", run)?;
    let blocks = blocks(x, features, &texts, config, run)?;
    let (x, lengths) = match &blocks {
        Some((blocks, theirs)) => (blocks as &dyn Rows, theirs.clone()),
        None => (x, texts.clone()),
    };
    let mut field = super::field::Field::new(x.count(), terms, config)?;
    field.pass_over(&texts);
    field.pass_over(&lengths);
    let mut engine = Fisher::new(x, lengths, run)?;
    for pick in &selected.selection.picks {
        engine.fold(pick.row as usize, run)?;
        field.take(pick.row as usize);
    }
    engine.settle(run)?;
    selected.report.certify(&engine.bounds_on_all(&selected.selection.picks, &field, run));
    Ok(())
}
