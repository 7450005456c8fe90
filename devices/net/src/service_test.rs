//! Tests of a service's shares: lanes hand over to the one that has the stack.

use device_core::testing::ram;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::service::metadata::Settings;
use crate::service::testing::{Client, frames, get, metadata};

/// The guest sends `bytes` by a lane.
fn send(service: &mut Service, bytes: &[u8], now: Instant) -> bool {
    let memory = ram(0x2_0000);
    memory.write_slice(bytes, GuestAddress(0)).unwrap();
    let mut frame = TxFrame::new(memory);
    frame.body.push(0, bytes.len() as u32).unwrap();
    frame.pull_head();
    service.takes(&frame, now)
}

#[test]
fn a_connection_may_change_lanes() {
    let shares = Shares::new(&metadata(Settings::default(), r#"{"a":"b"}"#), 2).unwrap();
    let (mut first, mut second) = (shares.of(0).unwrap(), shares.of(1).unwrap());
    let (mut client, now) = (Client::new(40_000), Instant::now());
    let received = |first: &mut Service, client: &mut Client| -> Vec<u8> {
        first.poll(now);
        let all = frames(|room, frame| first.recv(room, frame, now));
        all.iter().flat_map(|frame| client.hear(frame).payload).collect()
    };
    let syn = client.syn();
    assert!(send(&mut second, &syn, now));
    assert!(!second.has_frames() && second.deadline().is_none() && second.event().is_none());
    received(&mut first, &mut client);
    let request = client.send(&get("/a"));
    assert!(send(&mut first, &request[..], now));
    assert!(received(&mut first, &mut client).ends_with(b"\r\n\r\nb"));
    let request = client.send(&get("/a"));
    assert!(send(&mut second, &request, now));
    assert!(received(&mut first, &mut client).ends_with(b"\r\n\r\nb"));
}

#[test]
fn what_waits_for_the_first_lane_is_bounded() {
    let shares = Shares::new(&metadata(Settings::default(), "{}"), 2).unwrap();
    let (mut first, mut second) = (shares.of(0).unwrap(), shares.of(1).unwrap());
    let now = Instant::now();
    for port in 0..2000 {
        assert!(send(&mut second, &Client::new(port).syn(), now));
    }
    first.poll(now);
    assert_eq!(shares.counters().rx_accepted.get(), 256);
}

#[test]
fn a_card_of_one_lane_needs_nobody_to_wake_it() {
    let shares = Shares::new(&metadata(Settings::default(), "{}"), 1).unwrap();
    assert!(shares.of(0).unwrap().event().is_none());
    assert!(shares.of(1).is_none());
}

#[test]
fn a_large_frame_is_taken_whole_or_not_at_all() {
    let shares = Shares::new(&metadata(Settings::default(), r#"{"a":"b"}"#), 1).unwrap();
    let mut service = shares.of(0).unwrap();
    let (mut client, now) = (Client::new(40_000), Instant::now());
    let syn = client.syn();
    assert!(send(&mut service, &syn, now));
    for frame in frames(|room, frame| service.recv(room, frame, now)) {
        client.hear(&frame);
    }
    // As a guest sends it that leaves segmentation to its card.
    let long = format!("GET /a HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(3000));
    let request = client.send(long.as_bytes());
    assert!(request.len() > 3000 && send(&mut service, &request, now));
    let all = frames(|room, frame| service.recv(room, frame, now));
    let text: Vec<_> = all.iter().flat_map(|frame| client.hear(frame).payload).collect();
    assert!(text.ends_with(b"\r\n\r\nb"));
    let huge = client.send(&vec![b'x'; 40_000]);
    assert!(send(&mut service, &huge, now), "it goes nowhere else");
    assert!(frames(|room, frame| service.recv(room, frame, now)).is_empty());
}
