//! The fast strategies against their slow twins, against the numpy oracle, and at the edges.

use super::field::Field;
use super::greedy::Greedy;
use super::twin::{FisherTwin, JsTwin, picks};
use super::*;
use crate::config::SelectConfig;
use crate::config::{Choice, Strategy};
use crate::math::Random;
use crate::math::{Matrix, squares};
use crate::run::Run;

pub(super) fn run() -> Run {
    Run::new(2).unwrap()
}

pub(super) fn config(strategy: &str, budget: usize) -> SelectConfig {
    SelectConfig { strategy: strategy.into(), budget, clusters: 8, temperature: 0.1, ..SelectConfig::default() }
}

/// Rows around a few centres, of unit length, one in seven an exact copy of another.
pub(super) fn clustered(rows: usize, dim: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed, b"clustered");
    let centres: Vec<f64> = (0..6 * dim).map(|_| random.normal()).collect();
    let mut x = Matrix::zeros(rows, dim);
    for i in 0..rows {
        let centre = random.below(6);
        for k in 0..dim {
            x.row_mut(i)[k] = (centres[centre * dim + k] + 0.7 * random.normal()) as f32;
        }
    }
    x.normalise_rows();
    for i in (3..rows).step_by(7) {
        let copied = x.row(random.below(rows)).to_vec();
        x.row_mut(i).copy_from_slice(&copied);
    }
    x
}

/// Shapes where something is at its edge: one row, one value, more values than rows, the budget of all rows.
fn cases() -> Vec<(Matrix, usize)> {
    let mut cases: Vec<(Matrix, usize)> =
        [(1, 1, 1), (9, 1, 9), (40, 2, 40), (25, 60, 25), (300, 5, 300), (700, 24, 400), (1500, 33, 120)]
            .iter()
            .map(|&(rows, dim, budget)| (clustered(rows, dim, rows as u64), budget))
            .collect();
    // All rows equal; rows of a basis, twice: every score ties.
    cases.push((Matrix::from_vec(30, 3, [0.6, 0.0, 0.8].repeat(30)).unwrap(), 30));
    let mut basis = Matrix::zeros(16, 8);
    (0..16).for_each(|i| basis.row_mut(i)[i % 8] = 1.0);
    cases.push((basis, 16));
    cases.push((signs(), 25));
    // Rows that are not of unit length, over six orders of magnitude.
    let mut uneven = clustered(200, 12, 5);
    for i in 0..200 {
        let by = 10f32.powi(i as i32 % 7 - 3);
        uneven.row_mut(i).iter_mut().for_each(|v| *v *= by);
    }
    cases.push((uneven, 60));
    cases
}

/// 700 different rows that tie exactly, more than a pool holds, and 300 lower ones.
fn signs() -> Matrix {
    let mut random = Random::new(3, b"signs");
    let mut x = Matrix::zeros(1000, 64);
    for i in 0..1000 {
        let size = if i < 700 { 0.125 } else { 0.0625 };
        x.row_mut(i).iter_mut().for_each(|v| *v = if random.bits() >> 63 == 0 { size } else { -size });
    }
    x
}

pub(super) fn same(fast: &[Pick], slow: &[Pick], what: &str) {
    let rows = |picks: &[Pick]| picks.iter().map(|p| p.row).collect::<Vec<_>>();
    assert_eq!(rows(fast), rows(slow), "{what}");
    for (a, b) in fast.iter().zip(slow) {
        assert!(
            (a.gain - b.gain).abs() <= 1e-9 * (1.0 + b.gain.abs()),
            "{what}, rank {}: {} {}",
            a.rank,
            a.gain,
            b.gain
        );
    }
}

fn twin_picks(twin: &mut dyn Greedy, rows: usize, terms: &Terms, config: &SelectConfig) -> Vec<Pick> {
    let mut field = Field::new(rows, terms, config).unwrap();
    let budget = field.capacity().min(config.budget);
    picks(twin, &mut field, budget, &run()).unwrap()
}

