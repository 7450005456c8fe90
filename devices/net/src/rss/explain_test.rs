//! Tests of what is told about flows.

use super::super::{Fields, Selection, Table};
use super::*;
use crate::rss::tests::MICROSOFT;

fn rss() -> Rss {
    let table = Table::spread(128, 4).unwrap();
    Rss { key: MICROSOFT, initial: 0, fields: Selection::all(), table }
}

fn key(source: &str, destination: &str, protocol: u8) -> FlowKey {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    FlowKey { source, destination, protocol, source_port: 1, destination_port: 2 }
}

#[test]
fn protocols_are_told_from_the_ip_versions_and_numbers() {
    let protocol = |flow| explain(&rss(), &flow, |_| None).unwrap().protocol;
    assert_eq!(protocol(key("10.0.0.1", "10.0.0.2", 6)), Protocol::Tcp4);
    assert_eq!(protocol(key("10.0.0.1", "10.0.0.2", 17)), Protocol::Udp4);
    assert_eq!(protocol(key("10.0.0.1", "10.0.0.2", 1)), Protocol::Ip4);
    assert_eq!(protocol(key("fd00::1", "fd00::2", 6)), Protocol::Tcp6);
    assert_eq!(protocol(key("fd00::1", "fd00::2", 17)), Protocol::Udp6);
    assert_eq!(protocol(key("fd00::1", "fd00::2", 58)), Protocol::Ip6);
}

#[test]
fn a_flow_between_versions_is_refused_with_both_addresses() {
    let error = explain(&rss(), &key("10.0.0.1", "fd00::2", 6), |_| None).unwrap_err();
    assert_eq!(error.to_string(), "10.0.0.1 and fd00::2 are of different versions of IP");
}

#[test]
fn what_is_explained_is_what_frames_of_the_flow_get() {
    let flow = key("10.0.0.1", "10.0.0.2", 6);
    let mut frame = vec![0; 54];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[23] = 6;
    frame[26..38].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2]);
    let mut rss = rss();
    for fields in [Fields::ADDRESSES | Fields::PORTS, Fields::L3_SOURCE, Fields::empty()] {
        assert!(rss.fields.set(Protocol::Tcp4, fields));
        let hasher = Hasher::new(rss.clone());
        let hash = hasher.hash(&frame);
        let explained = explain(&rss, &flow, |_| None).unwrap();
        assert_eq!(explained.hash, hash.map(|hash| hash.value));
        assert_eq!(explained.hash_type, hash.map(|hash| hash.protocol));
        assert_eq!(explained.lane, hasher.lane(hash));
    }
}
