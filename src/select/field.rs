//! Which rows may be picked: candidates, rows forced in or out, earlier picks, caps per item and per user.

use crate::artifact;
use crate::config::SelectConfig;
use crate::dataset::{Dataset, NONE};
use crate::error::{Error, Result};
use crate::math::Matrix;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What a selection may take, besides the settings. The default: everything, nothing before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// Centres `[clusters, dim]` for the JS strategies, in place of K-means.
    pub centers: Option<&'a Matrix>,
    /// Only these rows may be picked; `None`: all. K-means still sees every row.
    pub candidates: Option<&'a [u32]>,
    /// These rows are not picked.
    pub excluded: &'a [u64],
    /// These rows are picked first, in this order, within the budget, caps or not.
    pub forced: &'a [u64],
    /// Picks of earlier rounds, in their order: never picked again, folded into Lambda and q_t first, counted by the caps.
    pub already: &'a [u64],
    /// Item of each row, `[rows]`, for `select.max_per_item`; [`NONE`]: no item, no cap.
    pub items: Option<&'a [u32]>,
    /// User of each row, `[rows]`, for `select.max_per_user`; [`NONE`]: no user, no cap.
    pub users: Option<&'a [u32]>,
}

/// Rows that the settings force in and out, beside those of the terms.
#[derive(Debug, Clone, Default)]
pub struct NamedRows {
    /// The terms' forced rows, then those of `select.force`.
    pub forced: Vec<u64>,
    /// The terms' excluded rows, then those of `select.exclude`.
    pub excluded: Vec<u64>,
}

impl NamedRows {
    /// Those of `terms` and `config`; rows in `already` are no longer to be forced.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`], [`crate::ErrorKind::Format`] for what is no row; those of reading a file.
    pub fn of(terms: &Terms, config: &SelectConfig, already: &[u64]) -> Result<NamedRows> {
        let mut named = NamedRows { forced: terms.forced.to_vec(), excluded: terms.excluded.to_vec() };
        let mut seen: HashSet<u64> = named.forced.iter().copied().collect();
        named.forced.extend(rows_of("select.force", &config.force)?.into_iter().filter(|row| seen.insert(*row)));
        named.excluded.extend(rows_of("select.exclude", &config.exclude)?);
        let already: HashSet<u64> = already.iter().copied().collect();
        named.forced.retain(|row| !already.contains(row));
        Ok(named)
    }
    /// `terms` with these rows in place of its own.
    pub fn put<'a>(&'a self, terms: &Terms<'a>) -> Terms<'a> {
        Terms { forced: &self.forced, excluded: &self.excluded, ..*terms }
    }
}

fn rows_of(setting: &str, entries: &[String]) -> Result<Vec<u64>> {
    let mut rows = Vec::new();
    for entry in entries {
        match entry.strip_prefix('@') {
            None => rows.push(entry.replace('_', "").parse().map_err(|_| {
                Error::invalid(format!(
                    "{setting}: {entry:?} is no row; write its number, or @FILE with one row a line"
                ))
            })?),
            Some(file) => artifact::for_each_line(Path::new(file), |line, text| {
                rows.push(text.trim().parse().map_err(|e| Error::format(file, line, format!("no row: {e}")))?);
                Ok(())
            })?,
        }
    }
    Ok(rows)
}

/// Item and user of every review, `[reviews]` each, for [`Terms::items`] and [`Terms::users`]; [`NONE`]: no user.
pub fn item_and_user_of_reviews(dataset: &Dataset) -> (Vec<u32>, Vec<u32>) {
    let user = |r: usize| dataset.review_user(r).and_then(|user| u32::try_from(user).ok()).unwrap_or(NONE);
    let rows = 0..dataset.reviews();
    (rows.clone().map(|r| dataset.review_item(r) as u32).collect(), rows.map(user).collect())
}

/// A partition of the rows and how many of one part may be taken.
struct Cap {
    /// Part of each row, `[rows]`.
    part: Vec<u32>,
    taken: HashMap<u32, usize>,
    most: usize,
}

impl Cap {
    fn new(what: &str, setting: &str, parts: Option<&[u32]>, most: usize, rows: usize) -> Result<Option<Cap>> {
        if most == 0 {
            return Ok(None);
        }
        let Some(parts) = parts else {
            return Err(Error::invalid(format!("{setting} = {most} needs the {what} of each row; none was given")));
        };
        if parts.len() != rows {
            return Err(Error::invalid(format!("select: {} {what}s for {rows} rows", parts.len())));
        }
        Ok(Some(Cap { part: parts.to_vec(), taken: HashMap::new(), most }))
    }
    fn allows(&self, row: usize) -> bool {
        let part = self.part[row];
        part == NONE || self.taken.get(&part).is_none_or(|&taken| taken < self.most)
    }
    fn take(&mut self, row: usize) {
        if self.part[row] != NONE {
            *self.taken.entry(self.part[row]).or_default() += 1;
        }
    }
}

/// The rows that may still be picked.
pub struct Field {
    open: Vec<bool>,
    already: Vec<usize>,
    forced: Vec<usize>,
    caps: Vec<Cap>,
    /// Rows of zeros.
    passed_over: usize,
}

