//! The engine on io_uring: one ring for each lane, one system call for each batch.
//!
//! A ring's operations are no system calls, so what filters those does not see them. So a ring is restricted
//! (5.10): it takes the few operations named here, on the image only.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use device_core::kick::borrow;
use io_uring::register::{Probe, Restriction};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::calls::{PUNCH, ZERO};
use super::threads::{Crew, Threads};
use super::{Done, Engine, MAX_IN_FLIGHT};
use crate::image::{Image, Place};
use crate::task::{Call, Task};

/// Entries of the submission queue: as many as there are tasks at most.
const ENTRIES: u32 = MAX_IN_FLIGHT as u32;
/// The kernel's threads for one lane: those that wait for files, and all others.
const WORKERS: [u32; 2] = [8, 4];
/// Operations in use.
const OPERATIONS: [u8; 4] =
    [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];
// linux/io_uring.h.
const ENTER_GETEVENTS: u32 = 1;
const UNREGISTER_FILES: u8 = 3;
const REGISTER_FILES_UPDATE: u8 = 6;
/// A place that has none (5.5).
const NO_FILE: RawFd = -1;
/// How long a lane that is dropped waits for its tasks, in how many turns.
const PATIENCE: Duration = Duration::from_secs(1);
const TURNS: usize = 10 + MAX_IN_FLIGHT;

/// What a ring is set up with, from the newest kernel to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rung {
    /// Completions are worked on when the lane asks for them (6.1).
    Deferred,
    /// When it enters the kernel anyway (5.19).
    Cooperative,
    /// When the kernel likes (5.10).
    Restricted,
}

const LADDER: [Rung; 3] = [Rung::Deferred, Rung::Cooperative, Rung::Restricted];

/// Whether the kernel rings for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hush {
    /// It always does.
    Never,
    /// Not now.
    On,
    /// It does until the next task.
    Off,
}

/// A place for a task that is away.
struct Slot {
    /// Counts its tasks, so that no completion is taken for another's.
    generation: u32,
    task: Option<Box<Task>>,
}

/// A ring, and the tasks that are at the kernel.
pub struct Uring {
    ring: IoUring,
    /// Written by the kernel for each completion, also one that it puts off: a ring that does so does not show
    /// it to who polls the ring itself.
    bell: Arc<EventFd>,
    /// The bell is not rung: what was ended while it was asked, as from the page cache, needs none, and costs a wake-up
    /// and a turn. Only where completions come by way of the lane, or what is read of the ring behind a fence may be
    /// older than the kernel's look whether it is to ring.
    hush: Hush,
    image: Arc<Image>,
    /// For calls on block devices that are not in use on rings.
    helper: Option<Threads>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    away: usize,
}

