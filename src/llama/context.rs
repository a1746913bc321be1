//! A context: batches of tokens in, logits and hidden states out.

use super::{Adapter, Model, Token, backend, guarded};
use crate::error::{Error, Result};
use crate::run::{CancelFlag, Run};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::sync::RwLockReadGuard;
use std::time::Instant;

/// Sequences in one batch at most (llama.cpp's `LLAMA_MAX_SEQ`).
pub(crate) const MAX_SEQUENCES: usize = 256;

/// What a context gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Logits, to generate or to score with; no hidden states.
    Logits,
    /// The hidden state of every token, after the output norm.
    None,
    /// The hidden states of the tokens whose output is asked for, after the output norm. Of the last layer only theirs are
    /// computed, and nothing of the output layer, which is a fifth to a third of a small model's work.
    Asked,
    /// One row per sequence, as the model's file says (mean, first token, last token).
    Model,
    /// One row per sequence: the mean over its tokens.
    Mean,
    /// One row per sequence: its last token.
    Last,
}

/// The sizes of a context.
#[derive(Debug, Clone, Copy)]
pub struct ContextOptions {
    /// Tokens that all its sequences may have together.
    pub tokens: usize,
    /// Tokens in one batch at most.
    pub batch_tokens: usize,
    /// Sequences in one batch at most (1 to 256).
    pub sequences: usize,
    /// What it gives.
    pub pooling: Pooling,
    /// Keys and values in f32 and plain attention: hidden states exact to 2e-6 of a float reference, in place of 2e-3
    /// with the f16 cache.
    pub exact: bool,
}

/// Tokens for one call of [`Context::run_batch`].
#[derive(Debug, Clone, Default)]
pub struct Batch {
    tokens: Vec<Token>,
    positions: Vec<i32>,
    /// The sequences of all tokens in a row; `counts` of them for each token.
    sequences: Vec<i32>,
    counts: Vec<i32>,
    outputs: Vec<i8>,
}

impl Batch {
    /// Adds a token of `sequence` at `position` (from 0); `output`: its logits or hidden state are wanted.
    pub fn push(&mut self, token: Token, position: usize, sequence: usize, output: bool) {
        self.push_shared(token, position, sequence..sequence.saturating_add(1), output);
    }
    /// Adds a token that several sequences share, as the trunk of a tree does: computed and kept once. A later token may
    /// belong to fewer of them, never to these and others.
    pub fn push_shared(&mut self, token: Token, position: usize, sequences: Range<usize>, output: bool) {
        self.tokens.push(token);
        self.positions.push(i32::try_from(position).unwrap_or(-1));
        // No more than there can be, and one too many to be refused.
        let shared = sequences.take(MAX_SEQUENCES + 1);
        let before = self.sequences.len();
        self.sequences.extend(shared.map(|s| i32::try_from(s).unwrap_or(-1)));
        self.counts.push((self.sequences.len() - before) as i32);
        self.outputs.push(i8::from(output));
    }
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
    /// No tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
    /// Takes all tokens out.
    pub fn clear(&mut self) {
        *self = Batch::default();
    }
}

/// A model at work. One thread at a time; its arithmetic uses the threads of the run.
pub struct Context {
    raw: std::ptr::NonNull<sys::llama_context>,
    model: Model,
    adapters: Vec<(Adapter, f32)>,
    /// The adapters were exchanged: the next pass begins with a look at the model's list of them.
    unreserved: bool,
    options: ContextOptions,
    batch_tokens: usize,
    context_tokens: usize,
    /// Which tokens of the last batch have outputs.
    outputs: Vec<i8>,
    /// Which sequences the last batch had.
    last_sequences: Vec<bool>,
    /// Freed after the context, which points to it.
    seen: Seen,
}

/// What a sequence held: keys and values as llama.cpp writes them, which trusts them when it reads them. Made by
/// [`Context::save_sequence`] alone.
#[derive(Clone)]
pub struct SavedSequence {
    bytes: Vec<u8>,
    /// The model that they are of; none: of none, and restored nowhere.
    model: Option<Model>,
    /// The type of keys and values.
    exact: bool,
}

