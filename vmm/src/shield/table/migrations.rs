//! Calls of a machine that goes on in another process.

use libc::{SYS_membarrier, SYS_setsockopt, SYS_socket};

use crate::shield::row::Kind::{Broker, Main};
use crate::shield::row::{Check::In, Row, Value, row, values};

/// linux/membarrier.h.
const ALL_THREADS: &[Value] =
    &[(8, "MEMBARRIER_CMD_PRIVATE_EXPEDITED"), (16, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED")];
const STREAM: &[Value] = &[(0x8_0801, "SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK")];

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_membarrier, &[In(0, ALL_THREADS)], &[Main], "memory that was written can be read, before it is sent"),
    row(SYS_socket, &[In(0, values![AF_INET, AF_INET6]), In(1, STREAM)], &[Broker], "the machine goes to another host"),
    row(SYS_setsockopt, &[In(1, values![IPPROTO_TCP]), In(2, values![TCP_NODELAY])], &[Broker], "its last words go at once"),
];
