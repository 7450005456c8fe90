//! Calls of the main thread.

use libc::{
    SYS_clock_nanosleep, SYS_epoll_wait, SYS_eventfd2, SYS_getrandom, SYS_newfstatat, SYS_recvmsg,
    SYS_sigaltstack, SYS_statx, SYS_unlink,
};

use crate::shield::row::Kind::Main;
use crate::shield::row::{ANY, Row, row};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_epoll_wait, ANY, &[Main], "waits for signals, requests and the end"),
    row(SYS_recvmsg, ANY, &[Main], "a file that the broker opened"),
    row(SYS_statx, ANY, &[Main], "what a file is; whether a socket is still ours"),
    row(SYS_eventfd2, ANY, &[Main], "a capture has a bell of its own"),
    row(SYS_clock_nanosleep, ANY, &[Main], "waits for the lock on an image"),
    row(SYS_getrandom, ANY, &[Main], "tables of connections have secrets"),
    row(SYS_newfstatat, ANY, &[Main], "whether a socket is still ours, when a signal kills"),
    row(SYS_sigaltstack, ANY, &[Main], "the end of the process"),
    row(SYS_unlink, ANY, &[Main], "removes the sockets in the end"),
];
