//! Calls that write a snapshot.

use libc::{SYS_fsync, SYS_ioctl, SYS_lseek, SYS_pread64, SYS_pwrite64};

use super::requests;
use crate::shield::row::Kind::{Main, Vcpu};
use crate::shield::row::{ANY, Check::In, Row, row};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_ioctl, &[In(1, requests::STATE_OF_VCPU)], &[Vcpu], "the vCPU's state is read"),
    row(SYS_ioctl, &[In(1, requests::STATE_OF_VM)], &[Main], "the state of KVM's devices, and which memory was written"),
    row(SYS_pread64, ANY, &[Main], "what an image begins with; which memory was touched"),
    row(SYS_pwrite64, ANY, &[Main], "memory is written"),
    row(SYS_lseek, ANY, &[Main], "where the file has holes that memory comes from"),
    row(SYS_fsync, ANY, &[Main], "a snapshot is whole"),
];
