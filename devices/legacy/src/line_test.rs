//! The line between port and console: bounded, in order, and quiet while its carrier is awake.

use super::*;

const ROOM: usize = 16;

fn line() -> Arc<Line> {
    Line::new(ROOM).unwrap()
}

fn send(line: &Line, bytes: &[u8]) {
    bytes.iter().for_each(|&byte| line.send(byte));
}

fn copy(line: &Line, position: u64) -> (u64, Vec<u8>) {
    let mut into = [0; 64];
    let (first, count) = line.copy_from(position, &mut into);
    (first, into[..count].to_vec())
}

#[test]
fn bytes_come_out_in_order_and_stay_until_they_are_forgotten() {
    let line = line();
    send(&line, b"abcdef");
    assert_eq!(copy(&line, 0), (0, b"abcdef".to_vec()));
    assert_eq!(copy(&line, 4), (4, b"ef".to_vec()));
    assert_eq!(copy(&line, 6), (6, vec![]));
    line.forget_before(4);
    assert_eq!(copy(&line, 0), (4, b"ef".to_vec()));
    assert_eq!(line.oldest(), 4);
}

#[test]
fn a_copy_takes_no_more_than_fits() {
    let line = line();
    send(&line, b"abcdef");
    let mut two = [0; 2];
    assert_eq!(line.copy_from(1, &mut two), (1, 2));
    assert_eq!(&two, b"bc");
}

#[test]
fn without_a_reader_the_oldest_bytes_go() {
    let line = line();
    send(&line, b"lost");
    send(&line, b"the last sixteen");
    assert_eq!(copy(&line, 0), (4, b"the last sixteen".to_vec()));
}

#[test]
fn a_bell_wakes_a_sleeper_and_nobody_else() {
    let line = line();
    send(&line, b"before anyone listens");
    assert!(!line.bell_rang());
    assert!(!line.may_sleep(0), "there is something to carry");
    assert!(line.may_sleep(21));
    send(&line, b"ab");
    assert!(line.bell_rang());
    send(&line, b"c");
    assert!(!line.bell_rang(), "it is awake and will look again by itself");
}

#[test]
fn room_is_announced_only_to_who_waits_for_it() {
    let line = line();
    line.port_has_room();
    assert!(!line.bell_rang());
    line.wait_for_room();
    line.port_has_room();
    line.port_has_room();
    assert!(line.bell_rang());
}

#[test]
fn a_discarding_line_keeps_nothing() {
    let line = line();
    send(&line, b"abc");
    line.discard();
    send(&line, b"def");
    assert_eq!(copy(&line, 0).1, b"");
    assert_eq!(line.lock().bytes.capacity(), 0);
    let none = Line::new(0).unwrap();
    send(&none, b"abc");
    assert_eq!(copy(&none, 0).1, b"");
}

#[test]
fn the_memory_of_a_burst_is_given_back() {
    let line = Line::new(1 << 20).unwrap();
    (0..1 << 20).for_each(|_| line.send(0));
    line.forget_before(1 << 20);
    assert!(line.lock().bytes.capacity() <= 8192);
}
