//! Tests of streams: whom the guest reaches, how both directions end, and that bytes arrive as they were sent.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use std::net::Shutdown;

use device_core::socket::ListeningSocket;

use super::packet::{Header, Op, SHUT_RECEIVE, SHUT_SEND};
use super::to_guest::CLOSING;
use crate::testing::vsock::{HOLDS, ROOM, TestVsock, has_ended, heard};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8).collect()
}

#[test]
fn the_guest_reaches_who_listens_beside_the_socket() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let listener = vsock.listener(1024);
    vsock.send(&vsock.header(Op::Request, 77, 1024), &[]);
    let (response, _) = vsock.one();
    assert_eq!((response.src_port, response.dst_port), (1024, 77));
    assert_eq!((response.op, response.buf_alloc), (Op::Response as u16, 256 << 10));
    let (mut stream, _) = listener.accept().unwrap();
    vsock.send(&vsock.header(Op::Data, 77, 1024), b"hello");
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    stream.write_all(b"there").unwrap();
    vsock.settle();
    let (header, data) = vsock.one();
    assert_eq!((header.op, header.fwd_cnt, &*data), (Op::Data as u16, 5, &b"there"[..]));
}

#[test]
fn a_guest_that_wants_who_is_not_there_gets_a_reset() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    drop(vsock.listener(1));
    std::fs::write(folder.path().join("v.sock_2"), "no socket").unwrap();
    for port in [0, 1, 2, u32::MAX] {
        let request = vsock.header(Op::Request, 77, port);
        vsock.send(&request, &[]);
        let (answer, _) = vsock.one();
        assert_eq!((answer.op, answer.src_port, answer.dst_port), (Op::Reset as u16, port, 77));
    }
    assert_eq!((vsock.connections(), vsock.count("connections_refused")), (0, 4));
}

#[test]
fn no_link_leads_a_guest_elsewhere() {
    let (folder, elsewhere) = (folder(), folder());
    let mut vsock = TestVsock::new(folder.path());
    let target = elsewhere.path().join("secret");
    let listener = UnixListener::bind(&target).unwrap();
    listener.set_nonblocking(true).unwrap();
    symlink(&target, folder.path().join("v.sock_5")).unwrap();
    vsock.send(&vsock.header(Op::Request, 77, 5), &[]);
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_listener_without_room_is_tried_until_it_has_some() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let path = folder.path().join("v.sock_9");
    let socket = ListeningSocket::bind(&path).unwrap();
    let listener = socket.listener();
    let mut guest = 100;
    // Until its queue is full.
    while vsock.connections() == vsock.count("connections_opened") as usize {
        guest += 1;
        vsock.send(&vsock.header(Op::Request, guest, 9), &[]);
        vsock.received();
    }
    assert_eq!(vsock.ops(), []);
    vsock.device.pass_time(Duration::from_millis(10));
    assert_eq!(vsock.ops(), []);
    let _accepted = listener.accept().unwrap();
    vsock.device.pass_time(Duration::from_millis(20));
    vsock.settle();
    let (response, _) = vsock.one();
    assert_eq!((response.op, response.dst_port), (Op::Response as u16, guest));

    vsock.send(&vsock.header(Op::Request, guest + 1, 9), &[]);
    assert_eq!(vsock.ops(), []);
    vsock.device.pass_time(Duration::from_secs(3));
    vsock.settle();
    assert_eq!(vsock.ops(), [Op::Reset], "nobody waits for ever");
}

#[test]
fn a_megabyte_goes_each_way_as_it_is() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let mut stream = vsock.accepted(77, 1024);
    let wanted = pattern(1 << 20);

    let (mut sent, mut got, mut passed_on) = (0, Vec::new(), 0u32);
    while got.len() < wanted.len() {
        match stream.write(&wanted[sent..]) {
            Ok(bytes) => sent += bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        vsock.settle();
        for (header, data) in vsock.received() {
            if header.op == Op::Data as u16 {
                passed_on = passed_on.wrapping_add(header.len);
                got.extend(data);
            }
        }
        let update = Header { fwd_cnt: passed_on, ..vsock.header(Op::CreditUpdate, 77, 1024) };
        vsock.send(&update, &[]);
    }
    assert!(got == wanted);
    assert!(vsock.count("rx_packets") < 400, "whole buffers");

    let mut back = Vec::new();
    for piece in wanted.chunks(64 << 10) {
        let data = Header { fwd_cnt: passed_on, ..vsock.header(Op::Data, 77, 1024) };
        vsock.send(&data, piece);
        back.extend(heard(&stream));
        vsock.settle();
        back.extend(heard(&stream));
    }
    vsock.settle();
    back.extend(heard(&stream));
    assert!(back == wanted);
    let updates = vsock.ops();
    assert!(updates.iter().all(|op| *op == Op::CreditUpdate) && updates.len() >= 7, "{updates:?}");
}