#[test]
fn fisher_picks_what_its_slow_twin_picks() {
    for (x, budget) in cases() {
        let config = config("fisher", budget);
        let fast = select(&x, None, &config, &run()).unwrap();
        let slow = twin_picks(&mut FisherTwin::new(&x), x.rows(), &Terms::default(), &config);
        same(&fast.picks, &slow, &format!("{} x {}", x.rows(), x.dim()));
    }
}

#[test]
fn js_picks_what_its_slow_twin_picks() {
    for (x, budget) in cases() {
        for (lambda, temperature) in [(1.0, 0.1), (0.0, 0.3), (7.0, 0.02), (1.0, 1.0)] {
            let config = SelectConfig { lambda, temperature, ..config("js", budget) };
            let fast = select(&x, None, &config, &run()).unwrap();
            let centers = kmeans::kmeans(&x, &kmeans::Options::of(&config), &run()).unwrap().centers;
            let p = soft::assign(&x, &centers, temperature, &run()).unwrap();
            let slow = twin_picks(&mut JsTwin::new(&p, lambda), x.rows(), &Terms::default(), &config);
            same(&fast.picks, &slow, &format!("{} x {}, lambda {lambda}, T {temperature}", x.rows(), x.dim()));
        }
    }
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let x = clustered(3000, 40, 1);
    for strategy in ["random", "js", "fisher"] {
        let one = select(&x, None, &config(strategy, 300), &Run::new(1).unwrap()).unwrap();
        for threads in [2, 3] {
            let more = select(&x, None, &config(strategy, 300), &Run::new(threads).unwrap()).unwrap();
            assert_eq!(one, more, "{strategy}");
        }
    }
}

#[test]
fn the_sum_of_fisher_gains_is_the_log_determinant() {
    let x = clustered(200, 6, 2);
    let selected = select_with(&x, None, &Terms::default(), &config("fisher", 50), &run()).unwrap();
    let mut a = faer::Mat::<f64>::identity(6, 6);
    for row in selected.selection.rows() {
        let row = x.row(row as usize);
        for i in 0..6 {
            for j in 0..6 {
                a[(i, j)] += f64::from(row[i]) * f64::from(row[j]);
            }
        }
    }
    assert!((a.determinant().ln() - selected.report.objective).abs() < 1e-9);
}

#[test]
fn the_certificate_holds_for_the_best_selection_of_all() {
    // 12 rows, 4 picks: all 495 selections are tried.
    for seed in 0..20 {
        let x = clustered(12, 3, seed);
        let selected = select_with(&x, None, &Terms::default(), &config("fisher", 4), &run()).unwrap();
        let bound = selected.report.upper_bound.unwrap();
        let mut best = 0f64;
        for set in 0u32..1 << 12 {
            if set.count_ones() == 4 {
                let mut a = faer::Mat::<f64>::identity(3, 3);
                for row in (0..12).filter(|i| set >> i & 1 == 1).map(|i| x.row(i)) {
                    for i in 0..3 {
                        for j in 0..3 {
                            a[(i, j)] += f64::from(row[i]) * f64::from(row[j]);
                        }
                    }
                }
                best = best.max(a.determinant().ln());
            }
        }
        let objective = selected.report.objective;
        assert!(objective <= best + 1e-12 && best <= bound + 1e-12, "{objective} {best} {bound}");
        // What submodularity promises of greedy.
        assert!(selected.report.share_of_best.unwrap() > 1.0 - (-1f64).exp());
    }
}

