//! How a driver reaches a device: over PCI, as virtio 1.2, 4.1 has it, without the legacy parts.

mod notice;
pub mod pci;
mod queue;
mod registers;
mod structures;
#[cfg(test)]
mod test_device;
