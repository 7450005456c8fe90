//! The user's own terminal: lines on standard error, which may be full, closed or stuck.
//!
//! Everything the process says there goes through here: the macros of std would panic.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use device_core::output::{Lines, Output};

/// What a slow reader is given for a line that the user must see.
const PATIENCE: Duration = Duration::from_millis(500);

static STDERR: OnceLock<Option<Mutex<Lines>>> = OnceLock::new();

/// Opens it, once.
pub fn begin() -> &'static Option<Mutex<Lines>> {
    STDERR.get_or_init(|| {
        let fd = io::stderr().as_fd().try_clone_to_owned().ok()?;
        Some(Mutex::new(Lines::new(Output::shared(fd).ok()?)))
    })
}

/// Says a line to the user; lost if standard error cannot be written.
pub fn say(line: &str) {
    write(format!("{line}\n").as_bytes(), PATIENCE);
}

/// Writes a line of the log, which waits for nobody.
pub fn log(line: &[u8]) {
    write(line, Duration::ZERO);
}

fn write(line: &[u8], patience: Duration) {
    // There is no other place to say that it is lost.
    match begin() {
        Some(stderr) => {
            let mut stderr = stderr.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = stderr.write_within(line, patience);
        }
        // No descriptors were left for it.
        None => drop(io::stderr().write_all(line)),
    }
}
