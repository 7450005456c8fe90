//! Tests of a host that has no io_uring for us, as in most containers.
#![allow(unsafe_code)]

use std::fs::File;
use std::thread;

use device_core::testing::{TestMachine, ram};
use tempfile::TempDir;

use super::{DiskPort, OpenError, PortControl};
use crate::request::Operation;
use crate::request::Outcome::Done;
use crate::spec::{DiskSpec, Engine, Model};
use crate::testing::{Guest, MEMORY, TestRing};

/// From now on this thread, and those that it starts, make no io_uring.
fn forbid_io_uring() {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the system call is the first word of what the filter sees (seccomp(2)).
    let load = op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
    let is_setup = libc::SYS_io_uring_setup as u32;
    let compare = op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, is_setup);
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let refuse = op(libc::BPF_RET | libc::BPF_K, 0, 0, refused);
    let allow = op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
    let mut filter = [load, compare, refuse, allow];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: numbers only.
    let no_more = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its instructions live during the call.
    let set = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    assert_eq!((no_more, set), (0, 0));
}

#[test]
fn without_io_uring_threads_do_the_work_unless_it_was_asked_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let test = thread::spawn(move || {
        forbid_io_uring();
        let machine = TestMachine::new(ram(MEMORY));
        let asked = DiskSpec { engine: Engine::Uring, ..DiskSpec::on("test", &path) };
        let refused = DiskPort::<TestRing>::open(&asked, 2, &machine.kit()).err().unwrap();
        assert!(matches!(refused, OpenError::NoUring { .. }));
        let said = refused.to_string();
        assert!(said.contains("have no io_uring") && said.contains("auto or threads"), "{said}");

        let port = DiskPort::open(&DiskSpec::on("test", &path), 2, &machine.kit()).unwrap();
        assert_eq!(port.inspect(Model::Virtio, false).engine, Engine::Threads);
        let guest = Guest::new();
        port.plug(1, guest.ring()).unwrap();
        guest.transfer(Operation::Write, 0, 0, 4096);
        guest.kick();
        assert_eq!(guest.wait(1), [(0, Done)]);
    });
    test.join().unwrap();
}
