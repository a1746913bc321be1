//! The last stage: every recommender on the same pairs, curves against the budget, the report.

use super::stages::{Artifacts, Round};
use super::systems::{Builder, System};
use super::work_directory::WorkDirectory;
use crate::config::{Config, EvaluateConfig, listed};
use crate::dataset::{Conversation, load_conversations};
use crate::error::{Error, Result};
use crate::evaluate::{
    CurvePoint, DatasetFacts, Evaluation, LossPoint, ReportData, SelectionFacts, Stage, SystemReport, evaluate,
    write_report,
};
use crate::recommend::Recommender;
use crate::run::Run;
use crate::select::Cost;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Evaluates on every file of `evaluate.conversations` and writes `report.json` and `report.html`.
pub(super) fn evaluate_and_write(
    work: &mut WorkDirectory,
    config: &Config,
    made: &Artifacts,
    run: &Run,
) -> Result<ReportData> {
    let evaluated = "evaluation.json".to_string();
    let path = work.path(&evaluated);
    work.stage("evaluate", "evaluate", &[evaluated], run, |_| {
        let (evaluations, curves) = evaluate_all(config, made, run)?;
        let note = evaluations.iter().map(|e| format!("{}: {} pairs", e.name, e.n)).collect::<Vec<_>>().join("; ");
        crate::artifact::write_atomic(&path, |out| {
            serde_json::to_writer(out, &(&evaluations, &curves)).map_err(|e| Error::io(&path, e.into()))
        })?;
        Ok((note, json!({})))
    })?;
    let text = crate::artifact::read_text(&path)?;
    let (evaluations, curves): (Vec<Evaluation>, Vec<CurvePoint>) =
        serde_json::from_str(&text).map_err(|e| Error::format(&path, 0, e))?;
    let data = ReportData {
        title: title(config, made),
        dataset: Some(DatasetFacts::of(&dataset_name(config), &made.summary)),
        stages: stages(work, config, made),
        selections: selections(work),
        curves,
        evaluations,
        losses: losses(work),
        settings: config.to_toml(),
        versions: versions(),
        warnings: warnings(work, config, made),
    };
    write_report(&work.path("."), &data)?;
    Ok(data)
}

fn evaluate_all(config: &Config, made: &Artifacts, run: &Run) -> Result<(Vec<Evaluation>, Vec<CurvePoint>)> {
    let mut sets: Vec<(String, Vec<Conversation>)> = Vec::new();
    for (name, path) in set_names(&config.evaluate.conversations).into_iter().zip(&config.evaluate.conversations) {
        sets.push((name, load_conversations(Path::new(path), config.dataset.max_bad_lines)?));
    }
    if sets.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let items = &made.dataset.items;
    let score = |set: &str, systems: &[System], conversations: &[Conversation], settings: &EvaluateConfig| {
        let pairs: Vec<(&str, &dyn Recommender)> =
            systems.iter().map(|s| (s.label.as_str(), &*s.recommender)).collect();
        evaluate(set, &pairs, conversations, items, &made.mentions, settings, run)
    };
    let builder = Builder::new(made, config);
    let mut systems = builder.baselines(run)?;
    let mut curves = Vec::new();
    // The last round's systems stand in the main table; their points on the curves are taken from there.
    let mut last = Vec::new();
    for round in &made.rounds {
        let of_round = builder.of_round(round, run)?;
        if round.number == config.pipeline.rounds {
            last.push((round, systems.len()..systems.len() + of_round.len()));
            systems.extend(of_round);
            continue;
        }
        // Nobody reads the differences between these.
        let settings = EvaluateConfig { bootstrap: 100, ..config.evaluate.clone() };
        for (set, conversations) in &sets {
            let points = score(set, &of_round, conversations, &settings)?;
            curves.extend(points.systems.iter().map(|system| point(set, round, system)));
        }
    }
    let mut evaluations = Vec::new();
    for (set, conversations) in &sets {
        evaluations.push(score(set, &systems, conversations, &config.evaluate)?);
    }
    for (round, range) in last {
        for evaluation in &evaluations {
            let of_round = evaluation.systems.get(range.clone()).unwrap_or_default();
            curves.extend(of_round.iter().map(|system| point(&evaluation.name, round, system)));
        }
    }
    Ok((evaluations, curves))
}

/// What the report calls each file: its name without endings, or its path where two would be called the same.
fn set_names(paths: &[String]) -> Vec<String> {
    let short = |path: &String| {
        let name = Path::new(path).file_name().map_or_else(|| path.clone(), |n| n.to_string_lossy().into_owned());
        name.split('.').next().filter(|n| !n.is_empty()).unwrap_or(&name).to_string()
    };
    let names: Vec<String> = paths.iter().map(short).collect();
    let alone = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    names.iter().zip(paths).map(|(name, path)| if alone(name) { name } else { path }.clone()).collect()
}

