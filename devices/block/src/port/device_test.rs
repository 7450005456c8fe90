//! Tests of disks on block devices: loop devices of this host. Need root and a loop driver; else skipped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use device_core::files::Own;
use device_core::testing::{TestMachine, ram};
use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress};

use super::{DiskPort, OpenError, PortControl};
use crate::image::Source;
use crate::request::Operation;
use crate::request::Outcome::{Done, Medium, OutOfRange, ReadOnly};
use crate::spec::{DiskSpec, Engine};
use crate::testing::{Guest, MEMORY, TestRing, pattern};

const SIZE: u64 = 8 << 20;
const AT: u64 = 0x1_0000;

/// A loop device; its last close takes it apart.
struct Loop {
    path: PathBuf,
    image: PathBuf,
    _folder: TempDir,
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

/// `None` where there are none.
fn attach(sector: u32, more: &[&str]) -> Option<Loop> {
    let folder = TempDir::new().unwrap();
    let image = folder.path().join("image");
    File::create(&image).unwrap().set_len(SIZE).unwrap();
    let mut losetup = Command::new("losetup");
    losetup.args(["--find", "--show", "--sector-size", &sector.to_string()]).args(more);
    let output = losetup.arg(&image).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    output.status.success().then_some(Loop { path, image, _folder: folder })
}

struct Disk {
    machine: TestMachine,
    port: DiskPort<TestRing>,
    guest: Guest,
}

fn open(path: &Path, engine: Engine, direct: bool) -> Result<Disk, OpenError> {
    let spec = DiskSpec { engine, direct, ..DiskSpec::on("test", path) };
    let machine = TestMachine::new(ram(MEMORY));
    let port = DiskPort::open(&spec, 1, &machine.kit())?;
    let guest = Guest::new();
    port.plug(0, guest.ring()).unwrap();
    Ok(Disk { machine, port, guest })
}

impl Disk {
    fn write(&self, at: u64, bytes: &[u8]) {
        self.machine.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.machine.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn one(&self) -> crate::request::Outcome {
        self.guest.kick();
        self.guest.wait(1)[0].1
    }

    fn holds(&self, offset: u64, wanted: &[u8]) {
        self.guest.transfer(Operation::Read, offset, AT, wanted.len() as u32);
        assert_eq!(self.one(), Done);
        assert!(self.read(AT, wanted.len()) == wanted, "other bytes at {offset}");
    }
}

#[test]
fn a_device_is_a_disk_whatever_its_sectors_and_the_way_there() {
    for sector in [512, 4096] {
        for (engine, direct) in [
            (Engine::Threads, false),
            (Engine::Threads, true),
            (Engine::Auto, false),
            (Engine::Auto, true),
        ] {
            let Some(device) = attach(sector, &[]) else { return };
            let disk = open(&device.path, engine, direct).unwrap();
            let facts = disk.port.facts();
            assert_eq!((facts.size, facts.logical, facts.read_only), (SIZE, 512, false));
            assert_eq!(512 << facts.physical_exponent, sector);

            // Sectors of the guest's, odd buffers, and whole blocks.
            let mut model = vec![0; SIZE as usize];
            for (nth, (offset, len, at)) in [
                (512, 512, AT),
                (4096, 65536, AT),
                (8192 - 512, 1024, AT + 1),
                (65536, 8192, AT + 4),
            ]
            .into_iter()
            .enumerate()
            {
                let bytes = pattern(len, nth as u8);
                disk.write(at, &bytes);
                disk.guest.transfer(Operation::Write, offset, at, len as u32);
                assert_eq!(disk.one(), Done);
                model[offset as usize..][..len].copy_from_slice(&bytes);
            }
            disk.holds(0, &model[..131_072]);
            disk.guest.flush();
            assert_eq!(disk.one(), Done);

            for unmap in [false, true] {
                let zeroes = [(4096, 8192), (16384 + 512, 1024)];
                disk.guest.ranges(Operation::WriteZeroes { unmap }, &zeroes);
                assert_eq!(disk.one(), Done);
                for (offset, len) in zeroes {
                    model[offset as usize..][..len as usize].fill(0);
                }
                disk.holds(0, &model[..131_072]);
            }
            // What is no whole block stays.
            disk.guest.ranges(Operation::Discard, &[(65536 + 512, 512), (32768, 4096)]);
            assert_eq!(disk.one(), Done);
            if sector == 4096 {
                disk.holds(65536, &model[65536..73728]);
            }
            disk.guest.transfer(Operation::Read, SIZE, AT, 512);
            assert_eq!(disk.one(), OutOfRange);
            drop(disk);
            let image = std::fs::read(&device.image).unwrap();
            assert!(image[4096..12288].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_device_that_is_in_use_or_protected_is_not_written() {
    let Some(device) = attach(512, &[]) else { return };
    let first = open(&device.path, Engine::Threads, false).unwrap();
    let said = open(&device.path, Engine::Threads, false).err().unwrap().to_string();
    assert!(said.contains("is in use by the host or another process"), "{said}");
    drop(first);

    let Some(device) = attach(512, &["--read-only"]) else { return };
    let read_only = DiskSpec { read_only: true, ..DiskSpec::on("test", &device.path) };
    let machine = TestMachine::new(ram(MEMORY));
    let port = DiskPort::<TestRing>::open(&read_only, 1, &machine.kit()).unwrap();
    let guest = Guest::new();
    port.plug(0, guest.ring()).unwrap();
    guest.transfer(Operation::Write, 0, AT, 512);
    guest.kick();
    assert_eq!(guest.wait(1)[0].1, ReadOnly);
}

#[test]
fn a_file_gives_way_to_a_device_and_a_device_to_a_file() {
    for engine in [Engine::Threads, Engine::Auto] {
        for direct in [false, true] {
            let Some(device) = attach(4096, &[]) else { return };
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("file");
            File::create(&file).unwrap().set_len(SIZE / 2).unwrap();
            let disk = open(&file, engine, direct).unwrap();
            disk.port.replace(&Source::raw(&device.path), &Own).unwrap();
            let facts = disk.port.facts();
            assert_eq!((facts.size, facts.logical), (SIZE, 512), "it is the guest's disk still");
            let mut model = pattern(65536, 4);
            disk.write(AT, &model);
            disk.guest.transfer(Operation::Write, 0, AT, 65536);
            assert_eq!(disk.one(), Done);
            for (unmap, zeroes) in [(false, (8192, 4096)), (true, (16384 + 512, 9 * 512))] {
                disk.guest.ranges(Operation::WriteZeroes { unmap }, &[zeroes]);
                assert_eq!(disk.one(), Done);
                model[zeroes.0 as usize..][..zeroes.1 as usize].fill(0);
            }
            disk.guest.ranges(Operation::Discard, &[(32768, 8192)]);
            assert_eq!(disk.one(), Done);
            disk.holds(0, &model[..32768]);
            disk.guest.flush();
            assert_eq!(disk.one(), Done);

            disk.port.replace(&Source::raw(&file), &Own).unwrap();
            assert_eq!(disk.port.facts().size, SIZE / 2);
            disk.holds(0, &[0; 4096]);
            open(&device.path, engine, direct).map(drop).unwrap();
        }
    }
}

/// As one does with a device that has failed and was mended.
#[test]
fn a_device_takes_its_own_place_though_it_cannot_be_opened_twice() {
    let Some(device) = attach(512, &[]) else { return };
    let disk = open(&device.path, Engine::Threads, false).unwrap();
    disk.write(AT, &pattern(512, 1));
    disk.guest.transfer(Operation::Write, 0, AT, 512);
    assert_eq!(disk.one(), Done);
    let image = disk.port.image().clone();
    image.lose(&std::io::Error::from_raw_os_error(libc::EIO));
    disk.guest.flush();
    assert_eq!(disk.one(), Medium);
    disk.port.replace(&Source::raw(&device.path), &Own).unwrap();
    disk.guest.flush();
    assert_eq!(disk.one(), Done);
    disk.holds(0, &pattern(512, 1));
    // It is claimed and locked as before.
    let said = open(&device.path, Engine::Threads, false).err().unwrap().to_string();
    assert!(said.contains("is in use by the host or another process"), "{said}");
}
