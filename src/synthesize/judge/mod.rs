//! A judge of what was made (after "LLM as a judge", Zheng et al., 2023): each dialogue is shown with the reviews that it
//! came from, and gets three scores from 1 to 5. Some are shown twice, which tells how far the judge agrees with itself.
//!
//! The judgements are requests like any other: they go through the journal, and the caps hold over them as well.

mod agreement;
mod scores;

pub use agreement::{Agreement, Criteria};
pub(super) use scores::{BEST, CRITERIA};

use super::ask::RequestSource;
use super::filter::said;
use super::personal::{PersonalData, mask_personal};
use super::prompts::{Prompts, defuse, delimit};
use super::teacher::{Answer, Class, Facts, Kind, Request, Teacher};
use crate::config::{Masking, SynthesizeConfig};
use crate::dataset::{Dataset, Dialogue, Message, Seed};
use crate::error::Error;
use crate::math::Random;
use scores::parse_scores;

/// Share of the dialogues that are judged a second time, and how many at least.
const TWICE: f64 = 0.05;
const TWICE_LEAST: usize = 20;

/// What a judge said.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Judged {
    /// Who judged.
    pub judge: String,
    /// Dialogues with three scores.
    pub judged: u64,
    /// Those whose scores could not be read. They stay.
    pub unreadable: u64,
    /// Those whose request was given up, or never sent because of a cap. They stay.
    pub unanswered: u64,
    /// Those without a seed (`synthesize.naive`): there is no review to be grounded in, and nobody is asked. They stay.
    pub without_seed: u64,
    /// Those that were dropped for a score below `synthesize.min_judged`.
    pub below: u64,
    /// Mean scores, those that were dropped included.
    pub mean: Option<Criteria<f64>>,
    /// The judge's agreement with itself.
    pub agreement: Agreement,
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reading {
    Unanswered,
    Unreadable,
    Scores([u8; 3]),
}

impl Reading {
    fn scores(self) -> Option<[u8; 3]> {
        match self {
            Reading::Scores(scores) => Some(scores),
            Reading::Unanswered | Reading::Unreadable => None,
        }
    }
}

/// The requests to a judge, and its answers.
pub(super) struct Judging<'a> {
    dataset: &'a Dataset,
    rows: &'a [Dialogue],
    config: &'a SynthesizeConfig,
    prompts: &'a Prompts,
    judge: String,
    masks: bool,
    /// Rows in the order in which they are asked about, with 1 for the second time, which comes after all first ones.
    order: Vec<(usize, u64)>,
    next: usize,
    first: Vec<Reading>,
    second: Vec<Reading>,
    /// What was masked of personal data.
    pub(super) personal_data: PersonalData,
}

/// What is told when the teacher itself is to judge and cannot.
pub(super) fn judges_nothing() -> Error {
    Error::invalid(
        "synthesize.judge = teacher: this teacher judges nothing; set synthesize.judge = endpoint (with judge_base_url and \
         judge_model), or off",
    )
}

/// Whether personal data is masked before `teacher` is asked.
fn masks(config: &SynthesizeConfig, teacher: &dyn Teacher) -> bool {
    match config.mask {
        Masking::Auto => teacher.is_remote(),
        Masking::On => true,
        Masking::Off => false,
    }
}

impl RequestSource for Judging<'_> {
    fn next(&mut self) -> Option<(u64, Request)> {
        let place = self.next;
        let (row, time) = *self.order.get(place)?;
        self.next += 1;
        let request = self.request(&self.rows[row], time)?;
        Some((place as u64, request))
    }

    fn done(&mut self, place: u64, outcome: Result<&Answer, Class>) {
        let Some((row, time)) = self.order.get(place as usize).copied() else { return };
        let reading = match outcome {
            Ok(answer) => parse_scores(&answer.text).map_or(Reading::Unreadable, Reading::Scores),
            Err(_) => Reading::Unanswered,
        };
        if time == 0 { self.first[row] = reading } else { self.second[row] = reading }
    }

    fn total(&self) -> u64 {
        self.order.len() as u64
    }
}

