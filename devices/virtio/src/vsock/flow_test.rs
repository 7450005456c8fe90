//! Tests of credit and of readers that are slow (virtio 1.2, 5.10.6.3).

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;

use super::packet::{Header, Op};
use super::view::{ConnectionView, VsockControl};
use crate::testing::vsock::{HOLDS, ROOM, TestVsock, has_ended, heard};

const WINDOW: usize = 256 << 10;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn only(vsock: &TestVsock) -> ConnectionView {
    vsock.device.view().connections.remove(0)
}

/// Sends until the host's reader has no room, and so much again as is held for him.
fn fill(vsock: &mut TestVsock, guest: u32, host: u32) -> usize {
    let mut sent = 0;
    let piece = vec![7; 32 << 10];
    let waiting = |vsock: &TestVsock| only(vsock).waiting as usize;
    while waiting(vsock) + piece.len() <= WINDOW {
        vsock.send(&vsock.header(Op::Data, guest, host), &piece);
        sent += piece.len();
    }
    let rest = WINDOW - waiting(vsock);
    vsock.send(&vsock.header(Op::Data, guest, host), &vec![7; rest]);
    assert_eq!(waiting(vsock), WINDOW);
    vsock.received();
    sent + rest
}

fn write_all(stream: &mut UnixStream, len: usize) {
    stream.write_all(&vec![5; len]).unwrap();
}

#[test]
fn the_guest_gets_no_more_than_it_says_it_can_hold() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, host) = vsock.connected(52);
    let holds = |room, fwd_cnt| Header { buf_alloc: room, fwd_cnt, ..Header::default() };
    let told = |vsock: &TestVsock, said: Header| Header {
        buf_alloc: said.buf_alloc,
        fwd_cnt: said.fwd_cnt,
        ..vsock.header(Op::CreditUpdate, 52, host)
    };
    let update = told(&vsock, holds(5000, 0));
    vsock.send(&update, &[]);
    write_all(&mut client, 12_000);
    vsock.settle();
    let packets = vsock.received();
    let data: usize = packets.iter().map(|(_, data)| data.len()).sum();
    assert_eq!(data, 5000);
    // It is asked once.
    let ops: Vec<u16> = packets.iter().map(|(header, _)| header.op).collect();
    assert_eq!(ops, [Op::Data as u16, Op::Data as u16, Op::CreditRequest as u16]);
    vsock.settle();
    assert_eq!(vsock.ops(), []);
    let update = told(&vsock, holds(5000, 100));
    vsock.send(&update, &[]);
    let lens: Vec<usize> = vsock.received().iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lens, [100, 0], "what it has room for, and a question");
    let update = told(&vsock, holds(HOLDS, 5100));
    vsock.send(&update, &[]);
    assert_eq!(vsock.received().iter().map(|(_, data)| data.len()).sum::<usize>(), 6900);
}

#[test]
fn a_guest_that_asks_for_credit_is_told() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    vsock.send(&vsock.header(Op::Data, 52, host), b"12345");
    assert_eq!(heard(&client), b"12345");
    assert_eq!(vsock.ops(), [], "there is no news");
    vsock.send(&vsock.header(Op::CreditRequest, 52, host), &[]);
    let (update, _) = vsock.one();
    assert_eq!((update.op, update.fwd_cnt), (Op::CreditUpdate as u16, 5));
    assert_eq!((update.buf_alloc, update.len), (WINDOW as u32, 0));
}

#[test]
fn a_reader_that_stalls_stalls_himself_alone_and_loses_nothing() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (slow, host) = vsock.connected(52);
    let sent = fill(&mut vsock, 52, host);
    assert!(vsock.count("stalls") > 0);

    // Another connection of the same guest.
    let (quick, other) = vsock.connected(53);
    for _ in 0..20 {
        vsock.send(&vsock.header(Op::Data, 53, other), &[3; 30_000]);
        assert_eq!(heard(&quick).len(), 30_000);
    }
    vsock.received();

    let mut got = 0;
    loop {
        let more = heard(&slow);
        assert!(more.iter().all(|byte| *byte == 7));
        if more.is_empty() {
            break;
        }
        got += more.len();
        vsock.settle();
    }
    assert_eq!(got, sent);
    // The guest knows that there is room again.
    let packets = vsock.received();
    let (update, _) = packets.last().unwrap();
    assert_eq!(update.op, Op::CreditUpdate as u16);
    assert!(sent - (update.fwd_cnt as usize) < WINDOW / 2, "{update:?}");
    assert_eq!(only(&vsock).waiting, 0);
}

