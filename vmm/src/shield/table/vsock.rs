//! Calls of the vsock: sockets of the host, which the broker connects by their names.

use libc::{
    SYS_accept4, SYS_connect, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_wait, SYS_ppoll,
    SYS_recvfrom, SYS_recvmsg, SYS_sched_yield, SYS_sendmsg, SYS_shutdown, SYS_socket,
    SYS_timerfd_settime,
};

use crate::shield::row::Kind::{Broker, Vsock};
use crate::shield::row::{ANY, Check::In, Row, reasons, row, values};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_sendmsg, ANY, &[Vsock], "what the guest says"),
    row(SYS_recvmsg, ANY, &[Vsock], "what the guest is told; a connection that the broker made"),
    row(SYS_recvfrom, ANY, &[Vsock], "whom a client wants"),
    row(SYS_epoll_wait, ANY, &[Vsock], "waits for work").musl_calls(SYS_epoll_pwait),
    row(SYS_epoll_ctl, ANY, &[Vsock], "a connection comes or goes"),
    row(SYS_sched_yield, ANY, &[Vsock], "others go first while it waits for more")
        .unseen(&[(&[Vsock], reasons::LINGERS)]),
    row(SYS_timerfd_settime, ANY, &[Vsock], "waits for less than a millisecond")
        .unseen(&[(&[Vsock], reasons::LINGERS)]),
    row(SYS_accept4, ANY, &[Vsock], "a client of the socket"),
    row(SYS_socket, &[In(0, values![AF_UNIX])], &[Broker], "the guest connects to the host"),
    row(SYS_connect, ANY, &[Broker], "the guest connects to the host"),
    row(SYS_ppoll, ANY, &[Broker], "waits for who asks"),
    row(SYS_shutdown, ANY, &[Vsock], "one side has said all"),
];
