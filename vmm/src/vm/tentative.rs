//! The bus of a machine that may come to nothing.

use std::ops::Deref;
use std::sync::Arc;

use device_core::bus::Bus;

/// A bus that is emptied unless its machine comes to be: PCI and its cards are on it and hold it, so that nothing of them
/// would go by itself, nor the guest memory that they hold.
pub struct Tentative {
    bus: Arc<Bus>,
    stays: bool,
}

impl Tentative {
    /// An empty one.
    pub fn new() -> Tentative {
        Tentative { bus: Bus::new(), stays: false }
    }

    /// The machine is there.
    pub fn keep(mut self) {
        self.stays = true;
    }
}

impl Deref for Tentative {
    type Target = Arc<Bus>;

    fn deref(&self) -> &Arc<Bus> {
        &self.bus
    }
}

impl Drop for Tentative {
    fn drop(&mut self) {
        if !self.stays {
            self.bus.clear();
        }
    }
}
