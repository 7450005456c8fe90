//! The log: one line per event, to stderr or a file.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that log what a guest does, without a limit of their own.
const GUEST_DRIVEN: &[&str] = &["virtio_queue", "vm_superio", "vm_memory"];

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("--log-file: cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
}

/// Starts the log. Lines go to `file`, made if missing and appended to, or to stderr.
pub fn start(level: LevelFilter, file: Option<&Path>) -> Result<(), LogError> {
    let targets = Targets::new()
        .with_default(level)
        .with_targets(GUEST_DRIVEN.iter().map(|target| (*target, LevelFilter::OFF)));
    match file {
        None => install(io::stderr, targets),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|source| LogError::Open { path: path.into(), source })?;
            install(Mutex::new(file), targets);
        }
    }
    Ok(())
}

fn install(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static, targets: Targets) {
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    // Fails only if a log is running already, which then goes on.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}
