//! The simulated domain: a catalogue drawn from latent factors, reviews written by a grammar from those factors,
//! interactions, and held-out conversations with known targets. It is the demo's domain, the tests' ground truth, and the
//! way to make ten million reviews.
//!
//! Everything follows from `simulate.seed`: each user and each conversation has a random stream of its own, so the bytes
//! are the same for any number of threads, and no review is ever held that is not being written.

mod catalogue;
mod prose;
mod talk;
#[cfg(test)]
mod tests;
mod vector;
mod words;
mod world;

use super::table::{Interaction, Item, Review};
use super::{Conversation, Dataset};
use crate::artifact;
use crate::config::{Choice, Compression, SimulateConfig};
use crate::error::{Error, Result};
use crate::run::Run;
use rayon::prelude::*;
use std::io::Write;
use std::path::{Path, PathBuf};
use world::World;

/// Users generated at once, at first and at most, and how many make one task.
const FIRST_USERS: usize = 256;
const BATCH_USERS: usize = 4096;
const TASK_USERS: usize = 64;
/// Rows between two steps, about: a cancel waits no longer.
const BATCH_ROWS: u64 = 1 << 15;

/// A simulated domain in memory.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// What an import of the files of [`simulate_to`] gives.
    pub dataset: Dataset,
    /// Held-out conversations; their people wrote no reviews.
    pub conversations: Vec<Conversation>,
}

/// Where [`simulate_to`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedFiles {
    /// `items.jsonl`.
    pub items: PathBuf,
    /// `reviews.jsonl`, or with `.gz` or `.zst` behind it.
    pub reviews: PathBuf,
    /// `interactions.csv`.
    pub interactions: PathBuf,
    /// `conversations.jsonl`.
    pub conversations: PathBuf,
}

/// Calls `sink` with what `make` gives for each user, in order; made in parallel.
fn for_each_user<T: Send>(
    config: &SimulateConfig,
    unit: &'static str,
    run: &Run,
    make: impl Fn(usize) -> T + Sync,
    mut sink: impl FnMut(T) -> Result<u64>,
) -> Result<()> {
    let (mut done, mut from) = (0, 0);
    while from < config.users {
        // As many users as made so many rows until now.
        let users = match done {
            0 => FIRST_USERS,
            done => (BATCH_ROWS * from as u64 / done) as usize,
        };
        let to = (from + users.clamp(TASK_USERS, BATCH_USERS)).min(config.users);
        let made: Vec<T> = run.install(|| (from..to).into_par_iter().with_min_len(TASK_USERS).map(&make).collect());
        for one in made {
            done += sink(one)?;
        }
        from = to;
        run.step("simulate", unit, done, 0)?;
    }
    Ok(())
}

/// Simulates a domain in memory: the same data as importing what [`simulate_to`] writes.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when there are more reviews than users can write of the items;
/// [`crate::ErrorKind::Cancelled`].
pub fn simulate(config: &SimulateConfig, run: &Run) -> Result<Simulated> {
    let world = World::new(config)?;
    let mut dataset = Dataset::default();
    for row in 0..world.items.len() {
        dataset.add_item(&world.catalogue_item(row))?;
    }
    for_each_user(
        config,
        "reviews",
        run,
        |user| prose::reviews(&world, user),
        |reviews: Vec<Review>| {
            reviews.iter().try_for_each(|review| dataset.add_review(review))?;
            Ok(reviews.len() as u64)
        },
    )?;
    for_each_user(
        config,
        "interactions",
        run,
        |user| world.interactions(user),
        |rows: Vec<Interaction>| {
            rows.iter().try_for_each(|row| dataset.add_interaction(row))?;
            Ok(rows.len() as u64)
        },
    )?;
    Ok(Simulated { dataset, conversations: conversations(&world, config, run)? })
}

fn conversations(world: &World, config: &SimulateConfig, run: &Run) -> Result<Vec<Conversation>> {
    let numbers = 0..config.conversations;
    let made =
        run.install(|| numbers.into_par_iter().map(|number| talk::conversation(world, number)).collect::<Vec<_>>());
    run.step("simulate", "conversations", made.len() as u64, made.len() as u64)?;
    Ok(made)
}

/// Writes a simulated domain into `folder` in causerie's own format: `items.jsonl`, `reviews.jsonl` (`simulate.compress`:
/// also `.gz`, `.zst`), `interactions.csv`, `conversations.jsonl`. Reviews stream through; none but those of a batch of
/// users are held. The files appear when all are complete.
///
/// # Errors
/// Those of [`simulate`]; [`crate::ErrorKind::Io`]. What stood in `folder` then still stands.
pub fn simulate_to(folder: &Path, config: &SimulateConfig, run: &Run) -> Result<SimulatedFiles> {
    let world = World::new(config)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let _alone = artifact::Lock::of(&folder.join("simulate"))?;
    let making = artifact::TemporaryFolder::new(folder, "simulate")?;
    let names = files(making.path(), config);
    write_all(&world, &names, config, run)?;
    let done = files(folder, config);
    // A reviews file of another compression would be an older simulation's.
    for &compress in Compression::ALL {
        let stale = files(folder, &SimulateConfig { compress, ..config.clone() }).reviews;
        if stale != done.reviews && stale.exists() {
            std::fs::remove_file(&stale).map_err(|e| Error::io(&stale, e))?;
        }
    }
    for (from, to) in [
        (&names.items, &done.items),
        (&names.reviews, &done.reviews),
        (&names.interactions, &done.interactions),
        (&names.conversations, &done.conversations),
    ] {
        std::fs::rename(from, to).map_err(|e| Error::io(to, e))?;
    }
    Ok(done)
}

