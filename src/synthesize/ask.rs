//! Dispatcher: requests go out, several at once, through the journal; failures are retried, paced and counted; caps hold.
//!
//! One thread (the caller's) decides, writes the journal and reports; each request in flight has a thread of its own that
//! does nothing but wait for the teacher.

use super::journal::Journal;
use super::pace::{Pace, backoff};
use super::teacher::{Answer, Class, Failure, Request, Teacher};
use crate::config::SynthesizeConfig;
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Requests given up one after another, with no answer between, that end the run: something is wrong with all of them.
const GIVEN_UP_MOST: u64 = 20;
/// How long answers under way are awaited after a cancel.
const GRACE: Duration = Duration::from_secs(2);
/// A pause that a teacher asks for and that is not waited out.
const PAUSE_MOST: Duration = Duration::from_secs(600);
/// Attempts at an answer that comes but cannot be used.
const USELESS_MOST: usize = 3;

/// Where requests come from and answers go.
pub(super) trait RequestSource {
    /// The next request, in order of importance, and a place that [`RequestSource::done`] gets back; none: nothing is ready now.
    fn next(&mut self) -> Option<(u64, Request)>;
    /// The answer to the request of `place`, or the failure that it was given up for.
    fn done(&mut self, place: u64, outcome: std::result::Result<&Answer, Class>);
    /// Requests in all, as far as known.
    fn total(&self) -> u64;
}

/// What asking came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Answers received in this run.
    pub answered: u64,
    /// Answers taken from the journal.
    pub replayed: u64,
    /// Requests given up.
    pub given_up: u64,
    /// A cap ended it.
    pub capped: bool,
    /// Why a request was given up, the last time.
    pub last_failure: Option<Error>,
}

impl Tally {
    /// Adds what a second pass came to.
    pub(super) fn add(&mut self, other: Tally) {
        self.answered += other.answered;
        self.replayed += other.replayed;
        self.given_up += other.given_up;
        self.capped |= other.capped;
        self.last_failure = other.last_failure.or(self.last_failure.take());
    }
}

/// What a request's thread says to the caller's.
enum Event {
    /// A piece of an answer that is being written, for [`Run::token`].
    Text(String),
    /// What came of the request of this id.
    Outcome(String, std::result::Result<Answer, Failure>),
}

struct Pending {
    request: Request,
    places: Vec<u64>,
    attempt: usize,
    /// Answers to other requests when this one was first sent.
    answered_before: u64,
}

/// Drives `work` to its end, or to a cap.
///
/// # Errors
/// [`crate::ErrorKind::Teacher`] when the teacher cannot be reached or refuses all; [`crate::ErrorKind::Cancelled`]; those
/// of the journal. What was answered is in the journal by then.
pub(super) fn ask(
    work: &mut dyn RequestSource,
    teacher: &dyn Teacher,
    journal: &mut Journal,
    config: &SynthesizeConfig,
    run: &Run,
) -> Result<Tally> {
    // The teachers' threads see this flag; it is set when the run is cancelled and when an error ends it.
    let mut inner = Run::new(run.threads())?;
    let (sender, results) = mpsc::channel();
    if run.wants_tokens() {
        // Callbacks belong on the caller's thread.
        let sender = sender.clone();
        inner = inner.on_token(move |text| drop(sender.send(Event::Text(text.to_string()))));
    }
    let result = std::thread::scope(|scope| {
        let launch = |request: Request, attempt: usize| {
            let (sender, inner) = (sender.clone(), &inner);
            let answer = move || {
                let caught = std::panic::AssertUnwindSafe(|| teacher.answer(&request, attempt, inner));
                let outcome = std::panic::catch_unwind(caught).unwrap_or_else(|_| {
                    Err(Failure::new(Class::Stop, "the teacher's code panicked; please report it"))
                });
                // The receiver is gone only when the run has ended.
                let _ = sender.send(Event::Outcome(request.id.clone(), outcome));
            };
            std::thread::Builder::new().name("causerie-ask".into()).spawn_scoped(scope, answer)
        };
        let mut dispatcher = Dispatcher {
            work,
            journal,
            config,
            name: teacher.name(),
            pace: Pace::new(teacher.in_flight()),
            in_flight: HashMap::new(),
            later: BTreeMap::new(),
            ready: Vec::new(),
            tally: Tally::default(),
            unbroken_failures: 0,
            started: Instant::now(),
            last_step: None,
        };
        let result = dispatcher.drive(&results, run, |request, attempt| {
            launch(request, attempt)
                .map(drop)
                .map_err(|e| Error::new(crate::ErrorKind::Io, format!("cannot start a thread for a request: {e}")))
        });
        if result.is_err() {
            // Whatever arrives soon is kept: it is paid for.
            let deadline = Instant::now() + GRACE;
            while !dispatcher.in_flight.is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    inner.cancel();
                }
                match results.recv_timeout(left.max(Duration::from_millis(100))) {
                    // The first error is the one to tell; a journal that fails must not lose the other answers.
                    Ok(Event::Outcome(id, outcome)) => drop(dispatcher.settle(id, outcome, false)),
                    Ok(Event::Text(_)) => {}
                    Err(_) if inner.is_cancelled() && Instant::now() > deadline + GRACE => break,
                    Err(_) => {}
                }
            }
        }
        result
    });
    journal.sync()?;
    result
}

