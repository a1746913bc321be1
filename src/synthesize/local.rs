//! The teacher that is a GGUF on this machine, through llama.cpp. One request at a time; its arithmetic uses all threads.

use super::likelihood::Likelihood;
use super::lines::{Held, enders, openings, openings_of};
use super::prompts::Prompts;
use super::teacher::{Answer, Class, Failure, Kind, Request, Teacher};
use crate::config::{Structured, SynthesizeConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::llama::{Context, ContextOptions, Model, Pooling, Sampling, Token};
use crate::run::Run;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Names whose likelihood is computed in one pass.
const NAMES_AT_ONCE: usize = 64;
/// A request that says nothing, beside which a query's effect is seen.
const SAYS_NOTHING: &str = "Hello! What do you recommend?";

/// A GGUF as teacher.
///
/// Unless `synthesize.structured` is `off`, it is held to the form of its answers: queries are written line by line behind
/// their numbers ([`Held`]), candidates are ranked by how much likelier the query makes their names ([`Likelihood`]).
pub struct LocalTeacher {
    model: Model,
    context: Mutex<(Context, Likelihood)>,
    /// None: it writes as it likes.
    held: Option<Vec<Token>>,
    openings: Vec<String>,
    prompts: Prompts,
    name: String,
}

/// The teacher's name: the file's content, not its place, makes the answers, so that the same model elsewhere replays the
/// same journal.
///
/// # Errors
/// Those of reading the file; [`crate::ErrorKind::Invalid`] without a path.
pub(super) fn name_of(config: &SynthesizeConfig) -> Result<String> {
    if config.model.is_empty() {
        return Err(Error::invalid("synthesize.model is empty; name the GGUF of the teacher"));
    }
    let path = Path::new(&config.model);
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut hasher = blake3::Hasher::new();
    let content = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    hasher.update_reader(content).map_err(|e| Error::io(path, e))?;
    let name = format!("local/{file}/{}/{}", &hasher.finalize().to_hex()[..12], config.context_tokens);
    // An answer in a form of its own is another teacher's.
    Ok(if config.structured != Structured::Off { format!("{name}/held") } else { name })
}

impl LocalTeacher {
    /// Loads the model that `synthesize.model` names.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] without a path; those of [`Model::load`] and [`Context::new`].
    pub fn new(config: &SynthesizeConfig, run: &Run) -> Result<LocalTeacher> {
        if config.model.is_empty() {
            return Err(Error::invalid("synthesize.model is empty; name the GGUF of the teacher"));
        }
        let path = Path::new(&config.model);
        let prompts = Prompts::load(config)?;
        let held = config.structured != Structured::Off;
        let model = Model::load(path)?;
        let options = ContextOptions {
            tokens: config.context_tokens,
            batch_tokens: config.context_tokens.min(512),
            sequences: if held { NAMES_AT_ONCE + 1 } else { 1 },
            pooling: Pooling::Logits,
            exact: false,
        };
        let context = Context::new(&model, options, run)?;
        let name = name_of(config)?;
        let held = held.then(|| enders(&model));
        let openings = openings(&prompts.styles);
        Ok(LocalTeacher { model, context: Mutex::new((context, Likelihood::default())), held, openings, prompts, name })
    }

    /// In the model's chat format; a base model goes on from the text.
    fn prompt(&self, messages: &[(&str, &str)]) -> Result<String> {
        match self.model.chat_template() {
            Some(_) => self.model.chat_prompt(messages),
            None => Ok(messages.iter().map(|(_, content)| format!("{content}\n\n")).collect()),
        }
    }

    /// The best candidates by number, as an answer in words would give them.
    fn ranked(&self, context: &mut (Context, Likelihood), request: &Request, run: &Run) -> Result<Answer> {
        let facts = &request.facts;
        let asking = |query: &str| -> Result<String> {
            let text = self.prompts.recommend.fill(|slot| match slot {
                "query" => query.to_string(),
                _ => facts.count.to_string(),
            });
            Ok(format!("{}1.", self.prompt(&[("user", &text)])?))
        };
        let (prompt, plain) = (asking(&facts.query)?, asking(SAYS_NOTHING)?);
        let (context, likelihood) = context;
        let ranked = likelihood.rank(context, &prompt, &plain, &facts.names, run)?;
        let best = ranked.order.iter().take(facts.count);
        let text = best.map(|place| (place + 1).to_string()).collect::<Vec<_>>().join(", ");
        run.token(&text)?;
        run.token("")?;
        Ok(Answer { text, prompt_tokens: ranked.tokens as u64, completion_tokens: 0 })
    }
}

impl Teacher for LocalTeacher {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn is_remote(&self) -> bool {
        false
    }
    fn in_flight(&self) -> usize {
        1
    }
    fn answer(&self, request: &Request, _attempt: usize, run: &Run) -> std::result::Result<Answer, Failure> {
        let fail = |e: Error| {
            let class = match e.kind() {
                ErrorKind::Cancelled => Class::Cancelled,
                // A prompt that does not fit; the next one may.
                ErrorKind::Invalid => Class::Refused,
                ErrorKind::NotFound
                | ErrorKind::Io
                | ErrorKind::Format
                | ErrorKind::Teacher
                | ErrorKind::Memory
                | ErrorKind::Unsupported
                | ErrorKind::Busy
                | ErrorKind::Closed
                | ErrorKind::Bug => Class::Stop,
            };
            Failure { class, error: e, retry_after: None, tokens: (0, 0) }
        };
        let messages: Vec<(&str, &str)> =
            request.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        let prompt = self.prompt(&messages).map_err(fail)?;
        let mut context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = request.seed.wrapping_add(request.sample);
        match (&self.held, request.kind) {
            (Some(_), Kind::Recommend) if !request.facts.names.is_empty() => {
                return self.ranked(&mut context, request, run).map_err(fail);
            }
            (Some(enders), Kind::Query | Kind::Dialogue) => {
                let (count, temperature) = (request.facts.count, request.temperature);
                let in_order = request.kind == Kind::Dialogue;
                let own = openings_of(&request.facts.draft);
                let openings = if in_order { &own } else { &self.openings };
                let held = Held { enders, openings, in_order, count, temperature, seed };
                let lines = held.write(&mut context.0, &prompt, run).map_err(fail)?;
                let (prompt_tokens, completion_tokens) = (lines.prompt_tokens as u64, lines.tokens as u64);
                return Ok(Answer { text: lines.text, prompt_tokens, completion_tokens });
            }
            (Some(_) | None, Kind::Query | Kind::Recommend | Kind::Dialogue | Kind::Judge) => {}
        }
        let sampling =
            Sampling { max_tokens: request.max_tokens, temperature: request.temperature, seed, ..Default::default() };
        let generated = context.0.generate(&prompt, &sampling, run).map_err(fail)?;
        let tokens = (generated.prompt_tokens as u64, generated.tokens as u64);
        let failure = |class: Class, why: &str| Failure { tokens, ..Failure::new(class, format!("teacher: {why}")) };
        if !generated.finished {
            return Err(failure(
                Class::Cut,
                "half an answer: it reached its limit; raise synthesize.answer_tokens or context_tokens",
            ));
        }
        if generated.text.trim().is_empty() {
            return Err(failure(Class::Useless, "an empty answer"));
        }
        Ok(Answer { text: generated.text, prompt_tokens: tokens.0, completion_tokens: tokens.1 })
    }
}
