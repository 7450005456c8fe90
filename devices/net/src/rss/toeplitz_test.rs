//! Tests of the hash against its definition, bit by bit.

use proptest::prelude::*;

use super::*;

/// For every bit of the input that is set, the 32 bits of the key from there on.
fn by_definition(key: &Key, input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], n: usize| bytes.get(n / 8).is_some_and(|b| b >> (7 - n % 8) & 1 == 1);
    let mut hash = 0;
    for n in (0..input.len() * 8).filter(|n| bit(input, *n)) {
        for place in 0..32 {
            hash ^= u32::from(bit(&key.0, n + place)) << (31 - place);
        }
    }
    hash
}

fn any_key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), KEY_LEN).prop_map(|bytes| Key(bytes.try_into().unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn tables_agree_with_the_definition(
        key in any_key(),
        inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=MAX_INPUT), 8),
    ) {
        let toeplitz = Toeplitz::new(&key);
        for input in inputs {
            prop_assert_eq!(toeplitz.hash(&input), by_definition(&key, &input));
        }
    }
}

#[test]
fn no_input_hashes_to_zero_and_the_first_bit_to_the_start_of_the_key() {
    let toeplitz = Toeplitz::new(&Key([0xa5; KEY_LEN]));
    assert_eq!(toeplitz.hash(&[]), 0);
    assert_eq!(toeplitz.hash(&[0; MAX_INPUT]), 0);
    assert_eq!(toeplitz.hash(&[0x80]), 0xa5a5_a5a5);
}

#[test]
fn a_key_reversed_twice_is_itself() {
    let key = Key(std::array::from_fn(|at| at as u8));
    assert_eq!(key.reversed().0[..2], [39, 38]);
    assert_eq!(key.reversed().reversed(), key);
}