#[test]
fn a_larger_budget_continues_a_smaller_one() {
    let x = clustered(500, 10, 3);
    let features = clustered(500, 4, 4);
    for strategy in ["random", "js", "fisher", "user_fisher", "metadata_js"] {
        let features = strategy.contains('_').then_some(&features);
        let forced = [40, 7];
        let terms = Terms { forced: &forced, excluded: &[8], ..Terms::default() };
        let whole = select_with(&x, features, &terms, &config(strategy, 90), &run()).unwrap().selection;
        let part = select_with(&x, features, &terms, &config(strategy, 35), &run()).unwrap().selection;
        assert_eq!(part.picks[..], whole.picks[..35], "{strategy}");
        let more = extend(&part, &x, features, &terms, &config(strategy, 90), &run()).unwrap();
        assert_eq!(more.selection.rows(), whole.rows(), "{strategy}");
        same(&more.selection.picks, &whole.picks, strategy);
        assert_eq!(more.report.picked, 90);
        if let Some(bound) = more.report.upper_bound {
            assert!(more.report.objective <= bound && more.report.share_of_best.unwrap() > 0.5, "{:?}", more.report);
        }
    }
}

#[test]
fn earlier_picks_are_not_picked_again_and_count_in_the_gains() {
    let x = clustered(300, 8, 6);
    for strategy in ["random", "js", "fisher"] {
        let first = select(&x, None, &config(strategy, 30), &run()).unwrap().rows();
        let terms = Terms { already: &first, ..Terms::default() };
        let second = select_with(&x, None, &terms, &config(strategy, 30), &run()).unwrap().selection;
        let whole = select(&x, None, &config(strategy, 60), &run()).unwrap();
        assert_eq!(second.rows(), whole.rows()[30..], "{strategy}");
        assert_eq!(second.picks[0].rank, 0);
    }
}

#[test]
fn forced_rows_come_first_and_excluded_rows_never() {
    let x = clustered(60, 5, 7);
    let candidates: Vec<u32> = (0..40).collect();
    for strategy in ["random", "js", "fisher"] {
        let terms = Terms { forced: &[55, 3], excluded: &[4, 5, 6], candidates: Some(&candidates), ..Terms::default() };
        let rows = select_with(&x, None, &terms, &config(strategy, 60), &run()).unwrap().selection.rows();
        assert_eq!(rows[..2], [55, 3], "{strategy}");
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        let mut expected: Vec<u64> = (0..40).filter(|row| !(4..7).contains(row)).collect();
        expected.push(55);
        assert_eq!(sorted, expected, "{strategy}");
    }
}

#[test]
fn caps_hold_and_the_twin_agrees_under_them() {
    let x = clustered(400, 9, 8);
    let items: Vec<u32> = (0..400).map(|i| if i % 50 == 0 { crate::dataset::NONE } else { i % 17 }).collect();
    let users: Vec<u32> = (0..400).map(|i| i * 7 % 90).collect();
    for strategy in ["random", "js", "fisher"] {
        let config = SelectConfig { max_per_item: 3, max_per_user: 1, ..config(strategy, 45) };
        let terms = Terms { items: Some(&items), users: Some(&users), ..Terms::default() };
        let picked = select_with(&x, None, &terms, &config, &run()).unwrap().selection;
        for (parts, most) in [(&items, 3), (&users, 1)] {
            let mut counts = std::collections::HashMap::new();
            for row in picked.rows() {
                *counts.entry(parts[row as usize]).or_insert(0) += 1;
            }
            counts.remove(&crate::dataset::NONE);
            assert!(counts.values().all(|&count| count <= most), "{strategy}: {counts:?}");
        }
        if strategy == "fisher" {
            let slow = twin_picks(&mut FisherTwin::new(&x), 400, &terms, &config);
            same(&picked.picks, &slow, "caps");
        }
    }
    let capped = SelectConfig { max_per_item: 1, ..config("fisher", 5) };
    assert!(select(&x, None, &capped, &run()).unwrap_err().message().contains("needs the item of each row"));
}

#[test]
fn a_budget_above_the_rows_selects_all_rows() {
    let x = clustered(20, 4, 9);
    for strategy in ["random", "js", "fisher"] {
        let mut rows = select(&x, None, &config(strategy, 1000), &run()).unwrap().rows();
        rows.sort_unstable();
        assert_eq!(rows, (0..20).collect::<Vec<_>>(), "{strategy}");
    }
}

