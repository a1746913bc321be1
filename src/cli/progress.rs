//! Progress on the terminal: a bar per stage, or plain lines where nobody watches. Ctrl-C cancels, leaving all resumable.

use causerie::run::{Level, Progress, set_log};
use causerie::{Config, Error, ErrorKind, Result, Run};
use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A run that shows its progress on stderr and ends at Ctrl-C or SIGTERM (a second one ends the process at once).
///
/// # Errors
/// Those of [`Run::new`].
pub fn run_of(config: &Config) -> Result<Run> {
    set_log(Some(Box::new(|level, text| {
        if level <= Level::Warn {
            eprintln!("causerie: {}", for_a_terminal(text));
        }
    })));
    run_until(config, || eprintln!("\ncauserie: stopping; what is finished is kept (again: at once)"))
}

/// [`run_of`] without the log, `on_stop` called at the first Ctrl-C or SIGTERM.
///
/// # Errors
/// Those of [`Run::new`].
pub fn run_until(config: &Config, on_stop: impl Fn() + Send + 'static) -> Result<Run> {
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = cancel.clone();
    on_signal(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        on_stop();
    });
    let mut display = Display::new();
    Ok(Run::new(config.run.threads)?.cancelled_by(cancel).on_progress(move |p| display.show(p)))
}

/// Has `handler` called, on a thread of its own, at Ctrl-C, SIGTERM and, unless `nohup` has it ignored, when the terminal
/// closes.
pub fn on_signal(handler: impl FnMut() + Send + 'static) {
    let outlives = causerie::os::hangup_is_ignored();
    // A second run in one process (never in the command) would keep the first handler: that is what is wanted.
    let _ = ctrlc::set_handler(handler);
    if outlives {
        causerie::os::ignore_hangup();
    }
}

/// One stage at a time: a bar on a terminal, else a line at most every ten seconds.
struct Display {
    stage: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    terminal: bool,
}

impl Display {
    fn new() -> Display {
        let now = Instant::now();
        Display { stage: "", bar: None, started: now, last_line: now, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, p: &Progress) {
        if p.stage != self.stage {
            self.stage = p.stage;
            self.started = Instant::now();
            self.last_line = self.started;
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
        }
        if self.terminal {
            self.show_bar(p);
        } else if self.last_line.elapsed() > Duration::from_secs(10) {
            self.last_line = Instant::now();
            let of = if p.total > 0 { format!(" of {}", p.total) } else { String::new() };
            let note = if p.note.is_empty() { String::new() } else { format!(", {}", p.note) };
            eprintln!("{}: {}{of} {} in {:.0} s{note}", p.stage, p.done, p.unit, self.started.elapsed().as_secs_f64());
        }
    }

    fn show_bar(&mut self, p: &Progress) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(p.total);
            let template = if p.total > 0 {
                "{prefix:>12} [{bar:32}] {human_pos}/{human_len} {msg} · {per_sec} · {eta} left"
            } else {
                "{prefix:>12} {spinner} {human_pos} {msg} · {per_sec}"
            };
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(p.stage);
            bar
        });
        if p.total > 0 && bar.length() != Some(p.total) {
            bar.set_length(p.total);
        }
        bar.set_position(p.done);
        bar.set_message(if p.note.is_empty() { p.unit.to_string() } else { format!("{} · {}", p.unit, p.note) });
        if p.total > 0 && p.done >= p.total {
            bar.finish_and_clear();
            self.bar = None;
        }
    }
}

/// `text` without what would steer a terminal or turn its lines about: titles, reviews and answers are other people's words.
pub fn for_a_terminal(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect())
}

/// Writes a line to stdout; a closed pipe (`causerie … | head`) ends quietly.
///
/// # Errors
/// [`ErrorKind::Io`] for anything but a closed pipe.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out: Box<dyn Write> = match causerie::artifact::wrote_to_standard_output() {
        true => Box::new(std::io::stderr().lock()),
        false => Box::new(std::io::stdout().lock()),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Error::new(ErrorKind::Io, format!("standard output: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_steer_the_terminal() {
        assert_eq!(for_a_terminal("Amélie\n\t(2001) ❤"), "Amélie\n\t(2001) ❤");
        assert_eq!(for_a_terminal("E\u{1b}[31m\u{7}\u{9b}1m\u{202e}R\0"), "E�[31m��1m�R�");
    }
}
