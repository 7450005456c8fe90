//! Tests of a disk that goes on in another process.

use std::sync::Arc;

use block::image::Image;
use block::port::DiskPort;
use block::spec::{Cache, DiskSpec};
use device_core::bus::Width;
use device_core::snapshot::Saved;
use device_core::testing::mutants;
use proptest::prelude::*;

use super::*;
use crate::device::VirtioDevice;
use crate::testing::disk::{FLUSH, GET_ID, IN, OUT, SIZE, TestDisk, USUAL, WRITE_ZEROES, pattern};
use crate::testing::ring::{readable, writable};

const WCE: u64 = features::CONFIG_WCE;

fn spec() -> DiskSpec {
    DiskSpec::on("test", "memory")
}

fn started() -> TestDisk {
    let mut disk = TestDisk::with(&spec(), 1, false);
    disk.start(USUAL | WCE);
    disk
}

/// A disk as `spec` has it, of `size` bytes, before any driver, in the memory of `disk`.
fn fresh(disk: &mut TestDisk, spec: &DiskSpec, size: u64) -> Arc<Block> {
    let kit = disk.machine.kit();
    let image = Image::in_memory(size, spec.read_only, None);
    let (port, stage) = DiskPort::scripted(spec, image, 1, &kit);
    let block = Block::on_port(port, &kit);
    disk.stage = stage;
    block
}

#[test]
fn what_the_driver_takes_for_granted_must_be_so() {
    let mut disk = started();
    drop(disk.block.unplug());
    let saved = VirtioDevice::save(&*disk.block).unwrap();
    let mut refusal = |spec: &DiskSpec, size| {
        let new = fresh(&mut disk, spec, size);
        VirtioDevice::load(&*new, USUAL, &saved).err().map(|error| error.to_string())
    };
    assert_eq!(refusal(&spec(), SIZE), None);
    let size = refusal(&spec(), SIZE * 2).unwrap();
    let text =
        "size of the virtio-block cannot be: the disk had 4194304 bytes, and this one has 8388608";
    assert_eq!(size, text);
    let serial = refusal(&DiskSpec { serial: Some("x".into()), ..spec() }, SIZE).unwrap();
    assert!(serial.starts_with("serial of the virtio-block cannot be: the disk's was"), "{serial}");
    let read_only = refusal(&DiskSpec { read_only: true, ..spec() }, SIZE).unwrap();
    assert_eq!(read_only, "read_only of the virtio-block cannot be: this disk cannot be written");
    let off = BlockState { writeback: true, ..Snapshot::save(&*disk.block) };
    let new = fresh(&mut disk, &DiskSpec { cache: Cache::Unsafe, ..spec() }, SIZE);
    let error = Snapshot::load(&*new, off).unwrap_err().to_string();
    assert!(error.starts_with("writeback of the virtio-block"), "{error}");
}

#[test]
fn no_wrong_state_harms() {
    let mut disk = started();
    let mut queues = disk.block.unplug();
    let saved = serde_json::to_value(VirtioDevice::save(&*disk.block).unwrap()).unwrap();
    for mutant in mutants(&saved) {
        let Ok(saved) = serde_json::from_value::<Saved>(mutant) else { continue };
        let new = fresh(&mut disk, &spec(), SIZE);
        if VirtioDevice::load(&*new, USUAL | WCE, &saved).is_ok() {
            disk.block = new;
            disk.block.plug(USUAL | WCE, queues, disk.notice.clone()).unwrap();
            let at = disk.buffer(512);
            assert_eq!(disk.one(IN, 0, &[writable(at, 512)]), (0, 513));
            queues = disk.block.unplug();
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u8),
    Read(u64),
    Flush,
    Zero(u64),
    Name,
    Cache(bool),
    Broken(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let sector = prop_oneof![9 => 0u64..16, 1 => Just(SIZE / 512)];
    prop_oneof![
        (sector.clone(), any::<u8>()).prop_map(|(sector, seed)| Op::Write(sector, seed)),
        sector.clone().prop_map(Op::Read),
        Just(Op::Flush),
        sector.prop_map(Op::Zero),
        Just(Op::Name),
        any::<bool>().prop_map(Op::Cache),
        (0u32..40).prop_map(Op::Broken),
    ]
}

/// Does it; all that the driver and the host see.
fn run(disk: &mut TestDisk, op: &Op) -> impl PartialEq + std::fmt::Debug + use<> {
    let at = disk.buffer(512);
    let syncs = disk.count("flushes");
    let answer = match *op {
        Op::Write(sector, seed) => {
            disk.write(at, &pattern(512, seed));
            disk.one(OUT, sector, &[readable(at, 512)])
        }
        Op::Read(sector) => disk.one(IN, sector, &[writable(at, 512)]),
        Op::Flush => disk.one(FLUSH, 0, &[]),
        Op::Zero(sector) => {
            let ranges = disk.ranges(&[(sector, 1, 0)]);
            disk.one(WRITE_ZEROES, 0, &[ranges])
        }
        Op::Name => disk.one(GET_ID, 0, &[writable(at, 20)]),
        Op::Cache(on) => {
            disk.block.write_config(32, Width::B1, on.into());
            (0, 0)
        }
        Op::Broken(kind) => disk.one(kind, 3, &[]),
    };
    let config: Vec<_> = (0..60).map(|at| disk.block.read_config(at, Width::B1)).collect();
    (answer, disk.read(at, 512), config, disk.count("flushes") - syncs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_disk_goes_on_as_it_would_have(
        before in prop::collection::vec(op(), 0..12),
        after in prop::collection::vec(op(), 0..12),
    ) {
        let (mut old, mut new) = (started(), started());
        for op in &before {
            prop_assert_eq!(run(&mut old, op), run(&mut new, op));
        }
        let queues = new.block.unplug();
        let saved = VirtioDevice::save(&*new.block).unwrap();
        let content: Vec<Vec<u8>> = (0..16).map(|sector| {
            let at = old.buffer(512);
            old.one(IN, sector, &[writable(at, 512)]);
            old.read(at, 512)
        }).collect();
        new.block = fresh(&mut new, &spec(), SIZE);
        VirtioDevice::load(&*new.block, USUAL | WCE, &saved).unwrap();
        prop_assert_eq!(VirtioDevice::save(&*new.block).unwrap(), saved);
        new.block.plug(USUAL | WCE, queues, new.notice.clone()).unwrap();
        // The image is another in this test; so it is given what was in the first.
        for (sector, content) in (0..).zip(content) {
            let at = new.buffer(512);
            new.write(at, &content);
            prop_assert_eq!(new.one(OUT, sector, &[readable(at, 512)]).0, 0);
        }
        for op in &after {
            prop_assert_eq!(run(&mut old, op), run(&mut new, op), "{:?}", op);
        }
        prop_assert_eq!((old.notice.resets_asked(), new.notice.resets_asked()), (0, 0));
    }
}