#[test]
fn a_bad_row_is_named() {
    let mut x = clustered(20, 4, 9);
    x.row_mut(7)[2] = f32::NAN;
    assert!(select(&x, None, &config("fisher", 5), &run()).unwrap_err().message().contains("row 7"));
    let x = clustered(20, 4, 9);
    let mut features = clustered(20, 3, 1);
    features.row_mut(11)[0] = f32::INFINITY;
    let e = select(&x, Some(&features), &config("user_js", 5), &run()).unwrap_err();
    assert!(e.message().contains("features: row 11"), "{e}");
}

/// One review without a known word stopped a run; its row is passed over.
#[test]
fn rows_of_zeros_are_passed_over_by_every_strategy_and_make_no_nan() {
    let (mut x, features) = (clustered(60, 5, 9), clustered(60, 3, 1));
    let blank = [0, 7, 30, 59];
    blank.iter().for_each(|row| x.row_mut(*row).fill(0.0));
    for strategy in Strategy::ALL.iter().map(|strategy| strategy.name()) {
        let aware = strategy.contains('_');
        let select = |terms: &Terms, budget| {
            let config = config(strategy, budget);
            select_with(&x, Some(&features).filter(|_| aware), terms, &config, &run()).unwrap()
        };
        let all = select(&Terms::default(), 1000);
        let mut rows = all.selection.rows();
        rows.sort_unstable();
        let open: Vec<u64> = (0..60).filter(|row| !blank.contains(&(*row as usize))).collect();
        assert_eq!(rows, open, "{strategy}");
        assert_eq!(all.report.passed_over, 4);
        assert!(all.selection.picks.iter().all(|pick| pick.gain.is_finite()), "{strategy}");
        assert!(all.report.objective.is_finite() && all.report.upper_bound.is_none_or(f64::is_finite), "{strategy}");
        // Who names such a row gets it.
        let forced = select(&Terms { forced: &[7], ..Terms::default() }, 5);
        assert_eq!(forced.selection.rows()[0], 7, "{strategy}");
        assert!(forced.selection.picks.iter().all(|pick| pick.gain.is_finite()), "{strategy}");
    }
    let none = Matrix::zeros(6, 4);
    for strategy in ["random", "js", "fisher"] {
        assert!(select(&none, None, &config(strategy, 3), &run()).unwrap().picks.is_empty(), "{strategy}");
    }
}

#[test]
fn aware_strategies_need_features_that_fit() {
    let x = clustered(20, 4, 9);
    assert!(select(&x, None, &config("user_fisher", 5), &run()).unwrap_err().message().contains("feature matrix"));
    let few = clustered(19, 4, 9);
    assert!(select(&x, Some(&few), &config("user_fisher", 5), &run()).is_err());
    assert!(select(&Matrix::zeros(0, 4), None, &config("js", 5), &run()).is_err());
}

#[test]
fn aware_blocks_weigh_text_and_features_as_the_formula_says() {
    let (mut x, mut features) = (clustered(50, 6, 1), clustered(50, 3, 2));
    x.row_mut(0).iter_mut().for_each(|v| *v *= 9.0);
    features.row_mut(1).fill(0.0);
    let lengths = squares(&x, "rows", &run()).unwrap();
    let z = aware::Blocks::new(&x, &lengths, &features, 0.3).unwrap();
    let z = crate::math::gather(&z, &(0..50).collect::<Vec<_>>());
    x.normalise_rows();
    for i in 0..50 {
        for j in 0..50 {
            let text = crate::math::dot(x.row(i), x.row(j));
            let feature = crate::math::dot(features.row(i), features.row(j));
            assert!((crate::math::dot(z.row(i), z.row(j)) - (0.7 * text + 0.3 * feature)).abs() < 1e-6);
        }
    }
    // At weight 0 features do not count, at weight 1 the text does not.
    let mut other = features.clone();
    other.data_mut().reverse();
    let picks = |features: &Matrix, weight| {
        let config = SelectConfig { weight, ..config("metadata_fisher", 20) };
        select(&x, Some(features), &config, &run()).unwrap().rows()
    };
    assert_eq!(picks(&features, 0.0), picks(&other, 0.0));
    assert_ne!(picks(&features, 0.5), picks(&other, 0.5));
}

