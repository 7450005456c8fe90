//! Tests of who connects to the socket: `CONNECT PORT`, and `OK HOST_PORT`.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::packet::{HOST_CID, Header, Op, STREAM};
use super::table::MOST_CONNECTIONS;
use super::to_guest::{ASKING, GREETING};
use super::view::VsockControl;
use crate::testing::vsock::{CID, TestVsock, has_ended, heard};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_client_asks_the_guest_and_hears_of_its_consent() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let client = vsock.client("CONNECT 52\n");
    let (request, data) = vsock.one();
    let wanted = Header {
        src_cid: HOST_CID,
        dst_cid: CID.into(),
        src_port: 1 << 30,
        dst_port: 52,
        kind: STREAM,
        op: Op::Request as u16,
        buf_alloc: 256 << 10,
        ..Header::default()
    };
    assert_eq!((request, data), (wanted, vec![]));
    assert_eq!(heard(&client), b"");
    vsock.send(&vsock.header(Op::Response, 52, 1 << 30), &[]);
    assert_eq!(heard(&client), b"OK 1073741824\n");
    assert_eq!(vsock.count("connections_opened"), 1);
    let view = vsock.device.view().connections.remove(0);
    assert_eq!((view.host_port, view.guest_port, view.state), (Some(1 << 30), Some(52), "open"));
}

#[test]
fn what_a_client_sends_before_the_consent_comes_after_it() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let client = vsock.client("CONNECT 52\nhello");
    assert_eq!(vsock.ops(), [Op::Request]);
    vsock.send(&vsock.header(Op::Response, 52, 1 << 30), &[]);
    let (header, data) = vsock.one();
    assert_eq!((header.op, &*data), (Op::Data as u16, &b"hello"[..]));
    drop(client);
}

#[test]
fn a_line_may_come_in_pieces() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let mut client = vsock.client("CONN");
    for piece in ["ECT 5", "2", "\n"] {
        assert_eq!(vsock.ops(), []);
        client.write_all(piece.as_bytes()).unwrap();
        vsock.settle();
    }
    assert_eq!(vsock.ops(), [Op::Request]);
}

#[test]
fn a_guest_that_refuses_ends_the_stream_without_a_word() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let client = vsock.client("CONNECT 52\n");
    assert_eq!(vsock.ops(), [Op::Request]);
    vsock.send(&vsock.header(Op::Reset, 52, 1 << 30), &[]);
    assert!(has_ended(&client));
    assert_eq!(vsock.ops(), [], "a reset is not answered");
    assert_eq!((vsock.connections(), vsock.count("connections_refused")), (0, 1));
}

#[test]
fn a_guest_that_does_not_answer_is_given_up_in_time() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let client = vsock.client("CONNECT 52\n");
    assert_eq!(vsock.ops(), [Op::Request]);
    vsock.device.pass_time(ASKING - Duration::from_millis(200));
    assert!(!has_ended(&client));
    vsock.device.pass_time(ASKING);
    assert!(has_ended(&client));
    vsock.settle();
    assert_eq!(vsock.ops(), [Op::Reset]);
    // Its consent comes too late.
    vsock.send(&vsock.header(Op::Response, 52, 1 << 30), &[]);
    assert_eq!(vsock.ops(), [Op::Reset]);
}

#[test]
fn a_client_that_says_nothing_or_nonsense_is_closed_and_the_guest_hears_nothing() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let silent = vsock.client("");
    let odd = ["GET / HTTP/1.1\r\n\r\n", "CONNECT x\n", "CONNECT 1                        "];
    for greeting in odd {
        assert!(has_ended(&vsock.client(greeting)), "{greeting:?}");
    }
    drop(vsock.client("CONNECT"));
    vsock.settle();
    assert_eq!(vsock.connections(), 1);
    vsock.device.pass_time(GREETING);
    assert!(has_ended(&silent));
    assert_eq!((vsock.connections(), vsock.count("bad_greetings")), (0, 5));
    assert_eq!(vsock.ops(), []);
}

#[test]
fn a_client_that_gives_up_takes_his_request_back() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    drop(vsock.client("CONNECT 52\n"));
    vsock.settle();
    assert_eq!(vsock.ops(), [Op::Request, Op::Reset]);
    assert_eq!(vsock.connections(), 0);
}

#[test]
fn every_connection_has_a_port_of_the_host_of_its_own_and_none_is_used_again_at_once() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let clients: Vec<(UnixStream, u32)> = (0..4).map(|_| vsock.connected(52)).collect();
    let ports: Vec<u32> = clients.iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [1 << 30, (1 << 30) + 1, (1 << 30) + 2, (1 << 30) + 3]);
}

#[test]
fn clients_that_come_before_there_is_a_driver_wait_for_it() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), true);
    let client = vsock.client("CONNECT 52\n");
    vsock.settle();
    assert_eq!(vsock.connections(), 0);
    vsock.start(8);
    assert_eq!(vsock.ops(), [Op::Request]);
    assert!(!has_ended(&client));
}

#[test]
fn as_many_as_can_be_are_connected_and_one_more_is_turned_away() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let mut clients: Vec<UnixStream> = Vec::new();
    while clients.len() < MOST_CONNECTIONS {
        let fresh: Vec<_> = (0..64).map(|_| vsock.client("CONNECT 52\n")).collect();
        clients.extend(fresh);
        for (header, _) in vsock.received() {
            vsock.send(&vsock.header(Op::Response, 52, header.src_port), &[]);
        }
    }
    assert_eq!(vsock.connections(), MOST_CONNECTIONS);
    assert!(has_ended(&vsock.client("CONNECT 52\n")));
    assert_eq!(vsock.count("connections_opened"), MOST_CONNECTIONS as u64);
    // One that goes makes room for another.
    drop(clients.pop());
    vsock.settle();
    let (shutdown, _) = vsock.one();
    vsock.send(&vsock.header(Op::Reset, 52, shutdown.src_port), &[]);
    assert!(!has_ended(&vsock.client("CONNECT 52\n")));
}