impl SavedSequence {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
    /// One of no model, for tests of what keeps them.
    #[cfg(test)]
    pub(crate) fn of_no_model(bytes: usize) -> SavedSequence {
        SavedSequence { bytes: vec![0; bytes], model: None, exact: false }
    }
}

impl std::fmt::Debug for SavedSequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SavedSequence({} bytes)", self.bytes.len())
    }
}

/// The hidden states that the last batch had, with [`Pooling::Asked`]: `[tokens asked for, width]`.
struct Seen {
    rows: std::ptr::NonNull<Vec<f32>>,
}

impl Seen {
    fn new() -> Seen {
        Seen { rows: std::ptr::NonNull::from(Box::leak(Box::default())) }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and the context that points to it is gone.
        drop(unsafe { Box::from_raw(self.rows.as_ptr()) });
    }
}

// SAFETY: a context has no ties to the thread that made it; `&mut self` keeps its use to one thread at a time.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        let _lock = backend::setup();
        // SAFETY: made by llama_init_from_model and freed once; the model is freed after it (it is a later field's Arc).
        unsafe { sys::llama_free(self.raw.as_ptr()) }
    }
}

/// Takes the hidden states out of the graph, and ends it there.
unsafe extern "C" fn see_hidden(tensor: *mut sys::ggml_tensor, ask: bool, rows: *mut c_void) -> bool {
    // SAFETY: ggml passes a live tensor; its name is a zero-ended array inside it.
    let is_hidden = unsafe { CStr::from_ptr((*tensor).name.as_ptr()) }.to_bytes() == b"result_norm";
    // Asked: "do you want to see it?"; then, seen: "shall I go on?".
    if ask || !is_hidden {
        return is_hidden == ask;
    }
    // SAFETY: a live tensor whose values are computed; rows of f32 are copied to a vector of their size, which `Context`
    // gave to llama.cpp and reads only between two batches.
    unsafe {
        if (*tensor).type_ == sys::GGML_TYPE_F32 && sys::ggml_is_contiguous(tensor) {
            let (rows, bytes) = (&mut *rows.cast::<Vec<f32>>(), sys::ggml_nbytes(tensor));
            rows.resize(bytes / size_of::<f32>(), 0.0);
            sys::ggml_backend_tensor_get(tensor, rows.as_mut_ptr().cast(), 0, bytes);
        }
    }
    false
}

/// Ends the graph once the pooled rows are there. The rows are the same to the bit.
unsafe extern "C" fn stop_after_pooling(tensor: *mut sys::ggml_tensor, ask: bool, _: *mut c_void) -> bool {
    // SAFETY: ggml passes a live tensor; its name is a zero-ended array inside it.
    let is_pooled = unsafe { CStr::from_ptr((*tensor).name.as_ptr()) }.to_bytes() == b"result_embd_pooled";
    // Asked: "do you want to see it?"; then, seen: "shall I go on?".
    if ask { is_pooled } else { !is_pooled }
}

/// What ends a batch before its time.
struct Stop<'a> {
    flag: CancelFlag,
    deadline: Option<Instant>,
    /// Keeps adapters from being made and freed until the pass has its graph.
    list: Option<RwLockReadGuard<'a, ()>>,
}

unsafe extern "C" fn is_stopped(stop: *mut c_void) -> bool {
    // SAFETY: `run_batch_until` passes a stop that outlives the call and takes the callback away after it. ggml asks on the
    // thread that computes the graph's first share, which is the one that called; nobody else has the stop meanwhile.
    let stop = unsafe { &mut *stop.cast::<Stop>() };
    // Asked for the first time: the first operation is done, all room was made.
    stop.list = None;
    stop.flag.is_set() || stop.deadline.is_some_and(|d| Instant::now() >= d)
}