#[test]
fn cancelled_at_a_pick_it_stops_there() {
    let x = clustered(200, 5, 1);
    for strategy in ["js", "fisher"] {
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let set = flag.clone();
        let run = Run::new(1).unwrap().cancelled_by(flag).on_progress(move |p| {
            if p.unit == "picks" && p.done == 5 {
                set.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let e = select(&x, None, &config(strategy, 100), &run).unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
    }
}

#[test]
fn a_selection_round_trips_and_a_broken_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("selection.jsonl");
    let selection = select(&clustered(50, 5, 1), None, &config("fisher", 10), &run()).unwrap();
    selection.save(&path).unwrap();
    assert_eq!(Selection::load(&path).unwrap(), selection);
    let text = std::fs::read_to_string(&path).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>().len(), 3);
    for key in ["rank", "row", "gain"] {
        assert!(first.get(key).is_some(), "{key}");
    }
    for (broken, says) in [
        ("{\"rank\": 1, \"row\": 2, \"gain\": 0.5}\n", "rank 1 where 0"),
        ("{\"rank\": 0, \"row\": 2, \"gain\": 0.5}\n{\"rank\": 1, \"row\": 2, \"gain\": 0.5}\n", ":2: row 2"),
        ("{\"rank\": 0, \"row\": -2, \"gain\": 0.5}\n", ":1:"),
        ("{\"rank\": 0}\n", "missing field"),
    ] {
        std::fs::write(&path, broken).unwrap();
        let e = Selection::load(&path).unwrap_err();
        assert!(e.message().contains(says), "{e}");
    }
}

/// The reference of `tests/oracle/select_oracle.py`: other formulas, another language.
#[test]
fn picks_and_gains_are_those_of_the_numpy_oracle() {
    let oracle: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/oracle/select.json")).expect("select.json");
    let number = |key: &str| oracle[key].as_f64().unwrap();
    let (rows, dim) = (number("rows") as usize, number("dim") as usize);
    let mut x = Matrix::zeros(rows, dim);
    for i in 0..rows {
        for k in 0..dim {
            let (i64, k64) = (i as f64, k as f64);
            x.row_mut(i)[k] = (1.0 + 0.37 * i64 + 1.7 * k64 + 0.011 * i64 * k64).sin() as f32;
        }
    }
    for (to, from) in [(50, 5), (60, 6), (70, 7)] {
        let row = x.row(from).to_vec();
        x.row_mut(to).copy_from_slice(&row);
    }
    let mut centers = x.gather(&[0, 9, 18, 27, 36]);
    centers.data_mut().iter_mut().for_each(|v| *v += 0.125);
    for strategy in ["fisher", "js"] {
        let config = SelectConfig {
            lambda: number("lambda"),
            temperature: number("temperature"),
            ..config(strategy, number("budget") as usize)
        };
        let terms = Terms { centers: Some(&centers), ..Terms::default() };
        let selected = select_with(&x, None, &terms, &config, &run()).unwrap().selection;
        let values = |key: &str| oracle[strategy][key].as_array().unwrap().clone();
        let expected: Vec<Pick> = (values("picks").iter().zip(values("gains")))
            .enumerate()
            .map(|(rank, (row, gain))| Pick {
                rank: rank as u64,
                row: row.as_u64().unwrap(),
                gain: gain.as_f64().unwrap(),
            })
            .collect();
        assert_eq!(expected.len(), number("budget") as usize);
        same(&selected.picks, &expected, strategy);
    }
}