#[test]
fn a_batch_of_buffers_is_filled_in_one_go_and_the_rest_stays_on_offer() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, _) = vsock.connected(52);
    client.write_all(&pattern(3 * ROOM + 10)).unwrap();
    vsock.settle();
    let lens: Vec<usize> = vsock.received().iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lens, [ROOM, ROOM, ROOM, 10]);
    client.write_all(b"x").unwrap();
    vsock.settle();
    assert_eq!(vsock.one().1, b"x");
}

#[test]
fn a_client_that_sends_no_more_may_still_read() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, host) = vsock.connected(52);
    client.write_all(b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    vsock.settle();
    let packets = vsock.received();
    assert_eq!(packets[0].1, b"last");
    assert_eq!((packets[1].0.op, packets[1].0.flags), (Op::Shutdown as u16, SHUT_SEND));
    assert_eq!(packets.len(), 2);
    vsock.send(&vsock.header(Op::Data, 52, host), b"answer");
    assert_eq!(heard(&client), b"answer");
    // The guest ends as Linux does.
    let shutdown =
        Header { flags: SHUT_SEND | SHUT_RECEIVE, ..vsock.header(Op::Shutdown, 52, host) };
    vsock.send(&shutdown, &[]);
    assert!(has_ended(&client));
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert_eq!(vsock.connections(), 0);
}

#[test]
fn a_guest_that_sends_no_more_may_still_read() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, host) = vsock.connected(52);
    vsock.send(&vsock.header(Op::Data, 52, host), b"last");
    let shutdown = vsock.header(Op::Shutdown, 52, host);
    vsock.send(&Header { flags: SHUT_SEND, ..shutdown }, &[]);
    let mut bytes = [0; 8];
    assert_eq!(client.read(&mut bytes).unwrap(), 4);
    assert!(has_ended(&client));
    client.write_all(b"answer").unwrap();
    vsock.settle();
    assert_eq!(vsock.one().1, b"answer");
    // What was said holds: bits that are clear take nothing back.
    vsock.send(&Header { flags: SHUT_RECEIVE, ..shutdown }, &[]);
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_guest_that_sends_after_it_said_it_would_not_is_reset() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    let shutdown = Header { flags: SHUT_SEND, ..vsock.header(Op::Shutdown, 52, host) };
    vsock.send(&shutdown, &[]);
    vsock.send(&vsock.header(Op::Data, 52, host), b"more");
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert_eq!(heard(&client), b"");
}

#[test]
fn a_guest_that_reads_no_more_has_its_writers_know() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, host) = vsock.connected(52);
    let shutdown = Header { flags: SHUT_RECEIVE, ..vsock.header(Op::Shutdown, 52, host) };
    vsock.send(&shutdown, &[]);
    assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    vsock.send(&vsock.header(Op::Data, 52, host), b"still");
    assert_eq!(heard(&client), b"still");
}

#[test]
fn a_client_that_closes_ends_both_directions_and_a_guest_that_does_not_answer_is_reset() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, host) = vsock.connected(52);
    client.write_all(b"bye").unwrap();
    drop(client);
    vsock.settle();
    let packets = vsock.received();
    assert_eq!(packets[0].1, b"bye");
    assert_eq!((packets[1].0.op, packets[1].0.flags), (Op::Shutdown as u16, 3));
    // What the guest had under way goes nowhere, and harms nobody.
    vsock.send(&vsock.header(Op::Data, 52, host), b"late");
    vsock.device.pass_time(CLOSING - Duration::from_millis(200));
    vsock.settle();
    assert_eq!(vsock.ops(), []);
    vsock.device.pass_time(CLOSING);
    vsock.settle();
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert_eq!(vsock.connections(), 0);
}

#[test]
fn a_client_that_reads_no_more_has_the_guest_know() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    client.shutdown(Shutdown::Read).unwrap();
    vsock.send(&vsock.header(Op::Data, 52, host), b"x");
    let (shutdown, _) = vsock.one();
    assert_eq!((shutdown.op, shutdown.flags), (Op::Shutdown as u16, SHUT_RECEIVE));
    assert_eq!(shutdown.fwd_cnt, 1, "what nobody reads takes no room");
}

#[test]
fn ports_can_be_used_again_at_once_and_the_old_reset_comes_first() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), false);
    vsock.start(0);
    let listener = vsock.listener(9);
    let request = vsock.header(Op::Request, 77, 9);
    let shutdown = Header { flags: 3, ..vsock.header(Op::Shutdown, 77, 9) };
    for header in [&request, &shutdown, &request] {
        vsock.send(header, &[]);
    }
    listener.accept().unwrap();
    vsock.post(8);
    vsock.settle();
    assert_eq!(vsock.ops(), [Op::Reset, Op::Response]);
    assert_eq!(HOLDS, request.buf_alloc);
}
