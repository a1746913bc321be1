//! Models in fewer bits, through llama.cpp's own quantiser.

use super::{backend, guarded};
use crate::artifact::Replacement;
pub use crate::config::Quantisation;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use llama_cpp_sys_2 as sys;
use std::path::Path;

impl Quantisation {
    fn raw(self) -> sys::llama_ftype {
        match self {
            Quantisation::F32 => sys::LLAMA_FTYPE_ALL_F32,
            Quantisation::F16 => sys::LLAMA_FTYPE_MOSTLY_F16,
            Quantisation::BF16 => sys::LLAMA_FTYPE_MOSTLY_BF16,
            Quantisation::Q8_0 => sys::LLAMA_FTYPE_MOSTLY_Q8_0,
            Quantisation::Q6K => sys::LLAMA_FTYPE_MOSTLY_Q6_K,
            Quantisation::Q5KM => sys::LLAMA_FTYPE_MOSTLY_Q5_K_M,
            Quantisation::Q4KM => sys::LLAMA_FTYPE_MOSTLY_Q4_K_M,
            Quantisation::Q4_0 => sys::LLAMA_FTYPE_MOSTLY_Q4_0,
        }
    }
}

/// Writes the model at `from` to `to` in `kind`, all or nothing. A model that is quantised already is refused: its
/// errors would add up.
///
/// # Errors
/// [`crate::ErrorKind::Format`] for a broken file; [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Unsupported`].
pub fn quantise(from: &Path, to: &Path, kind: Quantisation, threads: usize) -> Result<()> {
    let header = Gguf::open(from)?;
    header.check_model()?;
    if header.is_vocabulary_only() {
        return Err(header.bad("holds a vocabulary and no weights"));
    }
    backend::start()?;
    let replacement = Replacement::of(to)?;
    let (c_from, c_to) = (backend::c_path(from)?, backend::c_path(replacement.temporary_path())?);
    backend::complaint();
    // SAFETY: the parameters are llama.cpp's own defaults with plain values changed; both paths are zero-ended and
    // outlive the call.
    let status = unsafe {
        let mut params = sys::llama_model_quantize_default_params();
        params.nthread = i32::try_from(threads.max(1)).unwrap_or(1);
        params.ftype = kind.raw();
        guarded::llama_model_quantize(c_from.as_ptr(), c_to.as_ptr(), &raw const params)
    };
    match status? {
        0 => replacement.finish(),
        _ => Err(Error::unsupported(format!("{}: cannot be quantised{}", from.display(), backend::complaint()))),
    }
}
