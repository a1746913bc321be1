//! What is linked, and the log.

use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::text::{c_text, name};
use crate::error::Error;
use crate::run::{Level, set_log};
use std::ffi::{CString, c_char, c_void};
use std::sync::OnceLock;

/// The number of the binary interface. It grows when a function or a struct changes so that old callers break.
pub const CAUSERIE_ABI: u32 = 2;

/// Log levels: something failed.
pub const CAUSERIE_LOG_ERROR: i32 = 1;
/// Something is not as the user will have meant it; work goes on.
pub const CAUSERIE_LOG_WARN: i32 = 2;
/// What is being done.
pub const CAUSERIE_LOG_INFO: i32 = 3;
/// For those who look for a fault.
pub const CAUSERIE_LOG_DEBUG: i32 = 4;

/// Gets one line of the log: `len` bytes of UTF-8, NUL-terminated as well. Any thread; keep it short.
pub type causerie_log_fn =
    Option<unsafe extern "C-unwind" fn(level: i32, text: *const c_char, len: usize, user_data: *mut c_void)>;

/// A pointer of the caller's that other threads hand back to it.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub *mut c_void);
// SAFETY: rule 5 of the header: the pointer is only handed back, and the caller's callback answers for what it does
// with it on the threads that the rule names.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    /// The pointer (a method, so that closures take the whole of it).
    pub fn get(self) -> *mut c_void {
        self.0
    }
}

/// ---- The library ------------------------------------------------------------------------------------------------
/// CAUSERIE_ABI of the library that is linked. Refuse to run when it differs from your header's.
#[unsafe(no_mangle)]
pub extern "C" fn causerie_abi() -> u32 {
    CAUSERIE_ABI
}

/// Handles of this process that are not freed: 0 once everything was ended. For tests that look for leaks; it looks at all.
#[unsafe(no_mangle)]
pub extern "C" fn causerie_handles() -> usize {
    guard_or(0, || Ok(super::handle::alive()))
}

/// What is linked: "causerie/0.1.0 llama-cpp-sys-2/0.1.161 cpu/avx2,fma,f16c,bmi2". Static text. A CPU that lacks one of
/// these is named with what it has; the language model's functions then fail with CAUSERIE_UNSUPPORTED, the others work.
#[unsafe(no_mangle)]
pub extern "C" fn causerie_version() -> *const c_char {
    static TEXT: OnceLock<CString> = OnceLock::new();
    TEXT.get_or_init(|| {
        let llama = match cfg!(feature = "llama") {
            true => format!(" llama-cpp-sys-2/{}", crate::artifact::llama_version()),
            false => String::new(),
        };
        c_text(format!("{}{llama} cpu/{}", crate::artifact::made_by(), cpu()))
    })
    .as_ptr()
}

/// What the processor has of that which llama.cpp was built for.
fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("f16c", is_x86_feature_detected!("f16c")),
            ("bmi2", is_x86_feature_detected!("bmi2")),
        ];
        let names: Vec<&str> = has.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        if names.is_empty() { "x86-64".into() } else { names.join(",") }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.to_string()
    }
}

/// Fails with CAUSERIE_UNSUPPORTED when the library linked is not one that `header_version` and `header_abi` fit: call it
/// once at start as causerie_check_version(CAUSERIE_VERSION, CAUSERIE_ABI).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_check_version(header_version: *const c_char, header_abi: u32) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 4 of the header.
        let version = unsafe { name(header_version, "version")? };
        if header_abi == CAUSERIE_ABI {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "compiled against causerie.h {version} (ABI {header_abi}), linked is {} (ABI {CAUSERIE_ABI}); build again with \
             the header of the library",
            crate::artifact::made_by()
        )))
    })
}

/// Sends the log of the whole process to `callback`, lines up to `max_level` (CAUSERIE_LOG_…); NULL ends it. Silent until
/// called. The library itself writes nothing to stdout or stderr. The callback must not call causerie_log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_log(callback: causerie_log_fn, user_data: *mut c_void, max_level: i32) {
    let data = UserData(user_data);
    guard_or((), || {
        set_log(callback.map(|callback| {
            let tell = move |level: Level, text: &str| {
                if level as i32 > max_level {
                    return;
                }
                let text = c_text(text);
                // SAFETY: rule 5 of the header: the function and its data live until the log is sent elsewhere.
                unsafe { callback(level as i32, text.as_ptr(), text.as_bytes().len(), data.get()) }
            };
            Box::new(tell) as Box<dyn Fn(Level, &str) + Send + Sync>
        }));
        Ok(())
    });
}
