//! The whole loop in rounds (paper §3.1, Algorithm 1): the only room that knows every stage.
//!
//! [`work_directory`] the directory and what is finished in it · [`stages`] load to tune, each leaving its artifact · [`student`]
//! the language model in the loop · [`systems`] the
//! recommenders that a finished directory holds · [`report`] what came of it · [`preflight`] what would stop it after hours.

mod demo;
mod opened;
mod preflight;
mod report;
mod stages;
mod student;
mod systems;
pub mod work_directory;

pub use demo::{demo_config, demo_defaults};
pub use opened::{open, open_with, settings_of};
pub use work_directory::{StageRecord, WorkDirectory};

use crate::config::Config;
use crate::error::Result;
use crate::evaluate::ReportData;
use crate::run::Run;
use std::path::Path;

/// Runs every stage that is not finished in `dir`, and ends with `report.json` and `report.html`.
///
/// `restart`: what was made with other settings is made again instead of being refused.
///
/// # Errors
/// Those of the stages, with the stage's name in front. What was finished is kept: call again to go on.
pub fn pipeline(config: &Config, dir: &Path, restart: bool, run: &Run) -> Result<ReportData> {
    preflight::check(config)?;
    let mut work = WorkDirectory::open(dir, config, restart)?;
    if !work.stages().iter().any(|(name, _)| name.starts_with("synthesize")) {
        preflight::check_teacher(config)?;
    }
    let made = stages::run_stages(&mut work, config, run)?;
    report::evaluate_and_write(&mut work, config, &made, run)
}
