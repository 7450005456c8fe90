//! Programs run by an interpreter of our own, on calls that are allowed and on their neighbours.

use libc::{SECCOMP_RET_TRAP, seccomp_data};

use super::*;
use crate::shield::row::{ANY, Library, row};
use crate::shield::table;

const PID: u32 = 4711;

/// What the kernel would answer (`Documentation/networking/filter.rst`), for the instructions in use.
fn run(program: &[sock_filter], data: &seccomp_data) -> u32 {
    let word = |at: u32| match at {
        AT_CALL => data.nr as u32,
        AT_ARCH => data.arch,
        at => (data.args[(at as usize - 16) / 8] >> (8 * (at % 8))) as u32,
    };
    let (mut at, mut a) = (0, 0);
    loop {
        let op = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { op.jt } else { op.jf });
        match u32::from(op.code) {
            code if code == BPF_LD | BPF_W | BPF_ABS => a = word(op.k),
            code if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(a == op.k),
            code if code == BPF_JMP | BPF_JGE | BPF_K => at += jump(a >= op.k),
            code if code == BPF_JMP | BPF_JA => at += op.k as usize,
            code if code == BPF_RET | BPF_K => return op.k,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

fn call(nr: libc::c_long, args: [u64; 6]) -> seccomp_data {
    seccomp_data { nr: nr as i32, arch: ARCH, instruction_pointer: 0, args }
}

fn allows(program: &[sock_filter], call: &seccomp_data) -> bool {
    match run(program, call) {
        SECCOMP_RET_ALLOW => true,
        SECCOMP_RET_TRAP | ABSENT => false,
        other => panic!("the answer {other:#x}"),
    }
}

fn of(rows: &[Row], kind: Kind) -> Vec<sock_filter> {
    program(rows.iter().copied(), kind, PID, SECCOMP_RET_TRAP, |_| SECCOMP_RET_ALLOW)
}

fn of_table(kind: Kind) -> Vec<sock_filter> {
    program(table::of(Library::OF_BUILD), kind, PID, SECCOMP_RET_TRAP, |_| SECCOMP_RET_ALLOW)
}

const ONE_OR_TWO: &[super::super::row::Value] = &[(1, "ONE"), (2, "TWO")];

#[test]
fn a_call_is_allowed_to_those_it_is_for_and_with_any_of_its_rows() {
    let rows = [
        row(libc::SYS_read, ANY, &[Kind::Api], ""),
        row(libc::SYS_ioctl, &[Check::In(1, ONE_OR_TWO)], &[Kind::Api], ""),
        row(libc::SYS_ioctl, &[Check::OwnProcess(0), Check::Null(2)], &[Kind::Api], ""),
        row(libc::SYS_ioctl, ANY, &[Kind::Main], ""),
    ];
    let api = of(&rows, Kind::Api);
    assert!(allows(&api, &call(libc::SYS_read, [9; 6])));
    assert!(!allows(&api, &call(libc::SYS_write, [9; 6])));
    let ioctl = |args| allows(&api, &call(libc::SYS_ioctl, args));
    assert!(ioctl([9, 1, 9, 9, 9, 9]) && ioctl([9, 2, 9, 9, 9, 9]));
    assert!(ioctl([9, 2 | 7 << 32, 9, 9, 9, 9]), "the kernel cuts it as well");
    assert!(!ioctl([9, 3, 0, 9, 9, 9]));
    let pid = u64::from(PID);
    assert!(ioctl([pid, 9, 0, 9, 9, 9]));
    assert!(!ioctl([pid + 1, 9, 0, 9, 9, 9]) && !ioctl([pid, 9, 1, 9, 9, 9]));
    assert!(!ioctl([pid, 9, 1 << 32, 9, 9, 9]), "all of a pointer is looked at");
    assert!(!allows(&of(&rows, Kind::Io), &call(libc::SYS_read, [9; 6])));
}

#[test]
fn other_machine_interfaces_are_refused_whatever_the_number() {
    let rows = [row(libc::SYS_read, ANY, &[Kind::Api], "")];
    let api = of(&rows, Kind::Api);
    let of_i386 = seccomp_data { arch: 0x4000_0003, ..call(libc::SYS_read, [0; 6]) };
    assert!(!allows(&api, &of_i386));
    assert!(!allows(&api, &call(libc::SYS_read | i64::from(X32), [0; 6])));
    assert!(!allows(&api, &call(-1, [0; 6])));
}

/// Arguments for which `checks` hold.
fn fitting(checks: &[Check]) -> [u64; 6] {
    let mut args = [0xdead_beef_dead_beef; 6];
    for check in checks {
        match *check {
            Check::In(arg, values) => args[usize::from(arg)] = u64::from(values[0].0),
            Check::OwnProcess(arg) => args[usize::from(arg)] = PID.into(),
            Check::Null(arg) => args[usize::from(arg)] = 0,
            Check::Absent => {}
        }
    }
    args
}

#[test]
fn each_row_of_the_table_lets_its_call_through_and_not_its_neighbours() {
    for kind in Kind::ALL {
        let program = of_table(kind);
        assert!(program.len() < 4096, "the kernel takes no more");
        for row in table::of(Library::OF_BUILD).filter(|row| row.is_for(kind)) {
            let args = fitting(row.checks);
            let nr = i64::from(row.call);
            if row.is_absent() {
                assert_eq!(run(&program, &call(nr, args)), ABSENT, "{kind:?} {row:?}");
                continue;
            }
            assert!(allows(&program, &call(nr, args)), "{kind:?} {row:?}");
            let same = |other: &Row| other.call == row.call && other.is_for(kind);
            if table::of(Library::OF_BUILD).filter(same).any(|other| other.checks.is_empty()) {
                continue; // it has no neighbours
            }
            for check in row.checks {
                let (Check::In(arg, _) | Check::OwnProcess(arg) | Check::Null(arg)) = *check else {
                    panic!("{row:?} is both there and not");
                };
                let mut args = args;
                args[usize::from(arg)] = 0x7eaf_0bad_7eaf_0bad;
                assert!(!allows(&program, &call(nr, args)), "{kind:?} {row:?} argument {arg}");
            }
        }
    }
}

#[test]
fn what_no_thread_has_use_for_is_refused_to_all() {
    for kind in Kind::ALL {
        let program = of_table(kind);
        for nr in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_fork,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_kill,
            libc::SYS_open,
            libc::SYS_openat,
            libc::SYS_open_by_handle_at,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_mprotect,
            libc::SYS_prctl,
            libc::SYS_seccomp,
            libc::SYS_keyctl,
            libc::SYS_pidfd_getfd,
            libc::SYS_userfaultfd,
        ] {
            // For guests with a vsock.
            if kind == Kind::Broker && nr == libc::SYS_connect {
                continue;
            }
            // It keeps what is behind a new thread's stack from all.
            if kind == Kind::Builder && nr == libc::SYS_mprotect {
                continue;
            }
            assert!(!allows(&program, &call(nr, [0; 6])), "{kind:?} {nr}");
        }
        for executable in [5, 7] {
            let protect = call(libc::SYS_mprotect, [0, 4096, executable, 0, 0, 0]);
            assert!(!allows(&program, &protect), "{kind:?}: executable");
        }
        // A process, of whatever kind, and one that a signal of ours would end.
        for flags in [0, 17, 0x11 | 0x100, 0x4000] {
            let process = call(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
            assert!(!allows(&program, &process), "{kind:?}: {flags:#x}");
        }
        let map = |protection| {
            let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
            call(libc::SYS_mmap, [0, 4096, protection, anonymous, u64::MAX, 0])
        };
        assert!(allows(&program, &map(3)), "{kind:?}");
        assert!(!allows(&program, &map(7)), "{kind:?}: executable");
        assert!(!allows(&program, &map(5)), "{kind:?}: executable");
    }
}

#[test]
fn a_thread_may_make_no_call_that_who_starts_it_may_not() {
    for kind in Kind::ALL {
        let own = of_table(kind);
        for started in kind.starts() {
            let made = |row: &Row| row.is_for(*started) && !row.is_absent() && !row.early;
            for row in table::of(Library::OF_BUILD).filter(made) {
                let made = call(i64::from(row.call), fitting(row.checks));
                assert!(allows(&own, &made), "{kind:?} starts {started:?}, which may {row:?}");
            }
        }
    }
}

/// What comes later has no ring, as it can be given none.
#[test]
fn calls_of_early_threads_are_none_of_who_starts_later_ones() {
    let rows = [row(libc::SYS_io_uring_enter, ANY, &[Kind::DiskLane], "").early()];
    let made = call(libc::SYS_io_uring_enter, [0; 6]);
    assert!(allows(&of(&rows, Kind::DiskLane), &made));
    assert!(!allows(&of(&rows, Kind::Builder), &made));
}

/// As one who writes down which rows are used wants it.
#[test]
fn each_row_can_have_an_answer_of_its_own() {
    let rows = [
        row(libc::SYS_read, ANY, &[Kind::Api], ""),
        row(libc::SYS_ioctl, &[Check::In(1, ONE_OR_TWO)], &[Kind::Api], ""),
    ];
    let places = |place: usize| libc::SECCOMP_RET_TRACE | place as u32;
    let program = program(rows.iter().copied(), Kind::Api, PID, SECCOMP_RET_TRAP, places);
    for (made, wanted) in [
        (call(libc::SYS_read, [0; 6]), places(0)),
        (call(libc::SYS_ioctl, [0, 2, 0, 0, 0, 0]), places(1)),
        (call(libc::SYS_ioctl, [0, 3, 0, 0, 0, 0]), SECCOMP_RET_TRAP),
    ] {
        assert_eq!(run(&program, &made), wanted);
    }
}
