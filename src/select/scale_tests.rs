//! Selections from files, in parts, with checkpoints and on named rows, beside the plain ones.

use super::checkpoint::resume;
use super::field::Field;
use super::partition::{finalise, merge, part_of, select_part};
use super::tests::{clustered, config, run, same};
use super::twin::FisherTwin;
use super::*;
use crate::config::SelectConfig;
use crate::embed::{RowType, StoredRows, pack};
use crate::math::Matrix;
use crate::run::Run;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn stored(x: &Matrix, format: RowType) -> (tempfile::TempDir, StoredRows) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    pack(x, &path, format, &Default::default(), &run()).unwrap();
    let stored = StoredRows::open(&path).unwrap();
    (folder, stored)
}

#[test]
fn rows_in_a_file_are_selected_exactly_as_stored() {
    let (x, features) = (clustered(900, 20, 1), clustered(900, 5, 2));
    for format in [RowType::F32, RowType::F16, RowType::I8] {
        let (_folder, stored) = stored(&x, format);
        let values = stored.to_matrix().unwrap();
        for strategy in ["fisher", "js", "random", "user_fisher"] {
            let config = config(strategy, 120);
            let mapped = select_with(&stored, Some(&features), &Terms::default(), &config, &run()).unwrap();
            let held = select_with(&values, Some(&features), &Terms::default(), &config, &run()).unwrap();
            assert_eq!((mapped.selection, mapped.report), (held.selection, held.report), "{format:?} {strategy}");
        }
        let slow = {
            let mut field = Field::new(900, &Terms::default(), &config("fisher", 120)).unwrap();
            twin::picks(&mut FisherTwin::new(&values), &mut field, 120, &run()).unwrap()
        };
        let fast = select(&stored, None, &config("fisher", 120), &run()).unwrap();
        same(&fast.picks, &slow, &format!("{format:?}"));
    }
}

#[test]
fn more_picks_than_values_agree_with_the_twin_over_many_bases() {
    // A base every 7 picks: 60 of them.
    let x = clustered(600, 7, 4);
    let fast = select(&x, None, &config("fisher", 430), &run()).unwrap();
    let mut field = Field::new(600, &Terms::default(), &config("fisher", 430)).unwrap();
    let slow = twin::picks(&mut FisherTwin::new(&x), &mut field, 430, &run()).unwrap();
    same(&fast.picks, &slow, "many bases");
}

#[test]
fn more_memory_than_allowed_is_refused_before_it_is_taken() {
    let x = clustered(500, 8, 3);
    for strategy in ["fisher", "js", "random"] {
        let allowed = SelectConfig { max_memory_bytes: 1000, ..config(strategy, 50) };
        let e = select(&x, None, &allowed, &run()).unwrap_err();
        assert!(e.kind() == crate::ErrorKind::Memory && e.message().contains("select.max_memory_bytes"), "{e}");
        let needed = memory::estimate(&x, None, &Terms::default(), &allowed).unwrap().working_bytes;
        select(&x, None, &SelectConfig { max_memory_bytes: needed, ..allowed }, &run()).unwrap();
    }
}

