//! Calls of the thread that builds devices which come into a machine that runs, and starts their threads; besides
//! those of these threads themselves.

use libc::{
    SYS_bpf, SYS_clone, SYS_clone3, SYS_epoll_create1, SYS_eventfd2, SYS_exit, SYS_fcntl,
    SYS_fstat, SYS_ftruncate, SYS_futex, SYS_gettid, SYS_io_uring_setup, SYS_ioctl, SYS_madvise,
    SYS_mmap, SYS_mprotect, SYS_prctl, SYS_pread64, SYS_recvmsg, SYS_rseq, SYS_rt_sigprocmask,
    SYS_sched_getaffinity, SYS_seccomp, SYS_set_robust_list, SYS_sigaltstack, SYS_statx,
    SYS_timerfd_create,
};

use super::base::{ANONYMOUS, READ_WRITE};
use super::requests;
use crate::shield::row::Kind::Builder;
use crate::shield::row::{ABSENT, ANY, Check::In, Row, Value, reasons, row, values};

/// A thread, and no process: it has our memory, files and signals.
const THREAD: &[Value] = &[(
    0x3d_0f00,
    "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID",
)];
/// As musl asks for it; the last has had no meaning since Linux 2.6.
const THREAD_OF_MUSL: &[Value] = &[(
    0x7d_0f00,
    "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID|CLONE_DETACHED",
)];
const NOTHING: &[Value] = values![PROT_NONE];
const NOTHING_OR_READ_WRITE: &[Value] = &[(0, "PROT_NONE"), (3, "PROT_READ|PROT_WRITE")];
const READ: &[Value] = &[(1, "PROT_READ"), (3, "PROT_READ|PROT_WRITE")];
const STACK: &[Value] = &[(0x2_0022, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_STACK")];
const WINDOW: &[Value] = &[
    (0x4022, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE"),
    (0x4011, "MAP_SHARED|MAP_FIXED|MAP_NORESERVE"),
];
const SET_NAME: &[Value] = values![PR_SET_NAME];
const NARROWER: &[Value] = values![SECCOMP_SET_MODE_FILTER];
const NO_LISTENER: &[Value] = &[(0, "0"), (2, "SECCOMP_FILTER_FLAG_LOG")];
/// The lock of musl's list of threads, which the kernel opens when one has ended.
const OF_ALL_THREADS: &[Value] = &[(0, "FUTEX_WAIT"), (1, "FUTEX_WAKE")];
/// Why a row is there that no run has used.
const FAILED: &str =
    "a device fails to be built, for want of descriptors or memory, once it has threads";
const THREAD_ENDS: &[Value] = &[(265, "FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME")];

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_clone, &[In(0, THREAD)], &[Builder], "a thread of a device that comes").not_musl(),
    row(SYS_clone, &[In(0, THREAD_OF_MUSL)], &[Builder], "a thread of a device that comes").only_musl()
        .unseen(&[(&[Builder], reasons::MUSL)]),
    row(SYS_clone3, ABSENT, &[Builder], "the same, where no filter sees what it makes").not_musl(),
    row(SYS_mmap, &[In(2, NOTHING_OR_READ_WRITE), In(3, STACK)], &[Builder], "a thread's stacks").not_musl(),
    row(SYS_mmap, &[In(2, NOTHING), In(3, ANONYMOUS)], &[Builder], "a thread's stack").only_musl()
        .unseen(&[(&[Builder], reasons::MUSL)]),
    row(SYS_mmap, &[In(2, READ_WRITE), In(3, STACK)], &[Builder], "a thread's stack for signals").only_musl(),
    row(SYS_mprotect, &[In(2, NOTHING_OR_READ_WRITE)], &[Builder], "a thread's stack, and the page behind it"),
    row(SYS_rseq, ANY, &[Builder], "a thread begins").not_musl(),
    row(SYS_set_robust_list, ABSENT, &[Builder], "a thread begins; no lock here outlives who holds it").not_musl(),
    row(SYS_rt_sigprocmask, ANY, &[Builder], "a thread begins or ends"),
    row(SYS_sigaltstack, ANY, &[Builder], "a thread begins or ends"),
    row(SYS_sched_getaffinity, ABSENT, &[Builder], "where a thread's stack is, which glibc tells without it").not_musl(),
    row(SYS_gettid, ANY, &[Builder], "a thread begins"),
    row(SYS_prctl, &[In(0, SET_NAME)], &[Builder], "a thread's name"),
    row(SYS_seccomp, &[In(0, NARROWER), In(1, NO_LISTENER)], &[Builder], "a thread is shut in to fewer calls"),
    row(SYS_futex, &[In(1, THREAD_ENDS)], &[Builder], "waits for a thread of a device that could not be built").not_musl()
        .unseen(&[(&[Builder], FAILED)]),
    row(SYS_futex, &[In(1, OF_ALL_THREADS)], &[Builder], "the list of threads is in use").only_musl()
        .unseen(&[(&[Builder], reasons::MUSL)]),
    row(SYS_exit, ANY, &[Builder], "such a thread ends")
        .unseen(&[(&[Builder], FAILED)]),
    row(SYS_eventfd2, ANY, &[Builder], "interrupts and doorbells"),
    row(SYS_epoll_create1, ANY, &[Builder], "what a thread listens to"),
    row(SYS_timerfd_create, ANY, &[Builder], "what a thread waits by"),
    row(SYS_ioctl, &[In(1, requests::TAP)], &[Builder], "what a TAP can do"),
    row(SYS_ioctl, &[In(1, requests::TAP_HEADER)], &[Builder], "how a TAP frames its packets"),
    row(SYS_ioctl, &[In(1, requests::DEVICE)], &[Builder], "what a block device is like")
        .unseen(&[(&[Builder], reasons::BLOCK_DEVICE)]),
    row(SYS_recvmsg, ANY, &[Builder], "a file or a TAP that the broker opened"),
    row(SYS_statx, ANY, &[Builder], "what a file is").musl_calls(SYS_fstat),
    row(SYS_pread64, ANY, &[Builder], "what an image begins with"),
    row(SYS_fcntl, &[In(1, values![F_DUPFD_CLOEXEC])], &[Builder], "a TAP is steered by a descriptor of its own"),
    row(SYS_fcntl, &[In(1, values![F_SETFD])], &[Builder], "the same, once more").only_musl()
        .unseen(&[(&[Builder], reasons::MUSL)]),
    row(SYS_ftruncate, ANY, &[Builder], "a file that is memory has whole 2 MiB")
        .unseen(&[(&[Builder], "a file whose length is none of whole 2 MiB")]),
    row(SYS_mmap, &[In(2, READ), In(3, WINDOW)], &[Builder], "memory of a card; a file that is memory of the guest"),
    row(SYS_madvise, &[In(2, values![MADV_DONTDUMP, MADV_DONTNEED])], &[Builder],
        "memory of a card is in no dump; a stack is given back")
        .unseen(&[(&[Builder], "an ENA card comes; a thread of a device that could not be built ends")]),
    row(SYS_io_uring_setup, ABSENT, &[Builder], "a ring: no filter sees what it is made for"),
    row(SYS_bpf, ABSENT, &[Builder], "a program that steers frames"),
];
