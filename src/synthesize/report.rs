//! What a synthesis made, and what it cost.

use super::choice::Choice;
use super::diversity::{self, Diversity};
use super::filter::dialogue_tokens;
use super::judge::Judged;
use super::personal::PersonalData;
use crate::config::{TuneConfig, TuneMethod};
use crate::dataset::Dialogue;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Dialogues and how they came about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dialogues {
    /// In the order of the selection, then of the queries.
    pub rows: Vec<Dialogue>,
    /// How they came about.
    pub report: SynthesisReport,
}

/// How the dialogues of one call came about. Tokens and requests are those of the journal over all its runs.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct SynthesisReport {
    /// The teacher.
    pub teacher: String,
    /// Seeds (naive: draws) that were to be used.
    pub seeds: u64,
    /// Dialogues kept.
    pub dialogues: u64,
    /// Attempts sent over all runs on the journal, but for those refused at the door.
    pub requests: u64,
    /// Answers received in this call.
    pub answered: u64,
    /// Answers taken from the journal in this call.
    pub replayed: u64,
    /// Prompt tokens over all runs.
    pub prompt_tokens: u64,
    /// Answer tokens over all runs.
    pub completion_tokens: u64,
    /// Attempts whose outcome is not known (lost, or under way at a kill), over all runs: they may have been paid for.
    pub requests_in_doubt: u64,
    /// Tokens that they may have cost, at most.
    pub tokens_in_doubt: u64,
    /// Cost of those tokens at the configured prices; 0 without prices.
    pub cost: f64,
    /// What was dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Queries in which the seed's title was masked.
    pub masked: u64,
    /// Personal data in reviews that was masked before the teacher saw it (`synthesize.mask`).
    pub personal_data: PersonalData,
    /// Dialogues of several turns: messages in the domain's own words, since the teacher's did not say what was planned.
    pub reworded: u64,
    /// Queries that were longer than `synthesize.query_tokens` and end with an earlier sentence.
    pub shortened: u64,
    /// Titles listed in all kept and dropped answers.
    pub listed: u64,
    /// Share of them that are not in the catalogue.
    pub out_of_catalogue: f64,
    /// Titles listed that are not in the catalogue.
    #[serde(skip)]
    pub(super) unknown: u64,
    /// Where the lists come from: `open`, `candidates` or `collaborative`.
    pub lists: String,
    /// How the teacher chose, with `candidates`.
    pub choices: Choices,
    /// With `candidates` and `collaborative`: share of kept dialogues whose seed's item the retrieval finds by itself; it is
    /// among the candidates in any case.
    pub seed_found: f64,
    /// Share of kept dialogues that list their seed's item.
    pub seed_listed: f64,
    /// Dialogues that lose their end to `tune.max_tokens`, by estimate; 0 where no language model is to be tuned.
    pub cut_in_training: u64,
    /// What the judge said (`synthesize.judge`); none: nobody judged.
    pub judged: Option<Judged>,
    /// How various the dialogues are.
    pub diversity: Diversity,
    /// The same of the conversations that `synthesize.compare_with` names.
    pub compared_with: Option<Compared>,
    /// A cap ended it before all seeds were used.
    pub capped: bool,
}

/// Recorded conversations beside the dialogues.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Compared {
    /// The file.
    pub name: String,
    /// How various they are.
    pub diversity: Diversity,
}

impl Dialogues {
    /// Counts the dialogues that the tuning of these settings would cut ([`SynthesisReport::cut_in_training`]).
    pub fn held_against(mut self, tune: &TuneConfig) -> Dialogues {
        self.report.cut_in_training = match tune.method {
            TuneMethod::Head => 0,
            TuneMethod::Lora | TuneMethod::Full => {
                self.rows.iter().filter(|row| dialogue_tokens(row) > tune.max_tokens).count() as u64
            }
        };
        self
    }
}

/// How a teacher chose among candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Choices {
    /// Lists chosen.
    pub lists: u64,
    /// Lists that were too short and were completed from the retrieval's ranking.
    pub completed: u64,
    /// Those of them in which no item of the list could be read.
    pub unread: u64,
    /// Items that were added to complete lists.
    pub items_added: u64,
    /// Entries that named an item a second time.
    pub repeated: u64,
    /// Entries that named nothing of the list.
    pub outside: u64,
    /// Mean of Kendall's tau of the teacher's order and the retrieval's own over lists of two items and more: 1 the same, 0 as
    /// by chance, -1 reversed.
    pub agreement: f64,
    /// Those lists.
    #[serde(skip)]
    compared: u64,
}

