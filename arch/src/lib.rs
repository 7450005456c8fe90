//! Facts and tables of a platform: layout, CPUID, MSRs, boot protocol, ACPI, SMBIOS.
//!
//! Everything here is a pure function or a table: no ioctl, no device, no thread. The `vmm` crate asks
//! for facts and hands them to KVM; the only thing written to is guest memory.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

pub mod boot;
pub mod guid;
pub mod seed;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
pub use x86_64::{
    acpi, cpu_needs, cpuid, layout, memory_map, mptable, msr, regs, smbios, template,
};
