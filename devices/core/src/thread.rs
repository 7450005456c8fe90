//! Threads of a machine: what each is for, and how each is shut in before the guest runs.
//!
//! Once shut in, a thread can make only the system calls that its duty needs. To end is not one of them: it waits
//! for the end of the process, with nothing left in its hands.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

/// Stack of a thread of the machine. With 2 MiB, Rust's default, it may lie just so that the host
/// puts a huge page under it.
pub const STACK: usize = 512 << 10;

/// What a thread of devices does; what it may ask of the host follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Slow devices: control queues, consoles.
    Io,
    /// Writes captures.
    Capture,
    /// Moves frames of a card between its rings and a TAP.
    TapLane,
    /// The same, for an Ethernet interface.
    PacketLane,
    /// Hands a card's rings to the host's kernel, which moves its frames, and takes them back.
    VhostLane,
    /// Takes a disk's requests from its rings.
    DiskLane,
    /// Waits for the host in the place of a disk's lane.
    DiskHelper,
    /// Carries what guest and host say by sockets.
    Vsock,
    /// Flushes a file that is memory of the guest.
    Pmem,
}

/// Shuts the calling thread in, for good; calls [`stay`] if it leaves it no call to end by. Fails if the host refuses.
pub type Shut = Arc<dyn Fn(Duty) -> io::Result<()> + Send + Sync>;

thread_local! {
    static STAYS: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread has no call left to end by: it stays until the process ends.
pub fn stay() {
    STAYS.set(true);
}

/// Whether the calling thread does.
pub fn stays() -> bool {
    STAYS.get()
}

/// A thread that was started; it goes on by itself when this is dropped.
pub struct Running {
    over: mpsc::Receiver<bool>,
    handle: JoinHandle<()>,
}

/// Starts a thread called `name`. Fails if the host has none left.
pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Running> {
    let (tell, over) = mpsc::sync_channel(1);
    let handle = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || {
        body();
        let stays = STAYS.get();
        // Nobody may be left who wants to know.
        let _ = tell.send(stays);
        if stays {
            loop {
                thread::park();
            }
        }
    })?;
    Ok(Running { over, handle })
}

impl Running {
    /// The thread itself.
    pub fn handle(&self) -> &JoinHandle<()> {
        &self.handle
    }

    /// Returns after all that the thread does, and after all that it held was dropped.
    pub fn finish(self) {
        // A panic of the thread has been reported by the panic hook.
        if !self.over.recv().unwrap_or(false) {
            let _ = self.handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stays_is_finished_without_its_end() {
        for stays in [false, true] {
            let (tell, heard) = mpsc::channel();
            let held = Arc::new(());
            let theirs = held.clone();
            let running = start("test", move || {
                if stays {
                    stay();
                }
                tell.send(thread::current().name().map(str::to_owned)).unwrap();
                drop(theirs);
            });
            running.unwrap().finish();
            assert_eq!(heard.recv().unwrap().as_deref(), Some("test"));
            assert_eq!(Arc::strong_count(&held), 1, "{stays}");
        }
    }

    #[test]
    fn a_thread_that_panics_is_over() {
        start("test", || panic!("on purpose")).unwrap().finish();
    }
}
