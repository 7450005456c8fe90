//! Tests of the whole way from a frame to a hash, with the published verification vectors.

use super::*;

/// Key of the Microsoft RSS verification suite.
pub(crate) const MICROSOFT: Key = Key([
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
]);

/// Source, destination, hash of addresses, hash of addresses and ports.
const VECTORS: &[(&str, u16, &str, u16, u32, u32)] = &[
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e8fc2, 0x51ccc178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718262a, 0xc626b0ea),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0a5de, 0x5c2b394a),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xafc7327f),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d1809c5, 0x10e828a2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc18cd5, 0x40207d3d),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c461c, 0xdde51bbf),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        44251,
        "fe80::200:f8ff:fe21:67cf",
        38024,
        0x4b61e985,
        0x02d1feef,
    ),
];

fn rss(key: Key, initial: u32, size: usize, lanes: u16) -> Rss {
    Rss { key, initial, fields: Selection::all(), table: Table::spread(size, lanes).unwrap() }
}

fn flow(vector: &(&str, u16, &str, u16, u32, u32), protocol: u8) -> FlowKey {
    FlowKey {
        source: vector.0.parse().unwrap(),
        destination: vector.2.parse().unwrap(),
        protocol,
        source_port: vector.1,
        destination_port: vector.3,
    }
}

/// The flow's hashes over addresses, and over ports too.
fn hashes(rss: &Rss, vector: &(&str, u16, &str, u16, u32, u32)) -> (u32, u32) {
    let hash = |protocol| {
        let explained = explain::explain(rss, &flow(vector, protocol), |_| None).unwrap();
        explained.hash.unwrap()
    };
    assert_eq!(hash(6), hash(17), "TCP and UDP are hashed alike");
    (hash(1), hash(6))
}

#[test]
fn all_hashes_of_the_microsoft_suite_are_met() {
    for vector in VECTORS {
        assert_eq!(hashes(&rss(MICROSOFT, 0, 128, 1), vector), (vector.4, vector.5), "{vector:?}");
    }
}

#[test]
fn an_initial_value_of_ones_complements_every_hash() {
    for vector in VECTORS {
        let expected = (!vector.4, !vector.5);
        assert_eq!(hashes(&rss(MICROSOFT, u32::MAX, 128, 1), vector), expected, "{vector:?}");
    }
}

#[test]
fn a_key_that_an_ena_driver_did_not_reverse_gives_the_known_hashes() {
    // ENA spec 8.4: Linux writes the key as it is, and ones as the initial value.
    let linux = rss(MICROSOFT.reversed(), u32::MAX, 128, 1);
    assert_eq!(hashes(&linux, &VECTORS[0]), (0x30285ed2, 0x3dc77368));
    assert_eq!(hashes(&linux, &VECTORS[1]), (0xfa4868f4, 0x81948f3b));
    assert_eq!(hashes(&linux, &VECTORS[5]), (0x861c1cf4, 0xe48094e4));
}

#[test]
fn the_example_of_the_public_calculator_comes_out() {
    // ENA spec 8.4: the key as the user gives it, 1.2.3.4:7000 to 1.2.3.5:7000.
    let key = Key([
        0x77, 0xd1, 0xc9, 0x34, 0xa4, 0xc9, 0xbd, 0x87, 0x6e, 0x35, 0xdd, 0x17, 0xb2, 0xe3, 0x23,
        0x9e, 0x39, 0x6d, 0x8a, 0x93, 0x2a, 0x95, 0xb4, 0x72, 0x3a, 0xb3, 0x7f, 0x56, 0x8e, 0xde,
        0xb6, 0x01, 0x97, 0xaf, 0x3b, 0x2f, 0x3a, 0x70, 0xe7, 0x04,
    ]);
    let flow = ("1.2.3.4", 7000, "1.2.3.5", 7000, 0, 0);
    let (_, freebsd) = hashes(&rss(key, 0, 128, 1), &flow);
    let (_, linux) = hashes(&rss(key.reversed(), u32::MAX, 128, 1), &flow);
    assert_eq!((freebsd, freebsd % 128), (0xa9828bd4, 84));
    assert_eq!((linux, linux % 128), (0x5b5eb8e5, 101));
}

#[test]
fn the_low_bits_of_the_hash_choose_the_lane() {
    let buckets = [120, 106, 74, 127, 34, 61, 63, 111];
    for (vector, bucket) in VECTORS.iter().zip(buckets) {
        let rss = rss(MICROSOFT, 0, 128, 4);
        let explained = explain::explain(&rss, &flow(vector, 6), |lane| Some(1 + lane)).unwrap();
        assert_eq!(explained.bucket, Some(bucket));
        assert_eq!(explained.lane, bucket as u16 % 4);
        assert_eq!(explained.vector, Some(1 + explained.lane));
    }
}

#[test]
fn a_protocol_without_fields_has_no_hash_and_goes_where_the_table_says() {
    let mut rss = rss(MICROSOFT, u32::MAX, 128, 4);
    rss.fields.set(Protocol::Tcp4, Fields::empty());
    rss.table = Table::with_unhashed(vec![1; 128], 3, 4).unwrap();
    let explained = explain::explain(&rss, &flow(&VECTORS[0], 6), |_| None).unwrap();
    assert_eq!((explained.hash, explained.bucket, explained.lane), (None, None, 3));
    assert_eq!(explain::explain(&rss, &flow(&VECTORS[0], 17), |_| None).unwrap().lane, 1);
}

#[test]
fn only_selected_fields_are_hashed_as_if_the_others_were_not_there() {
    let mut frame = vec![0; 60];
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[23] = 6;
    frame[26..38].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x56, 0x78]);
    let hash = |fields| {
        let mut rss = rss(MICROSOFT, 5, 128, 4);
        assert!(rss.fields.set(Protocol::Tcp4, fields));
        Hasher::new(rss).hash(&frame)
    };
    let toeplitz = Toeplitz::new(&MICROSOFT);
    let of = |protocol, input: &[u8]| Some(FlowHash { value: 5 ^ toeplitz.hash(input), protocol });
    assert_eq!(hash(Fields::ADDRESSES), of(Protocol::Ip4, &[10, 0, 0, 1, 10, 0, 0, 2]));
    assert_eq!(hash(Fields::L3_SOURCE), of(Protocol::Ip4, &[10, 0, 0, 1]));
    let some = Fields::L3_DESTINATION | Fields::L4_SOURCE;
    assert_eq!(hash(some), of(Protocol::Tcp4, &[10, 0, 0, 2, 0x12, 0x34]));
    assert_eq!(hash(Fields::L4_DESTINATION), of(Protocol::Tcp4, &[0x56, 0x78]));
    assert_eq!(hash(Fields::empty()), None);
}
