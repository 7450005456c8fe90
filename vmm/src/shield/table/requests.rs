//! Requests of `ioctl` that the table names (linux/kvm.h, linux/if_tun.h, linux/fs.h).

use super::super::row::{Value, values};

/// Enters the guest.
pub const RUN: &[Value] = &[(0xae80, "KVM_RUN")];
/// Registers of the vCPU.
pub const REGISTERS: &[Value] = &[(0x8090_ae81, "KVM_GET_REGS")];
/// The guest's clock was stopped.
pub const PAUSED: &[Value] = &[(0xaead, "KVM_KVMCLOCK_CTRL")];
/// Where interrupts go.
pub const VECTORS: &[Value] = &[(0x4020_ae76, "KVM_IRQFD"), (0x4008_ae6a, "KVM_SET_GSI_ROUTING")];
/// Where doorbells and memory of cards are.
pub const PLACES: &[Value] =
    &[(0x4040_ae79, "KVM_IOEVENTFD"), (0x4020_ae46, "KVM_SET_USER_MEMORY_REGION")];
/// What a TAP does for the guest.
pub const TAP: &[Value] = &[(0x4004_54d0, "TUNSETOFFLOAD"), (0x8004_54e0, "TUNSETSTEERINGEBPF")];
/// Which queues of a TAP get frames.
pub const TAP_QUEUE: &[Value] = &[(0x4004_54d9, "TUNSETQUEUE")];
/// Page faults (linux/userfaultfd.h).
pub const PAGES: &[Value] = &[
    (0xc028_aa03, "UFFDIO_COPY"),
    (0xc020_aa04, "UFFDIO_ZEROPAGE"),
    (0x8010_aa02, "UFFDIO_WAKE"),
    (0xc018_aa06, "UFFDIO_WRITEPROTECT"),
];
/// What became of an interface.
pub const INTERFACE: &[Value] = values![SIOCGIFNAME, SIOCGIFFLAGS];
/// Modes of a terminal.
pub const TERMINAL: &[Value] =
    &[(0x5401, "TCGETS"), (0x5402, "TCSETS"), (0x802c_542a, "TCGETS2"), (0x402c_542b, "TCSETS2")];
/// Who is in the foreground of a terminal.
pub const FOREGROUND: &[Value] = values![TIOCGPGRP];
/// A descriptor that does not wait.
pub const NONBLOCKING: &[Value] = values![FIONBIO];
/// What a block device is like.
pub const DEVICE: &[Value] = &[
    (0x8008_1272, "BLKGETSIZE64"),
    (0x1268, "BLKSSZGET"),
    (0x127b, "BLKPBSZGET"),
    (0x1279, "BLKIOOPT"),
    (0x125e, "BLKROGET"),
];
/// Frees or zeroes blocks of a device.
pub const BLOCKS: &[Value] = &[(0x1277, "BLKDISCARD"), (0x127f, "BLKZEROOUT")];
