//! Disks under real KVM, driven by a guest that polls from user mode: at native speed on any host, where no Linux
//! could be booted.

#[path = "native_disk/above.rs"]
mod above;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::bench::resident;
use tests::host;
use tests::native::disk::{Image, Report};
use tests::native::guest;
use tests::native::line::Line;
use tests::native::peer::{Board, Kind, MEMORY_MIB, Peer};
use tests::native::trial;
use tests::process::Owned;

/// Far longer than anything takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_LONG: Duration = Duration::from_secs(3 * 3600);

/// A disk, and how it is driven.
#[derive(Clone, Copy)]
struct Way {
    kind: Kind,
    /// Of the guest's command line, and of `--disk`.
    words: &'static str,
    options: &'static str,
    queues: u16,
}

const fn way(kind: Kind, words: &'static str, options: &'static str, queues: u16) -> Way {
    Way { kind, words, options, queues }
}

const WAYS: [Way; 9] = [
    way(Kind::Vmm, "", "engine=uring", 1),
    way(Kind::Vmm, "event-idx=0", "engine=threads", 1),
    way(Kind::Vmm, "", "", 4),
    way(Kind::Vmm, "", "direct=on", 1),
    way(Kind::Vmm, "pci=off", "engine=uring", 4),
    way(Kind::Vmm, "pci=off event-idx=0", "engine=threads", 1),
    way(Kind::VmmNvme, "", "", 2),
    way(Kind::VmmNvme, "shadow=0", "engine=threads", 1),
    way(Kind::VmmNvme, "", "direct=on", 1),
];

/// Bytes of an image; no multiple of what a report has, nor of a page.
const IMAGE: u64 = (16 << 20) + 5 * 512;
const IMAGE_LONG: u64 = (256 << 20) + 5 * 512;

/// What a machine may say during a storm: a guest can cause warnings at will, so they are few.
const LINES: usize = 200;
/// KiB that a machine may grow by after the first quarter of one; a lane's own buffers come as they are needed.
const GROWTH: u64 = 4096;
/// The configuration space of PCI in our machines.
const ECAM: u64 = 0xe800_0000;

/// What a test needs to be short or long.
#[derive(Clone, Copy)]
struct Length {
    image: u64,
    /// Bytes that are written and read, resets, and strikes of a storm.
    bytes: u64,
    resets: u64,
    strikes: u64,
    /// How often a machine is killed.
    kills: u64,
    limit: Duration,
}

const SHORT: Length =
    Length { image: IMAGE, bytes: 64 << 20, resets: 50, strikes: 100_000, kills: 4, limit: LIMIT };
const LONG: Length = Length {
    image: IMAGE_LONG,
    bytes: 1 << 30,
    resets: 10_000,
    strikes: 25_000_000,
    kills: 200,
    limit: LIMIT_LONG,
};

type Test = fn(&Guest) -> Result<()>;

/// Those that are tried above a base too.
const ABOVE: [Way; 3] = [
    way(Kind::Vmm, "", "engine=uring", 4),
    way(Kind::Vmm, "event-idx=0", "engine=threads", 1),
    way(Kind::VmmNvme, "", "direct=on", 1),
];

const TESTS: [(&str, Test); 5] = [
    ("what_was_written_is_read_and_is_in_the_image", verify),
    ("resets_with_requests_in_flight_leave_each_sector_old_or_new", resets),
    ("a_storm_harms_nobody_but_the_guest_and_its_image", storm),
    ("an_image_of_whole_blocks_is_used_to_its_end", whole),
    ("what_was_flushed_is_in_the_image_when_vmm_is_killed", killed),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Each has two busy threads already.
    arguments.test_threads = Some(1);
    let trial = |way: Way, name: &str, test: Test| {
        let Way { kind, words, options, queues } = way;
        let kind = format!("{kind:?} {words} {options} queues={queues}");
        let kind = kind.split_whitespace().collect::<Vec<_>>().join(" ");
        Trial::ignorable_test(format!("{name} [{kind}]"), move || run(way, test))
    };
    let trials = WAYS.iter().flat_map(|&way| TESTS.map(|(name, test)| trial(way, name, test)));
    let above =
        ABOVE.iter().flat_map(|&way| above::TESTS.map(|(name, test)| trial(way, name, test)));
    libtest_mimic::run(&arguments, trials.chain(above).collect()).exit();
}

/// A machine to be started with the guest.
struct Guest {
    peer: Peer,
    way: Way,
    kernel: PathBuf,
    folder: tempfile::TempDir,
    length: Length,
}

fn run(way: Way, test: Test) -> Result<Completion, Failed> {
    if let Err(error) = host::kvm() {
        return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
    }
    let done = Guest::new(way).and_then(|guest| {
        test(&guest).with_context(|| format!("vmm said {:?}", guest.peer.said(guest.folder.path())))
    });
    done.map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
}

impl Guest {
    fn new(way: Way) -> Result<Self> {
        let path = trial::vmm()?;
        let peer = Peer { name: "vmm".to_owned(), path, kind: way.kind, line: Line::Tap };
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let length = if std::env::var_os("VMM_LONG").is_some() { LONG } else { SHORT };
        Ok(Self { peer, way, kernel: guest::build()?, folder, length })
    }