/// A system of one round as a point on its curve.
fn point(set: &str, round: &Round, system: &SystemReport) -> CurvePoint {
    CurvePoint {
        set: set.to_string(),
        strategy: round.strategy.to_string(),
        system: kind_of(&system.label),
        budget: round.budget as u64,
        metrics: system.seen_removed.clone(),
    }
}

/// `NBCRS (synthetic, fisher), k = 60` → `NBCRS (synthetic)`: what the curves of several strategies share.
fn kind_of(label: &str) -> String {
    let Some((name, rest)) = label.split_once(" (") else { return label.to_string() };
    let inside = rest.split(')').next().unwrap_or("");
    match inside.split_once(", ") {
        Some((kind, _)) => format!("{name} ({kind})"),
        None => name.to_string(),
    }
}

fn title(config: &Config, made: &Artifacts) -> String {
    let strategies = listed(&config.pipeline.strategies);
    let budget = made.rounds.iter().map(|r| r.budget).max().unwrap_or(0);
    format!("{}: {strategies} · {budget} seeds", dataset_name(config))
}

fn dataset_name(config: &Config) -> String {
    if !config.pipeline.title.is_empty() {
        return config.pipeline.title.clone();
    }
    let file = [&config.dataset.reviews, &config.dataset.items].into_iter().find(|f| !f.is_empty());
    let folder = file.and_then(|f| Path::new(f).parent()).and_then(Path::file_name);
    folder.map_or_else(|| "seed data".to_string(), |n| n.to_string_lossy().into_owned())
}

