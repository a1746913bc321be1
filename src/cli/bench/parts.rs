//! Parts of `causerie bench recommend`: the model alone (as llama.cpp's own bench measures it), what masks cost, how long
//! an exchange of adapters takes while requests are under way, how soon a cancelled answer returns.

use super::recommend::Case;
use crate::cli::progress::print;
use causerie::config::Mode;
use causerie::llama::{self, Batch, Pooling, Token};
use causerie::math::Random;
use causerie::recommend::LanguageModel;
use causerie::transformer::{self, LoraHalf, LoraSettings, Storage};
use causerie::{Error, ErrorKind, Result, Run};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Tokens of the prompt and of the text behind it, as `llama-bench -p 512 -n 64` has them.
const PROMPT: usize = 512;
const WRITTEN: usize = 64;
/// Answers that are cancelled, at as many places spread over the time that an answer takes.
const CANCELS: usize = 12;
/// Batches of the search: so many tokens, behind each of which logits are asked for.
const BATCHES: [usize; 5] = [1, 4, 16, 32, 64];
/// Exchanges of adapters.
const EXCHANGES: usize = 10;

/// Median, and the greatest.
fn middle_and_most(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at =
        |share: f64| values.get(((values.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or(0.0);
    (at(0.5), at(1.0))
}

impl Case<'_> {
    /// Tokens a second of the forward passes alone.
    pub(super) fn raw(&self) -> Result<()> {
        let sizes = llama::ContextOptions {
            tokens: PROMPT + WRITTEN,
            batch_tokens: PROMPT,
            sequences: 1,
            pooling: Pooling::Logits,
            exact: false,
        };
        let mut context = llama::Context::new(self.model, sizes, self.run)?;
        let mut random = Random::new(3, b"bench tokens");
        let mut token = || random.below(self.model.vocabulary()) as Token;
        let (mut prompts, mut written) = (Vec::new(), Vec::new());
        for pass in 0..1 + self.requests {
            context.clear();
            let mut batch = Batch::default();
            (0..PROMPT).for_each(|at| batch.push(token(), at, 0, at + 1 == PROMPT));
            let started = Instant::now();
            context.run_batch(&batch, self.run)?;
            let prompt = started.elapsed().as_secs_f64();
            let started = Instant::now();
            for n in 0..WRITTEN {
                let mut batch = Batch::default();
                batch.push(token(), PROMPT + n, 0, true);
                context.run_batch(&batch, self.run)?;
            }
            // The first pass warms up.
            if pass > 0 {
                prompts.push(prompt);
                written.push(started.elapsed().as_secs_f64());
            }
        }
        let mut widths = Vec::new();
        for width in BATCHES {
            let mut times = Vec::new();
            for _ in 0..self.requests {
                context.forget_from(0, PROMPT);
                let mut batch = Batch::default();
                (0..width).for_each(|n| batch.push(token(), PROMPT + n, 0, true));
                let started = Instant::now();
                context.run_batch(&batch, self.run)?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            widths.push(format!("{width}: {:.1} ms", middle_and_most(times).0));
        }
        print(&format!("\npasses of so many tokens with logits of all: {}", widths.join(", ")))?;
        let rate = |tokens: usize, seconds: Vec<f64>| tokens as f64 / middle_and_most(seconds).0;
        print(&format!(
            "\nforward passes alone: prompt of {PROMPT}: {:.1} tokens/s; {WRITTEN} tokens behind it, one by one: {:.2} \
             tokens/s (medians of {})\n",
            rate(PROMPT, prompts),
            rate(WRITTEN, written),
            self.requests
        ))
    }

    /// The time of an answer with half of the catalogue masked beside one with nothing masked, and of the masks alone.
    pub(super) fn masks(&self) -> Result<()> {
        let lm = self.open(Mode::Constrained)?;
        let items = self.dataset.items.len() as u32;
        let mut random = Random::new(4, b"bench masks");
        let half: Vec<u32> = (0..items).filter(|_| random.below(2) == 0).collect();
        let trie = lm.trie();
        let time_of = |masked: &[u32]| {
            middle_and_most(
                (0..20)
                    .map(|_| {
                        let started = Instant::now();
                        std::hint::black_box(trie.allowed(masked).count());
                        started.elapsed().as_secs_f64()
                    })
                    .collect(),
            )
            .0
        };
        let (none, with) = (time_of(&[]), time_of(&half));
        let (mut plain, mut masked, mut passes) = (Vec::new(), Vec::new(), 0);
        for request in 0..self.requests {
            let talk = self.conversation(request as u64)?;
            // The prompt is computed once, before.
            lm.answer(&talk, &[], 1, self.run)?;
            for (mask, times) in [(&[][..], &mut plain), (&half[..], &mut masked)] {
                let started = Instant::now();
                let answer = lm.answer(&talk, mask, self.config.top_k, self.run)?;
                times.push(started.elapsed().as_secs_f64());
                passes = answer.passes;
            }
        }
        let (plain, masked) = (middle_and_most(plain).0, middle_and_most(masked).0);
        print(&format!(
            "\nmasks: {:.3} ms for {} of {items} items, {:.3} ms for none; an answer takes {:.1} ms masked and {:.1} ms \
             unmasked, in {passes} passes: the mask is {:.2} % of one pass\n",
            with * 1e3,
            half.len(),
            none * 1e3,
            masked * 1e3,
            plain * 1e3,
            100.0 * with / (masked / passes.max(1) as f64)
        ))
    }

    /// From the cancel to the return of an answer, cancelled at many places of its prompt and search.
    pub(super) fn cancel(&self) -> Result<()> {
        let lm = self.open(Mode::Constrained)?;
        let (mut times, mut finished) = (Vec::new(), 0);
        let started = Instant::now();
        lm.answer(&self.conversation(0)?, &[], self.config.top_k, self.run)?;
        let whole = started.elapsed();
        for n in 1..=CANCELS {
            let flag = Arc::new(AtomicBool::new(false));
            let run = Run::new(self.run.threads())?.cancelled_by(flag.clone());
            let talk = self.conversation(n as u64)?;
            let (answer, cancelled, returned) = std::thread::scope(|scope| {
                let asked = scope.spawn(|| (lm.answer(&talk, &[], self.config.top_k, &run), Instant::now()));
                std::thread::sleep(whole * n as u32 / (CANCELS + 1) as u32);
                flag.store(true, Ordering::Relaxed);
                let cancelled = Instant::now();
                let (answer, returned) = asked.join().map_err(|_| Error::bug("the caller panicked"))?;
                Ok::<_, Error>((answer, cancelled, returned))
            })?;
            match answer {
                Ok(_) => finished += 1,
                Err(e) if e.kind() == ErrorKind::Cancelled => {
                    times.push(returned.saturating_duration_since(cancelled).as_secs_f64());
                }
                Err(e) => return Err(e),
            }
        }
        let (middle, most) = middle_and_most(times);
        print(&format!(
            "\ncancel: {} answers returned {:.1} ms after it at the median, {:.1} ms at most ({finished} were done before)\n",
            CANCELS - finished,
            middle * 1e3,
            most * 1e3
        ))
    }

    /// Exchanges an adapter (rank 16 on all projections) for nothing and back while one caller asks without a pause.
    pub(super) fn exchange(&self) -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        self.exchange_in(folder.path())
    }

    fn exchange_in(&self, folder: &Path) -> Result<()> {
        let file = folder.join("adapter.gguf");
        let mut student = self.run.install(|| transformer::Model::from_gguf(self.model.header().path()))?;
        student.add_lora(LoraSettings {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: LoraSettings::PROJECTIONS.to_vec(),
            layers: 0..usize::MAX,
            seed: 0,
        })?;
        // As it is made it changes nothing (B is zero), and such an adapter is refused.
        let mut random = Random::new(0, b"exchanged adapter");
        for half in student.tensors.iter_mut().filter(|t| t.place.lora == Some(LoraHalf::B)) {
            half.storage = Storage::F32((0..half.len()).map(|_| (0.01 * random.normal()) as f32).collect());
        }
        student.write_adapter(&file)?;
        drop(student);
        let lm = self.open(Mode::Constrained)?;
        // The context is there, as with a server that has answered once.
        lm.answer(&self.conversation(u64::MAX)?, &[], self.config.top_k, self.run)?;
        let set: &[(&Path, f32)] = &[(&file, 1.0)];
        let exchange = |set| -> Result<f64> {
            let started = Instant::now();
            lm.swap_adapters(lm.generation(), set)?;
            Ok(started.elapsed().as_secs_f64() * 1e3)
        };
        // By turns the adapter, read from its file, and none.
        let exchanges = || -> Result<(Vec<f64>, Vec<f64>)> {
            let both = (0..EXCHANGES).map(|_| Ok((exchange(set)?, exchange(&[])?)));
            Ok(both.collect::<Result<Vec<_>>>()?.into_iter().unzip())
        };
        let quiet = exchanges()?;
        let stop = AtomicBool::new(false);
        let (busy, answered) = std::thread::scope(|scope| {
            let caller = scope.spawn(|| -> Result<usize> {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) || answered == 0 {
                    lm.answer(&self.conversation(answered as u64)?, &[], self.config.top_k, self.run)?;
                    answered += 1;
                }
                Ok(answered)
            });
            let exchanged = exchanges();
            stop.store(true, Ordering::Relaxed);
            let answered = caller.join().unwrap_or_else(|_| Err(Error::bug("the caller panicked")));
            Ok::<_, Error>((exchanged?, answered?))
        })?;
        let told = |(files, none): (Vec<f64>, Vec<f64>)| {
            let first = files.first().copied().unwrap_or(0.0);
            let ((file, most), (swap, longest)) = (middle_and_most(files), middle_and_most(none));
            format!(
                "{first:.1} ms the first, {file:.1} at the median, {most:.1} at most, the file read; {swap:.3} ms at the \
                 median, {longest:.3} at most, without one"
            )
        };
        print(&format!(
            "\nadapters, {EXCHANGES} exchanges of each kind: {}\nbeside {answered} answers, none failed: {}\n",
            told(quiet),
            told(busy)
        ))
    }
}
