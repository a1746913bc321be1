//! The functions of llama.cpp that may throw: each is called through a `try` of C++ (`guarded.cpp`), and what it throws is an
//! error.
//!
//! Rust cannot catch an exception of C++, but it may pass through Rust's frames where these say `C-unwind`; the bindings'
//! own `extern "C"` would end the process. So the functions are declared a second time, and nobody calls the bindings'.

use crate::error::{Error, ErrorKind, Result};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_char, c_int, c_void};

unsafe extern "C" {
    fn llama_guarded_call(
        call: unsafe extern "C-unwind" fn(*mut c_void),
        data: *mut c_void,
        message: *mut c_char,
        size: usize,
    ) -> c_int;
}

/// A call, and then what it gave.
struct Slot<F, T> {
    call: Option<F>,
    gave: Option<T>,
}

unsafe extern "C-unwind" fn enter<F: FnOnce() -> T, T>(slot: *mut c_void) {
    // SAFETY: `guarded` passes a slot of these types that outlives the call.
    let slot = unsafe { &mut *slot.cast::<Slot<F, T>>() };
    slot.gave = slot.call.take().map(|call| call());
}

/// Runs `call`, which must not panic: it calls the one function `name` of llama.cpp and nothing else.
fn guarded<T>(name: &str, call: impl FnOnce() -> T) -> Result<T> {
    fn enter_of<F: FnOnce() -> T, T>(_: &Slot<F, T>) -> unsafe extern "C-unwind" fn(*mut c_void) {
        enter::<F, T>
    }
    let mut slot = Slot { call: Some(call), gave: None };
    let mut message = [0 as c_char; 256];
    // SAFETY: the slot is of the types that its `enter` reads and outlives the call; the message is as long as is said.
    let status = unsafe {
        llama_guarded_call(
            enter_of(&slot),
            std::ptr::from_mut(&mut slot).cast::<c_void>(),
            message.as_mut_ptr(),
            message.len(),
        )
    };
    match (status, slot.gave) {
        (0, Some(gave)) => Ok(gave),
        (1, _) => Err(Error::memory(format!("llama.cpp found no memory in {name}"))),
        _ => {
            // SAFETY: `llama_guarded_call` ends the message with a zero.
            let text = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
            let said =
                format!("llama.cpp threw in {name}: {text}; the model's file is broken, or not as it says it is");
            Err(Error::new(ErrorKind::Format, said))
        }
    }
}

