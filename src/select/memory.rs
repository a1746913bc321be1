//! What a selection takes in memory beside the rows, known before it begins.

use super::field::Terms;
use super::fisher::Fisher;
use super::inputs::Kind;
use super::js::Js;
use super::soft::SoftAssignment;
use super::{given_centers as centers, kmeans};
use crate::config::SelectConfig;
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows};

/// Bytes that a selection takes, about, and whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Working memory: all that is not the rows themselves.
    pub working_bytes: u64,
    /// The rows where they lie: in memory, or mapped and then the operating system's to drop.
    pub rows_bytes: u64,
}

/// The estimate for selecting from `x` on `terms` by `config`.
///
/// # Errors
/// Those of [`centers::given`].
pub fn estimate(x: &dyn Rows, features: Option<&Matrix>, terms: &Terms, config: &SelectConfig) -> Result<Estimate> {
    let rows = x.count();
    let (dim, aware) = shape(x, features, config.strategy.is_aware());
    let budget = config.budget.min(rows);
    // The field, and the lengths of the rows as they are checked.
    let common = (2 + 8) * rows as u64
        + aware
        + if config.max_per_item > 0 || config.max_per_user > 0 { 8 * rows as u64 } else { 0 };
    let working_bytes = common
        + match Kind::of(config.strategy) {
            Kind::Random => 4 * rows as u64,
            Kind::Fisher => Fisher::bytes(rows, dim, budget),
            Kind::Js => {
                let assigned = |clusters| SoftAssignment::bytes(rows, dim, clusters) + Js::bytes(rows, clusters);
                match centers::given(x, features, terms, config)? {
                    Some(centers) => assigned(centers.rows()),
                    // K-means is over before p is there.
                    None => {
                        kmeans::bytes(rows, dim, &kmeans::Options::of(config)).max(assigned(config.clusters.min(rows)))
                    }
                }
            }
        };
    Ok(Estimate::of(x, working_bytes))
}

/// The estimate for K-means over the rows of `x` alone.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for an unknown strategy.
pub fn of_kmeans(x: &dyn Rows, features: Option<&Matrix>, config: &SelectConfig) -> Result<Estimate> {
    let (dim, aware) = shape(x, features, config.strategy.is_aware());
    let lengths = 8 * x.count() as u64;
    Ok(Estimate::of(x, lengths + aware + kmeans::bytes(x.count(), dim, &kmeans::Options::of(config))))
}

/// Values per row as they are selected on, and the bytes of what puts text and features together.
fn shape(x: &dyn Rows, features: Option<&Matrix>, aware: bool) -> (usize, u64) {
    match features.filter(|_| aware) {
        Some(features) => (x.width() + features.dim(), 16 * x.count() as u64),
        None => (x.width(), 0),
    }
}

impl Estimate {
    fn of(x: &dyn Rows, working_bytes: u64) -> Estimate {
        // What the allocator rounds up and keeps, and threads' stacks.
        let working_bytes = working_bytes + working_bytes / 8 + (4 << 20);
        Estimate { working_bytes, rows_bytes: x.count() as u64 * x.row_bytes() as u64 }
    }
    /// Refuses more than `select.max_memory_bytes`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Memory`].
    pub fn allow(&self, config: &SelectConfig) -> Result<()> {
        let most = config.max_memory_bytes;
        if most == 0 || self.working_bytes <= most {
            return Ok(());
        }
        Err(Error::memory(format!(
            "select: {} of working memory are needed beside the rows, select.max_memory_bytes allows {}; raise it, select \
             in partitions (--partition i/n), or lower {}",
            human(self.working_bytes),
            human(most),
            if config.strategy.has_clusters() { "select.clusters" } else { "select.budget" },
        )))
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "about {} of working memory, rows of {}", human(self.working_bytes), human(self.rows_bytes))
    }
}

/// `1.5 GiB`.
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}
