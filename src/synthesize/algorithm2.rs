//! Algorithm 2 (paper §3.3): selected seeds → K queries each → ranked items for each query → dialogues.

use super::absent::AbsentTeacher;
use super::ask;
use super::diversity::{Set, measure};
use super::filter::{Filters, check_language};
use super::http::HttpTeacher;
use super::journal::Journal;
use super::judge::{Judging, judges_nothing};
use super::offline::OfflineTeacher;
use super::plan::Plan;
use super::prompts::Prompts;
use super::report::{Compared, Dialogues, SynthesisReport};
use super::talk::talk_of;
use super::teacher::Teacher;
use crate::config::{DatasetConfig, Judge, SynthesizeConfig, TeacherKind};
use crate::dataset::{Conversation, Dataset, Dialogue, load_conversations};
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};
use crate::select::Selection;
use crate::titles::Titles;
use std::path::Path;

/// Makes dialogues of the selected reviews with the configured teacher. Prompts, answers and what they cost go to the
/// journal at `journal`; a second call on it asks only what is not there, and gives the same bytes.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for rows that are no reviews; [`crate::ErrorKind::Teacher`]; those of the prompts and of
/// the journal; [`crate::ErrorKind::Cancelled`], with all that was answered kept in the journal.
pub fn synthesize(
    dataset: &Dataset,
    selection: &Selection,
    config: &SynthesizeConfig,
    round: u64,
    run: &Run,
    journal: &Path,
) -> Result<Dialogues> {
    match config.teacher {
        TeacherKind::Offline => {
            let teacher = OfflineTeacher::new(dataset, config, run)?;
            synthesize_with(dataset, selection, &teacher, config, round, run, journal)
        }
        // Its answers may all be in the journal, from a batch: no address is needed then.
        TeacherKind::Http if config.base_url.is_empty() => {
            let teacher = AbsentTeacher::new(config)?;
            synthesize_with(dataset, selection, &teacher, config, round, run, journal)
        }
        TeacherKind::Http => {
            let teacher = HttpTeacher::new(config)?;
            synthesize_with(dataset, selection, &teacher, config, round, run, journal)
        }
        TeacherKind::Local => local(dataset, selection, config, round, run, journal),
    }
}

/// Whether the teacher of the settings can be asked, as far as this is known without asking: its prompts are there, its
/// address and model are named, its key is set.
///
/// # Errors
/// Those that [`synthesize`] would begin with.
pub fn check_teacher(config: &SynthesizeConfig) -> Result<()> {
    talk_of(config, &Prompts::load(config)?)?;
    check_language(&config.language)?;
    recorded(config)?;
    judge_endpoint(config)?;
    match config.teacher {
        TeacherKind::Http if config.base_url.is_empty() => AbsentTeacher::new(config).map(drop),
        TeacherKind::Http => HttpTeacher::new(config).map(drop),
        TeacherKind::Local if config.model.is_empty() => {
            Err(Error::invalid("synthesize.model is empty; name the GGUF of the teacher"))
        }
        TeacherKind::Local => {
            let path = Path::new(&config.model);
            std::fs::metadata(path).map(drop).map_err(|e| Error::io(path, e).context("synthesize.model"))
        }
        TeacherKind::Offline => match config.judge {
            Judge::Teacher => Err(judges_nothing()),
            Judge::Off | Judge::Endpoint => Ok(()),
        },
    }
}

/// The endpoint of its own that judges; none: another judge, or nobody.
fn judge_endpoint(config: &SynthesizeConfig) -> Result<Option<HttpTeacher>> {
    match config.judge {
        Judge::Off | Judge::Teacher => Ok(None),
        Judge::Endpoint => HttpTeacher::judge(config).map(Some),
    }
}

#[cfg(feature = "llama")]
fn local(
    dataset: &Dataset,
    selection: &Selection,
    config: &SynthesizeConfig,
    round: u64,
    run: &Run,
    journal: &Path,
) -> Result<Dialogues> {
    let teacher = super::local::LocalTeacher::new(config, run)?;
    synthesize_with(dataset, selection, &teacher, config, round, run, journal)
}

#[cfg(not(feature = "llama"))]
fn local(_: &Dataset, _: &Selection, _: &SynthesizeConfig, _: u64, _: &Run, _: &Path) -> Result<Dialogues> {
    Err(Error::unsupported("synthesize.teacher = local: this build has no llama.cpp; build with the feature `llama`"))
}

