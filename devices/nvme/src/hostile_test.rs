//! Properties: nothing that a guest writes anywhere ends a thread of the controller, and a reset brings it
//! back.

use proptest::prelude::*;

use crate::testing::hostile;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_a_guest_does_a_reset_brings_the_controller_back(
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        hostile::run(&bytes);
    }

    #[test]
    fn any_access_to_registers_leaves_a_controller_that_a_reset_brings_back(
        bytes in prop::collection::vec(any::<u8>(), 0..1600),
    ) {
        hostile::registers(&bytes);
    }

    #[test]
    fn any_entry_of_a_queue_leaves_a_controller_that_a_reset_brings_back(
        entries in prop::collection::vec(
            (any::<bool>(), 0u8..13, prop::array::uniform16(any::<u32>())),
            0..20,
        ),
    ) {
        let bytes: Vec<u8> = entries
            .into_iter()
            .flat_map(|(queue, opcode, mut words)| {
                words[0] = words[0] & 0xffff_0000 | u32::from(opcode);
                words[1] &= 1;
                let entry = words.map(u32::to_le_bytes);
                [[u8::from(queue)].as_slice(), entry.as_flattened()].concat()
            })
            .collect();
        hostile::commands(&bytes);
    }
}
