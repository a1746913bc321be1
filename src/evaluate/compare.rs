//! Several recommenders on the same (context, unseen target) pairs (§4.2.1).

use super::bootstrap::{LEVEL, Resamples};
use super::metrics::{CUTOFFS, Metric, Metrics};
use crate::config::EvaluateConfig;
use crate::dataset::{Conversation, Items, Turn};
use crate::error::{Error, Result};
use crate::recommend::{Recommender, rank};
use crate::run::Run;
use crate::titles::{Titles, normalise};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The longest list that is looked at: the last cutoff.
const DEPTH: usize = CUTOFFS[CUTOFFS.len() - 1];
/// Items of a list shown in an example.
const SHOWN: usize = 8;
/// Scores held at once, over all conversations of a batch.
const BATCH_SCORES: usize = 1 << 24;

/// All systems on one set of conversations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// The set's name: the file's, or `simulated`.
    pub name: String,
    /// Conversations with at least one pair.
    pub contexts: u64,
    /// (context, unseen target) pairs.
    pub n: u64,
    /// Pairs whose target is in the catalogue; the others are misses of every system.
    pub n_in_catalogue: u64,
    /// Items in the catalogue.
    pub items: u64,
    /// The systems, in the order given.
    pub systems: Vec<SystemReport>,
    /// Differences of every two systems, seen items removed, all pairs.
    pub differences: Vec<PairedDifference>,
    /// Conversations with the lists of every system.
    pub examples: Vec<Example>,
    /// What a reader of the numbers should know.
    pub warnings: Vec<String>,
}

/// One system's numbers. Lists hold catalogue items only, so the variants without out-of-catalogue titles are the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SystemReport {
    /// Its label in the report.
    pub label: String,
    /// The recommender's own name.
    pub recommender: String,
    /// All pairs, lists as they are.
    pub raw: Metrics,
    /// All pairs, items that the conversation mentions removed.
    pub seen_removed: Metrics,
    /// Pairs whose target is in the catalogue, lists as they are.
    pub raw_in_catalogue: Metrics,
    /// Pairs whose target is in the catalogue, mentioned items removed.
    pub seen_removed_in_catalogue: Metrics,
    /// How much of the catalogue it recommends.
    pub coverage: Coverage,
}

/// How much of the catalogue the lists of the last cutoff hold, mentioned items removed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Items recommended at least once.
    pub items: u64,
    /// The same as a share of the catalogue, 0 to 1.
    pub share: f64,
    /// Gini coefficient of how often items are recommended: 0 all alike, near 1 always the same few.
    pub gini: f64,
}

/// The difference of two systems on the same pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Label of the first system.
    pub a: String,
    /// Label of the second.
    pub b: String,
    /// The metric.
    pub metric: Metric,
    /// Its cutoff.
    pub cutoff: usize,
    /// Mean of a minus mean of b.
    pub difference: f64,
    /// Lower end of the 95 % interval (percentile bootstrap over pairs).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p value, not corrected for the number of comparisons.
    pub p: f64,
    /// The same in words: `not significant (p = 0.31)`.
    pub words: String,
}

/// A conversation with what every system recommends, mentioned items removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The conversation's id.
    pub id: String,
    /// Its turns.
    pub turns: Vec<Turn>,
    /// The titles to be found.
    pub targets: Vec<String>,
    /// Per system: label and list, best first.
    pub lists: Vec<ExampleList>,
}

/// One system's list in an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleList {
    /// The system's label.
    pub label: String,
    /// Names, best first, each with whether it is a target.
    pub items: Vec<(String, bool)>,
    /// Best rank of a target from 1, when within the last cutoff.
    pub rank: Option<u64>,
}

/// A conversation as it is scored.
struct ScoredContext<'a> {
    conversation: &'a Conversation,
    /// Target rows; none: not in the catalogue.
    targets: Vec<Option<u32>>,
    /// Rows of mentioned items, sorted.
    seen: Vec<u32>,
}

