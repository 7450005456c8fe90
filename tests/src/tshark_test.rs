//! Tests of what is made of tshark's lines.

use super::*;

#[test]
fn a_datagram_has_its_flow_and_what_is_around_another_packet_has_not() {
    let line =
        "eth0\t1\t0x00000001\t60\t46\thash 0x12345678 of udp4\t17\t192.0.0.1\t192.0.0.2\t5000\t9\t";
    let frame = parse(line).unwrap();
    let flow = Flow {
        source: "192.0.0.1".into(),
        destination: "192.0.0.2".into(),
        source_port: 5000,
        destination_port: 9,
    };
    assert_eq!(frame.udp, Some(flow));
    assert_eq!((frame.queue, frame.inbound, frame.len, frame.kept), (1, true, 60, 46));
    // An ICMP message has the head of the datagram that it is about.
    let line = "eth0\t0\t0x00000002\t74\t74\t\t1\t192.0.0.2\t192.0.0.1\t5000\t9\t";
    let frame = parse(line).unwrap();
    assert_eq!((frame.udp, frame.inbound), (None, false));
    // ARP has nothing of all that.
    assert_eq!(parse("eth0\t0\t0x00000002\t42\t42\t\t\t\t\t\t\t").unwrap().udp, None);
}

#[test]
fn what_has_no_queue_or_direction_is_refused() {
    assert!(parse("eth0\t\t0x00000002\t42\t42\t\t\t\t\t\t\t").is_err());
    assert!(parse("eth0\t0\t\t42\t42\t\t\t\t\t\t\t").is_err());
    assert!(parse("eth0\t0").is_err());
}
