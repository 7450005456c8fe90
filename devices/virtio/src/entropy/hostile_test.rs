//! Properties: nothing a driver writes anywhere ends the entropy device's thread.

use proptest::prelude::*;

use crate::device::VirtioDevice;
use crate::entropy::{Entropy, EntropySpec};
use crate::testing::guest::{END, GAP, HIGH, SEAM, TestGuest};
use crate::testing::hostile::{self, Ring};
use crate::testing::ring::writable;

fn ring() -> impl Strategy<Value = Ring> {
    let addr = prop_oneof![
        4 => SEAM - 0x1000..SEAM + 0x1000,
        1 => GAP - 0x1000..GAP + 0x1000,
        1 => HIGH - 0x1000..END + 0x1000,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![4 => 0u32..4096, 1 => any::<u32>()];
    hostile::ring(addr, len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_driver_writes_the_device_lives_and_a_reset_brings_it_back(
        ring in ring(),
        indirect: bool,
    ) {
        let mut guest = TestGuest::new(1, false);
        let entropy = Entropy::build(&EntropySpec::default(), &guest.machine.kit());
        guest.plug(&*entropy, u64::from(indirect) << 28);
        ring.write(&mut guest.queues[0]);
        (0..4).for_each(|_| entropy.settle());
        prop_assert_eq!(entropy.unplug().len(), 1);
        entropy.reset();

        guest.new_rings(1, false);
        guest.plug(&*entropy, 0);
        let at = guest.buffer(64);
        guest.queues[0].offer(&[writable(at, 64)]);
        guest.queues[0].kick();
        entropy.settle();
        prop_assert_eq!(guest.queues[0].take().map(|(_, len)| len), Some(64));
    }
}
