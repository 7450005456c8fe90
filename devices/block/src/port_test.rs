//! Tests of whole disks on the host's engines: the same for all of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use device_core::files::Own;
use device_core::rate::Quota;
use device_core::testing::{TestMachine, ram};
use proptest::prelude::*;
use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::image::Source;
use crate::request::Outcome::{self, Done, Medium, OutOfRange};
use crate::request::{Operation, Range};
use crate::spec::{Engine as Kind, Fault};
use crate::testing::{Bench, Guest, MEMORY, TestRing, pattern};

const SIZE: u64 = 1 << 20;
const AT: u64 = 0x1_0000;

/// All that a host may have, of which it need not have all: io_uring, and direct I/O.
fn kinds() -> Vec<(Kind, bool)> {
    let kinds =
        [(Kind::Threads, false), (Kind::Uring, false), (Kind::Threads, true), (Kind::Uring, true)];
    let works = |&(engine, direct): &(Kind, bool)| {
        let folder = TempDir::new().unwrap();
        match Disk::open(&folder, engine, direct) {
            Ok(_) => true,
            Err(
                OpenError::NoUring { .. } | OpenError::Image(image::OpenError::NoDirect { .. }),
            ) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let kinds: Vec<_> = kinds.into_iter().filter(works).collect();
    assert!(kinds.contains(&(Kind::Threads, false)));
    kinds
}

struct Disk {
    machine: TestMachine,
    port: DiskPort<TestRing>,
    guest: Guest,
    path: PathBuf,
}

fn image(folder: &TempDir, name: &str, bytes: u64) -> PathBuf {
    let path = folder.path().join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

impl Disk {
    fn open(folder: &TempDir, engine: Kind, direct: bool) -> Result<Disk, OpenError> {
        let path = image(folder, "disk", SIZE);
        let spec = DiskSpec { engine, direct, ..DiskSpec::on("test", &path) };
        let machine = TestMachine::new(ram(MEMORY));
        let port = DiskPort::open(&spec, 2, &machine.kit())?;
        let guest = Guest::new();
        port.plug(0, guest.ring()).unwrap();
        Ok(Disk { machine, port, guest, path })
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.machine.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.machine.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Kicks and waits for one completion.
    fn one(&self) -> Outcome {
        self.guest.kick();
        self.guest.wait(1)[0].1
    }
}

#[derive(Clone, Debug)]
enum Act {
    Write { sector: u64, count: u32, at: u64, durable: bool },
    Read { sector: u64, count: u32, at: u64 },
    Compare { sector: u64, count: u32, at: u64 },
    Zero { sector: u64, count: u64, unmap: bool },
    Discard { sector: u64, count: u64 },
    Flush,
}

fn act() -> impl Strategy<Value = Act> {
    let sectors = SIZE / 512;
    let place = move || (0..sectors + 4, prop_oneof![3 => 1u32..9, 1 => 1u32..400]);
    let at = || prop_oneof![(0u64..8).prop_map(|n| AT + n * 4096), AT..AT + 0x8000];
    prop_oneof![
        4 => (place(), at(), any::<bool>()).prop_map(|((sector, count), at, durable)| {
            Act::Write { sector, count, at, durable }
        }),
        4 => (place(), at()).prop_map(|((sector, count), at)| Act::Read { sector, count, at }),
        1 => (place(), at()).prop_map(|((sector, count), at)| Act::Compare { sector, count, at }),
        1 => (place(), any::<bool>()).prop_map(|((sector, count), unmap)| {
            Act::Zero { sector, count: count.into(), unmap }
        }),
        1 => place().prop_map(|(sector, count)| Act::Discard { sector, count: count.into() }),
        1 => Just(Act::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_disk_holds_what_was_written_whatever_carries_it(acts in prop::collection::vec(act(), 1..40)) {
        for (engine, direct) in kinds() {
            let folder = TempDir::new().unwrap();
            let disk = Disk::open(&folder, engine, direct).unwrap();
            let mut model = vec![0; SIZE as usize];
            for (nth, act) in acts.iter().enumerate() {
                check(&disk, &mut model, act, nth as u8).map_err(|error| {
                    TestCaseError::fail(format!("{engine:?}, direct {direct}, {act:?}: {error}"))
                })?;
            }
        }
    }
}

fn check(disk: &Disk, model: &mut [u8], act: &Act, seed: u8) -> Result<(), TestCaseError> {
    let span = |sector: u64, count: u64| {
        let range = (sector * 512) as usize..((sector + count) * 512) as usize;
        (range.end <= SIZE as usize).then_some(range)
    };
    let within = |fits: bool| if fits { Done } else { OutOfRange };
    match *act {
        Act::Write { sector, count, at, durable } => {
            let bytes = pattern(count as usize * 512, seed);
            disk.write(at, &bytes);
            disk.guest.offer(move |request| {
                request.operation = Operation::Write;
                request.offset = sector * 512;
                request.durable = durable;
                request.buffers.push(at, count * 512).unwrap();
            });
            let range = span(sector, count.into());
            prop_assert_eq!(disk.one(), within(range.is_some()));
            if let Some(range) = range {
                model[range].copy_from_slice(&bytes);
            }
        }
        Act::Read { sector, count, at } => {
            disk.write(at, &pattern(count as usize * 512, !seed));
            disk.guest.transfer(Operation::Read, sector * 512, at, count * 512);
            let range = span(sector, count.into());
            prop_assert_eq!(disk.one(), within(range.is_some()));
            let wanted = match range {
                Some(range) => model[range].to_vec(),
                None => pattern(count as usize * 512, !seed),
            };
            prop_assert!(disk.read(at, count as usize * 512) == wanted, "other bytes");
        }
        Act::Compare { sector, count, at } => {
            let Some(range) = span(sector, count.into()) else { return Ok(()) };
            disk.write(at, &model[range]);
            disk.guest.transfer(Operation::Compare, sector * 512, at, count * 512);
            prop_assert_eq!(disk.one(), Done);
        }
        Act::Zero { sector, count, unmap } => {
            disk.guest.ranges(Operation::WriteZeroes { unmap }, &[(sector * 512, count * 512)]);
            let range = span(sector, count);
            prop_assert_eq!(disk.one(), within(range.is_some()));
            if let Some(range) = range {
                model[range].fill(0);
            }
        }
        Act::Discard { sector, count } => {
            disk.guest.ranges(Operation::Discard, &[(sector * 512, count * 512)]);
            let range = span(sector, count);
            prop_assert_eq!(disk.one(), within(range.is_some()));
            if let Some(range) = range {
                // A discard promises nothing; what is there now is what counts.
                let mut file = std::fs::read(&disk.path).unwrap();
                model[range.clone()].swap_with_slice(&mut file[range]);
            }
        }
        Act::Flush => {
            disk.guest.flush();
            prop_assert_eq!(disk.one(), Done);
        }
    }
    Ok(())
}

#[test]
fn many_requests_at_once_all_come_back() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        let bytes = pattern(SIZE as usize, 1);
        std::fs::write(&disk.path, &bytes).unwrap();
        for nth in 0..512u64 {
            disk.guest.transfer(Operation::Read, nth * 2048, AT + nth * 2048, 2048);
        }
        disk.guest.kick();
        let done = disk.guest.wait(512);
        assert!(done.iter().all(|(_, outcome)| *outcome == Done), "{engine:?} {direct}");
        let tokens: std::collections::BTreeSet<_> = done.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens.len(), 512);
        assert!(disk.read(AT, SIZE as usize) == bytes, "{engine:?} {direct}");
        let latency = disk.port.inspect(crate::spec::Model::Virtio, true).latency;
        assert!(0 < latency.p50_ns && latency.p50_ns <= latency.max_ns);
    }
}

#[test]
fn a_lane_that_sleeps_is_woken_by_the_host() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        // A flush is never done while it is submitted.
        for _ in 0..50 {
            disk.guest.transfer(Operation::Write, 0, AT, 4096);
            disk.guest.flush();
            disk.guest.kick();
            let done = disk.guest.wait(2);
            assert!(done.iter().all(|(_, outcome)| *outcome == Done), "{engine:?} {direct}");
        }
    }
}

#[test]
fn a_ring_comes_home_from_the_midst_of_its_work() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        for _ in 0..20 {
            for nth in 0..300u64 {
                disk.guest.transfer(Operation::Write, nth * 512, AT, 512);
            }
            disk.guest.kick();
            let ring = disk.port.unplug(0).expect("the ring that was plugged");
            let left = disk.guest.offers();
            assert_eq!(disk.guest.take().len() + left, 300, "none is under way");
            disk.port.plug(0, ring).unwrap();
            disk.guest.wait(left.max(1).min(left));
            assert_eq!(disk.guest.offers(), 0);
        }
    }
}

