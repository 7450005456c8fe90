//! The x86_64 platform: a PC without legacy but a serial port, started without firmware.

pub mod acpi;
pub mod cpu_needs;
pub mod cpuid;
pub mod layout;
pub mod memory_map;
pub mod mptable;
pub mod msr;
pub mod regs;
pub mod smbios;
pub mod template;