/// One entry per kind of stage, in pipeline order: its strategies and rounds together.
fn stages(work: &WorkDirectory, config: &Config, made: &Artifacts) -> Vec<Stage> {
    let seeds: usize = made.rounds.iter().filter(|r| r.number == config.pipeline.rounds).map(|r| r.seeds.len()).sum();
    let dialogues: usize =
        made.rounds.iter().filter(|r| r.number == config.pipeline.rounds).map(|r| r.dialogues.len()).sum();
    let naive = made.naive.as_ref().map_or(0, |n| n.0.len());
    let strategies = config.pipeline.strategies.len();
    let plural = if strategies == 1 { "strategy" } else { "strategies" };
    let outputs = [
        ("import", format!("{} reviews, {} items", made.summary.reviews, made.summary.items)),
        ("embed", format!("{} dimensions", made.reviews.dim())),
        ("select", format!("{seeds} seeds, {strategies} {plural}")),
        ("synthesize", format!("{} dialogues", dialogues + naive)),
        ("tune", tuned(made)),
        ("evaluate", String::new()),
    ];
    let finished = work.stages();
    let mut stages = Vec::new();
    for (kind, output) in outputs {
        let of_kind: Vec<_> = finished.iter().filter(|(name, _)| kind_of_stage(name) == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let output = if kind == "evaluate" { of_kind[0].1.note.clone() } else { output };
        stages.push(Stage {
            name: kind.to_string(),
            output,
            seconds: of_kind.iter().map(|(_, r)| r.seconds).sum(),
            peak_rss_bytes: of_kind.iter().map(|(_, r)| r.peak_rss_bytes).max().unwrap_or(0),
            note: if of_kind.len() > 1 { format!("{} steps", of_kind.len()) } else { String::new() },
        });
    }
    stages
}

/// What the finished selections said of themselves.
fn selections(work: &WorkDirectory) -> Vec<SelectionFacts> {
    let mut found = Vec::new();
    for (name, record) in work.stages() {
        let round = name.strip_prefix("select ").and_then(|rest| rest.rsplit_once(' ')).and_then(|r| r.1.parse().ok());
        let report = serde_json::from_value(record.result["report"].clone());
        if let (Some(round), Ok(report)) = (round, report) {
            // A selection of before there was a cost beside it has that of its stage.
            let of_stage = Cost { seconds: record.seconds, peak_rss_bytes: record.peak_rss_bytes, ..Cost::default() };
            let cost = serde_json::from_value(record.result["cost"].clone()).unwrap_or(of_stage);
            found.push(SelectionFacts { round, report, cost });
        }
    }
    found
}

/// What the finished syntheses left out, by reason, and what tuning cuts.
fn synthesized(work: &WorkDirectory) -> Vec<String> {
    let (mut dropped, mut dialogues, mut cut) = (BTreeMap::<String, u64>::new(), 0, 0);
    for (_, record) in work.stages().iter().filter(|(name, _)| kind_of_stage(name) == "synthesize") {
        let report = &record.result["report"];
        let count = |key: &str| report[key].as_u64().unwrap_or(0);
        dialogues += count("dialogues");
        cut += count("cut_in_training");
        for (why, count) in report["dropped"].as_object().into_iter().flatten() {
            *dropped.entry(why.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    let mut out = Vec::new();
    if !dropped.is_empty() {
        let reasons: Vec<String> = dropped.iter().map(|(why, count)| format!("{count} {why}")).collect();
        out.push(format!("synthesize left out: {}; {dialogues} dialogues were made", reasons.join(", ")));
    }
    if cut > 0 {
        out.push(format!(
            "tune.max_tokens cuts the end off {cut} of {dialogues} dialogues, by estimate: raise it, or lower synthesize.items or \
             synthesize.query_tokens"
        ));
    }
    out
}

/// `4 ranking heads, 2 language models`.
fn tuned(made: &Artifacts) -> String {
    let heads = format!("{} ranking heads", made.rounds.len() + usize::from(made.naive.is_some()));
    match made.rounds.iter().filter(|r| r.student.is_some()).count() {
        0 => heads,
        1 => format!("{heads}, 1 language model"),
        models => format!("{heads}, {models} language models"),
    }
}

/// `select fisher 2` → `select`; what prepares rows is part of `embed`.
fn kind_of_stage(name: &str) -> &str {
    match name.split(' ').next().unwrap_or(name) {
        "fit" | "collaborative" | "metadata" => "embed",
        other => other,
    }
}

fn losses(work: &WorkDirectory) -> Vec<LossPoint> {
    let mut points = Vec::new();
    for (name, record) in work.stages() {
        let Some(label) = name.strip_prefix("tune ") else { continue };
        let Some(curve) = record.result["report"]["curve"].as_array() else { continue };
        for point in curve {
            let (Some(step), Some(loss)) = (point["step"].as_u64(), point["train"].as_f64().or(point["loss"].as_f64()))
            else {
                continue;
            };
            points.push(LossPoint { label: label.to_string(), step, loss, held_out: point["held_out"].as_f64() });
        }
    }
    points
}

fn versions() -> Vec<(String, String)> {
    let mut versions = vec![("causerie".to_string(), env!("CARGO_PKG_VERSION").to_string())];
    if cfg!(feature = "llama") {
        versions.push(("llama.cpp (llama-cpp-sys-2)".to_string(), crate::artifact::llama_version().to_string()));
    }
    versions
}

fn warnings(work: &WorkDirectory, config: &Config, made: &Artifacts) -> Vec<String> {
    let mut warnings = synthesized(work);
    let asked = config.pipeline.budget.saturating_mul(config.pipeline.rounds);
    if asked > made.dataset.reviews() {
        warnings.push(format!(
            "a budget of {asked} seeds was asked for; the dataset has {} reviews, and all were selected",
            made.dataset.reviews()
        ));
    }
    if config.evaluate.conversations.is_empty() {
        warnings.push("no conversations to evaluate on: set evaluate.conversations".to_string());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_syntheses_left_out_is_summed_over_strategies_and_rounds() {
        let folder = tempfile::tempdir().unwrap();
        let (config, run) = (Config::default(), Run::new(1).unwrap());
        let mut work = WorkDirectory::open(folder.path(), &config, false).unwrap();
        assert_eq!(synthesized(&work), Vec::<String>::new());
        for (name, report) in [
            ("synthesize fisher 1", json!({"dialogues": 10, "dropped": {"lists empty": 2, "queries repeated": 1}})),
            ("synthesize naive", json!({"dialogues": 5, "cut_in_training": 4, "dropped": {"queries repeated": 3}})),
            ("select fisher 1", json!({"dialogues": 1000})),
        ] {
            work.stage(name, "synthesize", &[], &run, |_| Ok((String::new(), json!({ "report": report })))).unwrap();
        }
        let said = synthesized(&work);
        assert_eq!(said[0], "synthesize left out: 2 lists empty, 4 queries repeated; 15 dialogues were made");
        assert!(
            said.len() == 2 && said[1].starts_with("tune.max_tokens cuts the end off 4 of 15 dialogues"),
            "{said:?}"
        );
    }

    #[test]
    fn two_files_of_one_name_are_told_apart() {
        let names = |paths: &[&str]| set_names(&paths.iter().map(|p| p.to_string()).collect::<Vec<_>>());
        assert_eq!(names(&["a/dev.jsonl", "b/test.jsonl.gz"]), ["dev", "test"]);
        assert_eq!(names(&["a/test.jsonl", "b/test.jsonl", ".x"]), ["a/test.jsonl", "b/test.jsonl", ".x"]);
    }
}