#[test]
fn a_disk_may_be_dropped_with_work_in_flight() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        for nth in 0..300u64 {
            disk.guest.transfer(Operation::Write, nth * 512, AT, 512);
            disk.guest.flush();
        }
        disk.guest.kick();
        let path = disk.path.clone();
        drop(disk);
        // And the image is free at once.
        let mode = Mode { read_only: false, direct };
        Image::open(&path, mode).unwrap_or_else(|error| panic!("{engine:?} {direct}: {error}"));
    }
}

/// B61, on the port's side.
#[test]
fn an_image_that_grew_is_larger_from_the_next_request_on() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        disk.port.set_listener(Some(Box::new(move || told.send(()).unwrap())));
        assert_eq!(disk.port.refresh().unwrap(), SIZE);
        assert!(heard.try_recv().is_err(), "nothing is new");

        disk.guest.transfer(Operation::Write, SIZE, AT, 512);
        assert_eq!(disk.one(), OutOfRange);
        File::options().write(true).open(&disk.path).unwrap().set_len(2 * SIZE + 100).unwrap();
        disk.guest.transfer(Operation::Write, SIZE, AT, 512);
        assert_eq!(disk.one(), OutOfRange, "nobody has looked");
        assert_eq!(disk.port.refresh().unwrap(), 2 * SIZE);
        heard.try_recv().unwrap();
        assert_eq!(disk.port.facts().size, 2 * SIZE);
        disk.guest.transfer(Operation::Write, 2 * SIZE - 512, AT, 512);
        assert_eq!(disk.one(), Done);
    }
}