struct Dispatcher<'a> {
    work: &'a mut dyn RequestSource,
    journal: &'a mut Journal,
    config: &'a SynthesizeConfig,
    name: String,
    pace: Pace,
    /// Sent, by id, with the time of sending.
    in_flight: HashMap<String, (Pending, Instant)>,
    /// To be tried again at a time; the number keeps equal times apart.
    later: BTreeMap<(Instant, u64), Pending>,
    /// Held back by the pace or a cap; at most one.
    ready: Vec<Pending>,
    tally: Tally,
    unbroken_failures: u64,
    started: Instant,
    last_step: Option<Instant>,
}

impl Dispatcher<'_> {
    fn drive(
        &mut self,
        results: &mpsc::Receiver<Event>,
        run: &Run,
        launch: impl Fn(Request, usize) -> Result<()>,
    ) -> Result<Tally> {
        loop {
            self.send_what_may_go(run, &launch)?;
            self.step(run, false)?;
            if self.in_flight.is_empty() && self.ready.is_empty() && self.later.is_empty() {
                break;
            }
            // Short, so that a cancel and a due retry are seen.
            match results.recv_timeout(self.nap()) {
                Ok(event) => {
                    self.receive(event, run)?;
                    while let Ok(event) = results.try_recv() {
                        self.receive(event, run)?;
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {}
            }
        }
        self.step(run, true)?;
        Ok(self.tally.clone())
    }

    fn nap(&self) -> Duration {
        let due = self.later.keys().next().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        due.unwrap_or(Duration::MAX).clamp(Duration::from_millis(1), Duration::from_millis(50))
    }

    /// Sends until the pace, a cap or the work holds it up.
    fn send_what_may_go(&mut self, run: &Run, launch: &impl Fn(Request, usize) -> Result<()>) -> Result<()> {
        loop {
            run.check()?;
            let now = Instant::now();
            let due = self.later.first_key_value().is_some_and(|((at, _), _)| *at <= now);
            let mut waiting = if let Some(held) = self.ready.pop() {
                held
            } else if due && let Some((_, waiting)) = self.later.pop_first() {
                waiting
            } else if let Some((place, request)) = self.work.next() {
                if let Some(answer) = self.journal.answer(&request.id) {
                    self.tally.replayed += 1;
                    self.work.done(place, Ok(answer));
                    self.step(run, false)?;
                    continue;
                }
                // The same request may be under way for another place.
                if let Some((in_flight, _)) = self.in_flight.get_mut(&request.id) {
                    in_flight.places.push(place);
                    continue;
                }
                if let Some(later) = self.later.values_mut().find(|w| w.request.id == request.id) {
                    later.places.push(place);
                    continue;
                }
                Pending { request, places: vec![place], attempt: 0, answered_before: self.tally.answered }
            } else {
                return Ok(());
            };
            if self.tally.capped || !self.fits(&waiting.request) {
                if self.in_flight.is_empty() {
                    // Nothing can make room any more. What follows is only looked up in the journal, so that a later
                    // run under the same cap ends with the same answers.
                    self.tally.capped = true;
                    continue;
                }
                self.ready.push(waiting);
                return Ok(());
            }
            if self.pace.paused(now) || self.in_flight.len() >= self.pace.limit() {
                self.ready.push(waiting);
                return Ok(());
            }
            waiting.request.sample = self.journal.ended(&waiting.request.id);
            self.journal.sent(&waiting.request, &self.name)?;
            launch(waiting.request.clone(), waiting.attempt)?;
            self.in_flight.insert(waiting.request.id.clone(), (waiting, now));
        }
    }

    /// Whether the caps leave room for one more attempt, at its highest cost.
    fn fits(&self, request: &Request) -> bool {
        let spent = self.journal.spent();
        let (requests, tokens) = (self.config.max_requests, self.config.max_tokens);
        (requests == 0 || spent.requests < requests)
            && (tokens == 0 || spent.tokens().saturating_add(request.tokens_at_most()) <= tokens)
    }

    fn receive(&mut self, event: Event, run: &Run) -> Result<()> {
        match event {
            Event::Text(text) => run.token(&text),
            Event::Outcome(id, outcome) => self.settle(id, outcome, true),
        }
    }

    /// Writes an outcome down and decides what follows. `go_on`: false while draining after an error.
    fn settle(&mut self, id: String, outcome: std::result::Result<Answer, Failure>, go_on: bool) -> Result<()> {
        let Some((waiting, sent)) = self.in_flight.remove(&id) else {
            return Err(Error::bug(format!("an answer to {id}, which was not asked")));
        };
        let failure = match outcome {
            Ok(answer) => {
                self.tally.answered += 1;
                self.unbroken_failures = 0;
                self.pace.good();
                self.journal.answered(&id, answer)?;
                if let Some(answer) = self.journal.answer(&id) {
                    waiting.places.iter().for_each(|place| self.work.done(*place, Ok(answer)));
                }
                return Ok(());
            }
            Err(failure) => failure,
        };
        match failure.class {
            Class::Stop | Class::Throttled | Class::Refused | Class::Broken => self.journal.released(&id)?,
            Class::Useless | Class::Cut | Class::Thinking | Class::Withheld => {
                self.journal.wasted(&id, failure.tokens, failure.error.message())?
            }
            // Left open: it stays counted at its highest cost.
            Class::Lost | Class::Cancelled => {}
        }
        if !go_on {
            return Ok(());
        }
        let tries = match failure.class {
            Class::Stop => return Err(failure.error),
            Class::Cancelled => return Err(Error::cancelled()),
            Class::Refused | Class::Withheld => 0,
            Class::Useless | Class::Cut | Class::Thinking => self.config.retries.min(USELESS_MOST - 1),
            Class::Throttled | Class::Broken | Class::Lost => self.config.retries,
        };
        let now = Instant::now();
        let base = Duration::from_millis(self.config.backoff_ms);
        let pause = failure.retry_after.unwrap_or_else(|| backoff(base, waiting.attempt, &id));
        if pause > PAUSE_MOST {
            let wait_s = pause.as_secs();
            return Err(failure.error.context(format!(
                "the teacher asks for a pause of {wait_s} s; run the same command again after it, nothing answered is asked twice"
            )));
        }
        if failure.class == Class::Throttled {
            self.pace.throttled(sent, now, pause);
        }
        if waiting.attempt < tries {
            log(Level::Debug, &format!("synthesize: attempt {} of {id}: {}", waiting.attempt + 1, failure.error));
            let key = (now + pause, u64::from_str_radix(&id, 16).unwrap_or(0));
            self.later.insert(key, Pending { attempt: waiting.attempt + 1, ..waiting });
            return Ok(());
        }
        // A request that fails for ever while others are answered costs itself. One that failed through a whole earlier run
        // is passed over as well, so that it does not keep a run from its end.
        let alone = self.tally.answered > waiting.answered_before
            || self.journal.attempts(&id) > 2 * (self.config.retries as u64 + 1);
        let brings_nothing = match failure.class {
            Class::Stop | Class::Cancelled | Class::Throttled => false,
            Class::Broken | Class::Lost => alone,
            Class::Refused | Class::Useless | Class::Cut | Class::Thinking | Class::Withheld => true,
        };
        if !brings_nothing {
            return Err(failure.error.context(format!(
                "given up after {} attempts; run the same command again, nothing answered is asked twice",
                waiting.attempt + 1
            )));
        }
        self.tally.given_up += 1;
        self.unbroken_failures += 1;
        log(Level::Warn, &format!("synthesize: request {id} given up: {}", failure.error));
        if self.unbroken_failures >= GIVEN_UP_MOST {
            let what = format!("{GIVEN_UP_MOST} requests in a row brought nothing usable, the last");
            return Err(failure.error.context(what));
        }
        waiting.places.iter().for_each(|place| self.work.done(*place, Err(failure.class)));
        self.tally.last_failure = Some(failure.error);
        Ok(())
    }

    /// Reports, ten times a second at most.
    fn step(&mut self, run: &Run, last: bool) -> Result<()> {
        let now = Instant::now();
        if !last && self.last_step.is_some_and(|at| now - at < Duration::from_millis(100)) {
            return run.check();
        }
        self.last_step = Some(now);
        let done = self.tally.answered + self.tally.replayed + self.tally.given_up;
        let (tally, spent, config) = (&self.tally, self.journal.spent(), self.config);
        let seconds = (now - self.started).as_secs_f64();
        run.step_with("synthesize", "requests", done, self.work.total(), || {
            let mut note = format!("{} + {} tokens", spent.prompt_tokens, spent.completion_tokens);
            if config.price_in > 0.0 || config.price_out > 0.0 {
                note.push_str(&format!(", cost {:.4}", cost(config, spent.prompt_tokens, spent.completion_tokens)));
            }
            if tally.answered > 0 && seconds > 0.0 {
                note.push_str(&format!(", {:.1} requests/s", tally.answered as f64 / seconds));
            }
            note
        })
    }
}

/// What these tokens cost at the configured prices.
pub(super) fn cost(config: &SynthesizeConfig, prompt_tokens: u64, completion_tokens: u64) -> f64 {
    (prompt_tokens as f64 * config.price_in + completion_tokens as f64 * config.price_out) / 1e6
}