impl Uring {
    /// A ring for tasks of `image`, to be driven by the thread that calls [`Engine::begin`]; calls on block
    /// devices go to `helper`, or else are made as on files. Fails if the host has none for us, or one without the operations needed.
    pub fn new(image: Arc<Image>, helper: Option<Arc<Crew>>) -> io::Result<Uring> {
        let mut refused = io::Error::from_raw_os_error(libc::ENOSYS);
        for rung in LADDER {
            match Uring::at(rung, image.clone(), helper.clone()) {
                Ok(uring) => {
                    tracing::debug!("{}: an io_uring, {rung:?}", image.path().display());
                    return Ok(uring);
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn at(rung: Rung, image: Arc<Image>, helper: Option<Arc<Crew>>) -> io::Result<Uring> {
        let bell = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        let ring = set_up(rung, &image, &bell)?;
        let helper = helper.map(|crew| Threads::new(crew, image.clone())).transpose()?;
        let (slots, free) = (Vec::new(), Vec::new());
        let hush = if rung == Rung::Deferred { Hush::Off } else { Hush::Never };
        Ok(Uring { ring, bell, hush, image, helper, slots, free, away: 0 })
    }

    /// What the kernel is asked for a task; `None` if that is the helper's to do.
    fn entry(&self, task: &Task) -> Option<Entry> {
        let file = file_of(task);
        let (iovecs, count) = (task.iovecs().as_ptr(), task.iovecs().len() as u32); // at most 1024
        Some(match task.call() {
            Call::Read => opcode::Readv::new(file, iovecs, count).offset(task.offset()).build(),
            Call::Write { durable } => {
                let flags = if durable { libc::RWF_DSYNC } else { 0 };
                let write = opcode::Writev::new(file, iovecs, count).offset(task.offset());
                write.rw_flags(flags).build()
            }
            Call::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
            Call::Punch => fallocate(task, PUNCH),
            Call::Zero => fallocate(task, ZERO),
            Call::DeviceDiscard | Call::DeviceZero if self.helper.is_some() => return None,
            // Not every device can do as files do, and says so.
            Call::DeviceDiscard => fallocate(task, PUNCH),
            Call::DeviceZero => fallocate(task, ZERO),
        })
    }

    fn slot(&mut self, task: Box<Task>) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, task: None });
            (self.slots.len() as u32).wrapping_sub(1)
        });
        let Some(slot) = self.slots.get_mut(at as usize) else { return u64::MAX };
        slot.generation = slot.generation.wrapping_add(1);
        slot.task = Some(task);
        u64::from(slot.generation) << 32 | u64::from(at)
    }

    fn unslot(&mut self, key: u64) -> Option<Box<Task>> {
        let (at, generation) = (key as u32, (key >> 32) as u32);
        let slot = self.slots.get_mut(at as usize)?;
        let task = slot.task.take_if(|_| slot.generation == generation)?;
        self.free.push(at);
        Some(task)
    }

    /// Hands over what was pushed, and has the kernel finish what it put off.
    fn enter(&mut self) -> io::Result<()> {
        loop {
            let count = self.ring.submission().len() as u32; // at most the ring's entries
            // SAFETY: what is in the queue was put there by `start`, which says why it may be.
            let entered = unsafe {
                self.ring.submitter().enter::<libc::sigset_t>(count, 0, ENTER_GETEVENTS, None)
            };
            match entered {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take_completions(&mut self, done: &mut Vec<Done>) {
        loop {
            let Some(completion) = self.ring.completion().next() else { return };
            match self.unslot(completion.user_data()) {
                Some(task) => {
                    self.away = self.away.saturating_sub(1);
                    done.push((task, completion.result()));
                }
                None => tracing::error!("io_uring: a completion of nothing that was asked"),
            }
        }
    }

    /// Waits for what is at the kernel; what is left afterwards can be anywhere.
    fn drain(&mut self) {
        let (wait, mut done) = (Timespec::from(PATIENCE), Vec::new());
        for _ in 0..TURNS {
            self.take_completions(&mut done);
            if self.away == 0 {
                return;
            }
            let submitter = self.ring.submitter();
            let waited = if self.ring.params().is_feature_ext_arg() {
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&wait))
            } else {
                submitter.submit_and_wait(1)
            };
            if let Err(error) = waited
                && !matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY)
                )
            {
                return;
            }
        }
    }
}

fn fallocate(task: &Task, mode: i32) -> Entry {
    opcode::Fallocate::new(file_of(task), task.len()).offset(task.offset()).mode(mode).build()
}

fn set_up(rung: Rung, image: &Image, bell: &EventFd) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(ENTRIES.saturating_mul(2)).setup_r_disabled();
    match rung {
        Rung::Deferred => {
            builder.setup_submit_all().setup_single_issuer();
            builder.setup_defer_taskrun().setup_taskrun_flag();
        }
        Rung::Cooperative => {
            builder.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag();
        }
        Rung::Restricted => {}
    }
    let ring: IoUring = builder.build(ENTRIES)?;
    let submitter = ring.submitter();
    let mut probe = Probe::new();
    submitter.register_probe(&mut probe)?;
    if !OPERATIONS.iter().all(|operation| probe.is_supported(*operation)) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    submitter.register_files(&files(image))?;
    submitter.register_eventfd(bell.as_raw_fd())?;
    // Kernels before 5.15 have no such limit.
    let _ = submitter.register_iowq_max_workers(&mut WORKERS.clone());
    let files = [UNREGISTER_FILES, REGISTER_FILES_UPDATE].map(Restriction::register_op);
    let mut restrictions: Vec<_> = OPERATIONS.map(Restriction::sqe_op).into();
    restrictions.extend(files);
    restrictions.push(Restriction::sqe_flags_required(Flags::FIXED_FILE.bits()));
    submitter.register_restrictions(&mut restrictions)?;
    Ok(ring)
}

