//! What the fuzz targets run: machines without KVM, the steps that can happen to them, and what must
//! hold whatever happens.
//!
//! An input is a list of steps in bytes ([`input`]). Each machine also offers its steps one by one, so
//! that seeds are made by driving it as a driver would (`examples/seeds.rs`).

mod checker;
pub mod device_states;
pub mod disks;
pub mod driver;
pub mod input;
pub mod legacy_ports;
pub mod memory;
pub mod metadata;
pub mod overlay_file;
pub mod pci_mmio;
pub mod rewrite;
pub mod ring_step;
pub mod virtio_block;
mod virtio_card;
pub mod virtio_mmio;
pub mod virtio_net;
pub mod virtio_plain;
pub mod virtio_vsock;
