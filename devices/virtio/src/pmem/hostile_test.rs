//! Properties: nothing a driver writes anywhere ends the thread of persistent memory.

use block::image::Image;
use proptest::prelude::*;

use crate::device::VirtioDevice;
use crate::pmem::{Pmem, PmemSpec};
use crate::testing::guest::{END, GAP, HIGH, SEAM, TestGuest};
use crate::testing::hostile::{self, Ring};
use crate::testing::ring::writable;

fn ring() -> impl Strategy<Value = Ring> {
    let addr = prop_oneof![
        4 => SEAM - 0x1000..SEAM + 0x1000,
        1 => GAP - 8..GAP + 8,
        1 => HIGH - 8..HIGH + 8,
        1 => END - 8..END + 8,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![6 => Just(4u32), 2 => 0u32..9, 1 => any::<u32>()];
    hostile::ring(addr, len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_driver_writes_the_device_lives_and_a_reset_brings_it_back(
        ring in ring(),
        indirect: bool,
        read_only: bool,
    ) {
        let mut guest = TestGuest::new(1, false);
        let spec = PmemSpec { id: "p".into(), read_only, ..PmemSpec::default() };
        let image = Image::in_memory(2 << 20, read_only, None);
        let pmem = Pmem::on(&spec, image, &guest.machine.kit()).unwrap();
        guest.plug(&*pmem, u64::from(indirect) << 28);
        ring.write(&mut guest.queues[0]);
        (0..4).for_each(|_| pmem.settle());
        prop_assert_eq!(pmem.unplug().len(), 1);
        pmem.reset();

        guest.new_rings(1, false);
        guest.plug(&*pmem, 0);
        let (request, answer) = (guest.readable(&[0; 4]), guest.buffer(4));
        guest.queues[0].offer(&[request, writable(answer, 4)]);
        guest.queues[0].kick();
        pmem.settle();
        prop_assert_eq!(guest.queues[0].take().map(|(_, len)| len), Some(4));
    }
}
