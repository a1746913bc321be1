//! Files → [`Dataset`]: streamed, parsed in parallel, appended in the files' order.

use super::formats::{self, Reader, Tags};
use super::lines::Source;
use super::table::{Dataset, Interaction, Item, Review, Summary};
use crate::config::{DatasetConfig, SourceFormat, UnknownItems};
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Level, Run};
use std::fmt;
use std::path::Path;

/// Bad lines of which file, line and cause are kept.
const EXAMPLES: usize = 10;

/// What an import met besides what it kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ImportReport {
    /// What was kept.
    pub summary: Summary,
    /// Lines that could not be read as a row.
    pub bad_lines: u64,
    /// The first of them: `file:line: cause`.
    pub bad_examples: Vec<String>,
    /// Items whose id was there already; the first one is kept.
    pub repeated_items: u64,
    /// Reviews dropped because their item is not in the items file.
    pub unknown_reviews: u64,
    /// Interactions dropped because their item is not in the items file.
    pub unknown_interactions: u64,
    /// Items made of a bare id, without metadata.
    pub bare_items: u64,
    /// Reviews dropped because their text is shorter than `dataset.min_review_chars`.
    pub short_reviews: u64,
    /// Attributes of items that were left out, having no name or no value or being more than an item may have, or cut.
    pub lost_attributes: u64,
}

impl fmt::Display for ImportReport {
    /// The summary in lines, then what was left out, if anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { items, reviews, users, interactions, reviews_per_item, share_with_3_reviews, text_bytes } =
            self.summary;
        writeln!(f, "items                     {items}")?;
        writeln!(f, "reviews                   {reviews}")?;
        writeln!(f, "users                     {users}")?;
        writeln!(f, "interactions              {interactions}")?;
        writeln!(f, "reviews per item          {reviews_per_item:.2}")?;
        writeln!(f, "items with 3 reviews or more  {:.1} %", share_with_3_reviews * 100.0)?;
        writeln!(f, "text                      {:.1} MB", text_bytes as f64 / 1e6)?;
        for (count, what) in [
            (self.bad_lines, "bad lines passed over"),
            (self.repeated_items, "repeated items passed over (the first of each is kept)"),
            (self.unknown_reviews, "reviews of unknown items dropped (dataset.unknown_items = drop)"),
            (self.unknown_interactions, "interactions with unknown items dropped (dataset.unknown_items = drop)"),
            (self.bare_items, "items without metadata, made of their id"),
            (self.short_reviews, "reviews shorter than dataset.min_review_chars dropped"),
            (
                self.lost_attributes,
                "attributes of items cut or left out (no name, no value, or more than 64 of an item)",
            ),
        ] {
            if count > 0 {
                writeln!(f, "{count} {what}")?;
            }
        }
        for example in &self.bad_examples {
            writeln!(f, "  {example}")?;
        }
        Ok(())
    }
}

/// The import under way.
pub(super) struct Import<'a> {
    pub config: &'a DatasetConfig,
    pub dataset: Dataset,
    /// Unknown items become bare ones.
    pub keep_unknown: bool,
    pub report: ImportReport,
}

impl ImportReport {
    /// Rows that were left out, whatever the reason.
    pub fn dropped(&self) -> u64 {
        let ImportReport { summary: _, bad_lines, bad_examples: _, repeated_items, unknown_reviews, .. } = self;
        bad_lines + repeated_items + unknown_reviews + self.unknown_interactions + self.short_reviews
    }
    /// A report of nothing.
    pub(super) fn empty() -> ImportReport {
        ImportReport {
            summary: Dataset::default().summary(),
            bad_lines: 0,
            bad_examples: Vec::new(),
            repeated_items: 0,
            unknown_reviews: 0,
            unknown_interactions: 0,
            bare_items: 0,
            short_reviews: 0,
            lost_attributes: 0,
        }
    }
}

/// Reads the files that `config` names (`dataset.items`, `dataset.reviews`, `dataset.interactions`, `dataset.tags`; an
/// empty name: none) in `config.format`. Without an items file, items are made of the ids that reviews and interactions
/// name. Rows keep the files' order, whatever the number of threads.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a missing file; [`ErrorKind::Format`] for a damaged or cut .gz or .zst, for more than
/// `dataset.max_bad_lines` bad lines (the message shows the first ones), and for a file that yields nothing;
/// [`ErrorKind::Invalid`] when no file is named; [`ErrorKind::Cancelled`]. Nothing on disk is touched.
pub fn import(config: &DatasetConfig, run: &Run) -> Result<(Dataset, ImportReport)> {
    let format = config.format;
    let (items, reviews) = (path_of(&config.items), path_of(&config.reviews));
    let (interactions, tags) = (path_of(&config.interactions), path_of(&config.tags));
    // A missing file is told before minutes are spent on another one.
    for file in [items, reviews, interactions, tags].into_iter().flatten() {
        std::fs::metadata(file).map_err(|e| Error::io(file, e).context("import"))?;
    }
    if items.is_none() && reviews.is_none() && interactions.is_none() {
        return Err(Error::invalid(
            "import: no file is named; set dataset.reviews, and dataset.items and dataset.interactions if you have them",
        ));
    }
    let mut import = Import {
        config,
        dataset: Dataset::default(),
        keep_unknown: items.is_none() || config.unknown_items == UnknownItems::Keep,
        report: ImportReport::empty(),
    };
    let result = import.all(format, items, reviews, interactions, run);
    result.map_err(|e| if e.kind() == ErrorKind::Cancelled { e } else { e.context("import") })?;
    import.report.summary = import.dataset.summary();
    import.warn();
    Ok((import.dataset, import.report))
}

