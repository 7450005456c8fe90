//! Doubles for tests of devices: memory, interrupts, kicks; no KVM.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod choices;
mod hot;
mod mutants;
mod mutate;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::GuestRam;
use crate::device::{Kit, MmioSlot};
use crate::dirty::zeroed_ram;
use crate::files::Own;
use crate::hot_region::HotRegion;
use crate::interrupt::{Interrupt, IrqLine, MsiController, MsiMessage, MsiSet, MsiVector, Route};
use crate::kick::{Binding, KickBinder};
use crate::ram_window::{FileWindow, RamWindow, RamWindows};
use crate::reclaim::{Reclaim, ReclaimError};
use crate::worker::Threads;

pub use crate::kick::borrow;
pub use choices::Choices;
pub use hot::{TestHotRegion, ram_with_hot};
pub use mutants::mutants;
pub use mutate::mutate;

/// Bytes of a page, usually.
const PAGE: u64 = 4096;

/// Zeroed RAM at 0, of `len` bytes.
pub fn ram(len: usize) -> GuestRam {
    ram_at(&[(0, len)])
}

/// Zeroed RAM in several regions, as (start, length).
pub fn ram_at(regions: &[(u64, usize)]) -> GuestRam {
    Arc::new(zeroed_ram(regions).unwrap())
}

/// A vector that counts.
pub struct TestVector {
    event: EventFd,
    masked: AtomicBool,
    delivered: AtomicU64,
}

impl TestVector {
    /// Interrupts that reached the guest.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }
}

impl Interrupt for TestVector {
    fn fire(&self) {
        if self.masked.load(Ordering::SeqCst) {
            self.event.write(1).unwrap();
        } else {
            self.delivered.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        Some(borrow(&self.event))
    }
}

impl MsiVector for TestVector {
    fn is_pending(&self) -> bool {
        let mut poll =
            libc::pollfd { fd: self.event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, no wait.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }
}

/// The vectors of one card, with the messages they were routed to.
pub struct TestMsiSet {
    vectors: Vec<Arc<TestVector>>,
    routes: Mutex<Vec<Option<MsiMessage>>>,
}

impl TestMsiSet {
    /// `count` vectors, all masked.
    pub fn new(count: u16) -> Arc<TestMsiSet> {
        let vector = |_| {
            Arc::new(TestVector {
                event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap(),
                masked: AtomicBool::new(true),
                delivered: AtomicU64::new(0),
            })
        };
        Arc::new(TestMsiSet {
            vectors: (0..count).map(vector).collect(),
            routes: Mutex::new(vec![None; count.into()]),
        })
    }

    /// The vector `index` with its count. Panics past the end.
    pub fn test_vector(&self, index: u16) -> Arc<TestVector> {
        self.vectors[usize::from(index)].clone()
    }

