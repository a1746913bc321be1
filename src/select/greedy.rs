//! The loop that JS and Fisher share: fold the earlier picks in, take the forced rows, then the best row again and again.

use super::field::Field;
use super::keeper::Keeper;
use super::picks::Pick;
use crate::error::{Error, Result};
use crate::run::Run;

/// Scores that differ by no more than this, in units of the greatest score possible at the start, are one tie, and the
/// lowest row of a tie is picked. It stands above what rounding in f64 does to a score and below any difference that
/// f32 embeddings could mean.
pub const TIE: f64 = 1e-12;

/// A strategy under way: the rows picked so far, and what the next would add.
pub trait Greedy {
    /// Adds `row` to the picks; gives what it added.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    fn fold(&mut self, row: usize, run: &Run) -> Result<f64>;
    /// The row that would add most among those that `field` allows, the lowest of a tie; `None` when there is none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    fn best(&mut self, field: &Field, run: &Run) -> Result<Option<usize>>;
}

/// Picks `budget` rows. Fewer only when caps close the field before.
///
/// # Errors
/// [`crate::ErrorKind::Cancelled`].
pub fn run(engine: &mut dyn Greedy, field: &mut Field, budget: usize, run: &Run) -> Result<Vec<Pick>> {
    run_keeping(engine, field, budget, &mut None, run)
}

/// [`run`], with the picks noted in a checkpoint now and then, and when it ends early.
///
/// # Errors
/// Those of [`run`]; [`crate::ErrorKind::Io`] when the checkpoint cannot be written.
pub fn run_keeping(
    engine: &mut dyn Greedy,
    field: &mut Field,
    budget: usize,
    keeper: &mut Option<Keeper>,
    run: &Run,
) -> Result<Vec<Pick>> {
    let mut picks = Vec::with_capacity(budget.min(field.rows()));
    let result = pick_all(engine, field, budget, &mut picks, keeper, run);
    if let (Err(_), Some(keeper)) = (&result, keeper.as_mut()) {
        // The first error is the one to tell.
        let _ = keeper.write(&picks);
    }
    result.map(|()| picks)
}

fn pick_all(
    engine: &mut dyn Greedy,
    field: &mut Field,
    budget: usize,
    picks: &mut Vec<Pick>,
    keeper: &mut Option<Keeper>,
    run: &Run,
) -> Result<()> {
    for row in field.already().to_vec() {
        run.check()?;
        engine.fold(row, run)?;
    }
    let forced = field.forced().to_vec();
    while picks.len() < budget {
        let row = match forced.get(picks.len()) {
            Some(&row) => row,
            None => match engine.best(field, run)? {
                Some(row) => row,
                None => break,
            },
        };
        let gain = engine.fold(row, run)?;
        if !gain.is_finite() {
            return Err(Error::invalid(format!(
                "select: the gain of row {row} is not finite; its values are too large: normalise the rows"
            )));
        }
        field.take(row);
        picks.push(Pick { rank: picks.len() as u64, row: row as u64, gain });
        if let Some(keeper) = keeper {
            keeper.note(picks)?;
        }
        run.step("select", "picks", picks.len() as u64, budget as u64)?;
    }
    Ok(())
}