/// B61, the other way.
#[test]
fn what_an_image_that_shrank_has_lost_fails_and_is_out_of_range_once_the_guest_was_told() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        disk.port.set_listener(Some(Box::new(move || told.send(()).unwrap())));
        File::options().write(true).open(&disk.path).unwrap().set_len(SIZE / 2).unwrap();
        disk.guest.transfer(Operation::Read, SIZE / 2, AT, 512);
        assert_eq!(disk.one(), Medium, "nobody has looked");
        assert_eq!(disk.port.refresh().unwrap(), SIZE / 2);
        heard.try_recv().unwrap();
        assert_eq!(disk.port.facts().size, SIZE / 2);
        disk.guest.transfer(Operation::Write, SIZE / 2, AT, 512);
        assert_eq!(disk.one(), OutOfRange);
        assert_eq!(disk.path.metadata().unwrap().len(), SIZE / 2, "and nothing makes it longer");
        disk.guest.transfer(Operation::Write, SIZE / 2 - 512, AT, 512);
        assert_eq!(disk.one(), Done);
    }
}

/// B62, on a real engine.
#[test]
fn an_image_is_replaced_and_the_old_one_is_free() {
    for (engine, direct) in kinds() {
        let folder = TempDir::new().unwrap();
        let disk = Disk::open(&folder, engine, direct).unwrap();
        let other = image(&folder, "other", 2 * SIZE);
        std::fs::write(&other, pattern(2 * SIZE as usize, 9)).unwrap();
        disk.port.replace(&Source::raw(&other), &Own).unwrap();
        assert_eq!(disk.port.facts().size, 2 * SIZE);
        disk.guest.transfer(Operation::Read, SIZE, AT, 4096);
        assert_eq!(disk.one(), Done);
        assert_eq!(disk.read(AT, 4096), pattern(2 * SIZE as usize, 9)[SIZE as usize..][..4096]);
        let mode = Mode { read_only: false, direct };
        drop(Image::open(&disk.path, mode).unwrap());
        let said = Image::open(&other, mode).unwrap_err().to_string();
        assert!(said.contains("is in use by another process"), "{said}");

        // Another disk's is not to be had, and the one there was stays.
        let taken = image(&folder, "taken", SIZE);
        let owner = Image::open(&taken, mode).unwrap();
        let said = disk.port.replace(&Source::raw(&taken), &Own).unwrap_err().to_string();
        assert!(said.contains("is in use by another process"), "{said}");
        drop(owner);
        disk.guest.transfer(Operation::Read, SIZE, AT, 4096);
        assert_eq!(disk.one(), Done);
        let absent =
            disk.port.replace(&Source::raw(Path::new("/nowhere")), &Own).unwrap_err().to_string();
        assert!(absent.contains("No such file"), "{absent}");
        // An image may take its own place, as after a flush that failed.
        disk.port.replace(&Source::raw(&other), &Own).unwrap();
        assert!(Image::open(&other, mode).is_err(), "it is locked again");
    }
}

