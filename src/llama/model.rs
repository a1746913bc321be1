//! A loaded model: its sizes, its vocabulary, its chat template.

use super::{backend, guarded};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::run::{Level, log};
use llama_cpp_sys_2 as sys;
use std::ffi::{CString, c_char};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

/// A token's number in the vocabulary.
pub type Token = i32;

/// Longest text that is tokenised at once, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 30;

/// A model in memory (mapped, so that several processes share it). Cheap to clone; shared by all its contexts.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    raw: std::ptr::NonNull<sys::llama_model>,
    header: Gguf,
    vocabulary: usize,
    /// llama.cpp's list of the adapters loaded for this model has no lock of its own.
    adapters: RwLock<()>,
    /// Adapters that nobody has any more, still in that list.
    leaving: Mutex<Vec<std::ptr::NonNull<sys::llama_adapter_lora>>>,
}

// SAFETY: llama.cpp never writes to a model after loading, except for adapters, which we make under a lock; and it reads
// it from many threads itself.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        let _lock = backend::setup();
        // SAFETY: made by llama_model_load_from_file, freed once, and every context and adapter holds this Arc.
        unsafe { sys::llama_model_free(self.raw.as_ptr()) }
    }
}

impl Model {
    /// Loads the GGUF at `path`, after checking its header.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] for a broken file or one
    /// without weights; [`crate::ErrorKind::Unsupported`] for a processor or an architecture that llama.cpp cannot serve.
    pub fn load(path: &Path) -> Result<Model> {
        Model::load_as(path, false)
    }
    /// Loads only the vocabulary of the GGUF at `path`: it tokenises, and refuses to decode.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_vocabulary(path: &Path) -> Result<Model> {
        Model::load_as(path, true)
    }
    fn load_as(path: &Path, vocabulary_only: bool) -> Result<Model> {
        let header = Gguf::open(path)?;
        header.check_model()?;
        if !vocabulary_only && header.is_vocabulary_only() {
            return Err(header.bad("holds a vocabulary and no weights: a whole model is needed"));
        }
        backend::start()?;
        let c_path = backend::c_path(path)?;
        let _lock = backend::setup();
        backend::complaint();
        // SAFETY: the parameters are llama.cpp's own defaults with plain values changed; the path is zero-ended and
        // lives through the call.
        let raw = unsafe {
            let mut params = sys::llama_model_default_params();
            params.n_gpu_layers = 0;
            params.load_mode = sys::LLAMA_LOAD_MODE_MMAP;
            params.vocab_only = vocabulary_only;
            guarded::llama_model_load_from_file(c_path.as_ptr(), params)?
        };
        let Some(raw) = std::ptr::NonNull::new(raw) else {
            return Err(header.bad(format!("llama.cpp cannot load this model{}", backend::complaint())));
        };
        // SAFETY: `raw` is a loaded model.
        let vocabulary = unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(raw.as_ptr())) };
        let vocabulary = usize::try_from(vocabulary).unwrap_or(0);
        Ok(Model {
            inner: Arc::new(Inner { raw, header, vocabulary, adapters: RwLock::default(), leaving: Mutex::default() }),
        })
    }

    /// True for clones of one model.
    pub(super) fn is(&self, other: &Model) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
    pub(super) fn raw(&self) -> *mut sys::llama_model {
        self.inner.raw.as_ptr()
    }
    /// Held while an adapter of this model is made: it joins the model's list.
    pub(super) fn change_adapters(&self) -> RwLockWriteGuard<'_, ()> {
        let list = self.inner.adapters.write().unwrap_or_else(PoisonError::into_inner);
        self.free_leaving(&list);
        list
    }
    /// Frees an adapter that nobody has any more; later, where that would mean to wait: who drops it may be answering.
    pub(super) fn free_adapter(&self, adapter: std::ptr::NonNull<sys::llama_adapter_lora>) {
        self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner).push(adapter);
        match self.inner.adapters.try_write() {
            Ok(list) => self.free_leaving(&list),
            Err(TryLockError::Poisoned(list)) => self.free_leaving(&list.into_inner()),
            // Whoever next makes or frees one takes it along, or the model at its end.
            Err(TryLockError::WouldBlock) => {}
        }
    }
    /// Adapters that could not be freed yet.
    #[cfg(test)]
    pub(super) fn adapters_to_free(&self) -> usize {
        self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
    fn free_leaving(&self, _list: &RwLockWriteGuard<'_, ()>) {
        for adapter in std::mem::take(&mut *self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner)) {
            // SAFETY: made by llama_adapter_lora_init and freed once; contexts that use it hold it. It leaves the model's list,
            // at which nobody looks meanwhile.
            unsafe { sys::llama_adapter_lora_free(adapter.as_ptr()) }
        }
    }
    /// Held while a context of this model looks at the list, to make room for graphs with any of them: when the context is
    /// made, and at the beginning of its first pass under other adapters.
    pub(super) fn hold_adapters(&self) -> RwLockReadGuard<'_, ()> {
        self.inner.adapters.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn vocab(&self) -> *const sys::llama_vocab {
        // SAFETY: the model lives as long as `self`; its vocabulary is part of it.
        unsafe { sys::llama_model_get_vocab(self.raw()) }
    }
    /// The header of its file.
    pub fn header(&self) -> &Gguf {
        &self.inner.header
    }
    /// Tokens in the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.inner.vocabulary
    }
    /// Width of the hidden states.
    pub fn width(&self) -> usize {
        // SAFETY: reads a number of a loaded model; the same for the functions below.
        usize::try_from(unsafe { sys::llama_model_n_embd_out(self.raw()) }).unwrap_or(0)
    }
    /// Longest context it was trained for, in tokens.
    pub fn trained_context(&self) -> usize {
        // SAFETY: as in `width`.
        usize::try_from(unsafe { sys::llama_model_n_ctx_train(self.raw()) }).unwrap_or(0)
    }
    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        // SAFETY: as in `width`.
        unsafe { sys::llama_model_n_params(self.raw()) }
    }
    /// True when it looks at the whole text at once (BERT and its kin) and hence cannot generate.
    pub fn is_encoder(&self) -> bool {
        let header = self.header();
        header
            .architecture()
            .and_then(|arch| header.bool(&format!("{arch}.attention.causal")))
            .is_ok_and(|causal| causal == Some(false))
    }
    /// The token that ends a turn or a text.
    pub fn is_end(&self, token: Token) -> bool {
        // SAFETY: the token is within the vocabulary.
        self.knows(token) && unsafe { sys::llama_vocab_is_eog(self.vocab(), token) }
    }
    /// The token that begins a text, where the model has one.
    pub fn begin(&self) -> Option<Token> {
        // SAFETY: as in `width`.
        Some(unsafe { sys::llama_vocab_bos(self.vocab()) }).filter(|t| self.knows(*t))
    }
    /// The token that ends a text, where the model has one.
    pub fn end(&self) -> Option<Token> {
        // SAFETY: as in `width`.
        Some(unsafe { sys::llama_vocab_eos(self.vocab()) }).filter(|t| self.knows(*t))
    }
    /// True for a token of the vocabulary.
    pub fn knows(&self, token: Token) -> bool {
        usize::try_from(token).is_ok_and(|t| t < self.inner.vocabulary)
    }

    /// `text` as tokens. `add_special`: put the tokens around it that the model wants (BOS, `[CLS]` … `[SEP]`);
    /// `parse_special`: read `<|im_start|>` in the text as the token of that name. Leave that off for text from outside:
    /// a review could otherwise close the turn it stands in.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a text of more than a gigabyte; [`crate::ErrorKind::Format`] where the vocabulary
    /// lacks what the text needs.
    pub fn tokenise(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<Token>> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::invalid(format!("a text of {} bytes cannot be tokenised", text.len())));
        }
        let mut tokens: Vec<Token> = vec![0; text.len() / 3 + 8];
        for _ in 0..2 {
            // SAFETY: text and tokens are valid for the lengths passed with them; llama.cpp writes at most that many.
            let written = unsafe {
                guarded::llama_tokenize(
                    self.vocab(),
                    text.as_ptr().cast::<c_char>(),
                    text.len() as i32,
                    tokens.as_mut_ptr(),
                    tokens.len() as i32,
                    add_special,
                    parse_special,
                )?
            };
            match usize::try_from(written) {
                Ok(count) => {
                    tokens.truncate(count);
                    return Ok(tokens);
                }
                // The negative of what it needs.
                Err(_) => tokens.resize(written.unsigned_abs() as usize, 0),
            }
        }
        Err(Error::bug("llama.cpp asks for ever more tokens"))
    }

    /// The bytes of one token; a character may be spread over several. `special`: show control tokens by name. None for a
    /// token that the vocabulary does not have or cannot write.
    pub fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        if !self.knows(token) {
            return Vec::new();
        }
        let mut bytes = vec![0u8; 64];
        for _ in 0..2 {
            // SAFETY: the token is within the vocabulary, the buffer is valid for its length.
            let written = unsafe {
                guarded::llama_token_to_piece(
                    self.vocab(),
                    token,
                    bytes.as_mut_ptr().cast::<c_char>(),
                    bytes.len() as i32,
                    0,
                    special,
                )
            };
            let written = match written {
                Ok(written) => written,
                Err(e) => {
                    log(Level::Warn, e.message());
                    break;
                }
            };
            match usize::try_from(written) {
                Ok(count) => {
                    bytes.truncate(count);
                    return bytes;
                }
                Err(_) => bytes.resize(written.unsigned_abs() as usize, 0),
            }
        }
        Vec::new()
    }

    /// `tokens` as text; bytes that are no UTF-8 become U+FFFD. `special`: show control tokens by name.
    pub fn detokenise(&self, tokens: &[Token], special: bool) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|t| self.piece(*t, special)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The model's own chat template, as the Jinja text in its header.
    pub fn chat_template(&self) -> Option<&str> {
        self.header().text("tokenizer.chat_template").ok().flatten()
    }

    /// `messages` (role, content) as the prompt that the model was tuned for, ready for the assistant's answer.
    /// llama.cpp recognises the well-known templates and does not run Jinja.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when the model has no template or an unknown one;
    /// [`crate::ErrorKind::Invalid`] for text with a zero byte.
    pub fn chat_prompt(&self, messages: &[(&str, &str)]) -> Result<String> {
        let path = self.header().path().display();
        let template = self
            .chat_template()
            .ok_or_else(|| Error::unsupported(format!("{path}: the model has no chat template")))?;
        let zero = |_| Error::invalid("a chat message with a zero byte");
        let template = CString::new(template).map_err(zero)?;
        let texts: Vec<(CString, CString)> = messages
            .iter()
            .map(|(role, content)| Ok((CString::new(*role).map_err(zero)?, CString::new(*content).map_err(zero)?)))
            .collect::<Result<_>>()?;
        let chat: Vec<sys::llama_chat_message> = texts
            .iter()
            .map(|(role, content)| sys::llama_chat_message { role: role.as_ptr(), content: content.as_ptr() })
            .collect();
        let mut bytes = vec![0u8; 256 + 2 * messages.iter().map(|(r, c)| r.len() + c.len() + 64).sum::<usize>()];
        for _ in 0..2 {
            let room = i32::try_from(bytes.len()).map_err(|_| Error::invalid("a conversation of over 1 GiB"))?;
            // SAFETY: all texts are zero-ended and outlive the call; the buffer is valid for `room` bytes.
            let written = unsafe {
                guarded::llama_chat_apply_template(
                    template.as_ptr(),
                    chat.as_ptr(),
                    chat.len(),
                    true,
                    bytes.as_mut_ptr().cast::<c_char>(),
                    room,
                )?
            };
            let Ok(count) = usize::try_from(written) else {
                return Err(Error::unsupported(format!("{path}: the model's chat template is none that is known")));
            };
            if count <= bytes.len() {
                bytes.truncate(count);
                return String::from_utf8(bytes).map_err(|_| Error::bug("a chat prompt that is not UTF-8"));
            }
            bytes.resize(count, 0);
        }
        Err(Error::bug("llama.cpp asks for ever more room for a prompt"))
    }
}
