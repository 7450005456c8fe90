//! The log: one line per event, to stderr or a file, changeable while it runs.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::output::{Fate, Lines, Output};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use super::bracketed;
use super::output::{self, OutputError};
use super::stderr;

/// Libraries that log what a guest or a client does, without a limit of their own.
const OUTSIDE_DRIVEN: &[&str] = &["virtio_queue", "vm_superio", "vm_memory", "hyper", "mio"];

/// Why the log is not as wished.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Open(#[from] OutputError),
}

/// How a log looks, and what it does as long as nobody says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct LogManner {
    /// Where lines go without a file.
    pub to: Terminal,
    /// What is at least as grave is logged, from the start.
    pub level: LevelFilter,
    /// Whether that is so again after a change that names no level, and lines show as little as at first.
    pub resets: bool,
    /// What a line looks like.
    pub line: LineShape,
}

/// One of a process's standard outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    Stdout,
    Stderr,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineShape {
    /// Time, level, module and text.
    Plain,
    /// Firecracker's: time, then in brackets what is known of the line's origin, then text.
    Bracketed,
}

/// What to change of the log; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogSpec {
    /// Lines are appended to it; to a standard output as long as none was given.
    pub path: Option<PathBuf>,
    /// What is at least as grave is logged.
    pub level: Option<LevelFilter>,
    /// Whether lines tell their level.
    pub show_level: Option<bool>,
    /// Whether lines tell the source file that they come from.
    pub show_origin: Option<bool>,
    /// Only what modules log whose path begins so is logged.
    pub module: Option<String>,
}

/// A running log.
#[derive(Clone)]
pub struct Log {
    manner: LogManner,
    filter: reload::Handle<Targets, Registry>,
    style: Arc<Style>,
    file: Arc<Mutex<Option<LogFile>>>,
}

impl Log {
    /// Starts the process's log, which tells that it is of the machine `id`.
    pub fn start(manner: LogManner, id: &str) -> Log {
        stderr::begin();
        let (filter, handle) = reload::Layer::new(targets(manner.level, None));
        let style = Arc::new(Style {
            id: id.into(),
            shape: manner.line,
            level: AtomicBool::new(manner.line == LineShape::Plain),
            origin: AtomicBool::default(),
        });
        let first = match manner.to {
            Terminal::Stderr => None,
            Terminal::Stdout => LogFile::stdout(),
        };
        let file = Arc::new(Mutex::new(first));
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(LineStyle(style.clone()))
            .with_writer(Sink(file.clone()));
        // Fails only if a log is running already, which then goes on.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Log { manner, filter: handle, style, file }
    }

    /// Tells the user why the process ends; in the log too, if that is not where he looks anyway.
    pub fn last_words(&self, program: &str, words: &str) {
        stderr::say(&format!("{program}: {words}"));
        if self.file.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            tracing::error!("{words}");
        }
    }

    /// Changes the log, all or nothing.
    pub fn set(&self, spec: &LogSpec) -> Result<(), LogError> {
        if let Some(path) = &spec.path {
            let file = LogFile { lines: output::open(path)?, path: path.clone() };
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        }
        let LogManner { level, resets, .. } = self.manner;
        let left = resets.then_some(level);
        if let Some(level) = spec.level.or(left).or(spec.module.as_ref().map(|_| level)) {
            // Fails only if the log is gone, and then nobody misses it.
            let _ = self.filter.reload(targets(level, spec.module.as_deref()));
        }
        let left = resets.then_some(false);
        for (wish, place) in
            [(spec.show_level, &self.style.level), (spec.show_origin, &self.style.origin)]
        {
            if let Some(wish) = wish.or(left) {
                place.store(wish, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn targets(level: LevelFilter, module: Option<&str>) -> Targets {
    let all = match module {
        Some(module) => Targets::new().with_target(module, level),
        None => Targets::new().with_default(level),
    };
    all.with_targets(OUTSIDE_DRIVEN.iter().map(|target| (*target, LevelFilter::OFF)))
}

struct Style {
    /// The machine's name.
    id: String,
    shape: LineShape,
    level: AtomicBool,
    origin: AtomicBool,
}

/// A line as the user wants it at this moment.
struct LineStyle(Arc<Style>);

impl<S, N> FormatEvent<S, N> for LineStyle
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let origin = self.0.origin.load(Ordering::Relaxed);
        let level = self.0.level.load(Ordering::Relaxed);
        if self.0.shape == LineShape::Bracketed {
            let head = bracketed::Head { id: &self.0.id, level, origin };
            return head.format(context, writer, event);
        }
        Format::default()
            .with_level(level)
            .with_file(origin)
            .with_line_number(origin)
            .format_event(context, writer, event)
    }
}

/// The file, or stderr.
struct Sink(Arc<Mutex<Option<LogFile>>>);

struct Open<'a>(MutexGuard<'a, Option<LogFile>>);

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Open<'a>;

    fn make_writer(&'a self) -> Open<'a> {
        Open(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Is given whole lines. It never fails: who logs has other things to do.
impl Write for Open<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.as_mut() {
            Some(file) => file.write(line),
            None => stderr::log(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LogFile {
    lines: Lines,
    path: PathBuf,
}

impl LogFile {
    /// None if the host has no descriptor left for it.
    fn stdout() -> Option<LogFile> {
        let fd = io::stdout().as_fd().try_clone_to_owned().ok()?;
        let lines = Lines::new(Output::shared(fd).ok()?);
        Some(LogFile { lines, path: "standard output".into() })
    }

    fn write(&mut self, line: &[u8]) {
        let path = self.path.display();
        match self.lines.write(line) {
            Fate::Written { lost_before: 0 } | Fate::Lost { first: None } => {}
            Fate::Written { lost_before } => {
                let note = format!("{lost_before} lines before the last one were lost\n");
                let _ = self.lines.write(note.as_bytes());
            }
            Fate::Lost { first: Some(error) } => stderr::say(&format!(
                "vmm: warning: cannot write the log to {path}: {error}; its lines are lost until that works"
            )),
        }
    }
}
