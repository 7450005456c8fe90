//! Calls that any thread may come to: locks, memory, a line of the log, and the end after a fault.

use libc::{
    SYS_brk, SYS_clock_gettime, SYS_close, SYS_exit_group, SYS_fcntl, SYS_futex, SYS_mmap,
    SYS_mremap, SYS_munmap, SYS_poll, SYS_read, SYS_restart_syscall, SYS_rt_sigaction,
    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sendto, SYS_tgkill, SYS_write,
};

use crate::shield::row::Kind::{self, *};
use crate::shield::row::{
    ANY,
    Check::{In, Null, OwnProcess},
    Row, Value, reasons, row, values,
};

/// Threads, but not the broker.
const THREADS: &[Kind] = &[
    Main, Api, Builder, Vcpu, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper,
    Vsock, Pmem, Pager,
];
const ALL: &[Kind] = &Kind::ALL;
/// Threads that wait for a lock or for a while; lanes of cards wait for events alone, and the broker for questions.
const WAITING: &[Kind] =
    &[Main, Api, Builder, Vcpu, Io, Capture, DiskLane, DiskHelper, Vsock, Pmem, Pager];

/// Threads that may have an eventfd to empty; those that only ever wait for one leave what it has.
const READERS: &[Kind] = &[
    Main, Builder, Vcpu, Io, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem,
    Pager,
];

/// Reasons of rows that no run has used.
const MORE: &str = "needs more memory than the process has by then";
const FAULT: &str = "a fault of its own";

const FUTEX: &[Value] =
    &[(129, "FUTEX_WAKE_PRIVATE"), (137, "FUTEX_WAIT_BITSET_PRIVATE"), (128, "FUTEX_WAIT_PRIVATE")];
/// Memory that is never executed.
pub const READ_WRITE: &[Value] = &[(3, "PROT_READ|PROT_WRITE")];
pub const ANONYMOUS: &[Value] = &[(0x22, "MAP_PRIVATE|MAP_ANONYMOUS")];
const MAY_MOVE: &[Value] = values![MREMAP_MAYMOVE];
const NOW: &[Value] = &[(0x4040, "MSG_DONTWAIT|MSG_NOSIGNAL")];
const FAULTS: &[Value] = values![SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP];

/// Of debug builds.
pub const CHECKED: &[Row] =
    &[row(SYS_fcntl, &[In(1, values![F_GETFD])], ALL, "whether what is closed was open")
        .unseen(&[(&[PacketLane, VhostLane, DiskHelper], reasons::LAST)])];

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_futex, &[In(1, FUTEX)], THREADS, "locks, and waiting for other threads")
        .unseen(&[(&[VhostLane], reasons::VHOST)]),
    row(SYS_write, ANY, THREADS, "wakes others by eventfds; a console, a capture, a line of the log")
        .unseen(&[(&[VhostLane], reasons::VHOST), (&[Pmem], reasons::FLUSHES)]),
    row(SYS_read, ANY, READERS, "takes what an eventfd has; keys")
        .unseen(&[(&[TapLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem], reasons::LAST), (&[Builder], "a card that could not be built goes")]),
    row(SYS_poll, ANY, THREADS, "whether a line can be written, or a vector is pending")
        .unseen(&[(&[Api, Builder, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem], "a line of its own for the log, which is a pipe or a terminal that is slow")]),
    row(SYS_sendto, &[In(3, NOW), Null(4)], THREADS, "a line of the log to a socket; a question to the broker")
        .unseen(&[(&[Api, Vcpu, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Pmem, Pager], "a line of its own for the log, which is a socket")]),
    row(SYS_close, ANY, ALL, "descriptors that are no longer used")
        .unseen(&[(&[PacketLane, VhostLane, DiskHelper], reasons::LAST)]),
    row(SYS_brk, ANY, ALL, "memory")
        .unseen(&[(&[Capture, VhostLane, DiskHelper, Pmem, Pager, Broker], MORE)]),
    row(SYS_mmap, &[In(2, READ_WRITE), In(3, ANONYMOUS)], ALL, "memory, never executable")
        .unseen(&[(&[Builder, Vcpu, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Pmem, Pager, Broker], MORE)]),
    row(SYS_munmap, ANY, ALL, "memory that is given back")
        .unseen(&[(&[Io, Capture, PacketLane, VhostLane, DiskLane, DiskHelper, Pmem, Broker], MORE)]),
    row(SYS_mremap, &[In(3, MAY_MOVE)], ALL, "memory that grows")
        .unseen(&[(&[Api, Builder, Vcpu, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Pmem, Pager, Broker], MORE)]),
    row(SYS_clock_gettime, ANY, THREADS, "the time, where the host's clock needs a call")
        .unseen(&[(&[Api, Builder, Vcpu, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem, Pager], "a host whose clock the C library cannot read by itself")]),
    row(SYS_restart_syscall, ANY, WAITING, "goes on waiting after the process was stopped")
        .unseen(&[(WAITING, "the process is stopped, by a terminal or a debugger, and goes on")]),
    row(SYS_rt_sigreturn, ANY, THREADS, "goes on after a signal")
        .unseen(&[(&[Builder, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem, Pager], "a signal that the process takes comes to this thread of all")]),
    row(SYS_rt_sigaction, &[In(0, FAULTS)], THREADS, "ends after a fault")
        .unseen(&[(&[Api, Builder, Vcpu, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem, Pager], FAULT)]),
    row(SYS_tgkill, &[OwnProcess(0)], THREADS, "ends after a fault; a kick of a vCPU; the process is stopped")
        .unseen(&[(&[Builder, Vcpu, Io, Capture, TapLane, PacketLane, VhostLane, DiskLane, DiskHelper, Vsock, Pmem, Pager], FAULT)]),
    row(SYS_rt_sigaction, ANY, &[Main], "ends by a signal that was sent, as if nobody had taken it"),
    row(SYS_rt_sigprocmask, ANY, &[Main], "the process is stopped, or ends by a signal"),
    row(SYS_exit_group, ANY, &[Main, Broker], "the end"),
];
