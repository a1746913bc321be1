//! A LoRA adapter in llama.cpp's GGUF layout.

use super::{Model, backend, guarded};
use crate::error::Result;
use crate::gguf::Gguf;
use llama_cpp_sys_2 as sys;
use std::path::Path;
use std::sync::Arc;

/// A LoRA adapter loaded for one model; applied with [`super::Context::set_adapters`]. Scale 0 and removal restore the
/// base model exactly.
#[derive(Clone)]
pub struct Adapter {
    inner: Arc<Inner>,
}

struct Inner {
    raw: std::ptr::NonNull<sys::llama_adapter_lora>,
    /// Keeps the base model alive: the adapter points into it.
    model: Model,
}

// SAFETY: an adapter is only read after it was made; making and freeing happen alone with the model's list of adapters.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        self.model.free_adapter(self.raw);
    }
}

impl Adapter {
    /// Loads the adapter at `path` for `model`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] for a broken file, one that
    /// is no LoRA adapter, or one for another model.
    pub fn load(model: &Model, path: &Path) -> Result<Adapter> {
        let header = Gguf::open(path)?;
        header.check_tensors()?;
        for (key, wanted) in [("general.type", "adapter"), ("adapter.type", "lora")] {
            if header.text(key)? != Some(wanted) {
                return Err(header.bad(format!("no LoRA adapter: {key} is not {wanted:?}")));
            }
        }
        if !header.float("adapter.lora.alpha")?.unwrap_or(0.0).is_finite() {
            return Err(header.bad("adapter.lora.alpha is not finite"));
        }
        let (ours, base) = (header.architecture()?, model.header().architecture()?);
        if ours != base {
            return Err(header.bad(format!("an adapter for {ours}, the model is a {base}")));
        }
        let c_path = backend::c_path(path)?;
        let _list = model.change_adapters();
        backend::complaint();
        // SAFETY: the model is loaded and outlives the adapter (it is held below); the path is zero-ended; nobody else
        // changes the model's list of adapters, or looks at it.
        let raw = unsafe { guarded::llama_adapter_lora_init(model.raw(), c_path.as_ptr())? };
        match std::ptr::NonNull::new(raw) {
            Some(raw) => Ok(Adapter { inner: Arc::new(Inner { raw, model: model.clone() }) }),
            None => Err(header.bad(format!("llama.cpp cannot load this adapter{}", backend::complaint()))),
        }
    }
    /// True for clones of one adapter.
    pub(super) fn is(&self, other: &Adapter) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
    pub(super) fn raw(&self) -> *mut sys::llama_adapter_lora {
        self.inner.raw.as_ptr()
    }
}
