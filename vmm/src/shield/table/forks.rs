//! Calls of a fork: memory becomes a base, and the zygote is asked.

use libc::{SYS_madvise, SYS_memfd_create, SYS_mmap, SYS_sendmsg};

use super::base::READ_WRITE;
use crate::shield::row::Kind::Main;
use crate::shield::row::{ANY, Check::In, Row, Value, row, values};

const OF_BASE: &[Value] = &[(0x4012, "MAP_PRIVATE|MAP_NORESERVE|MAP_FIXED")];

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_memfd_create, ANY, &[Main], "memory that a machine shares with its children"),
    row(SYS_mmap, &[In(2, READ_WRITE), In(3, OF_BASE)], &[Main], "it takes the place of the machine's memory"),
    row(SYS_madvise, &[In(2, values![MADV_DONTDUMP])], &[Main], "nothing of it is in a core dump"),
    row(SYS_sendmsg, ANY, &[Main], "it is handed to who starts the children"),
];