impl Context {
    /// A context of `model`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for sizes of zero or above llama.cpp's bounds, and for logits of an encoder;
    /// [`crate::ErrorKind::Format`] for a model without weights; [`crate::ErrorKind::Memory`] when llama.cpp cannot make
    /// it.
    pub fn new(model: &Model, options: ContextOptions, run: &Run) -> Result<Context> {
        if model.header().is_vocabulary_only() {
            return Err(model.header().bad("holds a vocabulary and no weights: it cannot decode"));
        }
        if options.pooling == Pooling::Logits && model.is_encoder() {
            let path = model.header().path().display();
            return Err(Error::invalid(format!("{path}: an encoder: it embeds texts, it cannot generate any")));
        }
        let size = |what: &str, value: usize, most: usize| {
            u32::try_from(value)
                .ok()
                .filter(|_| value > 0 && value <= most)
                .ok_or_else(|| Error::invalid(format!("a context with {value} {what}; must be 1 to {most}")))
        };
        let tokens = size("tokens", options.tokens, 1 << 24)?;
        let batch_tokens = size("tokens per batch", options.batch_tokens, 1 << 24)?;
        let sequences = size("sequences", options.sequences, MAX_SEQUENCES)?;
        let threads = i32::try_from(run.threads()).unwrap_or(1);
        let seen = Seen::new();
        let _lock = backend::setup();
        let _list = model.hold_adapters();
        backend::complaint();
        let gives_logits = matches!(options.pooling, Pooling::Logits | Pooling::Asked);
        // SAFETY: the parameters are llama.cpp's own defaults with plain values changed and static functions; the model
        // is loaded and is held by the context made here, as are the rows; its list of adapters stays as it is.
        let raw = unsafe {
            let mut params = sys::llama_context_default_params();
            params.n_ctx = tokens;
            params.n_batch = batch_tokens;
            // One micro-batch per batch: pooling, rows that are seen and non-causal attention need the whole batch at once.
            params.n_ubatch = if options.pooling == Pooling::Logits { batch_tokens.min(512) } else { batch_tokens };
            params.n_seq_max = sequences;
            // llama.cpp reserves a row of logits a sequence, and ends the process where that is more than it was told.
            params.n_outputs_max = batch_tokens.max(sequences);
            params.n_threads = threads;
            params.n_threads_batch = threads;
            params.kv_unified = true;
            params.no_perf = true;
            params.embeddings = !gives_logits;
            params.pooling_type = match options.pooling {
                Pooling::Logits | Pooling::Asked | Pooling::None => sys::LLAMA_POOLING_TYPE_NONE,
                Pooling::Model => sys::LLAMA_POOLING_TYPE_UNSPECIFIED,
                Pooling::Mean => sys::LLAMA_POOLING_TYPE_MEAN,
                Pooling::Last => sys::LLAMA_POOLING_TYPE_LAST,
            };
            if options.exact {
                params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
                params.type_k = sys::GGML_TYPE_F32;
                params.type_v = sys::GGML_TYPE_F32;
            }
            match options.pooling {
                Pooling::Model | Pooling::Mean | Pooling::Last => params.cb_eval = Some(stop_after_pooling),
                Pooling::Asked => {
                    params.cb_eval = Some(see_hidden);
                    params.cb_eval_user_data = seen.rows.as_ptr().cast();
                }
                Pooling::Logits | Pooling::None => {}
            }
            guarded::llama_init_from_model(model.raw(), params)?
        };
        let Some(raw) = std::ptr::NonNull::new(raw) else {
            return Err(Error::memory(format!(
                "{}: llama.cpp cannot make a context of {tokens} tokens{}",
                model.header().path().display(),
                backend::complaint()
            )));
        };
        // SAFETY: `raw` is a live context. What it really has may be less than what was asked for.
        let (batch_tokens, context_tokens) =
            unsafe { (sys::llama_n_batch(raw.as_ptr()) as usize, sys::llama_n_ctx_seq(raw.as_ptr()) as usize) };
        Ok(Context {
            raw,
            model: model.clone(),
            adapters: Vec::new(),
            unreserved: false,
            options,
            batch_tokens,
            context_tokens,
            outputs: Vec::new(),
            last_sequences: Vec::new(),
            seen,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }
    /// What it gives.
    pub fn pooling(&self) -> Pooling {
        self.options.pooling
    }
    /// Tokens in one batch at most.
    pub fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }
    /// Sequences at most.
    pub fn sequences(&self) -> usize {
        self.options.sequences
    }
    /// Tokens of one sequence at most.
    pub fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// Applies `adapters` with their scales, in place of what was applied before; none restores the base model. Forgets
    /// all sequences: what was computed under other adapters must not be reused.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a scale that is not finite, or an adapter of another model.
    pub fn set_adapters(&mut self, adapters: &[(Adapter, f32)]) -> Result<()> {
        self.exchange_adapters(adapters)?;
        self.clear();
        Ok(())
    }

    /// [`Context::set_adapters`] that keeps the sequences: the caller answers for it that a sequence is only ever
    /// continued under the adapters it began with.
    ///
    /// # Errors
    /// As [`Context::set_adapters`].
    pub fn exchange_adapters(&mut self, adapters: &[(Adapter, f32)]) -> Result<()> {
        if adapters.iter().any(|(_, scale)| !scale.is_finite()) {
            return Err(Error::invalid("an adapter's scale must be finite"));
        }
        let same = |((a, scale), (b, other)): (&(Adapter, f32), &(Adapter, f32))| a.is(b) && scale == other;
        if adapters.len() == self.adapters.len() && adapters.iter().zip(&self.adapters).all(same) {
            return Ok(());
        }
        let mut raw: Vec<_> = adapters.iter().map(|(a, _)| a.raw()).collect();
        let mut scales: Vec<f32> = adapters.iter().map(|(_, s)| *s).collect();
        self.unreserved = true;
        // SAFETY: both arrays are valid for `raw.len()` entries; the adapters are held by `self` from here on.
        let status = unsafe {
            guarded::llama_set_adapters_lora(self.raw.as_ptr(), raw.as_mut_ptr(), raw.len(), scales.as_mut_ptr())?
        };
        if status != 0 {
            return Err(Error::invalid(format!("llama.cpp refuses the adapters{}", backend::complaint())));
        }
        self.adapters = adapters.to_vec();
        Ok(())
    }

    /// Forgets all sequences.
    pub fn clear(&mut self) {
        // SAFETY: a live context; encoders have no memory (null).
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if !memory.is_null() {
                sys::llama_memory_clear(memory, true);
            }
        }
        self.outputs.clear();
        self.last_sequences.clear();
    }