/// B62.
#[test]
fn requests_in_flight_end_on_the_image_that_they_began_on() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::new(&DiskSpec::on("test", "memory"));
    bench.stage.write(0, &pattern(4096, 1));
    let other = image(&folder, "other", 1 << 20);
    std::fs::write(&other, pattern(1 << 20, 2)).unwrap();
    bench.stage.answer(&[crate::engine::script::Answer::Fail(libc::EIO)]);
    bench.guest.flush();
    assert_eq!(bench.outcomes(), [Medium]);

    bench.stage.hold();
    for nth in 0..64 {
        bench.guest.transfer(Operation::Read, 0, AT + nth * 512, 512);
    }
    bench.run();
    assert_eq!(bench.stage.held(), 64);
    let stage = bench.stage.clone();
    let (port, path) = (&bench.port, &other);
    std::thread::scope(|scope| {
        let replaced = scope.spawn(move || port.replace(&Source::raw(path), &Own));
        while stage.held() > 0 {
            stage.release(0);
        }
        replaced.join().unwrap().unwrap();
    });
    stage.release_all();
    assert_eq!(bench.read(AT, 512), pattern(4096, 1)[..512]);
    assert_eq!(bench.guest.take().len(), 64);
    bench.guest.transfer(Operation::Read, 0, AT, 512);
    bench.guest.flush();
    assert_eq!(bench.outcomes(), [Done, Done], "what the old one lost is forgotten");
    assert_eq!(bench.read(AT, 512), pattern(1 << 20, 2)[..512]);
}

#[test]
fn a_port_tells_what_it_is() {
    let folder = TempDir::new().unwrap();
    let path = image(&folder, "disk", SIZE);
    let machine = TestMachine::new(ram(MEMORY));
    let spec = DiskSpec {
        serial: Some("a serial".to_string()),
        engine: Kind::Threads,
        faults: vec![Fault::Slow],
        limits: Allowed { bw: Quota::per_second(1 << 30), iops: None },
        ..DiskSpec::on("a-disk-with-a-rather-long-name", &path)
    };
    let port = DiskPort::<TestRing>::open(&spec, 3, &machine.kit()).unwrap();
    let told = port.inspect(crate::spec::Model::Virtio, false);
    assert_eq!((told.path, told.size, told.serial.as_str()), (path.clone(), SIZE, "a serial"));
    assert_eq!((told.engine, told.limits, told.faults), (Kind::Threads, spec.limits, spec.faults));
    assert_eq!((told.in_flight, port.lanes(), port.stats().len()), (0, 3, 3));
    assert_eq!(DiskSpec::on("a-disk-with-a-rather-long-name", &path).serial_or_id().len(), 20);
    let second = DiskPort::<TestRing>::open(&DiskSpec::on("b", &path), 1, &machine.kit());
    let said = second.err().unwrap().to_string();
    assert!(said.contains("is in use by another process"), "{said}");
}

#[test]
fn ranges_beyond_a_gibibyte_go_in_parts() {
    let bench =
        Bench::with(&DiskSpec::on("test", "memory"), Image::in_memory(5 << 29, false, None), 1);
    bench.guest.offer(|request| {
        request.operation = Operation::Discard;
        request.ranges.push(Range { offset: 0, len: 5 << 29 });
    });
    assert_eq!(bench.outcomes(), [Done]);
    let parts: Vec<_> = bench.stage.asked().iter().map(|asked| (asked.offset, asked.len)).collect();
    assert_eq!(parts, [(0, 1 << 30), (1 << 30, 1 << 30), (1 << 31, 1 << 29)]);
}