fn files(folder: &Path, config: &SimulateConfig) -> SimulatedFiles {
    let reviews = match config.compress {
        Compression::None => "reviews.jsonl".to_string(),
        packed => format!("reviews.jsonl.{packed}"),
    };
    SimulatedFiles {
        items: folder.join("items.jsonl"),
        reviews: folder.join(reviews),
        interactions: folder.join("interactions.csv"),
        conversations: folder.join("conversations.jsonl"),
    }
}

/// One item as a line of `items.jsonl`.
#[derive(serde::Serialize)]
struct ItemLine<'a> {
    item: &'a str,
    title: &'a str,
    year: Option<u16>,
    genres: &'a [String],
    creators: &'a [String],
    keywords: &'a [String],
    description: &'a str,
}

/// One review as a line of `reviews.jsonl`.
#[derive(serde::Serialize)]
struct ReviewLine<'a> {
    item: &'a str,
    user: Option<&'a str>,
    rating10: Option<f32>,
    title: &'a str,
    text: &'a str,
    timestamp: Option<i64>,
    helpful: u32,
}

fn json_line(out: &mut Vec<u8>, row: &impl serde::Serialize) {
    // Serialising into memory fails for no row of ours: no maps, no odd keys.
    if serde_json::to_writer(&mut *out, row).is_ok() {
        out.push(b'\n');
    }
}

fn write_all(world: &World, names: &SimulatedFiles, config: &SimulateConfig, run: &Run) -> Result<()> {
    artifact::write_atomic(&names.items, |out| {
        let mut lines = Vec::new();
        for row in 0..world.items.len() {
            let Item { id, title, year, genres, creators, keywords, description, price: _, attributes: _ } =
                &world.catalogue_item(row);
            lines.clear();
            json_line(&mut lines, &ItemLine { item: id, title, year: *year, genres, creators, keywords, description });
            out.write_all(&lines).map_err(|e| Error::io(&names.items, e))?;
        }
        Ok(())
    })?;
    let failed = |e| Error::io(&names.reviews, e);
    artifact::write_atomic(&names.reviews, |out| match config.compress {
        Compression::Gz => {
            let mut packed = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            write_reviews(world, config, run, &mut packed, &names.reviews)?;
            packed.finish().map(drop).map_err(failed)
        }
        Compression::Zst => {
            let mut packed = zstd::Encoder::new(out, 3).map_err(failed)?;
            write_reviews(world, config, run, &mut packed, &names.reviews)?;
            packed.finish().map(drop).map_err(failed)
        }
        Compression::None => write_reviews(world, config, run, out, &names.reviews),
    })?;
    artifact::write_atomic(&names.interactions, |out| {
        out.write_all(b"user,item,rating10,timestamp_ms\n").map_err(|e| Error::io(&names.interactions, e))?;
        let lines = |user| {
            let rows = world.interactions(user);
            let mut lines = Vec::with_capacity(rows.len() * 40);
            for row in &rows {
                let (rating, time) = (row.rating10.unwrap_or(0.0), row.timestamp_ms.unwrap_or(0));
                // Writing into memory does not fail.
                let _ = writeln!(lines, "{},{},{rating},{time}", row.user, row.item);
            }
            (lines, rows.len() as u64)
        };
        for_each_user(config, "interactions", run, lines, |(lines, rows)| {
            out.write_all(&lines).map_err(|e| Error::io(&names.interactions, e))?;
            Ok(rows)
        })
    })?;
    artifact::write_jsonl(&names.conversations, conversations(world, config, run)?)
}

fn write_reviews(world: &World, config: &SimulateConfig, run: &Run, out: &mut dyn Write, path: &Path) -> Result<()> {
    let lines = |user| {
        let reviews = prose::reviews(world, user);
        let mut lines = Vec::with_capacity(reviews.len() * 512);
        for Review { item, user, rating10, title, text, timestamp_ms, helpful } in &reviews {
            let (rating10, timestamp, helpful) = (*rating10, *timestamp_ms, *helpful);
            json_line(
                &mut lines,
                &ReviewLine { item, user: user.as_deref(), rating10, title, text, timestamp, helpful },
            );
        }
        (lines, reviews.len() as u64)
    };
    for_each_user(config, "reviews", run, lines, |(lines, rows)| {
        out.write_all(&lines).map_err(|e| Error::io(path, e))?;
        Ok(rows)
    })
}
