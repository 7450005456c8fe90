//! What vCPUs write for packets: no lock and no allocation on this page.

use std::io;
use std::sync::Arc;

use device_core::interrupt::MsiSet;
use device_core::ram_window::RamWindows;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::cells::Cells;
use crate::page::{Page, WINDOW};
use crate::quiet::{Quiet, Register, RxDoorbell};
use crate::registers::{self, Place, QUIET, QUIET_LEN};
use crate::ring::{SqDoorbell, Vector};

/// A doorbell for each queue that can be, and a gate for each vector from 1 on; as old as the card.
/// A queue that is created finds its doorbell at 0.
pub struct Doorbells {
    /// Of each transmit queue.
    pages: Vec<Arc<Page>>,
    quiet: Arc<Quiet>,
    /// Of each receive queue.
    rx: Vec<Arc<RxDoorbell>>,
    /// Of each pair.
    vectors: Vec<Arc<Vector>>,
}

impl Doorbells {
    /// For `pairs` queues of each direction, whose vectors are behind the first of `msi`. Fails if the
    /// host has no descriptors or memory left.
    pub fn new(
        pairs: u16,
        msi: &Arc<dyn MsiSet>,
        windows: &Arc<dyn RamWindows>,
    ) -> io::Result<Doorbells> {
        let waker = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        let page = |_| {
            let cells = Cells::new(windows.allocate_passing(WINDOW)?);
            Ok(Arc::new(Page::new(Arc::new(SqDoorbell::new(waker()?)), cells)))
        };
        let pages = (0..pairs).map(page).collect::<io::Result<_>>()?;
        let cells = Cells::new(windows.allocate(QUIET_LEN)?);
        let quiet = Arc::new(Quiet::new(cells, pairs));
        let register = |pair, which| Register::new(quiet.clone(), pair, which);
        let rx =
            |pair| Ok(Arc::new(RxDoorbell::new(waker()?, register(pair, registers::RX_DOORBELL))));
        let rx = (0..pairs).map(rx).collect::<io::Result<_>>()?;
        let vector = |pair: u16| {
            let msi = msi.vector(pair.checked_add(1)?)?;
            Some(Arc::new(Vector::new(msi, register(pair, registers::UNMASK))))
        };
        let vectors = (0..pairs).map_while(vector).collect();
        Ok(Doorbells { pages, quiet, rx, vectors })
    }

    /// The page of a transmit queue.
    pub fn page(&self, queue: u16) -> Option<&Arc<Page>> {
        self.pages.get(usize::from(queue))
    }

    /// The doorbell of a transmit queue.
    pub fn tx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.page(queue).map(|page| &page.bell)
    }

    /// The doorbell of a receive queue.
    pub fn rx(&self, queue: u16) -> Option<&Arc<RxDoorbell>> {
        self.rx.get(usize::from(queue))
    }

    /// Vector `number`, if it is one of a queue.
    pub fn vector(&self, number: u16) -> Option<&Arc<Vector>> {
        self.vectors.get(usize::from(number.checked_sub(1)?))
    }

    /// All vectors, from 1 on.
    pub fn vectors(&self) -> &[Arc<Vector>] {
        &self.vectors
    }

    /// Takes in all that was written to memory; no ring is on a lane, and no vCPU runs.
    pub fn drain(&self) {
        self.pages.iter().for_each(|page| page.look());
        for bell in &self.rx {
            let _ = bell.tail();
        }
        for vector in &self.vectors {
            // Whether it interrupted is of no matter: nobody waits.
            let _ = vector.look();
        }
    }

    /// The guest has BAR 0 at `at` now.
    pub fn mapped(&self, at: Option<u64>) {
        self.quiet.mapped(at.and_then(|at| at.checked_add(QUIET)));
        for (queue, page) in (0..).zip(&self.pages) {
            page.mapped(at.and_then(|at| at.checked_add(registers::page(queue))));
        }
        // Lanes look for what was written before, and may have to look again and again from now on.
        // Cannot fail but by overflow, and then they are awake already.
        for page in &self.pages {
            let _ = page.bell.waker().write(1);
        }
        for bell in &self.rx {
            let _ = bell.waker().write(1);
        }
    }

    /// As new: vectors masked, transmit doorbells trapped.
    pub fn reset(&self) {
        self.pages.iter().for_each(|page| page.reset());
        self.rx.iter().for_each(|bell| bell.reset());
        self.vectors.iter().for_each(|vector| vector.reset());
    }

    /// A guest's write; what belongs to no queue does nothing.
    pub fn write(&self, place: Place, value: u32) {
        match place {
            Place::TxDoorbell(queue) => {
                self.page(queue).into_iter().for_each(|page| page.trapped(value))
            }
            Place::RxDoorbell(queue) => {
                self.rx(queue).into_iter().for_each(|bell| bell.ring(value))
            }
            Place::Unmask(number) => {
                if let Some(vector) = self.vector(number) {
                    // Whether it interrupted is known to the lane, as far as it matters.
                    let _ = vector.write(value);
                }
            }
            Place::Fixed(_) => {}
        }
    }
}
