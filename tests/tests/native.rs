//! Cards under real KVM, driven by a guest that polls from user mode: at native speed on any host, where no
//! Linux could be booted.

#[path = "native/pairs.rs"]
mod pairs;
#[path = "native/queues.rs"]
mod queues;
#[path = "native/storm.rs"]
mod storm;
#[path = "native/taps.rs"]
mod taps;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::frames::Link;
use tests::host;
use tests::native::guest::{self, Load, command_line};
use tests::native::line::{Line, TAP};
use tests::native::peer::{Board, Kind, MAC, Peer};
use tests::native::report::Report;
use tests::native::trial;
use tests::native::wire::{self, Wire};
use tests::process::Owned;

/// Far longer than anything takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Ways to drive each card.
const WAYS: [(Kind, &str); 5] = [
    (Kind::Vmm, ""),
    (Kind::Vmm, "event-idx=0"),
    (Kind::Vmm, "pci=off"),
    (Kind::VmmEna, ""),
    (Kind::VmmEna, "llq=1"),
];

type Test = fn(&Guest) -> Result<()>;

fn main() {
    let mut arguments = Arguments::from_args();
    // Each moves its thread to a network of its own, and has two busy threads already.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for (kind, words) in WAYS {
        let tests: [(&str, Test); 10] = [
            ("a_guest_sends_as_many_frames_as_it_says", sends),
            ("a_guest_sends_large_tcp_frames_that_are_cut_on_the_way", segments),
            ("a_guest_receives_each_byte_that_its_card_took", receives),
            ("receiving_goes_on_after_the_buffers_ran_out", rests),
            ("each_frame_comes_back_as_it_went", answers),
            ("a_storm_harms_nobody_but_the_guest", storm::storm),
            ("each_of_four_queues_sends_its_share", queues::send),
            ("each_of_four_queues_receives", queues::receive),
            ("no_queue_starves_under_load_both_ways", queues::both),
            ("frames_of_all_flows_come_back_on_four_queues", queues::answer),
        ];
        let of_lines = match words {
            "" => [&taps::TESTS[..], &pairs::TESTS].concat(),
            _ => Vec::new(),
        };
        for &(name, test) in tests.iter().chain(&of_lines) {
            let name = format!("{name} [{kind:?} {words}]").replace(" ]", "]");
            trials.push(Trial::ignorable_test(name, move || run(kind, words, test)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A machine to be started with the guest.
struct Guest {
    peer: Peer,
    words: &'static str,
    kernel: PathBuf,
    folder: tempfile::TempDir,
    wire: Wire,
}

fn run(
    kind: Kind,
    words: &'static str,
    test: fn(&Guest) -> Result<()>,
) -> Result<Completion, Failed> {
    trial::in_a_network(move || {
        let guest = Guest::new(kind, words)?;
        test(&guest).with_context(|| format!("vmm said {:?}", guest.said()))
    })
}

/// The guest's file, built once.
fn built() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    match &*built {
        Some(file) => Ok(file.clone()),
        None => Ok(built.insert(guest::build()?).clone()),
    }
}

impl Guest {
    fn new(kind: Kind, words: &'static str) -> Result<Self> {
        let path = trial::vmm()?;
        let peer = Peer { name: "vmm".to_owned(), path, kind, line: Line::Tap };
        let folder = tempfile::tempdir().context("no temporary folder")?;
        Ok(Self { peer, words, kernel: built()?, folder, wire: Wire::new()? })
    }

    fn start(&self, load: Load, len: u32, more: &str) -> Result<Owned> {
        self.start_on(TAP, load, len, more)
    }

    fn start_on(&self, tap: &str, load: Load, len: u32, more: &str) -> Result<Owned> {
        let board = Board::Card { interface: tap, queues: 1 };
        self.start_by(&command_line(load, len, 1, more), board)
    }

    fn start_by(&self, line: &str, board: Board) -> Result<Owned> {
        let line = format!("{line} {}", self.words);
        self.peer.start(&self.kernel, &line, board, self.folder.path())
    }

    /// How many lines it said.
    fn lines(&self) -> usize {
        self.peer.lines(self.folder.path())
    }

    /// The end of what the machine said since it was started, in one line.
    fn said(&self) -> String {
        self.peer.said(self.folder.path())
    }
}

/// Waits for the guest's report, as long as its machine runs.
fn report(vmm: &mut Owned, link: &Link, limit: Duration) -> Result<Report> {
    let begun = Instant::now();
    loop {
        let ended = vmm.wait(Duration::ZERO)?;
        ensure!(ended.is_none(), "vmm has ended: {ended:?}");
        match Report::hear(link, Duration::from_millis(500)) {
            Err(_) if begun.elapsed() < limit => {}
            heard => return heard,
        }
    }
}

fn sends(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    let before = guest.wire.passed()?;
    let mut vmm = guest.start(Load::Send, 60, "count=20000 batch=4")?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(vmm);
    let passed = guest.wire.passed()?.out - before.out;
    ensure!((20_000..20_256).contains(&report.sent), "{report:?}");
    // And reports, of which there was one at least.
    ensure!((report.sent + 1..report.sent + 1000).contains(&passed), "{passed} of {report:?}");
    // Its serial line leads nowhere, and nothing was amiss.
    ensure!(guest.said().is_empty(), "it said {:?}", guest.said());
    Ok(())
}

fn segments(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    let mut vmm = guest.start(Load::Send, 20_054, "tso=1000 count=50")?;
    let frame = link.hear_first(&MAC, LIMIT)?.context("no frame")?;
    // The TAP hands it on whole; what it is cut to is in the frame's metadata.
    ensure!(frame.len() == 20_054, "a frame of {} bytes", frame.len());
    let length = u16::from_be_bytes([frame[16], frame[17]]);
    ensure!(frame[12..14] == [8, 0] && length == 20_040, "{:02x?}", &frame[..54]);
    let report = report(&mut vmm, &link, LIMIT)?;
    ensure!(report.sent >= 50, "{report:?}");
    Ok(())
}

fn receives(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    let mut vmm = guest.start(Load::Receive, 60, "count=5000")?;
    let flood = guest.wire.flood(1000)?;
    host::eventually("frames to the guest", LIMIT, || Ok(guest.wire.passed()?.into >= 5000))?;
    drop(flood);
    let report = report(&mut vmm, &link, LIMIT)?;
    ensure!(report.received >= 5000, "{report:?}");
    ensure!(report.bytes == report.received * 1000, "{report:?}");
    Ok(())
}

fn rests(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    // Some tenths of a second each, in which far more comes than it has buffers.
    let mut vmm = guest.start(Load::Receive, 60, "count=4000 rest=500000000")?;
    let flood = guest.wire.flood(1000)?;
    let report = report(&mut vmm, &link, LIMIT)?;
    drop(flood);
    ensure!((4000..5000).contains(&report.received), "{report:?}");
    ensure!(report.bytes == report.received * 1000, "{report:?}");
    let passed = guest.wire.passed()?;
    ensure!(passed.lost > 1000, "its buffers never ran out: {passed:?}");
    Ok(())
}

fn answers(guest: &Guest) -> Result<()> {
    let link = Link::open(TAP)?;
    let _vmm = guest.start(Load::Answer, 60, "")?;
    let begun = Instant::now();
    // The TAP has no owner until the machine is there, and the guest no buffers until it runs.
    while link.send(&numbered(0)).is_err()
        || link.hear_first(&MAC, Duration::from_millis(50))?.is_none()
    {
        ensure!(begun.elapsed() < LIMIT, "no answer");
        std::thread::sleep(Duration::from_millis(5));
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

/// A frame to the guest, none as the next.
fn numbered(number: u32) -> Vec<u8> {
    let mut frame = wire::frame(18);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame.resize(60 + (number as usize * 7) % 1454, number as u8);
    frame
}