    fn image(&self, len: u64) -> Result<Image> {
        let image = Image::empty(self.folder.path().join("disk.img"), len)?;
        if self.way.options.contains("direct=on") { image.past_cache() } else { Ok(image) }
    }

    /// A command line of this guest, for other requests each time; a failure tells which.
    fn line(&self, words: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = now.map_or(1, |now| now.as_nanos() as u64 | 1);
        format!("{words} seed={seed} queues={} {}", self.way.queues, self.way.words)
    }

    /// Whether the machine that was started last found its image in use.
    fn is_locked_out(&self) -> bool {
        self.peer.said(self.folder.path()).contains("holds a lock on it")
    }

    fn start(&self, image: &Image, line: &str) -> Result<Owned> {
        self.start_on(image.path(), self.way.options, line)
    }

    fn start_on(&self, path: &Path, options: &str, line: &str) -> Result<Owned> {
        let queues = self.way.queues;
        let board = Board::Disk { path, queues, options };
        self.peer.start(&self.kernel, line, board, self.folder.path())
    }

    /// Starts it, and waits for the report of what it was to do. Also checks that the image is what the guest believes.
    fn does(&self, image: &Image, words: &str) -> Result<Report> {
        let line = self.line(words);
        let mut vmm = self.start(image, &line)?;
        let report =
            image.wait_for(&mut vmm, 1, self.length.limit).with_context(|| line.clone())?;
        drop(vmm);
        ensure!(report.is_clean(), "{line}: {report:?}");
        let digest = image.digest(report.sectors)?;
        ensure!(digest == report.digest, "{line}: the image has {digest}, and {report:?}");
        // Nothing is amiss.
        let lines = self.peer.lines(self.folder.path());
        ensure!(lines == 0, "{line}: it said {lines} lines");
        Ok(report)
    }
}

fn verify(guest: &Guest) -> Result<()> {
    let image = guest.image(guest.length.image)?;
    let report = guest.does(&image, &format!("disk=verify count={}", guest.length.bytes))?;
    ensure!(report.bytes >= guest.length.bytes && report.requests > 100, "{report:?}");
    // All but what a report needs.
    ensure!(report.sectors * 512 + 8192 > guest.length.image, "{report:?}");
    Ok(())
}

fn resets(guest: &Guest) -> Result<()> {
    let image = guest.image(guest.length.image)?;
    let count = guest.length.resets;
    let report = guest.does(&image, &format!("disk=reset count={count} in-flight=64"))?;
    // There were many in flight, or this has shown nothing.
    ensure!(report.requests == count && report.longest > 8 * count, "{report:?}");
    Ok(())
}

fn storm(guest: &Guest) -> Result<()> {
    let image = guest.image(guest.length.image)?;
    let line = guest.line(&format!("disk=storm count={} ecam={ECAM}", guest.length.strikes));
    let mut vmm = guest.start(&image, &line)?;
    let mut first = None;
    for part in 1..=4 {
        let report = image.wait_for(&mut vmm, part, guest.length.limit);
        let report = report.with_context(|| format!("part {part} of {line}"))?;
        ensure!(report.is_clean(), "{line}: {report:?}");
        let beside = resident::beside(vmm.pid(), MEMORY_MIB)?;
        let before = *first.get_or_insert(beside);
        ensure!(beside < before + GROWTH, "{line}: from {before} to {beside} KiB");
    }
    ensure!(image.size()? == guest.length.image, "{line}: the image has {} bytes", image.size()?);
    let said = guest.peer.lines(guest.folder.path());
    ensure!(said < LINES, "{line}: {said} lines");
    Ok(())
}

fn whole(guest: &Guest) -> Result<()> {
    let image = guest.image(1 << 20)?;
    let report = guest.does(&image, "disk=verify count=4000000 in-flight=2")?;
    ensure!(report.sectors == 2048 - 8, "{report:?}");
    Ok(())
}

fn killed(guest: &Guest) -> Result<()> {
    let image = guest.image(4 << 20)?;
    for nth in 0..guest.length.kills {
        image.forget()?;
        let line = guest.line("disk=sync in-flight=8");
        let begun = Instant::now();
        let vmm = loop {
            let mut vmm = guest.start(&image, &line)?;
            match image.wait_for(&mut vmm, 1, guest.length.limit) {
                Ok(_) => break vmm,
                // Requests of the one that was killed may be with a slow disk still, and hold its lock.
                Err(_) if guest.is_locked_out() && begun.elapsed() < LIMIT => {}
                Err(error) => return Err(error.context(line)),
            }
        };
        // At any moment.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        std::thread::sleep(Duration::from_micros(u64::from(time.subsec_micros() % 100_000)));
        drop(vmm);
        let report = image.report()?.context("there was a report")?;
        ensure!(report.is_clean(), "{line}: {report:?}");
        image.has_steps(report.step).with_context(|| format!("kill {nth}, {line}"))?;
    }
    Ok(())
}