/// For each function: its declaration as one that may unwind, the compiler's proof that it is as in the bindings, and what
/// this room calls.
macro_rules! may_throw {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $gives:ty;)*) => {
        mod throwing {
            use super::*;
            unsafe extern "C-unwind" {
                $(pub fn $name($($argument: $kind),*) -> $gives;)*
            }
        }
        $(
            const _: unsafe extern "C" fn($($kind),*) -> $gives = sys::$name;
            /// As llama.h says, and what it throws is an error.
            ///
            /// # Safety
            /// As of the function of llama.cpp.
            #[allow(clippy::too_many_arguments)]
            pub(super) unsafe fn $name($($argument: $kind),*) -> Result<$gives> {
                // SAFETY: the caller's promise.
                guarded(stringify!($name), || unsafe { throwing::$name($($argument),*) })
            }
        )*
        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

may_throw! {
    fn llama_backend_init() -> ();
    fn llama_model_load_from_file(path: *const c_char, params: sys::llama_model_params) -> *mut sys::llama_model;
    fn llama_init_from_model(model: *mut sys::llama_model, params: sys::llama_context_params) -> *mut sys::llama_context;
    fn llama_adapter_lora_init(model: *mut sys::llama_model, path: *const c_char) -> *mut sys::llama_adapter_lora;
    fn llama_set_adapters_lora(
        context: *mut sys::llama_context,
        adapters: *mut *mut sys::llama_adapter_lora,
        count: usize,
        scales: *mut f32
    ) -> i32;
    fn llama_encode(context: *mut sys::llama_context, batch: sys::llama_batch) -> i32;
    fn llama_decode(context: *mut sys::llama_context, batch: sys::llama_batch) -> i32;
    fn llama_memory_seq_rm(memory: sys::llama_memory_t, sequence: i32, from: i32, to: i32) -> bool;
    fn llama_memory_seq_cp(memory: sys::llama_memory_t, from: i32, to: i32, first: i32, end: i32) -> ();
    fn llama_state_seq_get_size(context: *mut sys::llama_context, sequence: i32) -> usize;
    fn llama_state_seq_get_data(context: *mut sys::llama_context, to: *mut u8, size: usize, sequence: i32) -> usize;
    fn llama_state_seq_set_data(context: *mut sys::llama_context, from: *const u8, size: usize, sequence: i32) -> usize;
    fn llama_get_logits_ith(context: *mut sys::llama_context, i: i32) -> *mut f32;
    fn llama_get_embeddings_ith(context: *mut sys::llama_context, i: i32) -> *mut f32;
    fn llama_get_embeddings_seq(context: *mut sys::llama_context, sequence: i32) -> *mut f32;
    fn llama_tokenize(
        vocabulary: *const sys::llama_vocab,
        text: *const c_char,
        length: i32,
        tokens: *mut i32,
        room: i32,
        add_special: bool,
        parse_special: bool
    ) -> i32;
    fn llama_token_to_piece(
        vocabulary: *const sys::llama_vocab,
        token: i32,
        to: *mut c_char,
        room: i32,
        strip: i32,
        special: bool
    ) -> i32;
    fn llama_chat_apply_template(
        template: *const c_char,
        messages: *const sys::llama_chat_message,
        count: usize,
        begin_answer: bool,
        to: *mut c_char,
        room: i32
    ) -> i32;
    fn llama_model_quantize(
        from: *const c_char,
        to: *const c_char,
        params: *const sys::llama_model_quantize_params
    ) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::{Model, backend};
    use crate::testing::shared;

    unsafe extern "C-unwind" {
        fn llama_guarded_throw(kind: c_int);
    }

    /// Counts when it is dropped: frames that an exception passes are cleaned up.
    struct Counted<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn exceptions_of_cpp_are_errors_and_the_frames_they_pass_are_cleaned_up() {
        let dropped = std::cell::Cell::new(0);
        let throw = |kind: c_int| {
            guarded("a_test", || {
                let _counted = Counted(&dropped);
                // SAFETY: throws or returns.
                unsafe { llama_guarded_throw(kind) };
                kind
            })
        };
        assert_eq!(throw(0).unwrap(), 0);
        assert_eq!(throw(1).unwrap_err().kind(), ErrorKind::Memory);
        for (kind, said) in [(2, "a runtime error of the test"), (3, "a text of the test"), (7, "no std::exception")] {
            let e = throw(kind).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Format);
            assert!(e.message().contains(said) && e.message().contains("a_test"), "{e}");
        }
        assert_eq!(dropped.get(), 5);
    }

    #[test]
    fn what_llama_cpp_throws_over_a_vocabulary_without_a_byte_is_an_error_and_the_model_goes_on() {
        let Some(model) = shared("models/stories260K.gguf") else { return };
        let mut bytes = std::fs::read(model).unwrap();
        // The token of the byte 0xE6 under another name: llama.cpp finds none for it, and throws std::out_of_range. (Our own
        // check of the file refuses it, so the model is loaded past that.)
        let at = bytes.windows(6).position(|w| w == b"<0xE6>").unwrap();
        bytes[at..at + 6].copy_from_slice(b"<0xe6>");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hole.gguf");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Model::load(&path).err().unwrap().kind(), ErrorKind::Format);
        backend::start().unwrap();
        let path = backend::c_path(&path).unwrap();
        let mut tokens = [0i32; 64];
        let mut tokenise = |vocabulary, text: &str| {
            let (text, length) = (text.as_ptr().cast::<c_char>(), text.len() as i32);
            // SAFETY: the vocabulary of a loaded model; text and tokens are valid for the lengths passed with them.
            unsafe { llama_tokenize(vocabulary, text, length, tokens.as_mut_ptr(), 64, false, false) }
        };
        // SAFETY: the path is zero-ended; the model is freed once, after its last use.
        unsafe {
            let model = llama_model_load_from_file(path.as_ptr(), sys::llama_model_default_params()).unwrap();
            assert!(!model.is_null());
            let vocabulary = sys::llama_model_get_vocab(model);
            let e = tokenise(vocabulary, "a dog 日").unwrap_err();
            assert!(e.kind() == ErrorKind::Format && e.message().contains("llama_tokenize: "), "{e}");
            assert!(tokenise(vocabulary, "a dog").unwrap() > 0);
            sys::llama_model_free(model);
        }
    }

    #[test]
    fn what_may_throw_is_called_guarded_alone() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/llama");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            for name in NAMES {
                assert!(!text.contains(&format!("sys::{name}(")), "{}: {name}", path.display());
            }
        }
    }
}
