//! Calls of vCPUs: the guest runs, and changes what its cards are to KVM and to the host.

use libc::{SYS_fcntl, SYS_ioctl, SYS_setsockopt};

use super::requests;
use crate::shield::row::Kind::{DiskLane, Io, Main, PacketLane, Pmem, TapLane, Vcpu, Vsock};
use crate::shield::row::{Check::In, Row, reasons, row, values};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_ioctl, &[In(1, requests::RUN)], &[Vcpu], "the guest runs"),
    row(SYS_ioctl, &[In(1, requests::VECTORS)], &[Vcpu, Main],
        "interrupts go where the guest routes them, and stay while it masks them"),
    row(SYS_ioctl, &[In(1, requests::PLACES)], &[Vcpu, Io, TapLane, PacketLane, DiskLane, Vsock, Pmem, Main],
        "doorbells and memory of cards are where the guest puts them")
        .unseen(&[(&[DiskLane, Vsock, Pmem], reasons::LAST)]),
    row(SYS_ioctl, &[In(1, requests::REGISTERS)], &[Vcpu], "where the guest was when KVM gave up"),
    row(SYS_ioctl, &[In(1, requests::PAUSED)], &[Vcpu], "a pause is no hang to the guest's watchdogs"),
    row(SYS_ioctl, &[In(1, requests::COUNTER)], &[Vcpu], "a snapshot has the guest's clock to the tick"),
    row(SYS_ioctl, &[In(1, requests::TAP)], &[Vcpu, Io, Main],
        "a TAP does what the guest's driver asked for, and as its owner had it in the end")
        .unseen(&[(&[Io], "a driver that changes offloads by its queue for control")]),
    row(SYS_setsockopt, &[In(1, values![SOL_PACKET]), In(2, values![PACKET_FANOUT_DATA])], &[Vcpu, Io, Main],
        "frames of an interface are spread as the guest's driver asked for")
        .unseen(&[(&[Main], "an interface is given back as it was")]),
    row(SYS_fcntl, &[In(1, values![F_DUPFD_CLOEXEC])], &[Vcpu], "a vector that is reset is emptied"),
    row(SYS_fcntl, &[In(1, values![F_SETFD])], &[Vcpu], "the same, once more").only_musl()
        .unseen(&[(&[Vcpu], reasons::MUSL)]),
];
