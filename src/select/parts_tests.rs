//! Selections on given centres, what a selection says of itself, and files and terms that do not belong to it.

use super::checkpoint::resume;
use super::partition::{MergedPicks, Part, finalise, merge, part_of, select_part};
use super::tests::{clustered, config, run};
use super::*;
use crate::artifact;
use crate::config::SelectConfig;
use crate::error::Result;
use crate::math::Matrix;
use crate::run::Run;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn on(centers: &Path, strategy: &str, budget: usize) -> SelectConfig {
    SelectConfig { centers: centers.display().to_string(), ..config(strategy, budget) }
}

fn parts(parts: u64, x: &Matrix, features: Option<&Matrix>, config: &SelectConfig) -> Vec<Part> {
    (0..parts).map(|p| select_part((p, parts), x, features, &Terms::default(), config, &run()).unwrap()).collect()
}

fn says<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().message().to_string()
}

#[test]
fn fitted_centres_in_a_file_select_what_kmeans_selects() {
    let (x, features) = (clustered(700, 10, 1), clustered(700, 3, 2));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.safetensors");
    for strategy in ["js", "user_js"] {
        let features = strategy.contains('_').then_some(&features);
        let plain = config(strategy, 60);
        let fitted = centers::fit(&x, features, &plain, &run()).unwrap();
        assert_eq!((fitted.centers.rows(), fitted.centers.dim()), (8, 10 + features.map_or(0, Matrix::dim)));
        centers::save(&fitted.centers, &file).unwrap();
        let of_kmeans = select_with(&x, features, &Terms::default(), &plain, &run()).unwrap();
        let given = select_with(&x, features, &Terms::default(), &on(&file, strategy, 60), &run()).unwrap();
        assert_eq!(given.selection, of_kmeans.selection, "{strategy}");
        assert_eq!(given.report.centers, Some(centers::hash(&fitted.centers)));
        assert_eq!((of_kmeans.report.centers, of_kmeans.report.inertia), (None, Some(fitted.inertia)));
        // And those of the terms come first.
        let other = fitted.centers.gather(&[0, 1]);
        let terms = Terms { centers: Some(&other), ..Terms::default() };
        let held = select_with(&x, features, &terms, &on(&file, strategy, 60), &run()).unwrap();
        assert_eq!((held.report.clusters, held.report.centers), (Some(2), Some(centers::hash(&other))));
    }
    let refused = says(centers::fit(&x, None, &config("fisher", 5), &run()));
    assert!(refused.contains("fisher uses no clusters"), "{refused}");
}