impl<'a> Judging<'a> {
    /// Nothing asked yet.
    pub(super) fn new(
        dataset: &'a Dataset,
        rows: &'a [Dialogue],
        config: &'a SynthesizeConfig,
        prompts: &'a Prompts,
        judge: &dyn Teacher,
    ) -> Judging<'a> {
        let with_seed: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].seed.is_some()).collect();
        let mut twice = Random::new(config.seed, b"judge").sample(with_seed.len(), twice_of(with_seed.len()));
        twice.sort_unstable();
        let first = with_seed.iter().map(|row| (*row, 0));
        let order = first.chain(twice.iter().map(|at| (with_seed[*at], 1))).collect();
        Judging {
            dataset,
            rows,
            config,
            prompts,
            judge: judge.name(),
            masks: masks(config, judge),
            order,
            next: 0,
            first: vec![Reading::Unanswered; rows.len()],
            second: vec![Reading::Unanswered; rows.len()],
            personal_data: PersonalData::default(),
        }
    }

    fn masked(&mut self, text: &str) -> String {
        if !self.masks {
            return text.to_string();
        }
        let (masked, found) = mask_personal(text);
        self.personal_data.add(found);
        masked.into_owned()
    }

    /// `time`: 0, or 1 for the second time.
    fn request(&mut self, row: &Dialogue, time: u64) -> Option<Request> {
        let (dataset, config) = (self.dataset, self.config);
        let seed: &Seed = row.seed.as_ref()?;
        let item = dataset.items.find(&seed.item);
        let reviews: Vec<u32> = seed
            .reviews
            .iter()
            .filter_map(|row| u32::try_from(*row).ok())
            .filter(|row| (*row as usize) < dataset.reviews())
            .collect();
        let texts: Vec<String> = reviews
            .iter()
            .map(|row| *row as usize)
            .map(|row| format!("{} {}", dataset.review_title(row), dataset.review_text(row)))
            .map(|text| self.masked(&text))
            .collect();
        let lines: Vec<String> = row.messages.iter().map(|message| self.spoken(message)).collect();
        let title = item.map_or_else(String::new, |item| dataset.items.name(item as usize));
        let prompt = self.prompts.judge.fill(|slot| match slot {
            "title" => defuse(&title, 200),
            "reviews" => delimit(texts.iter().map(String::as_str), config.review_chars),
            _ => lines.join("\n"),
        });
        let query = said(row).next().unwrap_or("").to_string();
        let facts = Facts { item, reviews, query, count: CRITERIA.len(), draw: seed.row, ..Default::default() };
        let (temperature, tokens) = (config.temperature, config.answer_tokens);
        let request =
            Request::new(&self.judge, Kind::Judge, prompt, &seed.item, time, temperature, tokens, config.seed, facts);
        Some(request)
    }

    /// A message as the judge reads it; what it says cannot pass for another one, or for the end of the conversation.
    fn spoken(&mut self, message: &Message) -> String {
        let (who, text) = match message.role.as_str() {
            "user" => ("User", self.masked(&message.content)),
            // A local teacher may have told its list what a review says.
            _ => ("Recommender", self.masked(&message.content)),
        };
        let lines: Vec<String> = text.lines().map(|line| format!("  {}", defuse(line, usize::MAX))).collect();
        format!("{who}:\n{}", lines.join("\n"))
    }

    /// What the answers say: which rows stay, and the report. A row is dropped for its lowest score of the first judgement.
    pub(super) fn finish(self) -> (Vec<bool>, Judged) {
        let low = |reading: &Reading| {
            let lowest = reading.scores().and_then(|scores| scores.into_iter().min());
            lowest.is_some_and(|lowest| usize::from(lowest) < self.config.min_judged)
        };
        let stays: Vec<bool> = self.first.iter().map(|reading| !low(reading)).collect();
        let scores: Vec<[u8; 3]> = self.first.iter().filter_map(|reading| reading.scores()).collect();
        let mean = |n: usize| {
            let sum: u64 = scores.iter().map(|scores| u64::from(scores[n])).sum();
            sum as f64 / scores.len().max(1) as f64
        };
        let pairs: Vec<([u8; 3], [u8; 3])> =
            self.first.iter().zip(&self.second).filter_map(|(a, b)| Some((a.scores()?, b.scores()?))).collect();
        let with_seed = self.rows.iter().filter(|row| row.seed.is_some()).count();
        let unreadable = self.first.iter().filter(|reading| **reading == Reading::Unreadable).count();
        let report = Judged {
            judge: self.judge,
            judged: scores.len() as u64,
            unreadable: unreadable as u64,
            unanswered: (with_seed - scores.len() - unreadable) as u64,
            without_seed: (self.rows.len() - with_seed) as u64,
            below: stays.iter().filter(|stays| !**stays).count() as u64,
            mean: (!scores.is_empty()).then(|| Criteria::of(mean)),
            agreement: Agreement::of(&pairs),
        };
        (stays, report)
    }
}

/// How many of so many dialogues are judged twice.
pub(super) fn twice_of(dialogues: usize) -> usize {
    ((dialogues as f64 * TWICE).ceil() as usize).max(TWICE_LEAST).min(dialogues)
}

impl std::fmt::Display for Judged {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} judged", self.judged)?;
        if let Some(Criteria { grounded, natural, fits }) = &self.mean {
            write!(f, " (grounded {grounded:.1}, natural {natural:.1}, fits {fits:.1})")?;
        }
        let again = &self.agreement;
        if again.dialogues > 0 {
            let kappa = |k: Option<f64>| k.map_or("none".to_string(), |k| format!("{k:.2}"));
            let Criteria { grounded, natural, fits } = again.kappa;
            write!(
                f,
                ", of {} judged twice {:.0} % of the scores are the same and {:.0} % within one (kappa {}, {}, {})",
                again.dialogues,
                100.0 * again.same,
                100.0 * again.within_one,
                kappa(grounded),
                kappa(natural),
                kappa(fits)
            )?;
        }
        for (count, what) in [
            (self.unreadable, "judgements not readable"),
            (self.unanswered, "not judged"),
            (self.without_seed, "without a seed, and so not judged"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
