//! The log: one line per event, to stderr or a file, changeable while it runs.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::output::{Fate, Lines};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

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

/// What to change of the log; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogSpec {
    /// Lines are appended to it; to stderr as long as none was given.
    pub path: Option<PathBuf>,
    /// What is at least as grave is logged.
    pub level: Option<LevelFilter>,
    /// Whether lines tell their level.
    pub show_level: Option<bool>,
    /// Whether lines tell the source file that they come from.
    pub show_origin: Option<bool>,
}

/// A running log.
#[derive(Clone)]
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    style: Arc<Style>,
    file: Arc<Mutex<Option<LogFile>>>,
}

impl Log {
    /// Starts the process's log, with warnings and worse to stderr.
    pub fn start() -> Log {
        stderr::begin();
        let (filter, handle) = reload::Layer::new(targets(LevelFilter::WARN));
        let style = Arc::new(Style { level: AtomicBool::new(true), origin: AtomicBool::default() });
        let file = Arc::new(Mutex::new(None));
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(LineStyle(style.clone()))
            .with_writer(Sink(file.clone()));
        // Fails only if a log is running already, which then goes on.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Log { filter: handle, style, file }
    }

    /// Tells the user why the process ends; in the log too, if that is not where he looks anyway.
    pub fn last_words(&self, words: &str) {
        stderr::say(&format!("vmm: {words}"));
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
        if let Some(level) = spec.level {
            // Fails only if the log is gone, and then nobody misses it.
            let _ = self.filter.reload(targets(level));
        }
        for (wish, place) in
            [(spec.show_level, &self.style.level), (spec.show_origin, &self.style.origin)]
        {
            if let Some(wish) = wish {
                place.store(wish, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level)
        .with_targets(OUTSIDE_DRIVEN.iter().map(|target| (*target, LevelFilter::OFF)))
}

struct Style {
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
        Format::default()
            .with_level(self.0.level.load(Ordering::Relaxed))
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
