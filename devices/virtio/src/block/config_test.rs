//! Tests of the configuration's layout.

use block::image::Facts;

use super::*;
use crate::block::features::{DISCARD, WRITE_ZEROES};

const FACTS: Facts = Facts {
    size: 0x1234_5678_9a00,
    logical: 512,
    physical_exponent: 3,
    optimal: 65536,
    discard_granularity: 4096,
    read_only: false,
};

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().unwrap()
}

/// B8, B9, B12, B13.
#[test]
fn each_field_is_where_drivers_look_for_it() {
    let config = bytes(&FACTS, DISCARD | WRITE_ZEROES, 0x0102, true);
    assert_eq!(u64::from_le_bytes(field(&config, 0)), 0x1234_5678_9a00 / 512);
    assert_eq!(u32::from_le_bytes(field(&config, 8)), 0, "no size_max");
    assert_eq!(u32::from_le_bytes(field(&config, 12)), 254);
    assert_eq!(u32::from_le_bytes(field(&config, 20)), 512);
    assert_eq!((config[24], config[25]), (3, 0));
    assert_eq!(u16::from_le_bytes(field(&config, 26)), 8);
    assert_eq!(u32::from_le_bytes(field(&config, 28)), 128);
    assert_eq!((config[32], config[33]), (1, 0));
    assert_eq!(u16::from_le_bytes(field(&config, 34)), 0x0102);
    for at in [36, 48] {
        assert_eq!(u32::from_le_bytes(field(&config, at)), 1 << 22);
        assert_eq!(u32::from_le_bytes(field(&config, at + 4)), 32);
    }
    assert_eq!(u32::from_le_bytes(field(&config, 44)), 8);
    assert_eq!(config[56], 1);
    assert!(config[57..].iter().all(|byte| *byte == 0));
}

/// B9.
#[test]
fn what_is_not_offered_has_no_limits() {
    let config = bytes(&Facts { read_only: true, ..FACTS }, 0, 1, false);
    assert!(config[36..].iter().all(|byte| *byte == 0) && config[32] == 0);
}
