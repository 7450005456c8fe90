//! Cards on one end of a veth pair, by a packet socket.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::frames::Link;
use tests::host::eventually;
use tests::native::guest::{Load, command_line};
use tests::native::line::{FAR, Line, NEAR};
use tests::native::peer::{Board, MAC, Peer};
use tests::process::Owned;

use crate::{Guest, LIMIT, Test, numbered, report};

/// One of each for each card.
pub const TESTS: [(&str, Test); 5] = [
    ("frames_come_back_by_a_pair_as_they_went", answers),
    ("a_guest_receives_each_byte_that_its_card_took_of_a_pair", receives),
    ("each_of_two_queues_of_a_pair_receives", queues),
    ("a_guest_sends_large_tcp_frames_by_a_pair", segments),
    ("a_machine_outlives_its_interface_and_says_that_it_is_lost", lost),
];

fn start(guest: &Guest, load: Load, len: u32, more: &str) -> Result<Owned> {
    start_with(guest, 1, load, len, more)
}

fn start_with(guest: &Guest, queues: u16, load: Load, len: u32, more: &str) -> Result<Owned> {
    guest.wire.take_queues(queues)?;
    guest.wire.add_pairs()?;
    let peer = Peer { line: Line::Veth, ..guest.peer.clone() };
    let board = Board::Card { interface: NEAR, queues };
    peer.start(&guest.kernel, &command_line(load, len, queues, more), board, guest.folder.path())
}

fn answers(guest: &Guest) -> Result<()> {
    let _vmm = start(guest, Load::Answer, 60, "")?;
    let link = Link::open(FAR)?;
    let begun = Instant::now();
    // The guest has no buffers until it runs.
    while {
        link.send(&numbered(0))?;
        link.hear_first(&MAC, Duration::from_millis(50))?.is_none()
    } {
        ensure!(begun.elapsed() < LIMIT, "no answer");
    }
    while link.hear_first(&MAC, Duration::from_millis(200))?.is_some() {}
    for number in 1..=200 {
        let frame = numbered(number);
        link.send(&frame)?;
        let answer =
            link.hear_first(&MAC, LIMIT)?.with_context(|| format!("no answer {number}"))?;
        let to_sender = answer[..6] == frame[6..12];
        ensure!(to_sender && answer[12..] == frame[12..], "{answer:02x?} to {frame:02x?}");
    }
    Ok(())
}

fn segments(guest: &Guest) -> Result<()> {
    let mut vmm = start(guest, Load::Send, 20_054, "tso=1000 count=50")?;
    // Long before the guest runs.
    let link = Link::open(FAR)?;
    let frame = link.hear_first(&MAC, LIMIT)?.context("no frame")?;
    let length = u16::from_be_bytes([frame[16], frame[17]]);
    // The pair hands it on whole; what it is cut to is in the frame's metadata.
    ensure!(frame.len() == 20_054, "a frame of {} bytes", frame.len());
    ensure!(frame[12..14] == [8, 0] && length == 20_040, "{:02x?}", &frame[..54]);
    let report = report(&mut vmm, &link, LIMIT)?;
    ensure!(report.sent >= 50, "{report:?}");
    Ok(())
}

fn receives(guest: &Guest) -> Result<()> {
    let mut vmm = start(guest, Load::Receive, 60, "count=5000")?;
    let link = Link::open(FAR)?;
    let flood = guest.wire.flood_on(Line::Veth, 1000)?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(flood);
    ensure!(report.received >= 5000, "{report:?}");
    ensure!(report.bytes == report.received * 1000, "{report:?}");
    Ok(())
}

fn queues(guest: &Guest) -> Result<()> {
    let mut vmm = start_with(guest, 2, Load::Receive, 60, "count=20000")?;
    let link = Link::open(FAR)?;
    let flood = guest.wire.flood_on(Line::Veth, 1000)?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(flood);
    ensure!(report.pairs.len() == 2, "{report:?}");
    ensure!(report.pairs.iter().all(|[_, received]| *received > 0), "{report:?}");
    ensure!(report.bytes == report.received * 1000, "{report:?}");
    Ok(())
}

fn lost(guest: &Guest) -> Result<()> {
    // It does not send, and so has to be told.
    let mut vmm = start(guest, Load::Receive, 60, "")?;
    let link = Link::open(FAR)?;
    let api = guest.peer.api(guest.folder.path());
    eventually("a frame to the guest", LIMIT, || {
        link.send(&numbered(1))?;
        Ok(guest.wire.passed_on(Line::Veth, &api).is_ok_and(|passed| passed.into > 0))
    })?;
    guest.wire.network().ip(&["link", "delete", NEAR])?;
    let word = format!("dev {NEAR} is gone");
    eventually("a word on the lost interface", LIMIT, || Ok(guest.said().contains(&word)))?;
    ensure!(vmm.wait(Duration::from_millis(300))?.is_none(), "vmm ended");
    Ok(())
}
