//! What a run leaves for its readers: `report.json` for programs, one self-contained `report.html` for people.

use super::html;
use super::report::ReportData;
use crate::artifact;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Serialize, Deserialize)]
struct OnDisk<T> {
    format: u64,
    made_by: String,
    #[serde(flatten)]
    data: T,
}

/// Writes `report.json` and `report.html` into `folder`, each all or nothing.
///
/// # Errors
/// [`crate::ErrorKind::Io`] when the disk refuses.
pub fn write_report(folder: &Path, data: &ReportData) -> Result<()> {
    let page = html::page(data)?;
    let json = folder.join("report.json");
    artifact::write_atomic(&json, |out| {
        let on_disk = OnDisk { format: artifact::FORMAT, made_by: artifact::made_by(), data };
        serde_json::to_writer_pretty(&mut *out, &on_disk).map_err(|e| Error::io(&json, e.into()))?;
        out.write_all(b"\n").map_err(|e| Error::io(&json, e))
    })?;
    let path = folder.join("report.html");
    artifact::write_atomic(&path, |out| out.write_all(page.as_bytes()).map_err(|e| Error::io(&path, e)))
}

/// Reads `report.json` of `folder`.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for what is no report, or one of a later version.
pub fn read_report(folder: &Path) -> Result<ReportData> {
    let path = folder.join("report.json");
    let text = artifact::read_text(&path)?;
    let on_disk: OnDisk<ReportData> =
        serde_json::from_str(&text).map_err(|e| Error::format(&path, e.line() as u64, e))?;
    if on_disk.format > artifact::FORMAT {
        let (theirs, ours) = (on_disk.format, artifact::FORMAT);
        let why =
            format!("has format {theirs} by {}, this is {} with format {ours}", on_disk.made_by, artifact::made_by());
        return Err(Error::format(&path, 0, why));
    }
    Ok(on_disk.data)
}
