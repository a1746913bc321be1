//! A selection from beginning to end, and one that continues another.

use super::cost::{Cost, Meter};
use super::field::{Field, NamedRows, Terms};
use super::inputs::{Kind, blocks, check};
use super::keeper::Keeper;
use super::picks::{Pick, Selection};
use super::report::Report;
use super::{fisher, given_centers as centers, greedy, js, kmeans, memory, soft};
use crate::config::SelectConfig;
use crate::error::Result;
use crate::math::{Matrix, Random, Rows, squares};
use crate::run::{self, Level, Run};
use serde::Serialize;
use std::borrow::Cow;

/// A selection and what there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionResult {
    /// The picks.
    pub selection: Selection,
    /// Objective, certificate, and the settings that made it: the same for the same rows and settings.
    pub report: Report,
    /// What it took; never the same twice.
    pub cost: Cost,
}

impl SelectionResult {
    /// The fields of the report and beside them `cost`, to be written.
    pub fn record(&self) -> ResultRecord<'_> {
        ResultRecord { report: &self.report, cost: &self.cost }
    }
}

/// What [`SelectionResult::record`] tells.
#[derive(Debug, Serialize)]
pub struct ResultRecord<'a> {
    /// The report.
    #[serde(flatten)]
    pub report: &'a Report,
    /// What the selection took.
    pub cost: &'a Cost,
}

/// Selects `config.budget` rows of `x` by `config.strategy`.
///
/// `x`: `[rows, dim]`, in memory or mapped, used as given by `js` and `fisher`; the aware strategies (`metadata_*`, `user_*`) normalise the rows of
/// `x` and of `features` (`[rows, any]`) and weigh them: z = [sqrt(1-w) x ; sqrt(w) f], w = `config.weight`.
/// The same arguments give the same picks, whatever the number of threads; ties go to the lowest row.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`]: no rows, NaN or infinities (the row is named), features that are missing or do not fit.
/// [`crate::ErrorKind::Cancelled`]. A row of zeros, of which nothing is known, is passed over: it is picked only when it is
/// forced.
pub fn select(x: &dyn Rows, features: Option<&Matrix>, config: &SelectConfig, run: &Run) -> Result<Selection> {
    Ok(select_with(x, features, &Terms::default(), config, run)?.selection)
}

