//! Held-out Recall of a model without a ranking head: does it find the title it should name likelier than others?
//!
//! Scoring every title of a catalogue would take longer than the training. So each held-out dialogue's best listed item is
//! held against `tune.recall_candidates` others, drawn once by popularity (the likeliest to be confused with), and each is
//! scored as the first line of an answer: the sum of log p over the tokens of `1. Title (Year)` and the line's end, after
//! the prompt, which is computed once for all of them.

use super::chat::Chat;
use super::lessons::{Catalogue, Lesson};
use crate::config::TuneConfig;
use crate::error::Result;
use crate::math::Random;
use crate::run::Run;
use crate::transformer::{Batch, Keep, Model, Segment, Target};

/// The lines that compete in each held-out dialogue, the sought one first; empty: nothing is sought in it.
pub(super) struct Candidates {
    lines: Vec<Vec<Vec<u32>>>,
}

impl Candidates {
    /// Draws them for `lessons`; the same for the same seed.
    pub fn draw(chat: &Chat, catalogue: &Catalogue, lessons: &[&Lesson], config: &TuneConfig) -> Result<Candidates> {
        catalogue.check()?;
        let mut random = Random::new(config.seed, b"lm recall");
        let mut lines = Vec::with_capacity(lessons.len());
        for lesson in lessons {
            let Some((sought, _)) = lesson.targets.first() else {
                lines.push(Vec::new());
                continue;
            };
            let other = |item: &u32| {
                lesson.named.binary_search(item).is_err() && lesson.targets.iter().all(|(target, _)| target != item)
            };
            let others: Vec<u32> = (0..catalogue.ids.len() as u32).filter(other).collect();
            let items =
                [vec![*sought], draw_by_weight(&others, &catalogue.counts, config.recall_candidates, &mut random)];
            let names = items.iter().flatten().map(|item| &catalogue.names[*item as usize]);
            let mut own: Vec<Vec<u32>> =
                names.map(|name| chat.answer(&format!("1. {name}\n"))).collect::<Result<_>>()?;
            // A vocabulary that has no tokens for a name cannot say it.
            let sayable = own.first().is_some_and(|line| !line.is_empty());
            own.retain(|line| sayable && !line.is_empty());
            lines.push(own);
        }
        Ok(Candidates { lines })
    }

    /// Share of the dialogues whose sought line is among the `k` likeliest; none when nothing is sought anywhere.
    pub fn recall(
        &self,
        model: &Model,
        lessons: &[&Lesson],
        k: usize,
        budget: usize,
        run: &Run,
    ) -> Result<Option<f64>> {
        let (mut hits, mut count) = (0usize, 0usize);
        for (lesson, lines) in lessons.iter().zip(&self.lines).filter(|(_, lines)| !lines.is_empty()) {
            let prompt = &lesson.example.tokens[..lesson.example.trained_from];
            let mut scores = Vec::with_capacity(lines.len());
            let mut group: Vec<&[u32]> = Vec::new();
            let mut tokens = prompt.len();
            for line in lines {
                if !group.is_empty() && tokens + line.len() > budget {
                    run.check()?;
                    scores.extend(run.install(|| score(model, prompt, &group))?);
                    (group, tokens) = (Vec::new(), prompt.len());
                }
                group.push(line);
                tokens += line.len();
            }
            run.check()?;
            scores.extend(run.install(|| score(model, prompt, &group))?);
            let better = scores.iter().skip(1).filter(|s| **s > scores[0]).count();
            hits += usize::from(better < k && scores[0].is_finite());
            count += 1;
        }
        Ok((count > 0).then(|| hits as f64 / count as f64))
    }
}

/// The sum of log p of each line after `prompt`.
fn score(model: &Model, prompt: &[u32], lines: &[&[u32]]) -> Result<Vec<f64>> {
    let mut batch = Batch::default();
    batch.push(prompt, &vec![false; prompt.len()]);
    for line in lines {
        let start = batch.tokens.len();
        batch.tokens.extend_from_slice(line);
        batch.segments.push(Segment { rows: start..batch.tokens.len(), prefix: Some(0..prompt.len()) });
        let row = |t: usize| if t == 0 { prompt.len() - 1 } else { start + t - 1 };
        batch.targets.extend(line.iter().enumerate().map(|(t, token)| Target { row: row(t), token: *token }));
    }
    let forward = model.forward(&batch, Keep::Nothing, None)?;
    let losses = model.losses(&forward, &batch);
    let mut at = 0;
    let sum = |line: &&[u32]| {
        at += line.len();
        -losses[at - line.len()..at].iter().sum::<f64>()
    };
    Ok(lines.iter().map(sum).collect())
}

/// `count` of `items` without repeats, each draw by weight count + 1 (Efraimidis and Spirakis: the largest ln(u) / weight).
fn draw_by_weight(items: &[u32], counts: &[f32], count: usize, random: &mut Random) -> Vec<u32> {
    let mut keyed: Vec<(f64, u32)> = items
        .iter()
        .map(|item| (random.uniform().max(f64::MIN_POSITIVE).ln() / (f64::from(counts[*item as usize]) + 1.0), *item))
        .collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    keyed.into_iter().take(count).map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_items_are_drawn_more_often_and_none_twice() {
        let counts: Vec<f32> = (0..20).map(|i| if i < 2 { 60.0 } else { 1.0 }).collect();
        let items: Vec<u32> = (0..20).collect();
        let mut random = Random::new(3, b"draw");
        let mut popular = 0;
        for _ in 0..500 {
            let mut drawn = draw_by_weight(&items, &counts, 5, &mut random);
            popular += drawn.iter().filter(|i| **i < 2).count();
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 5);
        }
        // Of five draws two popular ones take part almost always: the first draw alone takes one with 122 / 158.
        assert!(popular > 900, "{popular}");
        assert_eq!(draw_by_weight(&items[..3], &counts, 5, &mut random).len(), 3);
    }

    /// The score is the loss of the same line behind the same prompt, computed as a sequence of its own.
    #[test]
    fn a_line_scores_as_the_sequence_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.gguf");
        crate::transformer::write_test_model(&path);
        let model = Model::from_gguf(&path).unwrap();
        let prompt: Vec<u32> = (20..31).collect();
        let lines: [&[u32]; 3] = [&[40, 41, 42], &[7], &[9, 8, 9, 8]];
        Run::new(1).unwrap().install(|| {
            let scores = score(&model, &prompt, &lines).unwrap();
            for (line, score) in lines.iter().zip(scores) {
                let tokens = [&prompt[..], line].concat();
                let trained: Vec<bool> = (0..tokens.len()).map(|t| t >= prompt.len()).collect();
                let mut batch = Batch::default();
                batch.push(&tokens, &trained);
                let forward = model.forward(&batch, Keep::Nothing, None).unwrap();
                let alone = -model.loss(&forward, &batch).sum;
                assert!((score - alone).abs() < 1e-4, "{score} {alone}");
            }
        });
    }
}
