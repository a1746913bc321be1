//! The teacher that is a GGUF on this machine, through llama.cpp. One request at a time; its arithmetic uses all threads.

use super::teacher::{Answer, Class, Failure, Request, Teacher};
use crate::config::SynthesizeConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::llama::{Context, ContextOptions, Model, Pooling, Sampling};
use crate::run::Run;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A GGUF as teacher.
pub struct LocalTeacher {
    model: Model,
    context: Mutex<Context>,
    name: String,
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
        let model = Model::load(path)?;
        let options = ContextOptions {
            tokens: config.context_tokens,
            batch_tokens: config.context_tokens.min(512),
            sequences: 1,
            pooling: Pooling::Logits,
            exact: false,
        };
        let context = Context::new(&model, options, run)?;
        // The file's content, not its place, makes the answers: the same model elsewhere replays the same journal.
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let mut hasher = blake3::Hasher::new();
        let content = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        hasher.update_reader(content).map_err(|e| Error::io(path, e))?;
        let name = format!("local/{file}/{}/{}", &hasher.finalize().to_hex()[..12], config.context_tokens);
        Ok(LocalTeacher { model, context: Mutex::new(context), name })
    }
}

impl Teacher for LocalTeacher {
    fn name(&self) -> String {
        self.name.clone()
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
        let prompt = match self.model.chat_template() {
            Some(_) => self.model.chat_prompt(&messages).map_err(fail)?,
            // A base model: it goes on from the text.
            None => messages.iter().map(|(_, content)| format!("{content}\n\n")).collect(),
        };
        let sampling = Sampling {
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            seed: request.seed.wrapping_add(request.sample),
            ..Default::default()
        };
        let mut context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let generated = context.generate(&prompt, &sampling, run).map_err(fail)?;
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
