//! What a machine says: output collected by a thread, awaited with deadlines.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Output of a process or a serial line, all of it kept.
#[derive(Clone)]
pub struct Console(Arc<Shared>);

struct Shared {
    name: &'static str,
    heard: Mutex<Heard>,
    more: Condvar,
}

struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

impl Console {
    /// Starts to collect `source`; `name` says in errors what it is.
    pub fn collect(name: &'static str, mut source: impl Read + Send + 'static) -> Self {
        let heard = Mutex::new(Heard { bytes: Vec::new(), ended: false });
        let console = Self(Arc::new(Shared { name, heard, more: Condvar::new() }));
        let filled = console.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // A terminal whose other side is closed reports an error; that is its end.
                let length = source.read(&mut chunk).unwrap_or(0);
                let mut heard = filled.lock();
                heard.bytes.extend_from_slice(&chunk[..length]);
                heard.ended = length == 0;
                let ended = heard.ended;
                drop(heard);
                filled.0.more.notify_all();
                if ended {
                    return;
                }
            }
        });
        console
    }

    /// Copies all that was and will be heard to `out`, by a thread of its own, until the source ends.
    pub fn copy_to(&self, mut out: impl Write + Send + 'static) {
        let heard = self.clone();
        std::thread::spawn(move || {
            let mut copied = 0;
            loop {
                let mut now = heard.lock();
                while now.bytes.len() == copied && !now.ended {
                    now = heard.0.more.wait(now).unwrap_or_else(PoisonError::into_inner);
                }
                let (new, ended) = (now.bytes[copied..].to_vec(), now.ended);
                drop(now);
                copied += new.len();
                if out.write_all(&new).and_then(|()| out.flush()).is_err() || ended {
                    return;
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes were heard so far: a place to continue from.
    pub fn position(&self) -> usize {
        self.lock().bytes.len()
    }

    /// All text so far, without carriage returns.
    pub fn text(&self) -> String {
        plain(&self.lock().bytes)
    }

    /// Bytes as they came.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Waits until `found` makes something of the bytes after `from`; returns that.
    pub fn wait<T>(
        &self,
        from: usize,
        limit: Duration,
        what: &str,
        mut found: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut heard = self.lock();
        loop {
            if let Some(value) = found(heard.bytes.get(from..).unwrap_or_default()) {
                return Ok(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if heard.ended || left.is_zero() {
                let why = if heard.ended {
                    "it ended".to_owned()
                } else {
                    format!("{} s passed", limit.as_secs())
                };
                let tail = last_lines(&plain(&heard.bytes), 30);
                bail!("{} without {what} on {}; its last lines:\n{tail}", why, self.0.name);
            }
            heard = self.0.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a text after byte `from`; returns the position behind it.
    pub fn wait_for(&self, from: usize, text: &str, limit: Duration) -> Result<usize> {
        self.wait(from, limit, &format!("{text:?}"), |bytes| {
            Some(from + find(bytes, text.as_bytes())? + text.len())
        })
    }

    /// Waits until the source ends.
    pub fn wait_for_end(&self, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut heard = self.lock();
        while !heard.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} did not end within {} s", self.0.name, limit.as_secs());
            }
            heard = self.0.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(plain(&heard.bytes))
    }
}

/// The console, on standard output, for as long as it is to be shown.
#[derive(Clone, Default)]
pub struct Shown(Arc<AtomicBool>);

impl Shown {
    /// Shows nothing more.
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.load(Ordering::Relaxed) {
            return Ok(bytes.len());
        }
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Text without carriage returns.
pub fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

/// The last `count` lines of a text.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
#[path = "console_test.rs"]
mod tests;