/// Scores every system on the same pairs of `conversations`; `name` says whose conversations they are. `titles`: those of
/// `items`, by which the systems mask, too.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when there is no system, two of one label, no pair, or a system scores another catalogue;
/// those of the systems.
pub fn evaluate(
    name: &str,
    systems: &[(&str, &dyn Recommender)],
    conversations: &[Conversation],
    items: &Items,
    titles: &Titles,
    config: &EvaluateConfig,
    run: &Run,
) -> Result<Evaluation> {
    if systems.is_empty() {
        return Err(Error::invalid("evaluate: no system to evaluate"));
    }
    for (i, (label, system)) in systems.iter().enumerate() {
        if system.items() != items.len() {
            return Err(Error::invalid(format!(
                "evaluate: {label} scores {} items, the catalogue has {}: it was made for another catalogue",
                system.items(),
                items.len()
            )));
        }
        if systems[..i].iter().any(|(other, _)| other == label) {
            return Err(Error::invalid(format!("evaluate: two systems are called {label:?}")));
        }
    }
    let (contexts, seen_targets) = contexts(conversations, titles);
    let known: Vec<bool> = contexts.iter().flat_map(|c| c.targets.iter().map(Option::is_some)).collect();
    if known.is_empty() {
        return Err(Error::invalid(format!("evaluate: no conversation of {name} has an unseen target")));
    }
    let mut evaluation = Evaluation {
        name: name.to_string(),
        contexts: contexts.len() as u64,
        n: known.len() as u64,
        n_in_catalogue: known.iter().filter(|k| **k).count() as u64,
        items: items.len() as u64,
        ..Evaluation::default()
    };
    if seen_targets > 0 {
        evaluation
            .warnings
            .push(format!("{seen_targets} targets were mentioned before: they are not unseen, not scored"));
    }

    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut lists: Vec<Vec<Vec<u32>>> = Vec::new();
    for (number, (label, system)) in systems.iter().enumerate() {
        let scored = score(*system, label, number, systems.len(), &contexts, items.len(), run)?;
        let in_catalogue = |ranks: &[Option<usize>]| -> Vec<Option<usize>> {
            ranks.iter().zip(&known).filter(|(_, known)| **known).map(|(rank, _)| *rank).collect()
        };
        columns.extend(TESTED.map(|(metric, k)| scored.seen_removed.iter().map(|r| metric.of(*r, k)).collect()));
        evaluation.systems.push(SystemReport {
            label: label.to_string(),
            recommender: system.name(),
            raw: Metrics::of(&scored.raw),
            seen_removed: Metrics::of(&scored.seen_removed),
            raw_in_catalogue: Metrics::of(&in_catalogue(&scored.raw)),
            seen_removed_in_catalogue: Metrics::of(&in_catalogue(&scored.seen_removed)),
            coverage: coverage(&scored.lists, items.len()),
        });
        lists.push(scored.lists);
    }
    let drawn = Resamples::draw(&columns, config.bootstrap, config.seed, run)?;
    for a in 0..systems.len() {
        for b in a + 1..systems.len() {
            for (column, (metric, cutoff)) in TESTED.into_iter().enumerate() {
                let d = drawn.difference(a * TESTED.len() + column, b * TESTED.len() + column);
                evaluation.differences.push(PairedDifference {
                    a: systems[a].0.to_string(),
                    b: systems[b].0.to_string(),
                    metric,
                    cutoff,
                    difference: d.mean,
                    low: d.low,
                    high: d.high,
                    p: d.p,
                    words: in_words(d.mean, d.p),
                });
            }
        }
    }
    evaluation.examples = examples(&contexts, &lists, systems, items, config.examples);
    Ok(evaluation)
}

/// What is compared by the bootstrap, seen items removed.
pub const TESTED: [(Metric, usize); 4] =
    [(Metric::Recall, 10), (Metric::Recall, 20), (Metric::Ndcg, 10), (Metric::Ndcg, 20)];

/// The difference in words; `p` decides whether it counts.
pub(super) fn in_words(difference: f64, p: f64) -> String {
    let p_text = if p < 0.001 { "p < 0.001".to_string() } else { format!("p = {p:.3}") };
    if p >= LEVEL {
        format!("not significant ({p_text})")
    } else if difference > 0.0 {
        format!("significantly better ({p_text})")
    } else {
        format!("significantly worse ({p_text})")
    }
}

