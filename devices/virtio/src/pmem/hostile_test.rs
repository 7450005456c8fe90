//! Properties: nothing a driver writes anywhere ends the thread of persistent memory.

use block::image::Image;
use proptest::prelude::*;

use crate::device::VirtioDevice;
use crate::pmem::{Pmem, PmemSpec};
use crate::testing::guest::{END, GAP, HIGH, SEAM, TestGuest};
use crate::testing::ring::{Descriptor, writable};

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let addr = prop_oneof![
        4 => SEAM - 0x1000..SEAM + 0x1000,
        1 => GAP - 8..GAP + 8,
        1 => HIGH - 8..HIGH + 8,
        1 => END - 8..END + 8,
        1 => any::<u64>(),
    ];
    let len = prop_oneof![6 => Just(4u32), 2 => 0u32..9, 1 => any::<u32>()];
    (addr, len, 0u16..8, 0u16..12).prop_map(|(addr, len, flags, next)| Descriptor {
        addr,
        len,
        flags,
        next,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_driver_writes_the_device_lives_and_a_reset_brings_it_back(
        descriptors in prop::collection::vec(descriptor(), 10),
        heads in prop::collection::vec(prop_oneof![9 => 0u16..10, 1 => any::<u16>()], 0..12),
        index in prop_oneof![3 => Just(None), 1 => any::<u16>().prop_map(Some)],
        indirect: bool,
        read_only: bool,
    ) {
        let mut guest = TestGuest::new(1, false);
        let spec = PmemSpec { id: "p".into(), read_only, ..PmemSpec::default() };
        let image = Image::in_memory(2 << 20, read_only, None);
        let pmem = Pmem::on(&spec, image, &guest.machine.kit()).unwrap();
        guest.plug(&*pmem, u64::from(indirect) << 28);
        for (at, descriptor) in (0..).zip(&descriptors) {
            guest.queues[0].write_descriptor(at, *descriptor);
        }
        guest.queues[0].offer_heads(&heads);
        if let Some(index) = index {
            guest.queues[0].set_available(index);
        }
        guest.queues[0].force_kick();
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
