//! What vCPUs write for packets: no lock and no allocation on this page.

use std::io;
use std::sync::Arc;

use device_core::interrupt::MsiSet;
use device_core::ram_window::RamWindows;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::cells::Cells;
use crate::page::{Page, WINDOW};
use crate::registers::{self, Place, UNMASKS, UNMASKS_LEN};
use crate::ring::{Direction, SqDoorbell, Vector};
use crate::unmasks::Unmasks;

/// A doorbell for each queue that can be, and a gate for each vector from 1 on; as old as the card.
/// A queue that is created finds its doorbell at 0.
pub struct Doorbells {
    pages: Vec<Arc<Page>>,
    unmasks: Arc<Unmasks>,
    /// Of each pair.
    vectors: Vec<Arc<Vector>>,
}

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
        let page = |_| {
            let cells = Cells::new(windows.allocate(WINDOW)?);
            Ok(Arc::new(Page::new(doorbell()?, doorbell()?, cells)))
        };
        let pages = (0..pairs).map(page).collect::<io::Result<_>>()?;
        let cells = Cells::new(windows.allocate(UNMASKS_LEN)?);
        let unmasks = Arc::new(Unmasks::new(cells, pairs));
        let vector = |pair: u16| {
            let msi = msi.vector(pair.checked_add(1)?)?;
            Some(Arc::new(Vector::looking_at(unmasks.clone(), pair, msi)))
        };
        let vectors = (0..pairs).map_while(vector).collect();
        Ok(Doorbells { pages, unmasks, vectors })
    }

    /// The page of a queue pair.
    pub fn page(&self, pair: u16) -> Option<&Arc<Page>> {
        self.pages.get(usize::from(pair))
    }

    pub fn tx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.page(queue).map(|page| &page.tx)
    }

    pub fn rx(&self, queue: u16) -> Option<&Arc<SqDoorbell>> {
        self.page(queue).map(|page| &page.rx)
    }

    /// Vector `number`, if it is one of a queue.
    pub fn vector(&self, number: u16) -> Option<&Arc<Vector>> {
        self.vectors.get(usize::from(number.checked_sub(1)?))
    }

    /// The guest has BAR 0 at `at` now.
    pub fn mapped(&self, at: Option<u64>) {
        self.unmasks.mapped(at.and_then(|at| at.checked_add(UNMASKS)));
        // What was written before counts, and lanes may have to look from now on.
        for vector in &self.vectors {
            let _ = vector.look();
        }
        for (pair, page) in (0..).zip(&self.pages) {
            page.mapped(at.and_then(|at| at.checked_add(registers::page(pair))));
            // Cannot fail but by overflow, and then it is readable already.
            let _ = page.tx.waker().write(1);
        }
    }

    /// As new: vectors masked, doorbells trapped.
    pub fn reset(&self) {
        self.pages.iter().for_each(|page| page.reset());
        self.vectors.iter().for_each(|vector| vector.reset());
    }

    /// A guest's write; what belongs to no queue does nothing.
    pub fn write(&self, place: Place, value: u32) {
        match place {
            Place::TxDoorbell(pair) => self.trapped(pair, Direction::Tx, value),
            Place::RxDoorbell(pair) => self.trapped(pair, Direction::Rx, value),
            Place::Unmask(number) => {
                if let Some(vector) = self.vector(number) {
                    // Whether it interrupted is known to the lane, as far as it matters.
                    let _ = vector.write(value);
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