impl Import<'_> {
    fn all(
        &mut self,
        format: SourceFormat,
        items: Option<&Path>,
        reviews: Option<&Path>,
        interactions: Option<&Path>,
        run: &Run,
    ) -> Result<()> {
        if let Some(path) = items {
            let tags = match self.config.tags.as_str() {
                "" => Tags::new(),
                tags => {
                    let tags = Path::new(tags);
                    formats::read_tags(tags, run, |number, cause| self.bad(tags, number, &cause))?
                }
            };
            let mut source = Source::open(path)?;
            let first = source.first_line()?.unwrap_or_default();
            let reader = Reader::of_items(self.config, path, &first)?;
            source.for_each_row(
                reader.rows(),
                "items",
                run,
                |line| reader.item(line, &tags),
                |number, row| match row {
                    Ok(Some(item)) => self.item(&item),
                    Ok(None) => Ok(()),
                    Err(cause) => self.bad(path, number, &cause),
                },
            )?;
            self.not_empty(path, "items", self.dataset.items.len())?;
            reader.warn_of_unfound(path);
        }
        if let Some(path) = reviews {
            let mut source = Source::open(path)?;
            let reader = Reader::of_reviews(format, path, &source.first_line()?.unwrap_or_default())?;
            source.for_each_row(
                reader.rows(),
                "reviews",
                run,
                |line| reader.review(line),
                |number, row| match row {
                    Ok(review) => self.review(&review),
                    Err(cause) => self.bad(path, number, &cause),
                },
            )?;
            self.not_empty(path, "reviews", self.dataset.reviews())?;
        }
        if let Some(path) = interactions {
            let mut source = Source::open(path)?;
            let reader = Reader::of_interactions(format, path, &source.first_line()?.unwrap_or_default())?;
            source.for_each_row(
                reader.rows(),
                "interactions",
                run,
                |line| reader.interaction(line),
                |number, row| match row {
                    Ok(Some(interaction)) => self.interaction(&interaction),
                    Ok(None) => Ok(()),
                    Err(cause) => self.bad(path, number, &cause),
                },
            )?;
            self.not_empty(path, "interactions", self.dataset.interactions())?;
        }
        Ok(())
    }
    pub fn item(&mut self, item: &Item) -> Result<()> {
        if self.dataset.items.find(&item.id).is_some() {
            self.report.repeated_items += 1;
            return Ok(());
        }
        self.report.lost_attributes += self.dataset.add_tidied(item)?.1;
        Ok(())
    }
    /// Whether a row about this item is kept; makes a bare item where unknown ones are.
    fn known(&mut self, id: &str) -> Result<bool> {
        if self.dataset.items.find(id).is_some() {
            return Ok(true);
        }
        if self.keep_unknown {
            self.dataset.add_item(&Item { id: id.to_string(), ..Item::default() })?;
            self.report.bare_items += 1;
        }
        Ok(self.keep_unknown)
    }
    pub fn review(&mut self, review: &Review) -> Result<()> {
        let wanted = self.config.min_review_chars;
        // Counting stops at the bound: texts are long, the bound is short.
        if review.text.chars().take(wanted).count() < wanted {
            self.report.short_reviews += 1;
        } else if self.known(&review.item)? {
            self.dataset.add_review(review)?;
        } else {
            self.report.unknown_reviews += 1;
        }
        Ok(())
    }
    pub fn interaction(&mut self, interaction: &Interaction) -> Result<()> {
        if self.known(&interaction.item)? {
            self.dataset.add_interaction(interaction)?;
        } else {
            self.report.unknown_interactions += 1;
        }
        Ok(())
    }
    pub fn bad(&mut self, path: &Path, number: u64, cause: &str) -> Result<()> {
        let report = &mut self.report;
        report.bad_lines += 1;
        if report.bad_examples.len() < EXAMPLES {
            report.bad_examples.push(Error::format(path, number, cause).message().to_string());
        }
        if report.bad_lines <= self.config.max_bad_lines {
            return Ok(());
        }
        let message = format!(
            "more than dataset.max_bad_lines = {} bad lines; nothing was changed. Mend the file, check that dataset.format = \
             {} is its format, or raise the limit. The first bad lines:\n  {}",
            self.config.max_bad_lines,
            self.config.format,
            report.bad_examples.join("\n  ")
        );
        Err(Error::new(ErrorKind::Format, message))
    }
    fn not_empty(&self, path: &Path, what: &str, kept: usize) -> Result<()> {
        if kept > 0 {
            return Ok(());
        }
        let r = &self.report;
        let mut why = format!("no {what} in it");
        for (count, cause) in [
            (r.bad_lines, "bad lines so far"),
            (r.short_reviews, "reviews without text or shorter than dataset.min_review_chars"),
            (r.unknown_reviews, "reviews of items that the items file lacks"),
            (r.unknown_interactions, "interactions with items that the items file lacks"),
        ] {
            if count > 0 {
                why.push_str(&format!("; {count} {cause}"));
            }
        }
        for example in r.bad_examples.iter().take(3) {
            why.push_str(&format!("\n  {example}"));
        }
        Err(Error::format(path, 0, format!("{why}; is dataset.format = {} its format?", self.config.format)))
    }
    fn warn(&self) {
        let r = &self.report;
        if r.bad_lines > 0 {
            let first = r.bad_examples.first().map_or("", String::as_str);
            run::log(Level::Warn, &format!("import: {} bad lines passed over, the first: {first}", r.bad_lines));
        }
        let unknown = r.unknown_reviews + r.unknown_interactions;
        if unknown > 0 {
            run::log(Level::Warn, &format!("import: {unknown} reviews and interactions of unknown items dropped"));
        }
    }
}

/// A path that is set.
fn path_of(name: &str) -> Option<&Path> {
    Some(Path::new(name)).filter(|_| !name.is_empty())
}
