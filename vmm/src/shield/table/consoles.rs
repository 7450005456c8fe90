//! Calls of the thread for slow devices: consoles.

use libc::{SYS_accept4, SYS_fcntl, SYS_fstat, SYS_getpgid, SYS_getpgrp, SYS_ioctl, SYS_statx};

use super::requests;
use crate::shield::row::Kind::{Io, Main};
use crate::shield::row::{ANY, Check::In, Row, reasons, row, values};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_accept4, ANY, &[Io], "someone attaches to the console's socket"),
    row(SYS_ioctl, &[In(1, requests::NONBLOCKING)], &[Io], "whom it never waits for"),
    row(SYS_fcntl, &[In(1, values![F_DUPFD_CLOEXEC])], &[Io], "whom it reads from and writes to, or a terminal"),
    row(SYS_fcntl, &[In(1, values![F_SETFD])], &[Io], "the same, once more").only_musl()
        .unseen(&[(&[Io], reasons::MUSL)]),
    row(SYS_ioctl, &[In(1, requests::TERMINAL)], &[Io, Main], "the terminal is made raw, and given back"),
    row(SYS_ioctl, &[In(1, requests::FOREGROUND)], &[Io, Main], "whether the terminal is ours"),
    row(SYS_getpgrp, ANY, &[Io, Main], "whether the terminal is ours").musl_calls(SYS_getpgid)
        .unseen(&[(&[Main], "the machine ends while somebody else is in the foreground of the terminal")]),
    row(SYS_statx, ANY, &[Io], "what the console is written to, after that failed").musl_calls(SYS_fstat),
];
