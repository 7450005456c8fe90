//! Properties: nothing a driver writes anywhere ends the balloon's thread, or gives back what is not memory.

use proptest::prelude::*;

use crate::balloon::BalloonSpec;
use crate::device::VirtioDevice;
use crate::testing::balloon::{ALL, INFLATE, TestBalloon, everything};
use crate::testing::guest::{END, GAP, HIGH, SEAM};
use crate::testing::hostile::{self, Ring};
use device_core::bus::Width;

const LISTS: u64 = 0x10_0000;

fn ring() -> impl Strategy<Value = Ring> {
    let addr = prop_oneof![
        4 => (0u64..64).prop_map(|nth| LISTS + nth * 64),
        2 => (0u64..64).prop_map(|nth| SEAM - 0x8000 + nth * 0x1000),
        1 => GAP - 0x2000..GAP + 0x2000,
        1 => HIGH - 0x2000..END + 0x2000,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![3 => Just(4u32), 3 => Just(1024), 3 => Just(0x1000), 2 => 0u32..4096, 1 => any::<u32>()];
    hostile::ring(addr, len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_driver_writes_the_balloon_lives_and_a_reset_brings_it_back(
        rings in prop::collection::vec(ring(), 5),
        lists in prop::collection::vec(any::<[u32; 16]>(), 64),
        negotiated: u64,
        poison: u32,
        actual: u32,
    ) {
        let mut test = TestBalloon::with(&BalloonSpec { amount_mib: 1, ..everything() }, 5);
        for (nth, list) in (0u64..).zip(&lists) {
            let bytes: Vec<u8> = list
                .iter()
                // Most are of pages that are there.
                .map(|number| if number % 4 == 0 { *number } else { number % 0x900 })
                .flat_map(u32::to_le_bytes)
                .collect();
            test.guest.write(LISTS + nth * 64, &bytes);
        }
        test.start(ALL & negotiated);
        test.balloon.write_config(4, Width::B4, actual.into());
        test.balloon.write_config(12, Width::B4, (poison & 1).into());
        test.balloon.start_hinting(true).unwrap();
        for (ring, with) in test.guest.queues.iter_mut().zip(&rings) {
            with.write(ring);
        }
        (0..20).for_each(|_| test.balloon.settle());
        for (start, len) in test.given_back() {
            let end = start + len;
            let low = end <= GAP;
            prop_assert!(low || start >= HIGH && end <= END, "{start:#x} {len:#x}");
        }
        prop_assert_eq!(test.balloon.unplug().len(), 5);
        test.balloon.reset();

        test.guest.new_rings(5, false);
        test.start(ALL);
        test.send_pages(INFLATE, &[512]);
        prop_assert_eq!(test.given_back(), [(0x20_0000, 0x1000)]);
        prop_assert!(test.guest.queues[INFLATE].take().is_some());
    }
}