/// [`synthesize`] with any teacher.
///
/// # Errors
/// As [`synthesize`].
pub fn synthesize_with(
    dataset: &Dataset,
    selection: &Selection,
    teacher: &dyn Teacher,
    config: &SynthesizeConfig,
    round: u64,
    run: &Run,
    journal: &Path,
) -> Result<Dialogues> {
    let prompts = Prompts::load(config)?;
    let talk = talk_of(config, &prompts)?;
    check_language(&config.language)?;
    // Before anything is spent.
    let recorded = recorded(config)?;
    let endpoint = judge_endpoint(config)?;
    let judge = match (config.judge, &endpoint) {
        (Judge::Off, _) => None,
        (Judge::Teacher, _) if !teacher.judges() => return Err(judges_nothing()),
        (Judge::Teacher, _) => Some(teacher),
        (Judge::Endpoint, endpoint) => endpoint.as_ref().map(|endpoint| endpoint as &dyn Teacher),
    };
    let mut plan = Plan::new(dataset, selection, config, &prompts, talk.as_ref(), teacher, run)?;
    let mut journal = Journal::open(journal)?;
    let mut asked = ask::ask(&mut plan, teacher, &mut journal, config, run)?;
    let mut report = SynthesisReport {
        seeds: selection.picks.len() as u64,
        masked: plan.masked,
        shortened: plan.shortened,
        reworded: plan.reworded,
        personal_data: plan.personal_data,
        ..Default::default()
    };
    let made = plan.dialogues(round, &mut report, run)?;
    let mut rows = Filters::new(dataset, config, teacher.quotes())?.keep(made, &mut report.dropped, run)?;
    // What a cap ended is not judged: there is no room for it, and whoever goes on judges the whole.
    if let Some(judge) = judge.filter(|_| !asked.capped) {
        let mut judging = Judging::new(dataset, &rows, config, &prompts, judge);
        let judged = ask::ask(&mut judging, judge, &mut journal, config, run).map_err(|e| e.context("the judge"))?;
        report.personal_data.add(judging.personal_data);
        let (stays, said) = judging.finish();
        asked.add(judged);
        let mut stays = stays.into_iter();
        rows.retain(|_| stays.next().unwrap_or(true));
        if said.below > 0 {
            *report.dropped.entry("dialogues judged below synthesize.min_judged".into()).or_default() += said.below;
        }
        if said.unreadable > said.judged {
            log(
                Level::Warn,
                &format!(
                    "synthesize: {} of {} judgements could not be read, and keep their dialogues: look at what the judge \
                     answers in the journal, or name another (synthesize.judge)",
                    said.unreadable,
                    said.unreadable + said.judged
                ),
            );
        }
        report.judged = Some(said);
    }
    let spent = journal.spent();
    drop(journal);
    let mut report = SynthesisReport {
        requests: spent.requests,
        answered: asked.answered,
        replayed: asked.replayed,
        prompt_tokens: spent.prompt_tokens,
        completion_tokens: spent.completion_tokens,
        requests_in_doubt: spent.in_doubt,
        tokens_in_doubt: spent.reserved,
        cost: ask::cost(config, spent.prompt_tokens, spent.completion_tokens),
        capped: asked.capped,
        ..report
    };
    if asked.capped {
        log(
            Level::Warn,
            &format!(
                "synthesize: stopped at the cap (synthesize.max_requests = {}, synthesize.max_tokens = {}; 0 means none): \
                 {} requests and {} tokens are spent over all runs, {} more may have been",
                config.max_requests,
                config.max_tokens,
                spent.requests,
                spent.prompt_tokens.saturating_add(spent.completion_tokens),
                spent.reserved
            ),
        );
    }
    if rows.is_empty() && !selection.picks.is_empty() && !asked.capped {
        let last = asked.last_failure.map_or_else(String::new, |e| format!("; the last failure: {e}"));
        return Err(Error::teacher(format!(
            "synthesize: {} seeds gave no dialogue; dropped: {}{last}",
            report.seeds,
            report.dropped.iter().map(|(why, n)| format!("{n} {why}")).collect::<Vec<_>>().join(", ")
        )));
    }
    report.dialogues = rows.len() as u64;
    measure_diversity(dataset, &rows, recorded, config, &mut report);
    Ok(Dialogues { rows, report })
}

/// The conversations that the dialogues are held against; none are named: none.
fn recorded(config: &SynthesizeConfig) -> Result<Option<Vec<Conversation>>> {
    if config.compare_with.is_empty() {
        return Ok(None);
    }
    let loaded = load_conversations(Path::new(&config.compare_with), DatasetConfig::default().max_bad_lines);
    loaded.map(Some).map_err(|e| e.context("synthesize.compare_with"))
}

fn measure_diversity(
    dataset: &Dataset,
    rows: &[Dialogue],
    recorded: Option<Vec<Conversation>>,
    config: &SynthesizeConfig,
    report: &mut SynthesisReport,
) {
    let mut sets = vec![Set::of_dialogues(rows, dataset)];
    sets.extend(recorded.map(|recorded| Set::of_conversations(&recorded, &Titles::of(dataset))));
    let mut measured = measure(&sets, dataset, config.seed).into_iter();
    report.diversity = measured.next().unwrap_or_default();
    let name = Path::new(&config.compare_with).file_name().unwrap_or_default().to_string_lossy().into_owned();
    report.compared_with = measured.next().map(|diversity| Compared { name, diversity });
}
