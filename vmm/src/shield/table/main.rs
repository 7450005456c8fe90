//! Calls of the main thread.

use libc::{
    SYS_epoll_pwait, SYS_epoll_wait, SYS_eventfd2, SYS_fstat, SYS_getrandom, SYS_recvmsg,
    SYS_sigaltstack, SYS_stat, SYS_statx, SYS_unlink,
};

use crate::shield::row::Kind::Main;
use crate::shield::row::{ANY, Row, reasons, row};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_epoll_wait, ANY, &[Main], "waits for signals, requests and the end").musl_calls(SYS_epoll_pwait),
    row(SYS_recvmsg, ANY, &[Main], "a file that the broker opened"),
    row(SYS_statx, ANY, &[Main], "what a file is; whether a socket is still ours"),
    row(SYS_fstat, ANY, &[Main], "what a file is").only_musl()
        .unseen(&[(&[Main], reasons::MUSL)]),
    row(SYS_stat, ANY, &[Main], "what is at a path").only_musl()
        .unseen(&[(&[Main], reasons::MUSL)]),
    row(SYS_eventfd2, ANY, &[Main], "a capture has a bell of its own"),
    row(SYS_getrandom, ANY, &[Main], "names of snapshots' files have secrets"),
    row(SYS_sigaltstack, ANY, &[Main], "the end of the process"),
    row(SYS_unlink, ANY, &[Main], "removes the sockets in the end"),
];
