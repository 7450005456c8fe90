//! Calls of the lanes of network cards, and of those who write captures of them.

use libc::{
    SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_wait, SYS_ftruncate, SYS_getsockopt,
    SYS_io_uring_enter, SYS_ioctl, SYS_readv, SYS_recvmsg, SYS_sched_yield, SYS_sendmmsg,
    SYS_timerfd_settime, SYS_writev,
};

use super::requests;
use crate::shield::row::Kind::{Capture, DiskLane, Io, Main, PacketLane, TapLane, VhostLane};
use crate::shield::row::{ANY, Check::In, Row, reasons, row, values};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_readv, ANY, &[TapLane], "a frame of a TAP"),
    row(SYS_writev, ANY, &[TapLane], "a frame to a TAP"),
    row(SYS_io_uring_enter, ANY, &[TapLane], "frames to a TAP, by a ring that can do nothing but write").early(),
    row(SYS_sendmmsg, ANY, &[PacketLane], "frames to an interface"),
    row(SYS_recvmsg, ANY, &[PacketLane], "a frame that the ring of an interface had no room for")
        .unseen(&[(&[PacketLane], "a frame that is larger than the ring has room for")]),
    row(SYS_epoll_wait, ANY, &[TapLane, PacketLane, VhostLane, DiskLane, Io, Capture], "waits for work").musl_calls(SYS_epoll_pwait)
        .unseen(&[(&[VhostLane], reasons::VHOST)]),
    row(SYS_sched_yield, ANY, &[TapLane, PacketLane, DiskLane], "others go first while it waits for more"),
    row(SYS_timerfd_settime, ANY, &[TapLane, PacketLane, DiskLane], "waits for less than a millisecond"),
    row(SYS_epoll_ctl, ANY, &[TapLane, PacketLane, VhostLane, DiskLane, Io, Capture],
        "listens to a ring of the guest's that comes or goes")
        .unseen(&[(&[VhostLane], reasons::VHOST)]),
    row(SYS_ftruncate, ANY, &[Capture, Main], "what was half written goes, when there is no more room")
        .unseen(&[(&[Capture], "the disk that a capture is written to is full")]),
    row(SYS_ioctl, &[In(1, requests::VHOST)], &[VhostLane],
        "the kernel gets the guest's rings once its driver starts the card, and lets go of them when it is stopped or reset")
        .unseen(&[(&[VhostLane], reasons::VHOST)]),
    row(SYS_ioctl, &[In(1, requests::TAP_QUEUE)], &[TapLane, VhostLane], "a queue of the TAP is turned on or off")
        .unseen(&[(&[VhostLane], reasons::VHOST)]),
    row(SYS_getsockopt, &[In(1, values![SOL_PACKET]), In(2, values![PACKET_STATISTICS])], &[PacketLane],
        "frames that found no room"),
    row(SYS_getsockopt, &[In(1, values![SOL_SOCKET]), In(2, values![SO_ERROR])], &[PacketLane],
        "what is wrong with an interface"),
    row(SYS_ioctl, &[In(1, requests::INTERFACE)], &[PacketLane], "whether an interface is up, or gone"),
];
