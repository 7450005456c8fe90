//! Tests of the board against the kernel; they need `/dev/kvm`, of any kind.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use device_core::bus::Width;
use devices::legacy::ConsoleSpec;

use super::*;
use crate::kvm;

/// Line status register of COM1, and the bit of it that says that there is input.
const STATUS: u64 = layout::COM1_PORT as u64 + 5;
const HAS_INPUT: u64 = 1;

#[test]
fn what_is_typed_before_the_serial_port_has_its_state_is_there_behind_it() {
    let kvm = kvm::probe::open().expect("this test needs /dev/kvm");
    let ram = crate::memory::map(1 << 20, crate::memory::Pages::Small).unwrap();
    let vm = kvm::vm::create(&kvm, &ram).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let console = ConsoleSpec::Socket(path.clone()).open().unwrap();
    let (ports, mmio, ends) = (Bus::new(), Bus::new(), Ends::new().unwrap());
    let board = Board::build(&vm, &ram, &ports, &mmio, None, &console, &ends).unwrap();

    let saved = board.save().unwrap();
    let mut person = UnixStream::connect(&path).unwrap();
    let typed =
        b"more than the 64 bytes that the port has room for, and none of them is to be lost\n";
    person.write_all(typed).unwrap();
    board.load(&saved).unwrap();
    let threads = Threads::new().unwrap();
    let console = board.connect(console, &threads, &ends).unwrap();

    let mut view = ports.view();
    let begun = Instant::now();
    let mut read = Vec::new();
    while read.len() < typed.len() && begun.elapsed() < Duration::from_secs(20) {
        if view.read(STATUS, Width::B1).unwrap() & HAS_INPUT == 0 {
            thread::yield_now();
            continue;
        }
        read.push(view.read(layout::COM1_PORT.into(), Width::B1).unwrap() as u8);
    }
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(typed));
    console.close();
    drop(board);
    drop(vm);
    crate::memory::release(ram);
}