    /// Where the vector goes; `None` while masked.
    pub fn routed(&self, index: u16) -> Option<MsiMessage> {
        self.routes.lock().unwrap()[usize::from(index)]
    }
}

impl MsiSet for TestMsiSet {
    fn count(&self) -> u16 {
        self.vectors.len() as u16
    }
    fn vector(&self, index: u16) -> Option<Arc<dyn MsiVector>> {
        self.vectors.get(usize::from(index)).map(|vector| vector.clone() as Arc<dyn MsiVector>)
    }
    fn route(&self, changes: &[Route]) -> io::Result<()> {
        let mut routes = self.routes.lock().unwrap();
        for change in changes {
            let Some(vector) = self.vectors.get(usize::from(change.index)) else { continue };
            routes[usize::from(change.index)] = change.to;
            vector.masked.store(change.to.is_none(), Ordering::SeqCst);
            if change.to.is_some() && vector.event.read().is_ok() {
                vector.delivered.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

/// Gives out [`TestMsiSet`]s and remembers them, in order.
#[derive(Default)]
pub struct TestMsi(Mutex<Vec<Arc<TestMsiSet>>>);

impl TestMsi {
    /// The set given out as number `index`, from 0. Panics if there were fewer.
    pub fn set(&self, index: usize) -> Arc<TestMsiSet> {
        self.0.lock().unwrap()[index].clone()
    }
}

impl MsiController for TestMsi {
    fn allocate(&self, count: u16) -> io::Result<Arc<dyn MsiSet>> {
        let set = TestMsiSet::new(count);
        self.0.lock().unwrap().push(set.clone());
        Ok(set)
    }
}

/// A line that counts its pulses.
#[derive(Default)]
pub struct TestLine(AtomicU64);

impl TestLine {
    /// Pulses so far.
    pub fn pulses(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl IrqLine for TestLine {
    fn pulse(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A bound address, with the one value that is bound there or `None` for all.
type Bound = (u64, Option<u32>);

/// What is bound, and the eventfds.
#[derive(Default)]
pub struct TestKicks(Arc<Mutex<BTreeMap<Bound, EventFd>>>);

impl TestKicks {
    /// What a guest's write to `address` does; false if nothing is bound there.
    pub fn kick(&self, address: u64) -> bool {
        self.signal((address, None))
    }

    /// What a guest's write of four bytes does; false if this value is not bound to `address`.
    pub fn kick_value(&self, address: u64, value: u32) -> bool {
        self.signal((address, Some(value)))
    }

    /// All bound addresses in order, once for each of their values.
    pub fn bound(&self) -> Vec<u64> {
        self.0.lock().unwrap().keys().map(|(address, _)| *address).collect()
    }

    fn signal(&self, key: Bound) -> bool {
        self.0.lock().unwrap().get(&key).is_some_and(|event| event.write(1).is_ok())
    }

    fn insert(&self, key: Bound, event: &EventFd) -> io::Result<Binding> {
        let mut bound = self.0.lock().unwrap();
        if bound.contains_key(&key) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        bound.insert(key, event.try_clone()?);
        let all = self.0.clone();
        Ok(Binding::new(move || drop(all.lock().unwrap().remove(&key))))
    }
}

impl KickBinder for TestKicks {
    fn bind(&self, address: u64, event: &EventFd) -> io::Result<Binding> {
        self.insert((address, None), event)
    }
    fn bind_value(&self, address: u64, value: u32, event: &EventFd) -> io::Result<Binding> {
        self.insert((address, Some(value)), event)
    }
}

/// A window that remembers where it was placed.
pub struct TestWindow {
    memory: GuestRam,
    placed: Mutex<Option<u64>>,
}

impl TestWindow {
    /// The guest-physical address it is at, if it is anywhere.
    pub fn placed(&self) -> Option<u64> {
        *self.placed.lock().unwrap()
    }
}

impl RamWindow for TestWindow {
    fn memory(&self) -> &GuestRam {
        &self.memory
    }
    fn place(&self, at: Option<u64>) -> io::Result<()> {
        *self.placed.lock().unwrap() = at;
        Ok(())
    }
}

/// Where a file would be.
pub struct TestFileWindow {
    address: u64,
    size: u64,
    /// The guest could not write to it.
    pub read_only: bool,
}

impl FileWindow for TestFileWindow {
    fn address(&self) -> u64 {
        self.address
    }
    fn size(&self) -> u64 {
        self.size
    }
}

/// Gives out [`TestWindow`]s and remembers them, in order.
#[derive(Default)]
pub struct TestWindows(Mutex<Vec<Arc<TestWindow>>>);

impl TestWindows {
    /// The window given out as number `index`, from 0. Panics if there were fewer.
    pub fn window(&self, index: usize) -> Arc<TestWindow> {
        self.0.lock().unwrap()[index].clone()
    }
}

impl RamWindows for TestWindows {
    fn allocate(&self, bytes: u64) -> io::Result<Arc<dyn RamWindow>> {
        let window = Arc::new(TestWindow { memory: ram(bytes as usize), placed: Mutex::default() });
        self.0.lock().unwrap().push(window.clone());
        Ok(window)
    }
    fn map_file(&self, _: &File, bytes: u64, read_only: bool) -> io::Result<Arc<dyn FileWindow>> {
        let size = bytes.next_multiple_of(2 << 20);
        Ok(Arc::new(TestFileWindow { address: 1 << 40, size, read_only }))
    }
}

/// Gives back memory by writing zeroes to it, and remembers what it was.
pub struct TestReclaim {
    memory: GuestRam,
    granule: u64,
    /// As (start, length), in order.
    given_back: Mutex<Vec<(u64, u64)>>,
    refuses: AtomicBool,
}

impl TestReclaim {
    /// For `memory`, in pages of `granule` bytes, a power of two.
    pub fn new(memory: &GuestRam, granule: u64) -> TestReclaim {
        TestReclaim {
            memory: memory.clone(),
            granule,
            given_back: Mutex::default(),
            refuses: AtomicBool::new(false),
        }
    }

    /// What was given back since the last call, as (start, length), in order.
    pub fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.given_back.lock().unwrap())
    }

    /// Makes the host refuse, or no longer.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

impl Reclaim for TestReclaim {
    fn granule(&self) -> u64 {
        self.granule
    }
    fn is_ram(&self, start: u64, len: u64) -> bool {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.memory.check_range(GuestAddress(start), len, Permissions::ReadWrite)
    }
    fn discard(&self, start: u64, len: u64) -> Result<u64, ReclaimError> {
        if !self.is_ram(start, len) {
            return Err(ReclaimError::OutsideRam);
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        }
        let first = start.next_multiple_of(self.granule);
        let end = start.wrapping_add(len) & !self.granule.wrapping_sub(1);
        let whole = end.saturating_sub(first);
        if whole > 0 {
            let zeroes = vec![0; self.granule as usize];
            for at in (first..end).step_by(zeroes.len()) {
                self.memory.write_slice(&zeroes, GuestAddress(at)).unwrap();
            }
            self.given_back.lock().unwrap().push((first, whole));
        }
        Ok(whole)
    }
}

/// Everything a device may ask for, as doubles.
pub struct TestMachine {
    /// Its RAM.
    pub memory: GuestRam,
    /// The vectors given out.
    pub msi: Arc<TestMsi>,
    /// The kicks bound.
    pub kicks: Arc<TestKicks>,
    /// The windows given out.
    pub windows: Arc<TestWindows>,
    /// What was given back of its RAM.
    pub reclaim: Arc<TestReclaim>,
    /// What of its RAM is plugged block by block, if some is.
    pub hot: Option<Arc<TestHotRegion>>,
    /// Where its workers run.
    pub threads: Threads,
    msi_object: Arc<dyn MsiController>,
    kicks_object: Arc<dyn KickBinder>,
    windows_object: Arc<dyn RamWindows>,
    reclaim_object: Arc<dyn Reclaim>,
    hot_object: Option<Arc<dyn HotRegion>>,
}

impl TestMachine {
    /// A machine with that RAM, and I/O threads of its own.
    pub fn new(memory: GuestRam) -> TestMachine {
        let msi = Arc::new(TestMsi::default());
        let kicks = Arc::new(TestKicks::default());
        let windows = Arc::new(TestWindows::default());
        let reclaim = Arc::new(TestReclaim::new(&memory, PAGE));
        let hot = TestHotRegion::of(&memory).map(Arc::new);
        TestMachine {
            memory,
            hot_object: hot.clone().map(|hot| hot as Arc<dyn HotRegion>),
            hot,
            msi_object: msi.clone(),
            kicks_object: kicks.clone(),
            windows_object: windows.clone(),
            reclaim_object: reclaim.clone(),
            msi,
            kicks,
            windows,
            reclaim,
            threads: Threads::new().unwrap(),
        }
    }

    /// What a device under test is built with, on the PCI bus.
    pub fn kit(&self) -> Kit<'_> {
        self.kit_in(None)
    }

    /// What a device under test is built with, in a slot of its own if there is one.
    pub fn kit_in<'a>(&'a self, slot: Option<&'a MmioSlot>) -> Kit<'a> {
        Kit {
            memory: &self.memory,
            msi: &self.msi_object,
            kicks: &self.kicks_object,
            windows: &self.windows_object,
            reclaim: &self.reclaim_object,
            hot: self.hot_object.as_ref(),
            threads: &self.threads,
            files: &Own,
            slot,
        }
    }
}
