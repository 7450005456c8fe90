//! Makes the seeds of the fuzz targets by driving their machines as drivers do, good ones and bad.
//!
//! `cargo run --example seeds` in this folder writes them to `corpus/TARGET/seed-NAME`.

use std::fs;
use std::path::Path;

mod seeds {
    pub mod api;
    pub mod block;
    pub mod card_states;
    pub mod disks;
    pub mod ena;
    pub mod kernels;
    pub mod metadata;
    pub mod migrations;
    pub mod mmio;
    pub mod net;
    pub mod nvme;
    pub mod overlays;
    pub mod pci;
    pub mod plain;
    pub mod ports;
    pub mod rewrite;
    pub mod snapshots;
    pub mod specs;
    pub mod states;
    pub mod vsock;
}

/// A seed: its name and its bytes.
pub type Seed = (&'static str, Vec<u8>);

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets = [
        ("api_requests", seeds::api::all()),
        ("boot_disk", seeds::disks::all()),
        ("device_states", seeds::states::all()),
        ("ena_card", seeds::ena::card()),
        ("ena_commands", seeds::ena::commands()),
        ("ena_registers", seeds::ena::registers()),
        ("ena_rings", seeds::ena::rings()),
        ("ena_states", seeds::card_states::of(&seeds::ena::card())),
        ("kernel_loaders", seeds::kernels::all()),
        ("legacy_ports", seeds::ports::all()),
        ("metadata", seeds::metadata::all()),
        ("migration", seeds::migrations::all()),
        ("nvme_card", seeds::nvme::card()),
        ("nvme_commands", seeds::nvme::commands()),
        ("nvme_registers", seeds::nvme::registers()),
        ("nvme_states", seeds::card_states::of(&seeds::nvme::card())),
        ("overlay_file", seeds::overlays::all()),
        ("pci_mmio", seeds::pci::all()),
        ("rewrite", seeds::rewrite::all()),
        ("snapshot_state", seeds::snapshots::all()),
        ("specs", seeds::specs::all()),
        ("virtio_block", seeds::block::all()),
        ("virtio_mmio", seeds::mmio::all()),
        ("virtio_net_queues", seeds::net::all()),
        ("virtio_plain", seeds::plain::all()),
        ("virtio_vsock", seeds::vsock::all()),
    ];
    for (target, seeds) in targets {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in &seeds {
            fs::write(folder.join(format!("seed-{name}")), bytes)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}