impl Choices {
    /// Counts one list of which `wanted` items were asked for.
    pub(super) fn add(&mut self, wanted: usize, choice: &Choice, tau: Option<f64>) {
        let missing = wanted.saturating_sub(choice.order.len()) as u64;
        self.lists += 1;
        self.completed += u64::from(missing > 0);
        self.unread += u64::from(choice.order.is_empty());
        self.items_added += missing;
        self.repeated += choice.repeated;
        self.outside += choice.outside;
        if let Some(tau) = tau {
            self.compared += 1;
            self.agreement += (tau - self.agreement) / self.compared as f64;
        }
    }
}

impl SynthesisReport {
    /// Diversity as a table for people: a line a measure, a column a set.
    pub fn diversity_table(&self) -> String {
        let mut sets = vec![("synthetic", &self.diversity)];
        sets.extend(self.compared_with.iter().map(|of| (of.name.as_str(), &of.diversity)));
        diversity::table(&sets)
    }

    /// Refuses what a cap ended: whatever comes after would rest on a part of the dialogues.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Teacher`] where [`SynthesisReport::capped`].
    pub fn whole(&self) -> Result<()> {
        if self.capped {
            return Err(Error::teacher(format!(
                "the cap on requests or tokens was reached after {} dialogues; raise synthesize.max_requests or .max_tokens and run again, nothing answered is asked twice",
                self.dialogues
            )));
        }
        Ok(())
    }
}

impl std::fmt::Display for SynthesisReport {
    /// One line: dialogues, requests, tokens, cost, what was dropped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} dialogues of {} seeds, {} requests", self.dialogues, self.seeds, self.requests)?;
        let tokens = self.prompt_tokens.saturating_add(self.completion_tokens);
        if tokens > 0 {
            write!(f, ", {tokens} tokens")?;
        }
        if self.cost > 0.0 {
            write!(f, ", cost {:.2}", self.cost)?;
        }
        if self.requests_in_doubt > 0 {
            let (requests, tokens) = (self.requests_in_doubt, self.tokens_in_doubt);
            write!(f, ", {requests} requests in doubt (no answer seen; at most {tokens} tokens may have been paid)")?;
        }
        if self.personal_data.total() > 0 {
            write!(f, ", {} pieces of personal data masked", self.personal_data.total())?;
        }
        if self.reworded > 0 {
            write!(f, ", {} messages in the domain's own words", self.reworded)?;
        }
        if self.shortened > 0 {
            write!(f, ", {} queries shortened", self.shortened)?;
        }
        write!(f, ", {:.1} % of listed titles out of catalogue", self.out_of_catalogue * 100.0)?;
        let chosen = &self.choices;
        if chosen.lists > 0 {
            let share = 100.0 * chosen.completed as f64 / chosen.lists as f64;
            write!(
                f,
                ", {share:.1} % of {} lists completed ({} items; {} wholly)",
                chosen.lists, chosen.items_added, chosen.unread
            )?;
            write!(f, ", agreement with the retrieval's order {:.2}", chosen.agreement)?;
        }
        if self.seed_found > 0.0 {
            write!(f, ", the seed's item found by the retrieval for {:.1} %", 100.0 * self.seed_found)?;
        }
        if let Some(judged) = &self.judged {
            write!(f, ", {judged}")?;
        }
        if self.cut_in_training > 0 {
            write!(f, ", {} lose their end to tune.max_tokens", self.cut_in_training)?;
        }
        for (why, count) in &self.dropped {
            write!(f, ", {count} dropped: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Message;

    /// 60 characters are 20 tokens by estimate, and a message takes five more.
    #[test]
    fn what_tuning_cuts_is_counted_where_a_language_model_is_tuned() {
        let message = |role: &str| Message { role: role.into(), content: "abcde ".repeat(10) };
        let row = Dialogue {
            id: String::new(),
            messages: vec![message("user"), message("assistant")],
            labels: Vec::new(),
            items: Vec::new(),
            out_of_catalogue: Vec::new(),
            seed: None,
            teacher: String::new(),
            round: 0,
        };
        for (method, max_tokens, cut) in [("lora", 49, 1), ("full", 49, 1), ("lora", 50, 0), ("head", 16, 0)] {
            let tune = TuneConfig { method: method.into(), max_tokens, ..Default::default() };
            let made = Dialogues { rows: vec![row.clone()], ..Default::default() }.held_against(&tune);
            assert_eq!(made.report.cut_in_training, cut, "{method} {max_tokens}");
            assert_eq!(made.report.to_string().contains("lose their end to tune.max_tokens"), cut > 0);
        }
    }

    /// What an endpoint says of its tokens is its own affair: a sum of two of the greatest numbers once began again at 0.
    #[test]
    fn tokens_of_an_endpoint_that_makes_them_up_do_not_overflow() {
        let report = SynthesisReport { prompt_tokens: u64::MAX, completion_tokens: 2, ..SynthesisReport::default() };
        assert!(report.to_string().contains("18446744073709551615 tokens"), "{report}");
    }
}
