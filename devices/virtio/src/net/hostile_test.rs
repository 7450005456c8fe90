//! Properties: nothing a driver writes anywhere ends a thread of the card.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::device::VirtioDevice;
use crate::testing::hostile::{self, Ring};
use crate::testing::nic::{
    ABLE, CTRL, HASH_REPORT, INDIRECT, MQ, MRG_RXBUF, Nic, RSS, RX_OFFLOADS, TX_OFFLOADS,
};

fn ring() -> impl Strategy<Value = Ring> {
    let addr = prop_oneof![4 => 0x40_0000u64..0x41_0000, 1 => 0x1ff_f000u64..0x200_1000, 1 => any::<u64>()];
    let len = prop_oneof![4 => 0u32..4096, 1 => any::<u32>()];
    hostile::ring(addr, len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_a_driver_writes_the_card_lives_and_a_reset_brings_it_back(
        rings in prop::collection::vec(ring(), 5),
        buffers in prop::collection::vec(any::<u8>(), 4096),
        frames in prop::collection::vec(0usize..5000, 0..8),
        mergeable: bool,
        scaling: bool,
        event_idx: bool,
    ) {
        let mut nic = Nic::with(2, ABLE, event_idx);
        // Buffers are headers, indirect tables, commands and frames at once.
        for at in [0x40_0000, 0x40_8000] {
            nic.memory.write_slice(&buffers, GuestAddress(at)).unwrap();
        }
        let merge = if mergeable { MRG_RXBUF } else { 0 };
        let scale = if scaling { RSS | HASH_REPORT } else { 0 };
        nic.start(CTRL | MQ | INDIRECT | TX_OFFLOADS | RX_OFFLOADS | merge | scale);
        for len in frames {
            nic.stages[0].bring(vec![0xff; len]);
            nic.stages[1].bring(vec![0xff; len]);
        }
        let [a, b, c, d, e] = &rings[..] else { unreachable!("five rings") };
        let [one, two] = &mut nic.pairs[..] else { unreachable!("two pairs") };
        for (ring, with) in
            [(&mut one.rx, a), (&mut one.tx, b), (&mut two.rx, c), (&mut two.tx, d), (&mut nic.control, e)]
        {
            with.write(ring);
        }
        nic.settle();
        prop_assert_eq!(nic.net.unplug().len(), 5);
        nic.net.reset();

        let mut fresh = Nic::of(nic.machine, nic.net, nic.stages, 2, event_idx);
        let zeroes = vec![0; 0x8_0000];
        fresh.memory.write_slice(&zeroes, GuestAddress(0x1_0000)).unwrap();
        fresh.stages.iter().for_each(|stage| stage.scene().incoming.clear());
        fresh.start(CTRL | MQ | merge);
        fresh.stages[0].take_sent();
        fresh.send(&[0xff; 60]);
        prop_assert_eq!(fresh.stages[0].take_sent(), [vec![0xff; 60].into()]);
        fresh.post(0, 2, 2048);
        fresh.stages[0].bring(vec![0xff; 64]);
        fresh.settle();
        prop_assert_eq!(fresh.pairs[0].rx.take().map(|(_, len)| len), Some(76));
    }
}
