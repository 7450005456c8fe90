//! The thread that builds devices which come into a machine that runs: main is shut in by then, and starts no threads.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use device_core::thread;

use crate::shield::Shield;
use crate::shield::row::Kind;

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends with this, or rests from then on.
pub struct Builder(Sender<Job>);

impl Builder {
    /// Starts it; it is shut in by `shield`, and so are threads that it starts. Fails if the host has no thread left,
    /// or does not let it be shut in.
    pub fn start(shield: &Arc<Shield>) -> io::Result<Builder> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::sync_channel(1);
        let shield = shield.clone();
        thread::start("builder", move || {
            // Who is told waits below.
            let _ = tell.send(shield.shut(Kind::Builder));
            todo.into_iter().for_each(|job| job());
        })?;
        told.recv().map_err(io::Error::other)??;
        Ok(Builder(jobs))
    }

    /// Has the thread do `job`, and waits for what comes of it.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = mpsc::sync_channel(1);
        // It has no end before this has, and a panic there ends the process.
        let _ = self.0.send(Box::new(move || drop(tell.send(job()))));
        told.recv().expect("the thread lives as long as this")
    }
}
