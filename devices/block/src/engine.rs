//! Engines: who carries tasks to the host and brings them back.

pub mod calls;
#[cfg(any(test, feature = "testing"))]
pub mod script;
pub mod threads;
pub mod uring;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use crate::image::Image;

pub use crate::task::{Call, Task};

/// A task that came back, and what the host said: bytes, or a negated errno.
pub type Done = (Box<Task>, i32);

/// What one lane's tasks go through; owned by its thread.
///
/// A task that was started comes back by [`Engine::reap`], once, when the host is done with it. An engine that
/// is dropped waits for those it has, or keeps their memory for ever; it never frees what the host may touch.
pub trait Engine: Send {
    /// First call on the lane's thread. Fails if the host refuses.
    fn begin(&mut self) -> io::Result<()>;

    /// Takes a task; it need not reach the host before [`Engine::submit`]. At most
    /// [`MAX_IN_FLIGHT`] may be away.
    fn start(&mut self, task: Box<Task>);

    /// Brings to the host what was started, in as few calls as it takes; whether all was.
    fn submit(&mut self) -> bool;

    /// Gives back what is done, into `done`. Does not wait.
    fn reap(&mut self, done: &mut Vec<Done>);

    /// Whether the lane may wait for [`Engine::watches`]: from here until the next task is started, they tell of all that
    /// ends. If not, something is there by now.
    fn may_sleep(&mut self) -> bool {
        true
    }

    /// Readable, also edge-triggered, when there may be something to reap.
    fn watches(&self) -> Vec<BorrowedFd<'_>>;

    /// Whoever writes to it wakes the lane; it is among those watched.
    fn bell(&self) -> Arc<EventFd>;

    /// From now on tasks are of `image`. Only while none is away. Fails, with the old image in place, if the
    /// host refuses.
    fn replace(&mut self, image: Arc<Image>) -> io::Result<()>;
}

/// Tasks that one lane has away at most.
pub const MAX_IN_FLIGHT: usize = 128;