/// The conversations with unseen targets, and the number of targets that were mentioned before.
fn contexts<'a>(conversations: &'a [Conversation], titles: &Titles) -> (Vec<ScoredContext<'a>>, u64) {
    let mut seen_targets = 0;
    let mut contexts = Vec::new();
    for conversation in conversations {
        let mut seen: Vec<u32> = conversation.seen.iter().filter_map(|name| titles.resolve(name)).collect();
        seen.sort_unstable();
        seen.dedup();
        let mut targets = Vec::new();
        for target in &conversation.targets {
            let row = titles.resolve(target);
            let mentioned = match row {
                Some(row) => seen.binary_search(&row).is_ok(),
                None => conversation
                    .seen
                    .iter()
                    .any(|s| normalise(&s.title) == normalise(&target.title) && s.year == target.year),
            };
            if mentioned {
                seen_targets += 1;
            } else {
                targets.push(row);
            }
        }
        if !targets.is_empty() {
            contexts.push(ScoredContext { conversation, targets, seen });
        }
    }
    (contexts, seen_targets)
}

/// One system over all contexts: ranks per pair from 0, lists per context.
struct Scored {
    raw: Vec<Option<usize>>,
    seen_removed: Vec<Option<usize>>,
    lists: Vec<Vec<u32>>,
}

