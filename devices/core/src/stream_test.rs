//! Tests of streams between sockets and guest memory.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::GuestRam;
use crate::testing::ram;

fn pair() -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Stream::of(ours), theirs)
}

fn list(memory: &GuestRam, pieces: &[(u64, u32)]) -> Scatter {
    let mut list = Scatter::growing(memory.clone());
    pieces.iter().for_each(|(at, len)| list.push(*at, *len).unwrap());
    list
}

#[test]
fn pieces_of_memory_are_sent_in_order_and_filled_in_order() {
    let memory = ram(0x10000);
    memory.write_slice(b"onetwothree", GuestAddress(0x100)).unwrap();
    let (stream, mut peer) = pair();
    let out = list(&memory, &[(0x103, 3), (0x100, 3), (0x106, 5)]);
    assert_eq!(stream.send_from(&out, 1).unwrap(), 10);
    let mut heard = [0; 10];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"woonethree");

    peer.write_all(b"abcdefgh").unwrap();
    let into = list(&memory, &[(0x2000, 3), (0x1000, 2)]);
    assert_eq!(stream.receive_into(&into).unwrap(), 5);
    let mut there = [0; 5];
    assert!(into.read_at(0, &mut there));
    assert_eq!(&there, b"abcde");
}

#[test]
fn more_pieces_than_go_with_one_call_go_in_part() {
    let memory = ram(0x10000);
    let many: Vec<(u64, u32)> = (0..100).map(|at| (at * 2, 1)).collect();
    let (stream, _peer) = pair();
    assert_eq!(stream.send_from(&list(&memory, &many), 0).unwrap(), PIECES);
}

#[test]
fn nothing_waits() {
    let memory = ram(0x10000);
    let (stream, peer) = pair();
    let all = list(&memory, &[(0, 0x10000)]);
    let would_block = |result: io::Result<usize>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    };
    would_block(stream.receive_into(&all));
    would_block(stream.peek(&mut [0; 8]));
    while stream.send_from(&all, 0).is_ok() {}
    would_block(stream.send_from(&all, 0));
    drop(peer);
    assert_eq!(stream.send_from(&all, 0).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn what_was_looked_at_is_still_there() {
    let (stream, mut peer) = pair();
    peer.write_all(b"line\nrest").unwrap();
    let mut bytes = [0; 16];
    assert_eq!(stream.peek(&mut bytes).unwrap(), 9);
    assert_eq!(stream.take(&mut bytes[..5]).unwrap(), 5);
    assert_eq!(&bytes[..5], b"line\n");
    assert_eq!(stream.take(&mut bytes).unwrap(), 4);
    drop(peer);
    assert_eq!(stream.peek(&mut bytes).unwrap(), 0);
}

#[test]
fn a_full_listener_is_told_apart_from_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listener");
    assert_eq!(Stream::connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let listener = UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    let error = loop {
        match Stream::connect(&path) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(listener);
    assert_eq!(Stream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let long = folder.path().join("x".repeat(120));
    assert_eq!(Stream::connect(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
}
