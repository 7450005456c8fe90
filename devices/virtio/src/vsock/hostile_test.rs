//! Tests of guests that break the rules: each is answered as the specification says, and nothing grows.

use std::io::Write;

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use super::packet::{HEADER_LEN, HOST_CID, Header, Op};
use super::table::MOST_CONNECTIONS;
use crate::device::VirtioDevice;
use crate::testing::ring::{readable, writable};
use crate::testing::vsock::{CID, TestVsock, has_ended, heard};
use vm_memory::{Bytes, GuestAddress};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn an_unknown_type_of_socket_gets_a_reset_of_that_type() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (_client, host) = vsock.connected(52);
    for kind in [0, 2, 3, u16::MAX] {
        for op in [Op::Request, Op::Data, Op::Shutdown] {
            vsock.send(&Header { kind, ..vsock.header(op, 52, host) }, &[]);
            let (answer, _) = vsock.one();
            assert_eq!((answer.op, answer.kind), (Op::Reset as u16, kind));
            assert_eq!((answer.src_port, answer.dst_port), (host, 52));
        }
    }
    assert_eq!(vsock.connections(), 1, "the stream of these ports is another one");
}

#[test]
fn what_belongs_to_no_connection_gets_a_reset_and_a_reset_gets_nothing() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let others = [Op::Response, Op::Shutdown, Op::Data, Op::CreditUpdate, Op::CreditRequest];
    for op in others {
        vsock.send(&vsock.header(op, 1, 2), &[]);
        let (answer, _) = vsock.one();
        assert_eq!((answer.op, answer.src_cid, answer.dst_cid), (Op::Reset as u16, 2, CID.into()));
        assert_eq!((answer.src_port, answer.dst_port), (2, 1));
    }
    vsock.send(&vsock.header(Op::Reset, 1, 2), &[]);
    assert_eq!(vsock.ops(), []);
}

#[test]
fn operations_that_there_are_not_end_their_connection() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    for op in [0, 8, u16::MAX] {
        let (client, host) = vsock.connected(52);
        vsock.send(&Header { op, ..vsock.header(Op::Data, 52, host) }, &[]);
        assert_eq!(vsock.ops(), [Op::Reset]);
        assert!(has_ended(&client));
        vsock.send(&Header { op, ..vsock.header(Op::Data, 52, host) }, &[]);
        assert_eq!(vsock.ops(), [Op::Reset]);
    }
}

#[test]
fn operations_out_of_order_end_their_connection() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    for op in [Op::Request, Op::Response] {
        let (client, host) = vsock.connected(52);
        vsock.send(&vsock.header(op, 52, host), &[]);
        assert_eq!(vsock.ops(), [Op::Reset]);
        assert!(has_ended(&client));
    }
    // Data before the consent.
    let client = vsock.client("CONNECT 52\n");
    let host = vsock.one().0.src_port;
    vsock.send(&vsock.header(Op::Data, 52, host), b"early");
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert!(has_ended(&client));
}

#[test]
fn consent_to_what_was_not_asked_yet_is_none() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), false);
    vsock.start(0);
    let client = vsock.client("CONNECT 52\n");
    vsock.send(&vsock.header(Op::Response, 52, 1 << 30), &[]);
    assert!(has_ended(&client));
    assert_eq!(heard(&client), b"");
}

#[test]
fn packets_from_or_to_another_address_reach_nobody() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    for src_cid in [0, 2, 4, u64::from(CID) | 1 << 32, u64::MAX] {
        vsock.send(&Header { src_cid, ..vsock.header(Op::Data, 52, host) }, b"x");
    }
    assert_eq!(vsock.ops(), []);
    assert_eq!(vsock.count("foreign_packets"), 5);
    for dst_cid in [0, 1, CID.into(), 4, HOST_CID | 1 << 32, u64::MAX] {
        vsock.send(&Header { dst_cid, ..vsock.header(Op::Data, 52, host) }, b"x");
        let (answer, _) = vsock.one();
        assert_eq!((answer.op, answer.src_cid), (Op::Reset as u16, dst_cid));
    }
    assert_eq!(heard(&client), b"");
    assert_eq!(vsock.connections(), 1);
}

#[test]
fn packets_that_are_cut_short_or_lie_about_their_length() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    for len in [1, 43] {
        let at = vsock.buffer(64);
        vsock.tx.offer(&[readable(at, len)]);
        vsock.tx.kick();
        vsock.settle();
        assert_eq!(vsock.tx.take_all().len(), 1);
    }
    assert_eq!((vsock.ops(), vsock.count("malformed_packets")), (vec![], 2));
    // More behind it than it says is left alone; less is none.
    vsock.send(&Header { len: 2, ..vsock.header(Op::Data, 52, host) }, b"abc");
    assert_eq!(heard(&client), b"ab");
    vsock.send(&Header { len: 4, ..vsock.header(Op::Data, 52, host) }, b"abc");
    assert_eq!((vsock.ops(), vsock.count("malformed_packets")), (vec![Op::Reset], 3));
    assert!(has_ended(&client));
}

#[test]
fn a_header_and_data_may_lie_in_any_pieces() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    let header = Header { len: 5, ..vsock.header(Op::Data, 52, host) };
    let at = vsock.buffer(64);
    let mut bytes = header.bytes().to_vec();
    bytes.extend(b"hello");
    vsock.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
    let ones: Vec<_> = (0..49).map(|nth| readable(at + nth, 1)).collect();
    for chain in [&ones[..], &[readable(at, 49)], &[readable(at, 46), readable(at + 46, 3)]] {
        vsock.tx.offer(chain);
        vsock.tx.kick();
        vsock.settle();
        assert_eq!(vsock.tx.take_all().len(), 1);
        assert_eq!(heard(&client), b"hello");
    }
}