    /// Forgets all sequences, without the time that [`Context::clear`] takes to write zeros over them.
    pub fn forget_all(&mut self) {
        // SAFETY: a live context; encoders have no memory (null).
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if !memory.is_null() {
                sys::llama_memory_clear(memory, false);
            }
        }
        self.outputs.clear();
        self.last_sequences.clear();
    }

    /// What `sequence` holds, for [`Context::restore_sequence`]: of this model, under these adapters.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a sequence that the context does not have.
    pub fn save_sequence(&mut self, sequence: usize) -> Result<SavedSequence> {
        if sequence >= self.options.sequences {
            return Err(Error::invalid(format!("sequence {sequence} of {}", self.options.sequences)));
        }
        // SAFETY: a live context, a sequence within its bounds; llama.cpp writes at most the bytes it is given.
        let bytes = unsafe {
            let size = guarded::llama_state_seq_get_size(self.raw.as_ptr(), sequence as i32)?;
            let mut bytes = vec![0u8; size];
            let written =
                guarded::llama_state_seq_get_data(self.raw.as_ptr(), bytes.as_mut_ptr(), bytes.len(), sequence as i32)?;
            bytes.truncate(written);
            bytes
        };
        Ok(SavedSequence { bytes, model: Some(self.model.clone()), exact: self.options.exact })
    }

    /// Puts what [`Context::save_sequence`] gave into `sequence`, in place of what it held. False when there is no room.
    /// What was saved under other adapters is taken, and wrong: the caller answers for it that they are the same.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a sequence that the context does not have, and for one that a context of another
    /// model, or with keys and values of another type, saved.
    pub fn restore_sequence(&mut self, sequence: usize, saved: &SavedSequence) -> Result<bool> {
        let SavedSequence { bytes, model, exact } = saved;
        if sequence >= self.options.sequences || bytes.is_empty() {
            return Err(Error::invalid(format!("nothing to restore in sequence {sequence}")));
        }
        if !model.as_ref().is_some_and(|model| model.is(&self.model)) || *exact != self.options.exact {
            return Err(Error::invalid("a sequence that a context of another model or of another kind saved"));
        }
        // SAFETY: a live context, a sequence within its bounds; the bytes are those that llama.cpp wrote for a context of this
        // model with keys and values of these types: nobody else can make or change a `SavedSequence`.
        let read = unsafe {
            guarded::llama_state_seq_set_data(self.raw.as_ptr(), bytes.as_ptr(), bytes.len(), sequence as i32)?
        };
        Ok(read > 0)
    }

    /// Forgets `sequence` from `position` on; false when the model cannot forget a part (recurrent models): then
    /// [`Context::clear`] is the way.
    pub fn forget_from(&mut self, sequence: usize, position: usize) -> bool {
        let (Ok(sequence), Ok(position)) = (i32::try_from(sequence), i32::try_from(position)) else { return false };
        if sequence as usize >= self.options.sequences {
            return false;
        }
        // SAFETY: a live context; the sequence is within its bounds; encoders have no memory (null).
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            !memory.is_null() && guarded::llama_memory_seq_rm(memory, sequence, position, -1).unwrap_or(false)
        }
    }

    /// Makes `to` a copy of what `from` holds so far: a shared prompt is computed once.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for sequences that the context does not have.
    pub fn copy_sequence(&mut self, from: usize, to: usize) -> Result<()> {
        if from >= self.options.sequences || to >= self.options.sequences || from == to {
            return Err(Error::invalid(format!("sequence {from} cannot be copied to {to}")));
        }
        // SAFETY: a live context; both sequences are within its bounds; encoders have no memory (null).
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if !memory.is_null() {
                guarded::llama_memory_seq_cp(memory, from as i32, to as i32, -1, -1)?;
            }
        }
        Ok(())
    }

    /// Computes a batch on the run's threads; what it gives is then read with [`Context::logits`], [`Context::hidden`]
    /// or [`Context::pooled`]. The threads wait for each other by spinning, after every operation: on a machine that is
    /// busy with other work a run of one thread can be many times faster than one of two.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty batch, more tokens than fit, unknown tokens or sequences;
    /// [`crate::ErrorKind::Cancelled`]; [`crate::ErrorKind::Memory`] when the context is full; what llama.cpp throws. After
    /// an error the sequences of the batch are undefined: forget them.
    pub fn run_batch(&mut self, batch: &Batch, run: &Run) -> Result<()> {
        self.run_batch_until(batch, None, run)
    }

    /// [`Context::run_batch`] that ends between two operations of the network once `deadline` is past; what the batch
    /// had put into its sequences by then is undefined: forget them.
    ///
    /// # Errors
    /// As [`Context::run_batch`]; [`crate::ErrorKind::Cancelled`] also for the deadline.
    pub fn run_batch_until(&mut self, batch: &Batch, deadline: Option<Instant>, run: &Run) -> Result<()> {
        run.check()?;
        self.check(batch)?;
        let pooled = !matches!(self.options.pooling, Pooling::Logits | Pooling::Asked);
        let model = self.model.clone();
        let list = std::mem::take(&mut self.unreserved).then(|| model.hold_adapters());
        let mut stop = Stop { flag: run.cancel_flag(), deadline, list };
        let threads = i32::try_from(run.threads()).unwrap_or(1);
        // llama.cpp wants arrays that it may write to.
        let mut tokens = batch.tokens.clone();
        let mut positions = batch.positions.clone();
        let mut sequences = batch.sequences.clone();
        let mut counts = batch.counts.clone();
        let mut outputs = if pooled { vec![1; batch.len()] } else { batch.outputs.clone() };
        let mut rest = sequences.as_mut_slice();
        let mut pointers: Vec<*mut i32> = Vec::with_capacity(batch.len());
        for count in &counts {
            // The counts add up to the sequences: `push_shared` is the only writer.
            let (own, others) = rest.split_at_mut((*count as usize).min(rest.len()));
            pointers.push(own.as_mut_ptr());
            rest = others;
        }
        backend::complaint();
        // SAFETY: all arrays have `n_tokens` entries and outlive the call; every token, position and sequence was
        // checked; the stop outlives the callback, which is taken away before it goes; nobody reads the rows seen.
        let status = unsafe {
            (*self.seen.rows.as_ptr()).clear();
            let context = self.raw.as_ptr();
            sys::llama_set_n_threads(context, threads, threads);
            sys::llama_set_abort_callback(context, Some(is_stopped), std::ptr::from_mut(&mut stop).cast::<c_void>());
            let raw = sys::llama_batch {
                n_tokens: batch.len() as i32,
                token: tokens.as_mut_ptr(),
                embd: std::ptr::null_mut(),
                pos: positions.as_mut_ptr(),
                n_seq_id: counts.as_mut_ptr(),
                seq_id: pointers.as_mut_ptr(),
                logits: outputs.as_mut_ptr(),
            };
            let status = if sys::llama_get_memory(context).is_null() {
                guarded::llama_encode(context, raw)
            } else {
                guarded::llama_decode(context, raw)
            };
            sys::llama_set_abort_callback(context, None, std::ptr::null_mut());
            status
        };
        // Refused before its first operation, it may not have looked yet.
        self.unreserved = stop.list.take().is_some();
        self.outputs.clear();
        self.last_sequences.clear();
        let status = status?;
        match status {
            0 => {
                self.outputs = outputs;
                self.last_sequences = vec![false; self.options.sequences];
                for sequence in &batch.sequences {
                    if let Some(there) = self.last_sequences.get_mut(*sequence as usize) {
                        *there = true;
                    }
                }
                Ok(())
            }
            1 => Err(Error::memory(format!(
                "the context of {} tokens is full; make it larger or clear it",
                self.options.tokens
            ))),
            2 => Err(Error::cancelled()),
            _ => Err(Error::invalid(format!("llama.cpp refuses a batch (status {status}){}", backend::complaint()))),
        }
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Err(Error::invalid("a batch without tokens"));
        }
        if batch.len() > self.batch_tokens {
            return Err(Error::invalid(format!("a batch of {} tokens, at most {}", batch.len(), self.batch_tokens)));
        }
        if let Some(token) = batch.tokens.iter().find(|t| !self.model.knows(**t)) {
            return Err(Error::invalid(format!("token {token} is not in the vocabulary")));
        }
        if let Some(p) = batch.positions.iter().find(|p| **p < 0 || **p as usize >= self.context_tokens) {
            return Err(Error::invalid(format!("position {p} in a context of {} tokens", self.context_tokens)));
        }
        if let Some(s) = batch.sequences.iter().find(|s| **s < 0 || **s as usize >= self.options.sequences) {
            return Err(Error::invalid(format!("sequence {s} of {}", self.options.sequences)));
        }
        if let Some(n) = batch.counts.iter().find(|n| **n < 1) {
            return Err(Error::invalid(format!("a token of {n} sequences")));
        }
        if self.model.is_encoder() {
            let learned = self.model.trained_context();
            if let Some(p) = batch.positions.iter().find(|p| **p as usize >= learned) {
                return Err(Error::invalid(format!("position {p}: the model knows {learned}")));
            }
        }
        Ok(())
    }

    /// Logits after token `i` of the last batch: `[vocabulary]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when that token's output was not asked for, or the context gives no logits.
    pub fn logits(&mut self, i: usize) -> Result<&[f32]> {
        if self.options.pooling != Pooling::Logits || self.outputs.get(i).is_none_or(|o| *o == 0) {
            return Err(Error::invalid(format!("no logits were asked of token {i}")));
        }
        // SAFETY: token `i` of the last batch has an output, checked above.
        let row = unsafe { guarded::llama_get_logits_ith(self.raw.as_ptr(), i as i32)? };
        self.row(row, self.model.vocabulary())
    }

    /// [`Context::logits`] of several tokens at once.
    ///
    /// # Errors
    /// As [`Context::logits`].
    pub fn logit_rows(&mut self, tokens: &[usize]) -> Result<Vec<&[f32]>> {
        if self.options.pooling != Pooling::Logits {
            return Err(Error::invalid("this context gives no logits"));
        }
        if let Some(i) = tokens.iter().find(|i| self.outputs.get(**i).is_none_or(|o| *o == 0)) {
            return Err(Error::invalid(format!("no logits were asked of token {i}")));
        }
        let context = self.raw.as_ptr();
        // SAFETY: every one of these tokens of the last batch has an output, checked above.
        let rows = tokens.iter().map(|i| unsafe { guarded::llama_get_logits_ith(context, *i as i32) });
        rows.map(|row| self.row(row?, self.model.vocabulary())).collect()
    }

    /// Hidden state of token `i` of the last batch, after the output norm: `[width]`. Only with [`Pooling::None`] and
    /// [`Pooling::Asked`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when there is none; [`crate::ErrorKind::Unsupported`] for an architecture whose hidden
    /// states llama.cpp does not show.
    pub fn hidden(&mut self, i: usize) -> Result<&[f32]> {
        let given = matches!(self.options.pooling, Pooling::None | Pooling::Asked);
        if !given || self.outputs.get(i).is_none_or(|o| *o == 0) {
            return Err(Error::invalid(format!("no hidden state was asked of token {i}")));
        }
        if self.options.pooling == Pooling::Asked {
            let width = self.model.width();
            let asked = |outputs: &[i8]| outputs.iter().filter(|o| **o != 0).count();
            let (at, all) = (asked(&self.outputs[..i]), asked(&self.outputs));
            // SAFETY: no batch is computed, so nobody writes to the rows.
            let rows = unsafe { &*self.seen.rows.as_ptr() };
            // As many as were asked for, or they are not those.
            return rows.get(at * width..(at + 1) * width).filter(|_| rows.len() == all * width).ok_or_else(|| {
                let path = self.model.header().path().display();
                Error::unsupported(format!("{path}: llama.cpp does not show this architecture's hidden states"))
            });
        }
        // SAFETY: in this mode every token of the batch has an output, and `i` is one of them.
        let row = unsafe { guarded::llama_get_embeddings_ith(self.raw.as_ptr(), i as i32)? };
        self.row(row, self.model.width())
    }

    /// Pooled row of `sequence` of the last batch: `[width]`. Only in the pooled modes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when there is none.
    pub fn pooled(&mut self, sequence: usize) -> Result<&[f32]> {
        let pooled = matches!(self.options.pooling, Pooling::Model | Pooling::Mean | Pooling::Last);
        if !pooled || self.last_sequences.get(sequence) != Some(&true) {
            return Err(Error::invalid(format!("no pooled row of sequence {sequence}")));
        }
        // SAFETY: the sequence was in the last batch, checked above.
        let row = unsafe { guarded::llama_get_embeddings_seq(self.raw.as_ptr(), sequence as i32)? };
        self.row(row, self.model.width())
    }

    fn row(&self, row: *const f32, length: usize) -> Result<&[f32]> {
        if row.is_null() {
            return Err(Error::bug(format!("llama.cpp gives no row{}", backend::complaint())));
        }
        // SAFETY: llama.cpp's row holds `length` values and stays until the next batch, which needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(row, length) })
    }
}
