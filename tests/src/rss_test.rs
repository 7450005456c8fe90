//! Scaling as `ethtool` prints it, and hashes that are known.

use super::*;

fn flow(from: (&str, u16), to: (&str, u16)) -> Flow {
    let address = |text: &str| text.parse().unwrap();
    Flow { from: address(from.0), from_port: from.1, to: address(to.0), to_port: to.1 }
}

fn shown(key: &str) -> String {
    let rows = (0..16).map(|row| {
        let queues = (0..8).map(|n| format!("{:6}", 8 * row + n)).collect::<String>();
        format!("{:5}: {queues}\n", 8 * row)
    });
    let rows = rows.collect::<String>();
    format!(
        "RX flow hash indirection table for eth0 with 128 RX ring(s):\n{rows}RSS hash key:\n{key}\nRSS hash function:\n    toeplitz: on\n"
    )
}

#[test]
fn table_and_key_are_read() {
    let scaling = Scaling::parse(&shown(MICROSOFT_KEY)).unwrap();
    assert_eq!(scaling.table, (0..128).collect::<Vec<_>>());
    assert_eq!(scaling.key.len(), 40);
    assert_eq!((scaling.key[0], scaling.key[39]), (0x6d, 0xfa));
}

#[test]
fn what_is_no_scaling_is_refused() {
    assert!(Scaling::parse("").is_err());
    assert!(Scaling::parse(&shown("Operation not supported")).is_err());
    assert!(Scaling::parse(&shown(MICROSOFT_KEY).replace("    8:", "    9:")).is_err());
}

#[test]
fn hashes_are_those_of_the_verification_suite() {
    let key = Scaling::parse(&shown(MICROSOFT_KEY)).unwrap().key;
    let ipv4 = flow(("66.9.149.187", 2794), ("161.142.100.80", 1766));
    let ipv6 = flow(("3ffe:2501:200:1fff::7", 2794), ("3ffe:2501:200:3::1", 1766));
    assert_eq!(ipv4.hash(&key), 0x51cc_c178);
    assert_eq!(ipv6.hash(&key), 0x4020_7d3d);
}

#[test]
fn a_flow_goes_to_the_queue_that_ec2s_calculator_names() {
    let key = "77:d1:c9:34:a4:c9:bd:87:6e:35:dd:17:b2:e3:23:9e:39:6d:8a:93:2a:95:b4:72:3a:b3:7f:56:8e:de:b6:01:97:af:3b:2f:3a:70:e7:04";
    let scaling = Scaling::parse(&shown(key)).unwrap();
    assert_eq!(scaling.queue(&flow(("1.2.3.4", 7000), ("1.2.3.5", 7000))).unwrap(), 101);
}

#[test]
fn a_virtio_card_takes_the_key_as_it_is() {
    let scaling = Scaling::parse(&shown(MICROSOFT_KEY)).unwrap();
    let flow = flow(("66.9.149.187", 2794), ("161.142.100.80", 1766));
    // The suite's hashes 0x51ccc178 and, of the addresses alone, 0x323e8fc2.
    assert_eq!(scaling.queue_by_plain_key(&flow, true).unwrap(), 0x78);
    assert_eq!(scaling.queue_by_plain_key(&flow, false).unwrap(), 0x42);
}
