//! Settings by key, as TOML, and by enumeration: no struct that grows.

use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, exclusive, free, noun, optional, put, shared};
use super::text::{LentTexts, c_text, name, text};
use crate::config::{Config, table};
use crate::error::{Error, Result};
use std::ffi::{CString, c_char};
use std::sync::OnceLock;

/// What to do: the settings of every stage.
pub struct causerie_config {
    _opaque: [u8; 0],
}
noun!(causerie_config, Settings);

#[derive(Default)]
pub(super) struct Settings {
    pub config: Config,
    lent: LentTexts,
}

/// One setting. All texts are static. The struct grows at its end with later ABI numbers.
#[repr(C)]
pub struct causerie_setting {
    /// "select.budget"
    pub key: *const c_char,
    /// "integer", "number", "text", "boolean" or "list" (`a,b` or `["a", "b"]` in causerie_config_set)
    pub kind: *const c_char,
    /// The default, as TOML
    pub initial: *const c_char,
    /// Bounds or choices in words; "" when there are none
    pub bounds: *const c_char,
    /// What it does
    pub doc: *const c_char,
}
// SAFETY: the pointers are to static text.
unsafe impl Send for causerie_setting {}
// SAFETY: as above.
unsafe impl Sync for causerie_setting {}

fn settings() -> &'static [causerie_setting] {
    static TABLE: OnceLock<Vec<causerie_setting>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let keep = |text: &str| CString::into_raw(c_text(text)).cast_const();
        let row = |s: &crate::config::Setting| causerie_setting {
            key: keep(s.key),
            kind: keep(s.kind),
            initial: keep(&s.initial),
            bounds: keep(&s.bounds),
            doc: keep(s.doc),
        };
        table().iter().map(row).collect()
    })
}

/// The settings of `config`, or the defaults for NULL.
///
/// # Safety
/// As [`shared`].
pub(super) unsafe fn config_of(config: *const causerie_config) -> Result<Config> {
    Ok(optional(config)?.map_or_else(Config::default, |settings| settings.config.clone()))
}

/// ---- Settings ---------------------------------------------------------------------------------------------------
/// New settings, every key at its documented default. Wherever a function takes settings, NULL means the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_config_new(out: *mut *mut causerie_config) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header.
        let out = unsafe { Out::new(out)? };
        out.set(Settings::default());
        Ok(())
    })
}

/// Sets `key` from text: ("select.budget", "500"). Lists: `a,b` or TOML. CAUSERIE_INVALID for an unknown key (the
/// message names the nearest known one) and for a value out of bounds; nothing is changed then.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_config_set(
    config: *mut causerie_config,
    key: *const c_char,
    value: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut settings, key, value) = unsafe { (exclusive(config)?, name(key, "key")?, name(value, "value")?) };
        settings.config.set(key, value)
    })
}

/// Reads TOML over the current values: "[select]\nbudget = 500". As causerie_config_set for errors; all or nothing.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_config_read(
    config: *mut causerie_config,
    toml: *const c_char,
    len: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut settings, toml) = unsafe { (exclusive(config)?, text(toml, len, "settings")?) };
        settings.config.read_toml(toml)
    })
}

/// The value of `key` as TOML (texts in quotes). Borrowed from the settings.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_config_get(
    config: *const causerie_config,
    key: *const c_char,
    out: *mut *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (settings, key) = unsafe { (shared(config)?, name(key, "key")?) };
        let value = settings.config.get(key)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(out, settings.lent.lend(value)) };
        Ok(())
    })
}

/// All settings as a TOML file that causerie_config_read reads. Borrowed from the settings.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_config_toml(
    config: *const causerie_config,
    out: *mut *const c_char,
) -> *mut causerie_error {
    guard(|| {
        let settings = shared(config)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(out, settings.lent.lend(settings.config.to_toml())) };
        Ok(())
    })
}

/// How many settings there are.
#[unsafe(no_mangle)]
pub extern "C" fn causerie_config_count() -> usize {
    guard_or(0, || Ok(settings().len()))
}

/// Setting `i` of the table, static; NULL past the end.
#[unsafe(no_mangle)]
pub extern "C" fn causerie_config_setting(i: usize) -> *const causerie_setting {
    guard_or(std::ptr::null(), || {
        settings().get(i).map(std::ptr::from_ref).ok_or_else(|| Error::not_found("no such setting"))
    })
}

/// Ends settings; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_config_free(config: *mut causerie_config) {
    free(config)
}
