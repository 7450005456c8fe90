//! Properties: nothing a driver writes anywhere ends a thread of the disk, or leaves its image.

use block::spec::DiskSpec;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::device::VirtioDevice;
use crate::testing::disk::{
    DISCARD, EVENT_IDX, FLUSH, GAP, GET_ID, IN, OK, OUT, SEAM, SIZE, TestDisk, USUAL, WRITE_ZEROES,
};
use crate::testing::hostile::{self, Ring};

const BUFFERS: u64 = 0x40_0000;

fn ring() -> impl Strategy<Value = Ring> {
    let addr = prop_oneof![
        6 => (0u64..64).prop_map(|nth| BUFFERS + nth * 16),
        2 => BUFFERS..BUFFERS + 0x1_0000,
        1 => SEAM - 1024..SEAM + 1024,
        1 => GAP - 1024..GAP + 1024,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![3 => Just(16u32), 3 => Just(512), 2 => Just(1), 2 => 0u32..4096, 1 => any::<u32>()];
    hostile::ring(addr, len)
}

/// Headers that are often right, at which descriptors often point.
fn header() -> impl Strategy<Value = [u8; 16]> {
    let kind = prop_oneof![
        8 => prop::sample::select(vec![IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES]),
        1 => any::<u32>(),
    ];
    let sector = prop_oneof![4 => 0..SIZE / 512, 1 => any::<u64>()];
    (kind, any::<u32>(), sector).prop_map(|(kind, reserved, sector)| {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[4..8].copy_from_slice(&(reserved & 0xffff).to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        header
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_a_driver_writes_the_disk_lives_and_a_reset_brings_it_back(
        rings in prop::collection::vec(ring(), 2),
        headers in prop::collection::vec(header(), 64),
        features: u64,
        event_idx: bool,
        holds: bool,
    ) {
        let mut disk = TestDisk::with(&DiskSpec::on("test", "memory"), 2, event_idx);
        for (at, header) in (BUFFERS..).step_by(16).zip(&headers) {
            disk.memory.write_slice(header, GuestAddress(at)).unwrap();
        }
        if holds {
            disk.stage.hold();
        }
        let idx = if event_idx { EVENT_IDX } else { 0 };
        disk.start(USUAL & features & !EVENT_IDX | idx);
        for (ring, with) in disk.queues.iter_mut().zip(&rings) {
            with.write(ring);
        }
        disk.block.settle();
        disk.stage.release_all();
        disk.block.settle();
        prop_assert_eq!(disk.block.unplug().len(), 2);
        disk.block.reset();
        let stats = disk.block.port().stats();
        prop_assert!(stats.iter().all(|lane| lane.in_flight() == 0));
        for asked in disk.stage.asked() {
            prop_assert!(asked.offset + asked.len <= SIZE, "{:?}", asked);
        }

        disk.new_rings(2, 256, event_idx);
        disk.start(USUAL | idx);
        prop_assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
    }
}