#[test]
fn a_receive_buffer_may_lie_in_any_pieces() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), false);
    vsock.start(1);
    let (mut client, _) = vsock.connected(52);
    // The buffer that is on offer, and one in pieces.
    client.write_all(&[1; 4052]).unwrap();
    vsock.settle();
    let at = vsock.buffer(64);
    let ones: Vec<_> = (0..50).map(|nth| writable(at + nth, 1)).collect();
    vsock.rx.offer(&ones);
    client.write_all(b"hello world").unwrap();
    vsock.rx.kick();
    vsock.settle();
    let lens: Vec<u32> = vsock.rx.take_all().iter().map(|(_, len)| *len).collect();
    assert_eq!(lens, [4096, 50]);
    let mut data = [0; 6];
    vsock.memory.read_slice(&mut data, GuestAddress(at + HEADER_LEN as u64)).unwrap();
    assert_eq!(&data, b"hello ");
}

#[test]
fn a_flood_of_requests_fills_the_table_and_no_more() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let listener = vsock.listener(9);
    let mut accepted = Vec::new();
    for guest in 0..MOST_CONNECTIONS as u32 + 100 {
        vsock.send(&vsock.header(Op::Request, guest, 9), &[]);
        if guest < MOST_CONNECTIONS as u32 {
            accepted.push(listener.accept().unwrap());
            assert_eq!(vsock.ops(), [Op::Response]);
        } else {
            assert_eq!(vsock.ops(), [Op::Reset]);
        }
    }
    assert_eq!(vsock.connections(), MOST_CONNECTIONS);
}

#[test]
fn a_guest_that_takes_no_answers_is_not_heard_until_it_does() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), true);
    vsock.start(0);
    let mut sent = 0;
    for _ in 0..4 {
        for _ in 0..vsock.tx.free().min(100) {
            vsock.offer(&vsock.header(Op::Data, sent, 9), &[]);
            sent += 1;
        }
        vsock.tx.kick();
        vsock.settle();
        vsock.tx.take_all();
    }
    assert_eq!(vsock.count("tx_packets"), 256, "as many as there can be answers owed");
    assert!(sent > 256);
    vsock.post(8);
    let mut answers = 0;
    while answers < sent {
        vsock.settle();
        let ops = vsock.ops();
        assert!(!ops.is_empty() && ops.iter().all(|op| *op == Op::Reset));
        answers += ops.len() as u32;
    }
    assert_eq!(vsock.count("tx_packets"), u64::from(sent));
}

#[test]
fn rings_and_buffers_that_cannot_be_gone_on_with_need_a_reset() {
    type Break = fn(&mut TestVsock);
    let breaks: [(&str, Break); 6] = [
        ("a packet to write", |vsock| {
            let at = vsock.buffer(64);
            vsock.tx.offer(&[writable(at, 44)]);
        }),
        ("a packet outside of memory", |vsock| {
            vsock.tx.offer(&[readable(1 << 40, 44)]);
        }),
        ("a wild index", |vsock| vsock.tx.set_available(400)),
        ("a receive buffer to read", |vsock| {
            let at = vsock.buffer(64);
            vsock.rx.offer(&[readable(at, 64)]);
        }),
        ("a receive buffer too small", |vsock| {
            let at = vsock.buffer(64);
            vsock.rx.offer(&[writable(at, 43)]);
        }),
        ("a receive buffer outside of memory", |vsock| {
            vsock.rx.offer(&[writable(1 << 40, 4096)]);
        }),
    ];
    for (name, break_it) in breaks {
        let folder = folder();
        let mut vsock = TestVsock::unplugged(folder.path(), false);
        vsock.start(0);
        // An answer needs a buffer.
        vsock.offer(&vsock.header(Op::Data, 1, 2), &[]);
        break_it(&mut vsock);
        vsock.tx.force_kick();
        vsock.rx.force_kick();
        vsock.settle();
        assert_eq!(vsock.notice.resets_asked(), 1, "{name}");
        // It is left alone until it is reset, and is as new then.
        drop(vsock.device.unplug());
        vsock.device.reset();
        vsock.start(8);
        drop(vsock.connected(52));
    }
}

#[test]
fn a_buffer_without_room_for_data_does_for_answers_alone() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), false);
    vsock.start(1);
    let (mut client, _) = vsock.connected(52);
    client.write_all(&[1; 4052]).unwrap();
    vsock.settle();
    let at = vsock.buffer(64);
    vsock.rx.offer(&[writable(at, 44)]);
    vsock.rx.kick();
    vsock.send(&vsock.header(Op::Data, 7, 9), &[]);
    assert_eq!(vsock.rx.take_all().len(), 2);
    assert_eq!(vsock.notice.resets_asked(), 0);
    vsock.rx.offer(&[writable(at, 44)]);
    client.write_all(b"data").unwrap();
    vsock.rx.force_kick();
    vsock.settle();
    assert_eq!(vsock.notice.resets_asked(), 1);
}

#[test]
fn it_is_a_socket_device() {
    let folder = folder();
    let vsock = TestVsock::unplugged(folder.path(), false);
    assert_eq!((u32::from(vsock.device.kind()), vsock.device.features()), (VIRTIO_ID_VSOCK, 1));
    assert_eq!(vsock.device.queue_sizes(), [256; 3]);
}