#[test]
fn what_waits_for_a_slow_reader_arrives_after_the_guest_has_closed() {
    for op in [Op::Shutdown, Op::Reset] {
        let folder = folder();
        let mut vsock = TestVsock::new(folder.path());
        let (slow, host) = vsock.connected(52);
        let sent = fill(&mut vsock, 52, host);
        vsock.send(&Header { flags: 3, ..vsock.header(op, 52, host) }, &[]);
        let answer: &[Op] = if op == Op::Shutdown { &[Op::Reset] } else { &[] };
        assert_eq!(vsock.ops(), answer);
        assert_eq!(only(&vsock).state, "draining");
        // The ports are free.
        vsock.send(&vsock.header(Op::Data, 52, host), b"x");
        assert_eq!(vsock.ops(), [Op::Reset]);
        let mut got = 0;
        while vsock.connections() > 0 {
            got += heard(&slow).len();
            vsock.settle();
        }
        got += heard(&slow).len();
        assert_eq!(got, sent);
        assert!(has_ended(&slow));
    }
}

#[test]
fn a_guest_that_sends_more_than_there_is_room_for_is_reset() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (slow, host) = vsock.connected(52);
    fill(&mut vsock, 52, host);
    vsock.send(&vsock.header(Op::Data, 52, host), b"x");
    assert_eq!(vsock.ops(), [Op::Reset]);
    assert_eq!((vsock.connections(), vsock.count("overruns")), (0, 1));
    drop(slow);
}

#[test]
fn a_writer_whose_guest_has_no_buffers_waits_and_the_guests_own_data_goes_on() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), true);
    vsock.start(4);
    let (mut client, host) = vsock.connected(52);
    write_all(&mut client, 10 * ROOM);
    vsock.settle();
    // All four buffers are full; none is offered again.
    for _ in 0..20 {
        vsock.send(&vsock.header(Op::Data, 52, host), &[3; 1000]);
        assert_eq!(heard(&client).len(), 1000);
    }
    let mut data = 0;
    while data < 10 * ROOM {
        let packets = vsock.received();
        assert!(!packets.is_empty(), "the guest's kick is heard");
        data += packets.iter().map(|(_, data)| data.len()).sum::<usize>();
    }
}

#[test]
fn a_host_that_writes_without_end_fills_its_own_socket_and_nothing_else() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, _) = vsock.connected(52);
    let update = Header { buf_alloc: 1000, ..vsock.header(Op::CreditUpdate, 52, 1 << 30) };
    vsock.send(&update, &[]);
    let mut written = 0;
    let error = loop {
        match client.write(&[1; 4096]) {
            Ok(bytes) => written += bytes,
            Err(error) => break error,
        }
        vsock.settle();
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(vsock.count("rx_bytes"), 1000);
    assert!(written > 1000);
    assert_eq!(only(&vsock).to_guest, 1000);
}

#[test]
fn a_guest_that_streams_hears_of_room_while_there_is_more_of_it_to_take() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, host) = vsock.connected(52);
    let piece = vec![7; 60_000];
    for _ in 0..4 {
        vsock.offer(&vsock.header(Op::Data, 52, host), &piece);
    }
    vsock.tx.kick();
    vsock.device.settle();
    let packets = vsock.taken();
    let [(update, _)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!((update.op, update.fwd_cnt), (Op::CreditUpdate as u16, 180_000));
    assert_eq!(vsock.tx.take_all().len(), 3, "packets that came back");
    vsock.settle();
    assert_eq!(vsock.tx.take_all().len(), 1);
    // The socket has no room for all of it.
    let mut all = 0;
    while all < 4 * piece.len() {
        let some = heard(&client).len();
        assert!(some > 0, "{all} bytes, and no more");
        all += some;
        vsock.settle();
    }
    assert_eq!(all, 4 * piece.len());
}

#[test]
fn what_comes_in_bulk_is_shown_piece_by_piece() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (mut client, _) = vsock.connected(52);
    let interrupts = vsock.count("interrupts");
    write_all(&mut client, 100 << 10);
    vsock.settle();
    let packets = vsock.received();
    assert_eq!(packets.iter().map(|(_, data)| data.len()).sum::<usize>(), 100 << 10);
    // The guest, which wants an interrupt each time, could begin before all was there.
    assert!(vsock.count("interrupts") >= interrupts + 2);
}
