//! What vCPUs write for packets: no lock and no allocation on this page.

use std::io;
use std::sync::Arc;

use device_core::interrupt::MsiSet;
use device_core::ram_window::RamWindows;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::page::{Page, WINDOW};
use crate::registers::{self, Place};
use crate::ring::{Direction, SqDoorbell, Vector};

/// A doorbell for each queue that can be, and a gate for each vector from 1 on; as old as the card.
/// A queue that is created finds its doorbell at 0.
pub struct Doorbells(Vec<Arc<Page>>);

impl Doorbells {
    /// For `pairs` queues of each direction, whose vectors are behind the first of `msi`.
    pub fn new(
        pairs: u16,
        msi: &Arc<dyn MsiSet>,
        windows: &Arc<dyn RamWindows>,
    ) -> io::Result<Doorbells> {
        let doorbell = || {
            let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
            io::Result::Ok(Arc::new(SqDoorbell::new(wake)))
        };
        let page = |pair: u16| {
            let vector = msi.vector(pair.saturating_add(1)).map(|msi| Arc::new(Vector::new(msi)));
            Ok(Arc::new(Page::new(doorbell()?, doorbell()?, vector, windows.allocate(WINDOW)?)))
        };
        Ok(Doorbells((0..pairs).map(page).collect::<io::Result<_>>()?))
    }

    /// The page of a queue pair.
    pub fn page(&self, pair: u16) -> Option<&Arc<Page>> {
        self.0.get(usize::from(pair))
    }

    pub fn tx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.page(queue).map(|page| &page.tx)
    }

    pub fn rx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.page(queue).map(|page| &page.rx)
    }

    /// Vector `number`, if it is one of a queue.
    pub fn vector(&self, number: u16) -> Option<&Arc<Vector>> {
        self.page(number.checked_sub(1)?)?.vector.as_ref()
    }

    /// The guest has BAR 0 at `at` now.
    pub fn mapped(&self, at: Option<u64>) {
        for (pair, page) in (0..).zip(&self.0) {
            page.mapped(at.and_then(|at| at.checked_add(registers::page(pair))));
        }
    }

    /// As new: vectors masked, all registers trapped.
    pub fn reset(&self) {
        for page in &self.0 {
            page.reset();
            page.vector.iter().for_each(|vector| vector.reset());
        }
    }

    /// A guest's write; what belongs to no queue does nothing.
    pub fn write(&self, place: Place, value: u32) {
        match place {
            Place::TxDoorbell(pair) => self.trapped(pair, Direction::Tx, value),
            Place::RxDoorbell(pair) => self.trapped(pair, Direction::Rx, value),
            Place::Unmask(number) => {
                if let Some(vector) = self.vector(number) {
                    vector.write(value);
                }
            }
            Place::Fixed(_) => {}
        }
    }

    fn trapped(&self, pair: u16, direction: Direction, value: u32) {
        if let Some(page) = self.page(pair) {
            page.trapped(direction, value);
        }
    }
}
