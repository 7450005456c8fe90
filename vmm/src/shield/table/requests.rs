//! Requests of `ioctl` that the table names (linux/kvm.h, linux/if_tun.h, linux/fs.h).

use super::super::row::{Value, values};

/// Enters the guest.
pub const RUN: &[Value] = &[(0xae80, "KVM_RUN")];
/// Registers of the vCPU.
pub const REGISTERS: &[Value] = &[(0x8090_ae81, "KVM_GET_REGS")];
/// All that a vCPU has of its own.
pub const STATE_OF_VCPU: &[Value] = &[
    (0x8004_ae98, "KVM_GET_MP_STATE"),
    (0x8138_ae83, "KVM_GET_SREGS"),
    (0x9000_aea4, "KVM_GET_XSAVE"),
    (0x9000_aecf, "KVM_GET_XSAVE2"),
    (0x8188_aea6, "KVM_GET_XCRS"),
    (0x8080_aea1, "KVM_GET_DEBUGREGS"),
    (0x8400_ae8e, "KVM_GET_LAPIC"),
    (0xaea3, "KVM_GET_TSC_KHZ"),
    (0xc008_ae88, "KVM_GET_MSRS"),
    (0x8040_ae9f, "KVM_GET_VCPU_EVENTS"),
];
/// What KVM keeps beside vCPUs.
pub const STATE_OF_VM: &[Value] = &[
    (0xc208_ae62, "KVM_GET_IRQCHIP"),
    (0x8070_ae9f, "KVM_GET_PIT2"),
    (0x8030_ae7c, "KVM_GET_CLOCK"),
    (0x4010_ae42, "KVM_GET_DIRTY_LOG"),
];
/// The guest's clock was stopped.
pub const PAUSED: &[Value] = &[(0xaead, "KVM_KVMCLOCK_CTRL")];
/// What a vCPU's time-stamp counter is ahead of the host's.
pub const COUNTER: &[Value] = &[(0x4018_aee2, "KVM_GET_DEVICE_ATTR")];
/// Where interrupts go.
pub const VECTORS: &[Value] = &[(0x4020_ae76, "KVM_IRQFD"), (0x4008_ae6a, "KVM_SET_GSI_ROUTING")];
/// Where doorbells and memory of cards are.
pub const PLACES: &[Value] =
    &[(0x4040_ae79, "KVM_IOEVENTFD"), (0x4020_ae46, "KVM_SET_USER_MEMORY_REGION")];
/// What a TAP does for the guest.
pub const TAP: &[Value] = &[(0x4004_54d0, "TUNSETOFFLOAD"), (0x8004_54e0, "TUNSETSTEERINGEBPF")];
/// What is before a frame of a TAP, and how many there is room for.
pub const TAP_HEADER: &[Value] = &[(0x4004_54d8, "TUNSETVNETHDRSZ"), (0x8004_54d3, "TUNGETSNDBUF")];
/// Opens a TAP, and brings it up.
pub const OPEN_TAP: &[Value] = &[
    (0x4004_54ca, "TUNSETIFF"),
    (0x8913, "SIOCGIFFLAGS"),
    (0x8914, "SIOCSIFFLAGS"),
    (0x8921, "SIOCGIFMTU"),
    (0x8922, "SIOCSIFMTU"),
    (0x8946, "SIOCETHTOOL"),
];
/// Which queues of a TAP get frames.
pub const TAP_QUEUE: &[Value] = &[(0x4004_54d9, "TUNSETQUEUE")];
/// What the kernel's vhost-net is told of a pair of rings.
pub const VHOST: &[Value] = &[
    (0x4008_af00, "VHOST_SET_FEATURES"),
    (0x4008_af03, "VHOST_SET_MEM_TABLE"),
    (0x4008_af10, "VHOST_SET_VRING_NUM"),
    (0x4028_af11, "VHOST_SET_VRING_ADDR"),
    (0x4008_af12, "VHOST_SET_VRING_BASE"),
    (0xc008_af12, "VHOST_GET_VRING_BASE"),
    (0x4008_af20, "VHOST_SET_VRING_KICK"),
    (0x4008_af21, "VHOST_SET_VRING_CALL"),
    (0x4008_af22, "VHOST_SET_VRING_ERR"),
    (0x4008_af30, "VHOST_NET_SET_BACKEND"),
];
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
