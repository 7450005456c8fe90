//! `/logger`, `/metrics` and `/serial`.

use std::path::PathBuf;

use devices::legacy::ConsoleSpec;
use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

use super::{BodyError, bad};
use crate::observe::logger::LogSpec;

/// What to change of the log.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Logger {
    /// File or pipe that lines are appended to.
    #[serde(default)]
    pub log_path: Option<String>,
    /// `Off`, `Error`, `Warning`, `Info`, `Debug` or `Trace`, in any case.
    #[serde(default)]
    pub level: Option<String>,
    /// Whether lines tell their level.
    #[serde(default)]
    pub show_level: Option<bool>,
    /// Whether lines tell the source file that they come from.
    #[serde(default)]
    pub show_log_origin: Option<bool>,
    /// Only what modules log whose path begins so, such as `vmm::api`.
    #[serde(default)]
    pub module: Option<String>,
}

/// The levels of the dialect, and our own words for them.
pub fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

impl TryFrom<Logger> for LogSpec {
    type Error = BodyError;

    fn try_from(body: Logger) -> Result<LogSpec, BodyError> {
        let level = match body.level {
            None => None,
            Some(name) => Some(level(&name).ok_or_else(|| {
                let why = format!(
                    "{name:?} is unknown; known are Off, Error, Warning, Info, Debug and Trace"
                );
                bad("level", why)
            })?),
        };
        Ok(LogSpec {
            path: body.log_path.map(Into::into),
            level,
            show_level: body.show_level,
            show_origin: body.show_log_origin,
            module: body.module,
        })
    }
}

/// Where metrics are written.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// File or pipe that a JSON line is appended to each minute, at FlushMetrics, and at the end.
    #[cfg_attr(test, schema(value_type = String))]
    pub metrics_path: PathBuf,
}

/// Where the serial console goes: one of the fields, or standard input and output.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// File that output is written to, emptied first; or a FIFO, which needs no reader.
    #[serde(default)]
    pub serial_out_path: Option<String>,
    /// `stdio`, `none`, `file=PATH` or `socket=PATH`, as on the command line.
    #[serde(default)]
    pub console: Option<String>,
}

impl TryFrom<Serial> for ConsoleSpec {
    type Error = BodyError;

    fn try_from(body: Serial) -> Result<ConsoleSpec, BodyError> {
        match (body.serial_out_path, body.console) {
            (Some(path), None) if path.is_empty() => {
                Err(bad("serial_out_path", "it is empty; give a path"))
            }
            (Some(path), None) => Ok(ConsoleSpec::File(path.into())),
            (None, Some(text)) => {
                text.parse().map_err(|error: devices::legacy::ParseConsoleError| {
                    bad("console", error.to_string())
                })
            }
            (None, None) => Ok(ConsoleSpec::default()),
            (Some(_), Some(_)) => {
                Err(bad("console", "serial_out_path is given too; give one of them"))
            }
        }
    }
}
