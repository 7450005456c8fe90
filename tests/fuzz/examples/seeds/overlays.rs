//! Headers of overlays, with maps behind them.

use block::image::{Header, Identity};

use crate::Seed;

/// All of them.
pub fn all() -> Vec<Seed> {
    let of = |size| Header::new(size, Identity { size, modified: 1 }).to_page().to_vec();
    let with_map = |size, map: &[u8]| [of(size), map.to_vec()].concat();
    vec![
        ("empty", of(1 << 20)),
        ("some", with_map(1 << 20, &[0b101, 0x80])),
        ("behind", with_map(1 << 20, &[0, 0, 1])),
        ("short", with_map(512, &[1])),
        ("large", with_map(1 << 40, &[255; 64])),
    ]
}