fn score(
    system: &dyn Recommender,
    label: &str,
    number: usize,
    systems: usize,
    contexts: &[ScoredContext<'_>],
    items: usize,
    run: &Run,
) -> Result<Scored> {
    let mut scored = Scored { raw: Vec::new(), seen_removed: Vec::new(), lists: Vec::new() };
    let batch = (BATCH_SCORES / items.max(1)).clamp(1, 256);
    let total = (systems * contexts.len()) as u64;
    for (at, contexts_of_batch) in contexts.chunks(batch).enumerate() {
        let done = (number * contexts.len() + at * batch) as u64;
        run.step_with("evaluate", "conversations", done, total, || label.to_string())?;
        let conversations: Vec<&Conversation> = contexts_of_batch.iter().map(|c| c.conversation).collect();
        let scores = system.score(&conversations, run).map_err(|e| e.context(format!("evaluate {label}")))?;
        if scores.rows() != conversations.len() || scores.dim() != items {
            return Err(Error::bug(format!("{label} gave scores of {} x {}", scores.rows(), scores.dim())));
        }
        let rows = |ranked: Vec<crate::recommend::RankedItem>| ranked.into_iter().map(|r| r.item).collect::<Vec<u32>>();
        let lists: Vec<(Vec<u32>, Vec<u32>)> = run.install(|| {
            (0..contexts_of_batch.len())
                .into_par_iter()
                .map(|i| {
                    (
                        rows(rank(scores.row(i), &[], DEPTH)),
                        rows(rank(scores.row(i), &contexts_of_batch[i].seen, DEPTH)),
                    )
                })
                .collect()
        });
        for (context, (raw, seen_removed)) in contexts_of_batch.iter().zip(lists) {
            for target in &context.targets {
                let place = |list: &[u32]| target.and_then(|target| list.iter().position(|row| *row == target));
                scored.raw.push(place(&raw));
                scored.seen_removed.push(place(&seen_removed));
            }
            scored.lists.push(seen_removed);
        }
    }
    run.step_with("evaluate", "conversations", ((number + 1) * contexts.len()) as u64, total, || label.to_string())?;
    Ok(scored)
}

fn coverage(lists: &[Vec<u32>], items: usize) -> Coverage {
    let mut counts = vec![0u64; items];
    for row in lists.iter().flatten() {
        counts[*row as usize] += 1;
    }
    let covered = counts.iter().filter(|c| **c > 0).count() as u64;
    Coverage { items: covered, share: covered as f64 / (items.max(1) as f64), gini: gini(counts) }
}

/// Gini coefficient: sum over sorted counts x_1 <= … <= x_n of (2 i - n - 1) x_i / (n sum x); 0 of nothing.
fn gini(mut counts: Vec<u64>) -> f64 {
    counts.sort_unstable();
    let n = counts.len() as f64;
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let weighted: f64 = counts.iter().enumerate().map(|(i, x)| (2.0 * (i as f64 + 1.0) - n - 1.0) * *x as f64).sum();
    weighted / (n * total as f64)
}

/// Contexts that show most: those that some systems solve and others do not, evenly drawn from the whole set.
fn examples(
    contexts: &[ScoredContext<'_>],
    lists: &[Vec<Vec<u32>>],
    systems: &[(&str, &dyn Recommender)],
    items: &Items,
    wanted: usize,
) -> Vec<Example> {
    let solved = |context: usize| {
        let targets = &contexts[context].targets;
        lists.iter().filter(|of| of[context].iter().take(SHOWN).any(|row| targets.contains(&Some(*row)))).count()
    };
    // Telling ones first: solved by some, then by all, then by none; within each, in order.
    let mut telling: [Vec<usize>; 3] = Default::default();
    for context in 0..contexts.len() {
        let count = solved(context);
        telling[if count == 0 { 2 } else { usize::from(count == systems.len()) }].push(context);
    }
    let mut picked: Vec<usize> = Vec::new();
    for group in telling {
        let take = (wanted - picked.len()).min(group.len());
        picked.extend((0..take).map(|i| group[i * group.len() / take]));
    }
    picked.sort_unstable();
    let example = |context: usize| {
        let ScoredContext { conversation, targets, .. } = &contexts[context];
        let list = |(of, (label, _)): (&Vec<Vec<u32>>, &(&str, &dyn Recommender))| ExampleList {
            label: label.to_string(),
            items: of[context]
                .iter()
                .take(SHOWN)
                .map(|r| (items.name(*r as usize), targets.contains(&Some(*r))))
                .collect(),
            rank: of[context].iter().position(|r| targets.contains(&Some(*r))).map(|r| r as u64 + 1),
        };
        Example {
            id: conversation.id.clone(),
            turns: conversation.turns.clone(),
            targets: conversation
                .targets
                .iter()
                .map(|t| t.year.map_or(t.title.clone(), |y| format!("{} ({y})", t.title)))
                .collect(),
            lists: lists.iter().zip(systems).map(list).collect(),
        }
    };
    picked.into_iter().map(example).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Item, ItemName, Role};
    use crate::math::Matrix;

    /// Scores by a fixed order of items, the same for every conversation.
    struct Fixed(Vec<f32>);

    impl Recommender for Fixed {
        fn name(&self) -> String {
            "fixed".into()
        }
        fn items(&self) -> usize {
            self.0.len()
        }
        fn score(&self, conversations: &[&Conversation], _: &Run) -> Result<Matrix> {
            Matrix::from_vec(conversations.len(), self.0.len(), self.0.repeat(conversations.len()))
        }
    }

    fn items(n: usize) -> Items {
        let mut dataset = Dataset::default();
        for i in 0..n {
            dataset
                .add_item(&Item { id: format!("i{i}"), title: format!("Film number {i}"), ..Item::default() })
                .unwrap();
        }
        dataset.items
    }

    fn talk(id: usize, targets: &[usize], seen: &[usize]) -> Conversation {
        let names = |rows: &[usize]| {
            rows.iter()
                .map(|i| ItemName { item: Some(format!("i{i}")), title: format!("Film number {i}"), year: None })
                .collect()
        };
        let turns = vec![Turn { role: Role::User, text: "Something <good>?".into() }];
        Conversation { id: format!("t{id}"), turns, targets: names(targets), seen: names(seen) }
    }

    #[test]
    fn ranks_variants_and_coverage_are_as_counted_by_hand() {
        let items = items(30);
        let down = Fixed((0..30).map(|i| -(i as f32)).collect());
        let talks =
            [talk(0, &[0], &[]), talk(1, &[4], &[0, 1]), talk(2, &[99], &[]), talk(3, &[25], &[]), talk(4, &[3], &[3])];
        let run = Run::new(1).unwrap();
        let config = EvaluateConfig::default();
        let e = evaluate("test", &[("down", &down)], &talks, &items, &Titles::new(&items, &[]), &config, &run).unwrap();
        assert_eq!((e.n, e.n_in_catalogue, e.contexts, e.items), (4, 3, 4, 30));
        assert_eq!(e.warnings.len(), 1, "one target was mentioned before");
        let s = &e.systems[0];
        // Ranks: 1; 5 (3 without the two seen); a miss; 26, beyond the last cutoff.
        assert_eq!(s.raw.get(Metric::Mrr, 1).mean, (1.0 + 1.0 / 5.0) / 4.0);
        assert_eq!(s.seen_removed.get(Metric::Mrr, 1).mean, (1.0 + 1.0 / 3.0) / 4.0);
        assert_eq!(s.seen_removed_in_catalogue.get(Metric::Recall, 3).mean, 2.0 / 3.0);
        assert_eq!(s.raw_in_catalogue.get(Metric::Recall, 0).mean, 1.0 / 3.0);
        // Lists of 20: rows 0..20 three times, 2..22 once: 22 items.
        assert_eq!(s.coverage.items, 22);
        assert!((s.coverage.share - 22.0 / 30.0).abs() < 1e-15);
    }

    #[test]
    fn gini_is_zero_for_all_alike_and_n_minus_1_over_n_for_one_alone() {
        assert_eq!(gini(vec![3; 8]), 0.0);
        assert!((gini(vec![0, 0, 0, 5]) - 0.75).abs() < 1e-15);
        assert_eq!(gini(vec![0; 4]), 0.0);
    }

    #[test]
    fn differences_say_in_words_what_is_luck() {
        let items = items(100);
        let up = Fixed((0..100).map(|i| i as f32).collect());
        let down = Fixed((0..100).map(|i| -(i as f32)).collect());
        let same = Fixed((0..100).map(|i| i as f32).collect());
        // Three targets in four are in the upper end.
        let talks: Vec<Conversation> = (0..80).map(|i| talk(i, &[if i % 4 == 0 { 2 } else { 97 }], &[])).collect();
        let run = Run::new(2).unwrap();
        let systems: [(&str, &dyn Recommender); 3] = [("up", &up), ("down", &down), ("same", &same)];
        let e = evaluate("test", &systems, &talks, &items, &Titles::new(&items, &[]), &EvaluateConfig::default(), &run)
            .unwrap();
        let of = |a: &str, b: &str| {
            e.differences.iter().find(|d| d.a == a && d.b == b && d.cutoff == 10 && d.metric == Metric::Recall).unwrap()
        };
        assert_eq!(of("up", "down").difference, 0.5);
        assert!(of("up", "down").words.starts_with("significantly better"), "{:?}", of("up", "down"));
        assert!(of("down", "same").words.starts_with("significantly worse"));
        assert_eq!(of("up", "same").words, "not significant (p = 1.000)");
        assert_eq!(e.differences.len(), 3 * TESTED.len());
        assert_eq!(e.examples.len(), 6);
        assert!(e.examples.iter().all(|x| x.lists.len() == 3 && x.lists[0].items.len() == SHOWN));
        assert!(e.examples.iter().all(|x| x.lists.iter().any(|l| l.items.iter().any(|(_, hit)| *hit))));
    }

    #[test]
    fn systems_that_cannot_be_compared_are_refused() {
        let (items, run, config) = (items(5), Run::new(1).unwrap(), EvaluateConfig::default());
        let (five, six) = (Fixed(vec![0.0; 5]), Fixed(vec![0.0; 6]));
        let talks = [talk(0, &[1], &[])];
        let refused = |systems: &[(&str, &dyn Recommender)], talks: &[Conversation]| {
            evaluate("test", systems, talks, &items, &Titles::new(&items, &[]), &config, &run)
                .unwrap_err()
                .message()
                .to_string()
        };
        assert!(refused(&[], &talks).contains("no system"));
        assert!(refused(&[("six", &six)], &talks).contains("another catalogue"));
        assert!(refused(&[("a", &five), ("a", &five)], &talks).contains("two systems"));
        assert!(refused(&[("a", &five)], &[talk(0, &[1], &[1])]).contains("no conversation"));
    }

    #[test]
    fn the_real_conversations_give_the_numbers_of_pairs_that_are_known() {
        for (file, pairs) in [("inspired_test", 211), ("redial_dev", 1740)] {
            let Some(path) = crate::testing::shared(&format!("data/conversations/{file}.jsonl")) else {
                return;
            };
            let talks: Vec<Conversation> = crate::artifact::read_jsonl(&path).unwrap();
            let Some(meta) = crate::testing::shared("data/movies/meta.jsonl.gz") else { return };
            let names: Vec<ItemName> = crate::artifact::read_jsonl(&meta).unwrap();
            let catalogue = crate::evaluate::catalogue(&names).unwrap();
            let popular = Fixed(vec![0.0; catalogue.len()]);
            let run = Run::new(2).unwrap();
            let config = EvaluateConfig { bootstrap: 100, ..EvaluateConfig::default() };
            let e =
                evaluate(file, &[("none", &popular)], &talks, &catalogue, &Titles::new(&catalogue, &[]), &config, &run)
                    .unwrap();
            assert_eq!(e.n, pairs, "{file}: {:?}", e.warnings);
            eprintln!("{file}: {} of {} targets in the catalogue", e.n_in_catalogue, e.n);
        }
    }
}
