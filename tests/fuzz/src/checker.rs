//! A virtio device that checks what its transport gives it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::snapshot::{LoadError, SaveError, Saved};
use virtio::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemory, Permissions};

use crate::driver::{EVENT_IDX, INDIRECT, VERSION_1};

/// Largest sizes of its queues.
pub const SIZES: [u16; 3] = [256, 256, 64];
/// What it offers: MAC and hash report.
pub const FEATURES: u64 = 1 << 5 | 1 << 57;

/// A device that checks what it is given.
pub struct Checker {
    /// What its configuration reads as, everywhere.
    pub pattern: u8,
    pub memory: GuestRam,
    pub refuses: AtomicBool,
    pub plugged: Mutex<Option<Plugged>>,
}

pub struct Plugged {
    pub features: u64,
    pub queues: Vec<LiveQueue>,
    pub notice: Arc<dyn Notice>,
}

impl Checker {
    /// A device whose rings have to be in `memory`.
    pub fn new(pattern: u8, memory: GuestRam) -> Checker {
        let refuses = AtomicBool::new(false);
        Checker { pattern, memory, refuses, plugged: Mutex::default() }
    }

    pub fn plugged<R>(&self, look: impl FnOnce(&Plugged) -> R) -> Option<R> {
        self.plugged.lock().unwrap().as_ref().map(look)
    }

    fn check_queue(&self, queue: &LiveQueue) {
        let (ring, size) = (&queue.ring, queue.ring.size());
        assert!(ring.ready() && size.is_power_of_two());
        assert!(size <= SIZES[usize::from(queue.index)]);
        let n = usize::from(size);
        for (address, alignment, len) in [
            (ring.desc_table(), 16, 16 * n),
            (ring.avail_ring(), 2, 6 + 2 * n),
            (ring.used_ring(), 4, 6 + 8 * n),
        ] {
            assert_eq!(address % alignment, 0);
            let at = GuestAddress(address);
            let within = GuestMemory::check_range(&*self.memory, at, len, Permissions::ReadWrite);
            assert!(within, "a queue at {address:#x} outside of RAM");
        }
    }
}

impl VirtioDevice for Checker {
    fn id(&self) -> &str {
        "checker"
    }
    fn kind(&self) -> u16 {
        1
    }
    fn features(&self) -> u64 {
        FEATURES
    }
    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }
    fn read_config(&self, _: u64, _: Width) -> u64 {
        self.pattern.into()
    }
    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        assert_eq!(features & !(FEATURES | VERSION_1 | EVENT_IDX | INDIRECT), 0);
        assert_ne!(features & VERSION_1, 0);
        queues.iter().for_each(|queue| self.check_queue(queue));
        if self.refuses.load(Ordering::Relaxed) {
            return Err(PlugError("told to".to_owned()));
        }
        let before = self.plugged.lock().unwrap().replace(Plugged { features, queues, notice });
        assert!(before.is_none(), "plugged twice");
        Ok(())
    }
    fn unplug(&self) -> Vec<LiveQueue> {
        self.plugged.lock().unwrap().take().expect("unplugged twice").queues
    }
    fn reset(&self) {
        assert!(self.plugged.lock().unwrap().is_none(), "reset while plugged");
    }
    fn save(&self) -> Result<Saved, SaveError> {
        assert!(self.plugged.lock().unwrap().is_none(), "saved while plugged");
        Saved::new("checker", 1, &())
    }
    fn load(&self, _: u64, saved: &Saved) -> Result<(), LoadError> {
        assert!(self.plugged.lock().unwrap().is_none(), "loaded while plugged");
        saved.read("checker", 1, |_, state| state)
    }
}