impl Field {
    /// The field of `rows` rows on these terms.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`]: a row that is not there, a row forced in and out, a cap without its column.
    pub fn new(rows: usize, terms: &Terms, config: &SelectConfig) -> Result<Field> {
        let within = |what: &str, row: u64| match usize::try_from(row).ok().filter(|&row| row < rows) {
            Some(row) => Ok(row),
            None => Err(Error::invalid(format!("select: {what} row {row}, but there are {rows} rows"))),
        };
        let mut open = vec![terms.candidates.is_none(); rows];
        for &row in terms.candidates.unwrap_or_default() {
            open[within("candidate", u64::from(row))?] = true;
        }
        for &row in terms.excluded {
            open[within("excluded", row)?] = false;
        }
        let mut seen = vec![false; rows];
        let mut already = Vec::with_capacity(terms.already.len());
        for &row in terms.already {
            let row = within("already selected", row)?;
            if std::mem::replace(&mut seen[row], true) {
                return Err(Error::invalid(format!("select: row {row} stands twice among the earlier picks")));
            }
            already.push(row);
        }
        let mut forced = Vec::with_capacity(terms.forced.len());
        let excluded: HashSet<u64> = terms.excluded.iter().copied().collect();
        for &row in terms.forced {
            let row = within("forced", row)?;
            if excluded.contains(&(row as u64)) {
                return Err(Error::invalid(format!("select: row {row} is forced in and excluded")));
            }
            if std::mem::replace(&mut seen[row], true) {
                return Err(Error::invalid(format!("select: row {row} is forced in twice, or was selected before")));
            }
            // Forced rows are picked whether they are candidates or not.
            open[row] = true;
            forced.push(row);
        }
        let mut caps = Vec::new();
        caps.extend(Cap::new("item", "select.max_per_item", terms.items, config.max_per_item, rows)?);
        caps.extend(Cap::new("user", "select.max_per_user", terms.users, config.max_per_user, rows)?);
        let mut field = Field { open, already, forced, caps, passed_over: 0 };
        for row in field.already.clone() {
            field.take(row);
        }
        Ok(field)
    }
    /// Closes the rows of zeros, of which nothing is known, but for those that are forced in. `squares`: |x_i|^2, `[rows]`.
    pub fn pass_over(&mut self, squares: &[f64]) {
        let mut zeros = 0;
        for (open, square) in self.open.iter_mut().zip(squares) {
            if *square == 0.0 {
                zeros += 1;
                *open = false;
            }
        }
        for &row in &self.forced {
            self.open[row] = true;
        }
        self.passed_over = self.passed_over.max(zeros);
    }
    /// How many rows of zeros there are.
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }
    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.open.len()
    }
    /// Picks of earlier rounds, in their order.
    pub fn already(&self) -> &[usize] {
        &self.already
    }
    /// Rows to pick first, in their order.
    pub fn forced(&self) -> &[usize] {
        &self.forced
    }
    /// How many caps there are.
    pub fn caps(&self) -> usize {
        self.caps.len()
    }
    /// May `row` be picked now?
    pub fn allows(&self, row: usize) -> bool {
        self.open[row] && self.caps.iter().all(|cap| cap.allows(row))
    }
    /// Is `row` neither picked nor excluded, whatever the caps say?
    pub fn is_open(&self, row: usize) -> bool {
        self.open[row]
    }
    /// Notes that `row` is picked.
    pub fn take(&mut self, row: usize) {
        self.open[row] = false;
        for cap in &mut self.caps {
            cap.take(row);
        }
    }
    /// How many rows could still be picked; an upper bound where two caps meet.
    pub fn capacity(&self) -> usize {
        let open = (0..self.rows()).filter(|&row| self.allows(row)).count();
        let capped = self.caps.iter().map(|cap| {
            let mut per_part: HashMap<u32, usize> = HashMap::new();
            let mut free = 0;
            for row in (0..self.rows()).filter(|&row| self.allows(row)) {
                match cap.part[row] {
                    NONE => free += 1,
                    part => *per_part.entry(part).or_default() += 1,
                }
            }
            let left = |part: &u32| cap.most - cap.taken.get(part).copied().unwrap_or(0);
            free + per_part.iter().map(|(part, &count)| count.min(left(part))).sum::<usize>()
        });
        let capacity = capped.fold(open, usize::min);
        // Forced rows go in whatever the caps say.
        capacity.max(self.forced.len())
    }
    /// The largest sum of `count` weights that the caps allow, over all `(row, score)`; for the certificate. `weight` turns
    /// a score into its weight, at least 0 and rising with it. One cap is kept exactly (a partition matroid: the greedy order
    /// is optimal); of two the lesser sum is given: a bound. The order of `scores` is lost.
    pub fn top_sum(&self, scores: &mut [(u32, f64)], count: usize, weight: impl Fn(f64) -> f64) -> f64 {
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.caps.is_empty() {
            let top = count.min(scores.len());
            if top < scores.len() {
                scores.select_nth_unstable_by(top, order);
            }
            scores[..top].sort_unstable_by(order);
            return scores[..top].iter().map(|s| weight(s.1)).sum();
        }
        scores.sort_unstable_by(order);
        let capped = self.caps.iter().map(|cap| {
            let mut taken: HashMap<u32, usize> = HashMap::new();
            let allowed = scores.iter().filter(|&&(row, _)| match cap.part[row as usize] {
                NONE => true,
                part => {
                    let taken = taken.entry(part).or_default();
                    *taken += 1;
                    *taken <= cap.most
                }
            });
            allowed.take(count).map(|s| weight(s.1)).sum::<f64>()
        });
        capped.fold(f64::INFINITY, f64::min)
    }
}
