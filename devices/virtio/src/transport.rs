//! How a driver reaches a device: over PCI or over MMIO, as virtio 1.2, 4.1 and 4.2 have them, without the
//! legacy parts.

pub mod common;
#[cfg(test)]
mod contract;
mod interrupts;
pub mod mmio;
mod notice;
pub mod pci;
mod queue;
mod registers;
mod structures;
#[cfg(test)]
mod test_device;
#[cfg(test)]
mod test_slot;
