//! Calls of disks.

use libc::{
    SYS_eventfd2, SYS_fallocate, SYS_fcntl, SYS_fdatasync, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_ioctl, SYS_preadv2, SYS_pwritev2,
};

use super::requests;
use crate::shield::row::Kind::{DiskHelper, DiskLane, Io, Main, Vcpu};
use crate::shield::row::{ANY, Check::In, Row, Value, reasons, row, values};

/// linux/io_uring.h.
const RING_FILES: &[Value] = &[(3, "IORING_UNREGISTER_FILES"), (6, "IORING_REGISTER_FILES_UPDATE")];

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_io_uring_enter, ANY, &[DiskLane], "requests, by a ring that can do nothing else, on the image only").early(),
    row(SYS_preadv2, ANY, &[DiskHelper], "reads of the image"),
    row(SYS_pwritev2, ANY, &[DiskHelper], "writes to the image"),
    row(SYS_fdatasync, ANY, &[DiskHelper], "flushes"),
    row(SYS_fdatasync, ANY, &[Main], "images of a machine that pauses are whole"),
    row(SYS_fallocate, ANY, &[DiskHelper], "discards and zeroes in a file")
        .unseen(&[(&[DiskHelper], "a driver that discards, as Linux's do")]),
    row(SYS_ioctl, &[In(1, requests::BLOCKS)], &[DiskHelper], "discards and zeroes on a block device")
        .unseen(&[(&[DiskHelper], reasons::BLOCK_DEVICE)]),
    row(SYS_io_uring_register, &[In(1, RING_FILES)], &[DiskLane], "an image takes the place of another, or goes").early(),
    row(SYS_eventfd2, ANY, &[Vcpu, Io], "a flush that an NVMe controller itself asks for has a bell of its own")
        .unseen(&[(&[Vcpu], "a driver that turns the cache off or shuts the controller down, as Linux's does")]),
    row(SYS_fcntl, &[In(1, values![F_OFD_SETLK])], &[Main, DiskHelper], "the lock on an image is taken or released")
        .unseen(&[(&[DiskHelper], reasons::LAST)]),
    row(SYS_ioctl, &[In(1, requests::DEVICE)], &[Main], "what a block device is like that takes an image's place")
        .unseen(&[(&[Main], reasons::BLOCK_DEVICE)]),
];
