//! A backend played by a test: it brings the frames it is given, keeps those that are sent, blocks
//! and fails on demand.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::backend::{Limits, NetBackend, NetQueue, QueueError, Refused, Room};
use crate::frame::{FrameMeta, HEAD, Offloads, RxFrame, TxFrame};
use crate::rss::{Hasher, Rss, Steering};

/// A frame as the wire sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireFrame {
    /// What is said of it besides its bytes.
    pub meta: FrameMeta,
    /// All of it, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

impl From<Vec<u8>> for WireFrame {
    fn from(bytes: Vec<u8>) -> WireFrame {
        WireFrame { meta: FrameMeta::default(), bytes }
    }
}

/// What a test plays on one queue.
#[derive(Default)]
pub struct Scene {
    /// Frames to be received, the next one in front.
    pub incoming: VecDeque<WireFrame>,
    /// Frames sent and not taken yet, in order.
    pub sent: Vec<WireFrame>,
    /// Sends find no room.
    pub blocked: bool,
    /// Sent frames are kept until they are flushed.
    pub keeps: bool,
    /// Those that are kept, in order.
    pub kept: Vec<WireFrame>,
    /// Frames that the next flush refuses, from the front of what is kept.
    pub refuses: usize,
    /// Errors of the next sends, taken from the front before anything else.
    pub send_errors: VecDeque<QueueError>,
    /// Errors of the next receives, likewise.
    pub recv_errors: VecDeque<QueueError>,
    /// Errors of the next calls of `accept` on the backend, likewise.
    pub accept_errors: VecDeque<io::Error>,
    /// What `enable` was told last.
    pub enabled: bool,
    /// What `accept` was told last, on the backend.
    pub accepted: Offloads,
    /// What `steer` was told last, on the backend.
    pub steered: Option<Rss>,
    /// Calls of `send`.
    pub sends: u64,
    /// Calls of `recv`.
    pub recvs: u64,
}

/// The test's hold on one queue.
#[derive(Clone)]
pub struct Stage {
    scene: Arc<Mutex<Scene>>,
    ready: Arc<EventFd>,
}

impl Stage {
    fn new() -> io::Result<Stage> {
        let ready = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        Ok(Stage { scene: Arc::default(), ready })
    }

    /// The scene, to look at and to change; the queue waits while it is held.
    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the queue ready for both directions, as a TAP does when either changes.
    pub fn signal(&self) {
        // Cannot fail but by overflow, and then it is ready already.
        let _ = self.ready.write(1);
    }

    /// Brings one more frame to be received, and makes the queue ready.
    pub fn bring(&self, frame: impl Into<WireFrame>) {
        self.scene().incoming.push_back(frame.into());
        self.signal();
    }

    /// Takes the room for sends away or gives it back, and makes the queue ready.
    pub fn set_blocked(&self, blocked: bool) {
        self.scene().blocked = blocked;
        self.signal();
    }

    /// All frames sent since the last call.
    pub fn take_sent(&self) -> Vec<WireFrame> {
        std::mem::take(&mut self.scene().sent)
    }
}

/// A backend of `queues` queues with these limits, and the test's hold on each. Fails if the host has no
/// eventfds left.
pub fn stage(queues: u16, limits: Limits) -> io::Result<(Backend, Vec<Queue>, Vec<Stage>)> {
    let stages = (0..queues).map(|_| Stage::new()).collect::<io::Result<Vec<_>>>()?;
    let players = stages.iter().cloned().map(|stage| Queue { stage }).collect();
    Ok((Backend { limits, stages: stages.clone(), steers: true }, players, stages))
}

/// The backend of [`stage`].
pub struct Backend {
    /// Whether it says that it can steer.
    pub steers: bool,
    limits: Limits,
    stages: Vec<Stage>,
}

impl NetBackend for Backend {
    fn name(&self) -> &str {
        "script"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn accept(&mut self, rx: Offloads) -> io::Result<()> {
        for stage in &self.stages {
            if let Some(error) = stage.scene().accept_errors.pop_front() {
                return Err(error);
            }
        }
        self.stages.iter().for_each(|stage| stage.scene().accepted = rx);
        Ok(())
    }

    fn steers(&self) -> bool {
        self.steers
    }

    fn steer(&mut self, to: Option<&Hasher>) -> io::Result<Steering> {
        let steered = to.map(Hasher::rss);
        self.stages.iter().for_each(|stage| stage.scene().steered = steered.cloned());
        Ok(if self.steers && to.is_some() { Steering::Exact } else { Steering::ByFlow })
    }
}

/// A queue of [`stage`].
pub struct Queue {
    stage: Stage,
}

impl NetQueue for Queue {
    fn send(&mut self, frame: &TxFrame) -> Result<(), QueueError> {
        let mut scene = self.stage.scene();
        scene.sends = scene.sends.saturating_add(1);
        if let Some(error) = scene.send_errors.pop_front() {
            return Err(error);
        }
        if scene.blocked {
            return Err(QueueError::NotReady);
        }
        let mut bytes = frame.head.bytes().to_vec();
        let mut body = vec![0; frame.body.len()];
        frame.body.read_at(0, &mut body);
        bytes.append(&mut body);
        let frame = WireFrame { meta: frame.meta, bytes };
        if scene.keeps {
            scene.kept.push(frame)
        } else {
            scene.sent.push(frame)
        }
        Ok(())
    }

    fn flush(&mut self) -> Refused {
        let mut scene = self.stage.scene();
        let (mut refused, refuses) = (Refused::default(), std::mem::take(&mut scene.refuses));
        for (index, frame) in std::mem::take(&mut scene.kept).into_iter().enumerate() {
            if index < refuses {
                let why = QueueError::Refused(io::Error::other("as the test wants"));
                refused.add(frame.bytes.len(), why);
            } else {
                scene.sent.push(frame);
            }
        }
        refused
    }

    fn recv(&mut self, room: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        let mut scene = self.stage.scene();
        scene.recvs = scene.recvs.saturating_add(1);
        if let Some(error) = scene.recv_errors.pop_front() {
            return Err(error);
        }
        let WireFrame { meta, bytes } = scene.incoming.pop_front().ok_or(QueueError::NotReady)?;
        frame.meta = meta;
        frame.len = bytes.len();
        frame.head.set_len(bytes.len().min(HEAD));
        let (head, body) = bytes.split_at(bytes.len().min(HEAD));
        frame.head.room().iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        let fits = room.buffers.len().saturating_sub(room.skip).min(body.len());
        let (body, rest) = body.split_at(fits);
        room.buffers.write_at(room.skip, body);
        room.spill.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn enable(&mut self, on: bool) -> io::Result<()> {
        self.stage.scene().enabled = on;
        Ok(())
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(device_core::kick::borrow(&self.stage.ready))
    }

    fn share(&self) -> io::Result<Box<dyn NetQueue>> {
        let ready = Arc::new(self.stage.ready.try_clone()?);
        let scene = self.stage.scene.clone();
        Ok(Box::new(Queue { stage: Stage { scene, ready } }))
    }
}