/// [`select`] on further terms, and with a report.
///
/// # Errors
/// Those of [`select`]; [`crate::ErrorKind::Invalid`] when the terms name rows that are not there or contradict one another.
pub fn select_with(
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<SelectionResult> {
    check(x, config)?;
    let centers = centers::given(x, features, terms, config)?;
    let terms = Terms { centers: centers.as_deref(), ..*terms };
    let named = NamedRows::of(&terms, config, terms.already)?;
    select_after(&[], x, features, &named.put(&terms), config, &mut None, run)
}

/// [`select_with`] on centres that were looked at; the last `earlier.len()` of `terms.already` are the picks that this
/// selection continues, be it by none.
fn select_after(
    earlier: &[Pick],
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    keeper: &mut Option<Keeper>,
    run: &Run,
) -> Result<SelectionResult> {
    let meter = Meter::begin(memory::estimate(x, features, terms, config)?, run);
    meter.estimate.allow(config)?;
    let mut lengths = squares(x, "select: embeddings", run)?;
    let mut field = Field::new(x.count(), terms, config)?;
    let mut report = Report::new(x, config);
    field.pass_over(&lengths);
    let blocks = match blocks(x, features, &lengths, config, run)? {
        Some((blocks, theirs)) => {
            lengths = theirs;
            field.pass_over(&lengths);
            Some(blocks)
        }
        None => None,
    };
    let x = blocks.as_ref().map_or(x, |blocks| blocks as &dyn Rows);
    report.passed_over = field.passed_over();
    if report.passed_over > 0 {
        let text = format!(
            "select: {} of {} rows are all zeros (texts of which the embedder knows nothing): none of them is picked",
            report.passed_over, report.rows
        );
        run::log(Level::Warn, &text);
    }
    let budget = budget(&field, config.budget);
    let picks = match Kind::of(config.strategy) {
        Kind::Random => random(&mut field, budget, config.seed, run)?,
        Kind::Js => {
            let centers = match terms.centers {
                Some(given) => {
                    report.centers = Some(centers::hash(given));
                    Cow::Borrowed(given)
                }
                None => {
                    let fitted = kmeans::kmeans(x, &kmeans::Options::of(config), run)?;
                    report.inertia = Some(fitted.inertia);
                    report.kmeans_iterations = Some(fitted.iterations);
                    Cow::Owned(fitted.centers)
                }
            };
            let p = soft::assign(x, &centers, config.temperature, run)?;
            report.js(&p, config);
            let mut engine = js::Js::new(&p, config.lambda, run);
            let picks = greedy::run_keeping(&mut engine, &mut field, budget, keeper, run)?;
            run::log(Level::Debug, &format!("select: js: {:?}", engine.work()));
            picks
        }
        Kind::Fisher => {
            let mut engine = fisher::Fisher::new(x, lengths, run)?;
            let picks = greedy::run_keeping(&mut engine, &mut field, budget, keeper, run)?;
            run::log(Level::Debug, &format!("select: fisher: {:?}", engine.work()));
            if picks.is_empty() {
                // Nothing was looked for, and so nothing is known of the rows outside.
                engine.settle(run)?;
            }
            report.certify(&engine.certificate(earlier, &picks, &field, run));
            picks
        }
    };
    if picks.len() < budget {
        // Of two caps that meet, the field knows only at the end what they left.
        let text = format!("select: the caps on items and users left room for {} of {budget} picks", picks.len());
        run::log(Level::Warn, &text);
    }
    report.finish(&picks);
    Ok(SelectionResult { selection: Selection { picks }, report, cost: meter.end() })
}

/// Continues `earlier` to `config.budget` picks in all: the result is the one of asking for that budget at once, when
/// matrix, settings and terms are the same. In rounds the matrix may be another one (the student has learnt): the earlier
/// picks keep their recorded gains and are folded in as rows of the new matrix. The certificate is about all picks, as rows
/// of `x`. Of a longer selection the first `config.budget` picks are left.
///
/// # Errors
/// Those of [`select_with`].
pub fn extend(
    earlier: &Selection,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<SelectionResult> {
    extend_keeping(earlier, x, features, terms, config, &mut None, run)
}

/// [`extend`], with the picks noted in a checkpoint now and then.
pub(super) fn extend_keeping(
    earlier: &Selection,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    keeper: &mut Option<Keeper>,
    run: &Run,
) -> Result<SelectionResult> {
    check(x, config)?;
    let done = earlier.picks.len().min(config.budget);
    let earlier = &earlier.picks[..done];
    let centers = centers::given(x, features, terms, config)?;
    let terms = Terms { centers: centers.as_deref(), ..*terms };
    let mut already = terms.already.to_vec();
    already.extend(earlier.iter().map(|p| p.row));
    let named = NamedRows::of(&terms, config, &already)?;
    let terms = Terms { already: &already, ..named.put(&terms) };
    let rest = SelectConfig { budget: config.budget - done, ..config.clone() };
    let mut more = select_after(earlier, x, features, &terms, &rest, keeper, run)?;
    let mut picks = earlier.to_vec();
    picks.extend(more.selection.picks.drain(..).map(|p| Pick { rank: p.rank + done as u64, ..p }));
    more.report.budget = config.budget;
    more.report.finish(&picks);
    Ok(SelectionResult { selection: Selection { picks }, ..more })
}

/// The budget that can be met: a larger one selects what there is, with a warning.
fn budget(field: &Field, asked: usize) -> usize {
    let open = field.capacity();
    if asked > open {
        let why = match field.caps() {
            0 => "",
            _ => " (select.max_per_item, select.max_per_user)",
        };
        let text = match open {
            0 => format!("select: {asked} more rows are asked for, and none is left to select{why}"),
            _ => format!("select: {asked} rows are asked for, and only {open} can be selected{why}: so many are"),
        };
        run::log(Level::Warn, &text);
    }
    let forced = field.forced().len();
    if 0 < asked && asked < forced {
        let text =
            format!("select: {forced} rows are forced in, but the budget is {asked}: only the first {asked} are");
        run::log(Level::Warn, &text);
    }
    asked.min(open)
}

/// RANDOM_UNIFORM: a prefix of one shuffle of all rows, so that a larger budget continues a smaller one.
fn random(field: &mut Field, budget: usize, seed: u64, run: &Run) -> Result<Vec<Pick>> {
    let mut picks: Vec<Pick> = Vec::with_capacity(budget);
    let forced = field.forced().to_vec();
    let mut order: Vec<u32> = (0..field.rows() as u32).collect();
    Random::new(seed, b"select random").shuffle(&mut order);
    for row in forced.into_iter().chain(order.into_iter().map(|row| row as usize)) {
        if picks.len() == budget {
            break;
        }
        if field.allows(row) || (picks.len() < field.forced().len() && field.forced().contains(&row)) {
            field.take(row);
            picks.push(Pick { rank: picks.len() as u64, row: row as u64, gain: 0.0 });
        }
    }
    run.step("select", "picks", picks.len() as u64, budget as u64)?;
    Ok(picks)
}
