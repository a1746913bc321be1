//! What a synthesis made, and what it cost.

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
    /// Queries that were longer than `synthesize.query_tokens` and end with an earlier sentence.
    pub shortened: u64,
    /// Titles listed in all kept and dropped answers.
    pub listed: u64,
    /// Share of them that are not in the catalogue.
    pub out_of_catalogue: f64,
    /// Share of kept dialogues that list their seed's item.
    pub seed_listed: f64,
    /// A cap ended it before all seeds were used.
    pub capped: bool,
}

impl SynthesisReport {
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
        if self.shortened > 0 {
            write!(f, ", {} queries shortened", self.shortened)?;
        }
        write!(f, ", {:.1} % of listed titles out of catalogue", self.out_of_catalogue * 100.0)?;
        for (why, count) in &self.dropped {
            write!(f, ", {count} dropped: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an endpoint says of its tokens is its own affair: a sum of two of the greatest numbers once began again at 0.
    #[test]
    fn tokens_of_an_endpoint_that_makes_them_up_do_not_overflow() {
        let report = SynthesisReport { prompt_tokens: u64::MAX, completion_tokens: 2, ..SynthesisReport::default() };
        assert!(report.to_string().contains("18446744073709551615 tokens"), "{report}");
    }
}