/// The registered file that a task is by.
fn file_of(task: &Task) -> Fixed {
    Fixed(task.place().index())
}

/// The files of an image, and of all below it, by their places; none where there is no more below.
fn files(image: &Image) -> [RawFd; Place::COUNT] {
    let images = std::iter::successors(Some(image), |image| image.base());
    let pairs = images.flat_map(|image| {
        let (file, cached) = image.files();
        // Without a second one both places are of the same file: it goes through the cache itself.
        [file.as_raw_fd(), cached.map_or(file.as_raw_fd(), |cached| cached.as_raw_fd())]
    });
    let mut files = [NO_FILE; Place::COUNT];
    files.iter_mut().zip(pairs).for_each(|(place, file)| *place = file);
    files
}

impl Engine for Uring {
    fn begin(&mut self) -> io::Result<()> {
        // Who enables a ring of a single issuer is that issuer.
        self.ring.submitter().register_enable_rings()
    }

    fn start(&mut self, task: Box<Task>) {
        let Some(entry) = self.entry(&task) else {
            if let Some(helper) = &mut self.helper {
                helper.start(task);
            }
            return;
        };
        let key = self.slot(task);
        self.away = self.away.saturating_add(1);
        let entry = entry.user_data(key);
        // SAFETY: the entry leads to memory of the task, which stays in its slot until its completion: only
        // that takes it out, and a ring that is dropped before keeps it for ever.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            // As many entries as tasks: only a kernel that took none of the last batch leaves it full.
            let _ = self.enter();
            // SAFETY: as above.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                tracing::error!("io_uring: the queue stays full");
            }
        }
    }

    fn submit(&mut self) -> bool {
        let helped = self.helper.as_mut().is_none_or(Engine::submit);
        if self.ring.submission().is_empty() {
            return helped;
        }
        if self.hush == Hush::Off {
            self.ring.completion().disable_eventfd();
            self.hush = Hush::On;
        }
        // Out of memory, or completions to be reaped first: they stay in the queue for another try.
        let _ = self.enter();
        helped && self.ring.submission().is_empty()
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        if let Some(helper) = &mut self.helper {
            helper.reap(done);
        }
        if self.away == 0 {
            return;
        }
        if self.ring.submission().taskrun() {
            // What the kernel put off is not in the queue before it is entered.
            let _ = self.enter();
        }
        self.take_completions(done);
    }

    fn may_sleep(&mut self) -> bool {
        if self.hush != Hush::On || self.away == 0 {
            return true;
        }
        self.ring.completion().enable_eventfd();
        self.hush = Hush::Off;
        // Pairs with the kernel's, between what it shows and its look whether to ring.
        fence(Ordering::SeqCst);
        !self.ring.submission().taskrun() && self.ring.completion().is_empty()
    }

    fn watches(&self) -> Vec<BorrowedFd<'_>> {
        let mut watches = vec![borrow(&self.bell)];
        watches.extend(self.helper.iter().flat_map(Engine::watches));
        watches
    }

    fn bell(&self) -> Arc<EventFd> {
        self.bell.clone()
    }

    fn replace(&mut self, image: Arc<Image>) -> io::Result<()> {
        self.ring.submitter().register_files_update(0, &files(&image))?;
        if let Some(helper) = &mut self.helper {
            helper.replace(image.clone())?;
        }
        self.image = image;
        Ok(())
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // A ring that is closed goes on with what it has.
        self.drain();
        if self.away > 0 {
            let (path, away) = (self.image.path().display(), self.away);
            tracing::error!("{path}: the host does not end {away} requests; their memory is kept");
            self.slots.drain(..).for_each(std::mem::forget);
        }
        // A ring is taken apart some time after it was closed; the image is let go of now.
        let _ = self.ring.submitter().unregister_files();
    }
}

#[cfg(test)]
#[path = "uring_test.rs"]
mod tests;