#[test]
fn a_selection_that_was_stopped_goes_on_to_the_same_bytes() {
    let x = clustered(400, 9, 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picks.json");
    for strategy in ["fisher", "js"] {
        let config = SelectConfig { checkpoint_s: 1000, force: vec!["17".into()], ..config(strategy, 90) };
        let whole = select_with(&x, None, &Terms::default(), &config, &run()).unwrap();
        let none = Selection::default();
        // Picks are counted from where a run begins: it stops after 5, 45 and 75 of 90.
        for stop in [5, 40, 30] {
            let flag = Arc::new(AtomicBool::new(false));
            let set = flag.clone();
            let stopped = Run::new(2).unwrap().cancelled_by(flag).on_progress(move |p| {
                if p.unit == "picks" && p.done == stop {
                    set.store(true, Ordering::Relaxed);
                }
            });
            let e = resume(&path, &none, &x, None, &Terms::default(), &config, &stopped).unwrap_err();
            assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
            assert!(path.exists(), "{strategy}: no checkpoint at {stop}");
        }
        // Another selection's checkpoint is not taken for this one's.
        let other = SelectConfig { lambda: 3.0, ..config.clone() };
        let e = resume(&path, &none, &x, None, &Terms::default(), &other, &run()).unwrap_err();
        assert!(e.message().contains("another selection"), "{e}");
        let mut changed = x.clone();
        changed.row_mut(0)[0] += 0.25;
        assert!(resume(&path, &none, &changed, None, &Terms::default(), &config, &run()).is_err());

        let resumed = resume(&path, &none, &x, None, &Terms::default(), &config, &run()).unwrap();
        // Gains to the last bit, whatever was folded when.
        assert_eq!(resumed.selection, whole.selection, "{strategy}");
        assert!(!path.exists());
    }
    std::fs::write(&path, "{}").unwrap();
    let e =
        resume(&path, &Selection::default(), &x, None, &Terms::default(), &config("fisher", 5), &run()).unwrap_err();
    assert!(e.message().contains("no checkpoint of a selection"), "{e}");
}

#[test]
fn checkpoints_are_written_while_it_runs() {
    let x = clustered(200, 5, 6);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picks.json");
    let (seen, at) = (Arc::new(AtomicBool::new(false)), path.clone());
    let set = seen.clone();
    let watched = Run::new(1).unwrap().on_progress(move |p| {
        if p.unit == "picks" && p.done == 3 {
            set.store(at.exists(), Ordering::Relaxed);
        }
    });
    let config = SelectConfig { checkpoint_s: 0, ..config("fisher", 10) };
    resume(&path, &Selection::default(), &x, None, &Terms::default(), &config, &watched).unwrap();
    assert!(seen.load(Ordering::Relaxed) && !path.exists());
}

#[test]
fn rows_named_in_the_settings_are_forced_in_and_out() {
    let x = clustered(80, 5, 7);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.txt");
    std::fs::write(&file, "60\n61\n\n").unwrap();
    for strategy in ["random", "js", "fisher"] {
        let config = SelectConfig {
            force: vec!["33".into(), format!("@{}", file.display()), "2".into()],
            exclude: vec!["4".into(), "5".into()],
            ..config(strategy, 80)
        };
        let rows = select(&x, None, &config, &run()).unwrap().rows();
        assert_eq!(rows[..4], [33, 60, 61, 2], "{strategy}");
        assert!(rows.len() == 78 && !rows.contains(&4) && !rows.contains(&5));
        // Continued: they are not forced a second time.
        let part = select(&x, None, &SelectConfig { budget: 2, ..config.clone() }, &run()).unwrap();
        let more = extend(&part, &x, None, &Terms::default(), &config, &run()).unwrap();
        assert_eq!(more.selection.rows(), rows, "{strategy}");
    }
    let wrong = |force: &str| {
        let config = SelectConfig { force: vec![force.into()], ..config("fisher", 5) };
        select(&x, None, &config, &run()).unwrap_err().message().to_string()
    };
    assert!(wrong("x").contains("select.force"));
    assert!(wrong("80").contains("80 rows"));
    std::fs::write(&file, "1\nseven\n").unwrap();
    assert!(wrong(&format!("@{}", file.display())).contains("rows.txt:2"));
}

#[test]
fn the_certificate_holds_under_caps() {
    // 10 rows, 3 picks, at most one of an item and one of a user: all 120 selections are tried.
    for seed in 0..12 {
        let x = clustered(10, 3, seed);
        let items: Vec<u32> = (0..10).map(|i| i % 4).collect();
        let users: Vec<u32> = (0..10).map(|i| i / 3).collect();
        for (max_per_item, max_per_user, share) in [(1, 0, 0.5), (1, 1, 1.0 / 3.0)] {
            let config = SelectConfig { max_per_item, max_per_user, ..config("fisher", 3) };
            let terms = Terms { items: Some(&items), users: Some(&users), ..Terms::default() };
            let selected = select_with(&x, None, &terms, &config, &run()).unwrap();
            let picked = selected.selection.picks.len() as u32;
            let mut best = 0f64;
            for set in (0u32..1 << 10).filter(|set| set.count_ones() == picked) {
                let rows: Vec<usize> = (0..10).filter(|i| set >> i & 1 == 1).collect();
                let distinct = |part: &[u32]| {
                    rows.iter().map(|i| part[*i]).collect::<std::collections::HashSet<_>>().len() == rows.len()
                };
                if distinct(&items) && (max_per_user == 0 || distinct(&users)) {
                    let mut a = faer::Mat::<f64>::identity(3, 3);
                    for row in rows.iter().map(|i| x.row(*i)) {
                        for (i, j) in (0..9).map(|n| (n / 3, n % 3)) {
                            a[(i, j)] += f64::from(row[i]) * f64::from(row[j]);
                        }
                    }
                    best = best.max(a.determinant().ln());
                }
            }
            let (objective, bound) = (selected.report.objective, selected.report.upper_bound.unwrap());
            assert!(objective <= best + 1e-12 && best <= bound + 1e-12, "{objective} {best} {bound}");
            assert!(selected.report.share_of_best.unwrap() >= share - 1e-12 && selected.report.bound_by.is_some());
        }
    }
}

#[test]
fn parts_come_close_and_say_how_close() {
    let x = clustered(1500, 12, 8);
    let config = config("fisher", 50);
    let whole = select_with(&x, None, &Terms::default(), &config, &run()).unwrap().report;
    for parts in [1, 4, 16] {
        let made: Vec<_> = (0..parts)
            .map(|p| select_part((p, parts), &x, None, &Terms::default(), &config, &run()).unwrap())
            .collect();
        for (p, part) in made.iter().enumerate() {
            assert!(part.picks.iter().all(|pick| part_of(pick.row, parts) == p as u64));
        }
        let found = finalise(&merge(&made).unwrap(), &x, None, &Terms::default(), &config, &run()).unwrap();
        assert_eq!((found.report.picked, found.report.rows), (50, 1500));
        let objective = found.report.objective;
        assert!(objective > 0.95 * whole.objective && objective <= whole.upper_bound.unwrap(), "{parts}: {objective}");
        // The bound is about all 1,500 rows: it stands above what one machine found.
        assert!(found.report.upper_bound.unwrap() >= whole.objective - 1e-9);
        if parts == 1 {
            assert!((objective - whole.objective).abs() < 1e-9);
        }
    }
}

#[test]
fn parts_keep_caps_and_named_rows_and_strategies() {
    let x = clustered(300, 6, 9);
    let features = clustered(300, 3, 1);
    let items: Vec<u32> = (0..300).map(|i| i % 9).collect();
    for strategy in ["fisher", "user_fisher", "js", "random"] {
        let config = SelectConfig {
            max_per_item: 2,
            force: vec!["250".into()],
            exclude: vec!["0".into()],
            ..config(strategy, 12)
        };
        let terms = Terms { items: Some(&items), ..Terms::default() };
        let parts: Vec<_> =
            (0..3).map(|p| select_part((p, 3), &x, Some(&features), &terms, &config, &run()).unwrap()).collect();
        let found = finalise(&merge(&parts).unwrap(), &x, Some(&features), &terms, &config, &run()).unwrap();
        assert_eq!(
            found.report.entropy, None,
            "{strategy}: the spread of H over the merged rows was told as that of all"
        );
        let rows = found.selection.rows();
        assert!(rows.len() == 12 && rows[0] == 250 && !rows.contains(&0), "{strategy}: {rows:?}");
        for item in 0..9 {
            assert!(rows.iter().filter(|row| items[**row as usize] == item).count() <= 2, "{strategy}");
        }
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let x = clustered(90, 4, 1);
    let config = config("fisher", 5);
    let part =
        |numbers, config: &SelectConfig| select_part(numbers, &x, None, &Terms::default(), config, &run()).unwrap();
    let (a, b) = (part((0, 2), &config), part((1, 2), &config));
    let says = |parts: &[_]| merge(parts).unwrap_err().message().to_string();
    assert!(says(&[]).contains("no parts"));
    assert!(says(std::slice::from_ref(&a)).contains("part 1 of 2 is missing"));
    assert!(says(&[a.clone(), a.clone()]).contains("twice"));
    assert!(says(&[a.clone(), part((1, 3), &config)]).contains("different selections"));
    let other = SelectConfig { max_per_item: 0, seed: 9, ..config.clone() };
    assert!(says(&[a.clone(), part((1, 2), &other)]).contains("different selections"));
    assert!(select_part((2, 2), &x, None, &Terms::default(), &config, &run()).is_err());
    let merged = merge(&[a.clone(), b]).unwrap();
    let e = finalise(&merged, &clustered(90, 4, 2), None, &Terms::default(), &config, &run()).unwrap_err();
    assert!(e.message().contains("another selection"), "{e}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.json");
    a.save(&path).unwrap();
    assert_eq!(partition::Part::load(&path).unwrap(), a);
    assert!(partition::MergedPicks::load(&path).unwrap_err().message().contains("merged picks"));
    merged.save(&path).unwrap();
    assert_eq!(partition::MergedPicks::load(&path).unwrap(), merged);
}
