//! Calls of devices of memory: balloon, memory that is plugged, entropy, files as memory of the guest.

use libc::{
    SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_wait, SYS_fcntl, SYS_fdatasync, SYS_getrandom,
    SYS_madvise, SYS_mmap, SYS_sched_yield, SYS_timerfd_settime,
};

use super::base::READ_WRITE;
use crate::shield::row::Kind::{Io, Main, Pmem};
use crate::shield::row::{ANY, Check::In, Row, Value, reasons, row, values};

const IN_ITS_PLACE: &[Value] = &[(0x4032, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE|MAP_FIXED")];

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_epoll_wait, ANY, &[Pmem], "waits for work").musl_calls(SYS_epoll_pwait),
    row(SYS_epoll_ctl, ANY, &[Pmem], "listens to a ring of the guest's that comes or goes")
        .unseen(&[(&[Pmem], reasons::FLUSHES)]),
    row(SYS_sched_yield, ANY, &[Pmem], "others go first while it waits for more")
        .unseen(&[(&[Pmem], reasons::FLUSHES)]),
    row(SYS_timerfd_settime, ANY, &[Pmem], "waits for less than a millisecond")
        .unseen(&[(&[Pmem], reasons::FLUSHES)]),
    row(SYS_fdatasync, ANY, &[Pmem], "flushes")
        .unseen(&[(&[Pmem], reasons::FLUSHES)]),
    row(SYS_fcntl, &[In(1, values![F_OFD_SETLK])], &[Pmem], "the lock on a file is released")
        .unseen(&[(&[Pmem], reasons::LAST)]),
    row(SYS_getrandom, ANY, &[Io], "random bytes for the guest"),
    row(SYS_mmap, &[In(2, READ_WRITE), In(3, IN_ITS_PLACE)], &[Io, Main],
        "memory that the guest gives back, where it came from a snapshot's file")
        .unseen(&[(&[Main], "memory that was plugged goes from a machine that was restored")]),
    row(SYS_madvise, &[In(2, values![MADV_DONTNEED])], &[Io, Main], "memory that the guest gives back"),
    row(SYS_madvise, &[In(2, values![MADV_POPULATE_WRITE])], &[Io], "huge pages for memory that the guest gets")
        .unseen(&[(&[Io], "memory that is plugged is of the host's pool of huge pages")]),
];
