//! Models in fewer bits, through llama.cpp's own quantiser.

use super::{backend, guarded};
use crate::artifact::Replacement;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use llama_cpp_sys_2 as sys;
use std::path::Path;

/// What a model's weights become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantisation {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Brain floats of 16 bits.
    BF16,
    /// 8 bits.
    Q8_0,
    /// 6 bits.
    Q6K,
    /// 5 bits and some 6.
    Q5KM,
    /// 4 bits and some 6: the usual choice.
    Q4KM,
    /// 4 bits, which llama.cpp repacks and runs fastest.
    Q4_0,
}

impl Quantisation {
    /// The name users know: `q4_k_m`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an unknown name.
    pub fn from_name(name: &str) -> Result<Quantisation> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "f32" => Quantisation::F32,
            "f16" => Quantisation::F16,
            "bf16" => Quantisation::BF16,
            "q8_0" => Quantisation::Q8_0,
            "q6_k" => Quantisation::Q6K,
            "q5_k_m" => Quantisation::Q5KM,
            "q4_k_m" => Quantisation::Q4KM,
            "q4_0" => Quantisation::Q4_0,
            _ => {
                return Err(Error::invalid(format!(
                    "unknown quantisation {name:?}; known are f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0"
                )));
            }
        })
    }
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
