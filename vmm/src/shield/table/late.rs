//! Calls of the broker.

use libc::{
    SYS_fstat, SYS_fsync, SYS_openat2, SYS_readlinkat, SYS_recvmsg, SYS_renameat2, SYS_sendmsg,
    SYS_unlinkat,
};

use crate::shield::row::Kind::Broker;
use crate::shield::row::{ANY, Row, row};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_recvmsg, ANY, &[Broker], "is asked"),
    row(SYS_sendmsg, ANY, &[Broker], "answers"),
    row(SYS_openat2, ANY, &[Broker], "opens a file, beneath a folder that it was given"),
    row(SYS_readlinkat, ANY, &[Broker], "where a path leads"),
    row(SYS_fstat, ANY, &[Broker], "what a folder or a file is"),
    row(SYS_unlinkat, ANY, &[Broker], "removes a file that it made and that was not used; an old snapshot"),
    row(SYS_renameat2, ANY, &[Broker], "a file that it made takes its place when it is whole"),
    row(SYS_fsync, ANY, &[Broker], "that stays so after a power cut"),
];
