//! Properties: nothing that a guest writes anywhere ends a thread of the card, and a reset brings it
//! back.

use proptest::prelude::*;

use crate::testing::hostile;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_guest_does_a_reset_brings_the_card_back(
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        hostile::run(&bytes);
    }

    #[test]
    fn any_access_to_registers_leaves_a_card_that_a_reset_brings_back(
        bytes in prop::collection::vec(any::<u8>(), 0..1600),
    ) {
        hostile::registers(&bytes);
    }

    #[test]
    fn any_entry_of_the_admin_queue_leaves_a_card_that_a_reset_brings_back(
        entries in prop::collection::vec((0u8..13, prop::array::uniform16(any::<u32>())), 0..20),
    ) {
        let bytes: Vec<u8> = entries
            .into_iter()
            .flat_map(|(opcode, mut words)| {
                words[0] = words[0] & 0xff00_ffff | u32::from(opcode) << 16;
                words.map(u32::to_le_bytes).as_flattened().to_vec()
            })
            .collect();
        hostile::commands(&bytes);
    }

    #[test]
    fn any_descriptor_leaves_a_card_that_a_reset_brings_back(
        bytes in prop::collection::vec(any::<u8>(), 0..1000),
    ) {
        hostile::rings(&bytes);
    }
}
