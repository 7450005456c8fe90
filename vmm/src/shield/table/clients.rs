//! Calls of the thread that serves the API.

use libc::{
    SYS_accept4, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_wait, SYS_recvfrom, SYS_sendto,
    SYS_shutdown, SYS_writev,
};

use crate::shield::row::Kind::Api;
use crate::shield::row::{ANY, Row, row};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_epoll_wait, ANY, &[Api], "waits for clients").musl_calls(SYS_epoll_pwait),
    row(SYS_epoll_ctl, ANY, &[Api], "a client comes or goes"),
    row(SYS_accept4, ANY, &[Api], "a client comes"),
    row(SYS_recvfrom, ANY, &[Api], "requests"),
    row(SYS_sendto, ANY, &[Api], "answers"),
    row(SYS_writev, ANY, &[Api], "answers"),
    row(SYS_shutdown, ANY, &[Api], "a client goes"),
];
