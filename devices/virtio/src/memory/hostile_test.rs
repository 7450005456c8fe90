//! Properties: nothing a driver writes anywhere ends the device's thread, or gives it more than it is to have.

use device_core::hot_region::HotRegion;
use proptest::prelude::*;

use crate::device::VirtioDevice;
use crate::testing::hostile::{self, Ring};
use crate::testing::memory::{
    ACK, BLOCK, BLOCKS, ERROR, NACK, PLUG, START, STATE, TestHotMemory, UNPLUG, UNPLUG_ALL, request,
};

const REQUESTS: u64 = 0x10_0000;
const MIB: u64 = 1 << 20;

fn ring() -> impl Strategy<Value = Ring> {
    let addr = prop_oneof![
        6 => (0u64..32).prop_map(|nth| REQUESTS + nth * 32),
        2 => (0u64..BLOCKS).prop_map(|block| START + block * BLOCK),
        1 => START - 0x1000..START + 0x1000,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![4 => Just(24u32), 4 => Just(10), 2 => 0u32..64, 1 => any::<u32>()];
    hostile::ring(addr, len)
}

/// A request that makes sense, nearly.
fn asked() -> impl Strategy<Value = (u16, u64, u16)> {
    (0u16..5, 0u64..BLOCKS + 2, prop_oneof![8 => 0u16..80, 1 => any::<u16>()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_a_driver_writes_the_device_lives_and_a_reset_brings_it_back(
        ring in ring(),
        requests in prop::collection::vec(asked(), 32),
        wanted_mib in 0u32..128,
    ) {
        let wanted_mib = wanted_mib * 2;
        let mut test = TestHotMemory::new(wanted_mib);
        for (nth, (kind, block, count)) in (0u64..).zip(&requests) {
            let bytes = request(*kind, START + block * BLOCK, *count);
            test.guest.write(REQUESTS + nth * 32, &bytes);
        }
        ring.write(&mut test.guest.queues[0]);
        test.run();
        prop_assert!(test.device.plugged() <= u64::from(wanted_mib) * MIB);
        prop_assert_eq!(test.device.unplug().len(), 1);
        test.device.reset();

        test.guest.new_rings(1, false);
        test.start();
        prop_assert_eq!(test.ask(UNPLUG_ALL, 0, 0), (ACK, 0));
        prop_assert_eq!(test.device.plugged(), 0);
    }

    #[test]
    fn answers_are_those_of_a_plain_list_of_blocks(
        requests in prop::collection::vec((asked(), 0u32..130), 0..25),
    ) {
        let mut test = TestHotMemory::new(0);
        let mut plain = vec![false; BLOCKS as usize];
        let mut usable = 0;
        for ((kind, block, count), wanted) in requests {
            // Now and then the owner changes his mind.
            if wanted <= 128 && wanted % 4 == 0 {
                test.device.request(wanted * 2).unwrap();
                usable = usable.max(u64::from(wanted).next_multiple_of(64));
            }
            let wanted = u64::from(test.device.spec().requested_mib) / 2;
            let end = block + u64::from(count);
            let there = count > 0 && end <= usable;
            let part = block as usize..(end.min(BLOCKS) as usize).max(block as usize);
            let set = plain.get(part.clone()).unwrap_or_default();
            let (all, none) = (set.iter().all(|on| *on), !set.iter().any(|on| *on));
            let has = plain.iter().filter(|on| **on).count() as u64;
            let answer = match kind {
                UNPLUG_ALL => {
                    plain.fill(false);
                    (ACK, 0)
                }
                PLUG | UNPLUG | STATE if !there => (ERROR, 0),
                PLUG if has + u64::from(count) > wanted => (NACK, 0),
                PLUG if none => {
                    plain[part].fill(true);
                    (ACK, 0)
                }
                UNPLUG if all => {
                    plain[part].fill(false);
                    (ACK, 0)
                }
                STATE => (ACK, if all { 0 } else if none { 1 } else { 2 }),
                _ => (ERROR, 0),
            };
            prop_assert_eq!(test.ask(kind, block, count), answer, "{} {} {}", kind, block, count);
            let runs = test.runs().into_iter().flat_map(|(first, count)| first..first + count);
            let of_plain: Vec<_> = (0..BLOCKS).filter(|at| plain[*at as usize]).collect();
            prop_assert_eq!(runs.collect::<Vec<_>>(), of_plain);
            prop_assert_eq!(test.region().blocks().plugged_bytes(), test.device.plugged());
        }
    }
}