#[test]
fn centres_that_cannot_be_used_name_their_file() {
    let x = clustered(60, 4, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.safetensors");
    let refused = |centers: Option<Matrix>| {
        if let Some(centers) = centers {
            centers::save(&centers, &file).unwrap();
        }
        let config = on(&file, "js", 5);
        let parts = says(select_part((0, 2), &x, None, &Terms::default(), &config, &run()));
        assert_eq!(parts, says(select(&x, None, &config, &run())));
        assert!(parts.contains("select.centers") && parts.contains("c.safetensors"), "{parts}");
        parts
    };
    refused(None);
    std::fs::write(&file, "no tensors").unwrap();
    refused(None);
    assert!(refused(Some(clustered(8, 3, 1))).contains("8 x 3 for rows of 4 values"));
    assert!(refused(Some(Matrix::zeros(0, 4))).contains("0 x"));
    let mut holed = clustered(8, 4, 1);
    holed.row_mut(6)[1] = f32::NAN;
    assert!(refused(Some(holed)).contains("centre 6 holds NaN"));
    // A strategy without clusters does not look at them.
    select(&x, None, &on(&file, "fisher", 5), &run()).unwrap();
}

#[test]
fn parts_share_centres_by_what_they_hold_and_not_by_where_they_lie() {
    let (x, features) = (clustered(500, 8, 3), clustered(500, 3, 4));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for strategy in ["js", "metadata_js"] {
        let features = strategy.contains('_').then_some(&features);
        let fitted = centers::fit(&x, features, &config(strategy, 30), &run()).unwrap().centers;
        for name in ["a", "b"] {
            centers::save(&fitted, &at(name)).unwrap();
        }
        let (here, there) = (on(&at("a"), strategy, 30), on(&at("b"), strategy, 30));
        let mut made = parts(4, &x, features, &here);
        made[2] = select_part((2, 4), &x, features, &Terms::default(), &there, &run()).unwrap();
        assert!(made.iter().all(|p| p.centers == Some(centers::hash(&fitted))));
        let found = finalise(&merge(&made).unwrap(), &x, features, &Terms::default(), &there, &run()).unwrap();
        assert_eq!((found.report.picked, found.report.centers), (30, Some(centers::hash(&fitted))));
        let whole = select_with(&x, features, &Terms::default(), &here, &run()).unwrap().report.objective;
        assert!(found.report.objective > 0.98 * whole, "{strategy}: {} {whole}", found.report.objective);

        // Other centres, and none, are told apart from a mere change of settings.
        centers::save(&fitted.gather(&[1, 0, 2, 3, 4, 5, 6, 7]), &at("c")).unwrap();
        let others = on(&at("c"), strategy, 30);
        made[3] = select_part((3, 4), &x, features, &Terms::default(), &others, &run()).unwrap();
        let refused = says(merge(&made));
        assert!(refused.contains("part 3 with the centres") && refused.contains("select.centers"), "{refused}");
        made[3] = select_part((3, 4), &x, features, &Terms::default(), &here, &run()).unwrap();
        let merged = merge(&made).unwrap();
        let refused = says(finalise(&merged, &x, features, &Terms::default(), &others, &run()));
        assert!(refused.contains("this is with the centres"), "{refused}");
        let refused = says(finalise(&merged, &x, features, &Terms::default(), &config(strategy, 30), &run()));
        assert!(refused.contains("no centres given"), "{refused}");
    }
    let refused = says(select_part((0, 4), &x, Some(&features), &Terms::default(), &config("user_js", 5), &run()));
    assert!(refused.contains("needs select.centers") && refused.contains("--fit-centers"), "{refused}");
}

/// What is held counts by the centres that there are, not by `select.clusters`, and K-means not at all.
#[test]
fn given_centres_count_in_the_estimate() {
    let x = clustered(4000, 8, 5);
    let (many, few) = (clustered(400, 8, 1), clustered(2, 8, 1));
    let config = SelectConfig { clusters: 2, ..config("js", 10) };
    let bytes = |centers| {
        let terms = Terms { centers, ..Terms::default() };
        memory::estimate(&x, None, &terms, &config).unwrap().working_bytes
    };
    // p alone: 8 bytes a row and cluster.
    assert!(bytes(Some(&many)) > 4000 * 400 * 8 && bytes(Some(&few)) < 4000 * 400 * 8);
    let allowed = SelectConfig { max_memory_bytes: bytes(Some(&few)), ..config.clone() };
    let terms = Terms { centers: Some(&many), ..Terms::default() };
    assert_eq!(select_with(&x, None, &terms, &allowed, &run()).unwrap_err().kind(), crate::ErrorKind::Memory);
}

/// Parts were let in by the memory that their own rows take, while K-means went over all.
#[test]
fn kmeans_of_all_rows_counts_in_the_memory_of_a_part() {
    let x = clustered(60_000, 2, 5);
    let config = SelectConfig { clusters: 2, ..config("js", 3) };
    let all = memory::of_kmeans(&x, None, &config).unwrap().working_bytes;
    let rows: Vec<usize> = (0..60_000).filter(|row| part_of(*row, 60) == 0).map(|row| row as usize).collect();
    let own = memory::estimate(&x.gather(&rows), None, &Terms::default(), &config).unwrap().working_bytes;
    assert!(own < all - 1, "{own} {all}");
    let bounded = |most| SelectConfig { max_memory_bytes: most, ..config.clone() };
    let part = |config: &SelectConfig| select_part((0, 60), &x, None, &Terms::default(), config, &run());
    assert_eq!(part(&bounded(all - 1)).unwrap_err().kind(), crate::ErrorKind::Memory);
    part(&bounded(all)).unwrap();
}

#[test]
fn a_selection_says_what_it_took_beside_its_report() {
    let x = clustered(300, 6, 1);
    for strategy in ["fisher", "js", "random"] {
        let config = config(strategy, 20);
        let run = Run::new(2).unwrap();
        let begun = std::time::Instant::now();
        let selected = select_with(&x, None, &Terms::default(), &config, &run).unwrap();
        let cost = selected.cost;
        assert!(cost.seconds > 0.0 && cost.seconds <= begun.elapsed().as_secs_f64());
        let estimate = memory::estimate(&x, None, &Terms::default(), &config).unwrap();
        assert_eq!((cost.threads, cost.estimated_bytes, cost.rows_bytes), (2, estimate.working_bytes, 300 * 6 * 4));
        assert!(cost.peak_rss_bytes >= cost.before_rss_bytes && cost.before_rss_bytes > 1 << 20, "{cost:?}");
        // Apart: what is the same every time, and what never is.
        let again = select_with(&x, None, &Terms::default(), &config, &run).unwrap();
        assert_eq!(serde_json::to_string(&selected.report).unwrap(), serde_json::to_string(&again.report).unwrap());
        let told = serde_json::to_value(selected.record()).unwrap();
        assert_eq!(told["cost"]["threads"], 2);
        let report: Report = serde_json::from_value(told).unwrap();
        assert_eq!(report, selected.report);
    }
}

#[test]
fn what_parts_lost_is_told_against_the_whole() {
    let x = clustered(900, 10, 7);
    for strategy in ["fisher", "js"] {
        let config = config(strategy, 40);
        let whole = select_with(&x, None, &Terms::default(), &config, &run()).unwrap().report.objective;
        let merged = merge(&parts(6, &x, None, &config)).unwrap();
        let told = |compare: &str| {
            let config = SelectConfig { compare_whole: compare.into(), ..config.clone() };
            finalise(&merged, &x, None, &Terms::default(), &config, &run()).unwrap()
        };
        // So few rows are compared unasked.
        let found = told("auto");
        let lost = found.report.parts.clone().unwrap();
        assert_eq!((lost.parts, lost.merged_rows, lost.whole_objective), (6, merged.rows.len(), Some(whole)));
        assert_eq!(lost.loss, Some(1.0 - found.report.objective / whole), "{strategy}");
        let best: f64 = merged.best.iter().map(|p| p.gain).sum();
        assert!(lost.best_part_objective == best && lost.loss.unwrap() < 0.05, "{lost:?}");
        assert!(found.report.to_string().contains("% lost against"), "{}", found.report);
        assert_eq!((&told("always").report, &told("always").selection), (&found.report, &found.selection));
        let silent = told("never");
        assert_eq!(silent.selection, found.selection);
        let silent = silent.report.parts.unwrap();
        assert_eq!((silent.whole_objective, silent.loss, silent.merged_rows), (None, None, merged.rows.len()));
    }
    // Not compared where the whole would need more than is allowed, unless it is asked for.
    let config = config("js", 40);
    let centers = centers::fit(&x, None, &config, &run()).unwrap().centers;
    let terms = Terms { centers: Some(&centers), ..Terms::default() };
    let made: Vec<_> = (0..6).map(|p| select_part((p, 6), &x, None, &terms, &config, &run()).unwrap()).collect();
    let most = memory::estimate(&x, None, &terms, &config).unwrap().working_bytes - 1;
    let bounded = |compare: &str| {
        let config = SelectConfig { compare_whole: compare.into(), max_memory_bytes: most, ..config.clone() };
        finalise(&merge(&made).unwrap(), &x, None, &terms, &config, &run())
    };
    assert_eq!(bounded("auto").unwrap().report.parts.unwrap().loss, None);
    assert_eq!(bounded("always").unwrap_err().kind(), crate::ErrorKind::Memory);
}

/// More parts than rows: some hold none, and merging once asked for them in vain.
#[test]
fn parts_that_hold_no_rows_are_empty_and_merge() {
    let x = clustered(9, 4, 1);
    let config = config("fisher", 4);
    let made = parts(40, &x, None, &config);
    assert!(made.iter().any(|p| p.picks.is_empty()));
    let found = finalise(&merge(&made).unwrap(), &x, None, &Terms::default(), &config, &run()).unwrap();
    // Every part gives all of its rows, so that nothing is lost.
    assert_eq!(found.selection.rows(), select(&x, None, &config, &run()).unwrap().rows());
    let empty: Vec<Part> = made.into_iter().map(|p| Part { picks: Vec::new(), ..p }).collect();
    let refused = says(finalise(&merge(&empty).unwrap(), &x, None, &Terms::default(), &config, &run()));
    assert!(refused.contains("no part picked anything"), "{refused}");
}

/// A row beyond the matrix among the best part's picks once was an index out of bounds.
#[test]
fn files_of_parts_that_were_edited_are_refused() {
    let x = clustered(90, 4, 1);
    let config = config("fisher", 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.json");
    let made = parts(2, &x, None, &config);
    let edited = |edit: fn(&mut Part)| {
        let mut part = made[0].clone();
        edit(&mut part);
        part.save(&path).unwrap();
        says(Part::load(&path))
    };
    assert!(edited(|p| p.picks[3].rank = 9).contains("rank 9 where 3 is due"));
    assert!(edited(|p| p.picks[3].row = p.picks[0].row).contains("a second time"));
    assert!(edited(|p| p.format = artifact::FORMAT + 1).contains("this is causerie/"));
    let mut foreign = made.clone();
    foreign[0].picks[1].row = made[1].picks[0].row;
    assert!(says(merge(&foreign)).contains("not dealt to it"));
    foreign[0].picks[1].row = 1 << 33;
    assert!(says(merge(&foreign)).contains("not dealt to it"));
    for parts in [0, 1 << 40] {
        assert!(says(merge(&[Part { parts, ..made[0].clone() }])).contains("can be merged"));
    }
    let merged = merge(&made).unwrap();
    let finish = |merged: &MergedPicks| finalise(merged, &x, None, &Terms::default(), &config, &run());
    let mut beyond = merged.clone();
    beyond.best[0].row = 90;
    beyond.best[0].gain = 1e6;
    assert!(says(finish(&beyond)).contains("merged row 90"));
    let mut mixed = merged.clone();
    mixed.rows.swap(0, 1);
    mixed.save(&path).unwrap();
    assert!(says(MergedPicks::load(&path)).contains("do not rise"));
    // Files of before there were centres and a budget in them.
    let mut older = serde_json::to_value(&made[0]).unwrap();
    older.as_object_mut().unwrap().retain(|key, _| key != "centers" && key != "budget");
    std::fs::write(&path, older.to_string()).unwrap();
    assert_eq!(Part::load(&path).unwrap(), Part { budget: 0, ..made[0].clone() });
}

#[test]
fn columns_and_features_of_other_rows_are_refused_in_parts_too() {
    let x = clustered(100, 4, 1);
    let items: Vec<u32> = (0..101).collect();
    let capped = SelectConfig { max_per_item: 1, ..config("fisher", 5) };
    for items in [&items[..], &items[..99]] {
        let terms = Terms { items: Some(items), ..Terms::default() };
        let refused = says(select_part((0, 2), &x, None, &terms, &capped, &run()));
        assert!(refused.contains("for 100 rows"), "{refused}");
    }
    let few = clustered(90, 3, 1);
    let refused = says(select_part((1, 2), &x, Some(&few), &Terms::default(), &config("user_fisher", 5), &run()));
    assert!(refused.contains("90 rows of features for 100 rows"), "{refused}");
}

/// A part named a bad row by its place among its own rows, and JS the centre that such a row had spoilt.
#[test]
fn a_bad_row_of_a_part_is_named_as_in_the_whole() {
    let (x, features) = (clustered(100, 4, 1), clustered(100, 3, 1));
    let bad = (50..100).find(|row| part_of(*row, 4) == 2).unwrap() as usize;
    let (mut holed, mut spoilt) = (x.clone(), features.clone());
    holed.row_mut(bad)[1] = f32::NAN;
    spoilt.row_mut(bad)[1] = f32::INFINITY;
    let part = |number, x: &Matrix, features: &Matrix, strategy: &str| {
        says(select_part((number, 4), x, Some(features), &Terms::default(), &config(strategy, 5), &run()))
    };
    assert!(part(2, &x, &spoilt, "user_fisher").contains(&format!("features: row {bad} holds")));
    for number in 0..4 {
        let told = part(number, &holed, &features, "js");
        assert!(told.contains(&format!("embeddings: row {bad} holds NaN")), "{told}");
    }
}

/// Runs `config` with a checkpoint until so many picks are made.
fn stop_at(picks: u64, path: &Path, x: &Matrix, config: &SelectConfig) {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let stopped = Run::new(2).unwrap().cancelled_by(flag).on_progress(move |p| {
        set.fetch_or(p.unit == "picks" && p.done == picks, Ordering::Relaxed);
    });
    let e = resume(path, &Selection::default(), x, None, &Terms::default(), config, &stopped).unwrap_err();
    assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
}

/// The name of the file counted, and not the rows in it.
#[test]
fn a_checkpoint_knows_the_rows_of_a_changed_list() {
    let x = clustered(200, 5, 2);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = |list: &str| SelectConfig {
        checkpoint_s: 1000,
        force: vec![format!("@{}", at(list).display())],
        ..config("fisher", 40)
    };
    std::fs::write(at("list"), "7\n9\n").unwrap();
    stop_at(20, &at("picks.json"), &x, &config("list"));
    let go_on = |list: &str| {
        resume(&at("picks.json"), &Selection::default(), &x, None, &Terms::default(), &config(list), &run())
    };
    std::fs::write(at("list"), "7\n10\n").unwrap();
    assert!(says(go_on("list")).contains("another selection"));
    // The same rows in another file are the same selection.
    std::fs::write(at("other"), "7\n9\n").unwrap();
    assert_eq!(go_on("other").unwrap().selection, select(&x, None, &config("other"), &run()).unwrap());
}

/// A smaller budget took the first picks of a checkpoint, and then removed it with all the others.
#[test]
fn a_smaller_budget_leaves_a_longer_checkpoint() {
    let x = clustered(200, 5, 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picks.json");
    let config = SelectConfig { checkpoint_s: 1000, ..config("fisher", 60) };
    stop_at(50, &path, &x, &config);
    let whole = select_with(&x, None, &Terms::default(), &config, &run()).unwrap();
    let go_on = |budget| {
        let config = SelectConfig { budget, ..config.clone() };
        resume(&path, &Selection::default(), &x, None, &Terms::default(), &config, &run()).unwrap()
    };
    let few = go_on(10);
    assert_eq!(few.selection.picks[..], whole.selection.picks[..10]);
    assert!(path.exists());
    // The report is as complete as that of a selection that picked something.
    let bound = few.report.upper_bound.unwrap();
    assert!(few.report.objective <= bound && few.report.share_of_best.unwrap() > 0.5, "{:?}", few.report);
    assert_eq!(go_on(60).selection, whole.selection);
    assert!(!path.exists());
    // Stopped with the last pick: nothing is left to pick, and the certificate is there all the same.
    stop_at(60, &path, &x, &config);
    let done = go_on(60);
    assert!(done.selection == whole.selection && done.report.share_of_best.unwrap() > 0.5 && !path.exists());
    for broken in ["\"rank\":1", "\"rank\":7"] {
        let _ = std::fs::remove_file(&path);
        stop_at(5, &path, &x, &config);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"rank\":0", broken, 1)).unwrap();
        let e = resume(&path, &Selection::default(), &x, None, &Terms::default(), &config, &run()).unwrap_err();
        assert!(e.message().contains("where 0 is due") && e.message().contains("picks.json"), "{e}");
    }
}

/// Earlier picks were handed back unseen where no more were asked for.
#[test]
fn earlier_picks_of_other_rows_are_refused_whatever_the_budget() {
    let x = clustered(50, 5, 2);
    let larger = select(&clustered(400, 5, 3), None, &config("fisher", 40), &run()).unwrap();
    assert!(larger.rows().iter().any(|row| *row >= 50));
    for budget in [40, 45] {
        let refused = says(extend(&larger, &x, None, &Terms::default(), &config("fisher", budget), &run()));
        assert!(refused.contains("but there are 50 rows"), "{refused}");
    }
    assert!(says(extend(&larger, &x, None, &Terms::default(), &config("fisher", 0), &run())).contains("at least 1"));
}

#[test]
fn a_row_of_which_the_weight_leaves_nothing_is_passed_over() {
    let (x, mut features) = (clustered(20, 4, 9), clustered(20, 3, 1));
    features.row_mut(13).fill(0.0);
    let config = |weight| SelectConfig { weight, ..config("user_fisher", 5) };
    let rows = |weight| {
        let config = SelectConfig { budget: 20, ..config(weight) };
        select(&x, Some(&features), &config, &run()).unwrap().rows()
    };
    assert!(rows(1.0).len() == 19 && !rows(1.0).contains(&13));
    assert_eq!(rows(0.99).len(), 20);
}

/// Fewer picks than were asked for, and fewer forced rows than were named, went by without a word.
#[test]
fn what_is_left_out_is_said() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = heard.clone();
    crate::run::set_log(Some(Box::new(move |_, text| kept.lock().unwrap().push(text.to_string()))));
    // Two items and two users on a diagonal: the row that is picked first leaves one of the others, or none.
    let x = Matrix::from_vec(3, 2, vec![9.0, 0.0, 1.0, 0.0, 0.0, 1.0]).unwrap();
    let (items, users) = ([0, 0, 1], [0, 1, 0]);
    let terms = Terms { items: Some(&items), users: Some(&users), ..Terms::default() };
    let capped = SelectConfig { max_per_item: 1, max_per_user: 1, ..config("fisher", 2) };
    assert_eq!(select_with(&x, None, &terms, &capped, &run()).unwrap().selection.rows(), [0]);
    let forced = SelectConfig { force: ["2", "1", "0"].map(String::from).to_vec(), ..config("random", 2) };
    assert_eq!(select(&x, None, &forced, &run()).unwrap().rows(), [2, 1]);
    let item_alone = Terms { users: None, ..terms };
    let capped = SelectConfig { max_per_item: 1, ..config("fisher", 3) };
    assert_eq!(select_with(&x, None, &item_alone, &capped, &run()).unwrap().selection.picks.len(), 2);
    let none = Terms { excluded: &[0, 1, 2], ..Terms::default() };
    assert_eq!(select_with(&x, None, &none, &config("fisher", 77), &run()).unwrap().selection.picks, []);
    crate::run::set_log(None);
    let heard = heard.lock().unwrap().join("\n");
    for said in [
        "the caps on items and users left room for 1 of 2 picks",
        "3 rows are forced in, but the budget is 2: only the first 2 are",
        "3 rows are asked for, and only 2 can be selected (select.max_per_item, select.max_per_user): so many are",
        "77 more rows are asked for, and none is left to select",
    ] {
        assert!(heard.contains(said), "{said}: {heard}");
    }
}
