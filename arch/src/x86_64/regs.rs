//! The registers of the boot vCPU at the kernel's first instruction, and the tables they point to.
//!
//! Only the boot vCPU needs them: the others wait for the guest's start-up message in reset state.

use kvm_bindings::{kvm_dtable, kvm_fpu, kvm_lapic_state, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::boot::{Entry, EntryMode};
use crate::layout::{GDT, PAGE_SIZE, PAGE_TABLES};

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 of the flags is always set; interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// Selectors as the boot protocol wants them: code in entry 2, data in entry 3.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x20;

/// Types of segments, Intel SDM volume 3, 3.4.5.1 and 3.5.
const CODE_EXECUTE_READ: u8 = 0xB;
const DATA_READ_WRITE: u8 = 0x3;
const TSS_BUSY: u8 = 0xB;

const PAGE_PRESENT_WRITABLE: u64 = 0b11;
const PAGE_LARGE: u64 = 1 << 7;
const LARGE_PAGE_SIZE: u64 = 2 << 20;
const ENTRIES: usize = 512;
const DIRECTORIES: u64 = 4;

/// General registers for `entry`: where it starts and the pointer to its boot data.
pub fn general(entry: &Entry) -> kvm_regs {
    let base = kvm_regs { rip: entry.rip, rflags: RFLAGS, ..Default::default() };
    match entry.mode {
        EntryMode::Long64 => kvm_regs { rsi: entry.boot_data, ..base },
        EntryMode::Pvh32 => kvm_regs { rbx: entry.boot_data, ..base },
    }
}

/// Special registers for `entry`. `current` is what `KVM_GET_SREGS` says; its APIC base is kept.
///
/// 64-bit entry: long mode, the first 4 GiB mapped to themselves. PVH entry: protected mode without
/// paging, flat 32-bit segments. The tables are those of [`write_tables`].
pub fn special(current: &kvm_sregs, entry: &Entry) -> kvm_sregs {
    let long = entry.mode == EntryMode::Long64;
    let code = segment(CODE_SELECTOR, CODE_EXECUTE_READ, long);
    let data = segment(DATA_SELECTOR, DATA_READ_WRITE, false);
    let (cr0, cr3, cr4, efer) = match entry.mode {
        EntryMode::Long64 => {
            (CR0_PE | CR0_ET | CR0_PG, PAGE_TABLES.0, CR4_PAE, EFER_LME | EFER_LMA)
        }
        EntryMode::Pvh32 => (CR0_PE | CR0_ET, 0, 0, 0),
    };
    kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: task_state(),
        gdt: kvm_dtable { base: GDT.0, limit: GDT_LIMIT, ..Default::default() },
        cr0,
        cr3,
        cr4,
        efer,
        ..*current
    }
}

/// Writes the GDT, and for the 64-bit entry the page tables, that [`special`] refers to. Fails if their
/// places are not in `memory`.
pub fn write_tables<M: GuestMemoryBackend>(
    memory: &M,
    mode: EntryMode,
) -> Result<(), GuestMemoryError> {
    let long = mode == EntryMode::Long64;
    let gdt = [
        0,
        0,
        descriptor(&segment(CODE_SELECTOR, CODE_EXECUTE_READ, long)),
        descriptor(&segment(DATA_SELECTOR, DATA_READ_WRITE, false)),
        descriptor(&task_state()),
        // The upper half of the TSS descriptor in long mode: base bits above 32.
        0,
    ];
    memory.write_obj(gdt, GDT)?;
    if long {
        write_identity_map(memory)?;
    }
    Ok(())
}

const GDT_LIMIT: u16 = 6 * 8 - 1;

/// Maps the first 4 GiB to themselves by 2 MiB pages, which every x86_64 has.
fn write_identity_map<M: GuestMemoryBackend>(memory: &M) -> Result<(), GuestMemoryError> {
    let page = |index: u64| {
        let offset = index.wrapping_mul(PAGE_SIZE);
        GuestAddress(PAGE_TABLES.0.wrapping_add(offset))
    };
    memory.write_obj(page(1).0 | PAGE_PRESENT_WRITABLE, page(0))?;
    let directories: [u64; DIRECTORIES as usize] =
        std::array::from_fn(|i| page((i as u64).wrapping_add(2)).0 | PAGE_PRESENT_WRITABLE);
    memory.write_obj(directories, page(1))?;
    for directory in 0..DIRECTORIES {
        let first = directory.wrapping_mul(ENTRIES as u64);
        let entries: [u64; ENTRIES] = std::array::from_fn(|i| {
            let number = first.wrapping_add(i as u64);
            number.wrapping_mul(LARGE_PAGE_SIZE) | PAGE_PRESENT_WRITABLE | PAGE_LARGE
        });
        let bytes = entries.map(u64::to_le_bytes);
        memory.write_slice(bytes.as_flattened(), page(directory.wrapping_add(2)))?;
    }
    Ok(())
}

/// A flat segment of 4 GiB.
fn segment(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        limit: 0xFFFF_FFFF,
        selector,
        type_,
        present: 1,
        s: 1,
        db: u8::from(!long),
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

/// The smallest task state segment that passes the checks of a VM entry.
fn task_state() -> kvm_segment {
    kvm_segment {
        limit: 0x67,
        selector: TSS_SELECTOR,
        type_: TSS_BUSY,
        present: 1,
        ..Default::default()
    }
}

/// Packs a segment with base 0 into its descriptor, Intel SDM volume 3, 3.4.5.
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(match segment.g {
        0 => segment.limit,
        _ => segment.limit >> 12,
    });
    let access = segment.type_ | (segment.s << 4) | (segment.present << 7);
    let flags = (segment.l << 1) | (segment.db << 2) | (segment.g << 3);
    (limit & 0xFFFF)
        | (u64::from(access) << 40)
        | ((limit >> 16) & 0xF) << 48
        | (u64::from(flags) << 52)
}

/// The FPU as `FNINIT` and a reset leave it: all exceptions masked.
pub fn fpu() -> kvm_fpu {
    kvm_fpu { fcw: 0x37F, mxcsr: 0x1F80, ..Default::default() }
}

/// Offsets of the local vector table's pins in the APIC page, Intel SDM volume 3, 10.4.1.
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
const DELIVERY_MODE: u32 = 0b111 << 8;
const DELIVERY_EXTINT: u32 = 0b111 << 8;
const DELIVERY_NMI: u32 = 0b100 << 8;

/// Wires the pins of a local APIC as firmware does: LINT0 to the PIC, LINT1 to NMI.
pub fn set_lints(lapic: &mut kvm_lapic_state) {
    for (offset, mode) in [(LVT_LINT0, DELIVERY_EXTINT), (LVT_LINT1, DELIVERY_NMI)] {
        if let Some(register) = lapic.regs.get_mut(offset..).and_then(<[_]>::first_chunk_mut) {
            let old = u32::from_le_bytes(register.map(|byte: std::ffi::c_char| byte as u8));
            let new = (old & !DELIVERY_MODE) | mode;
            *register = new.to_le_bytes().map(|byte| byte as std::ffi::c_char);
        }
    }
}

#[cfg(test)]
#[path = "regs_test.rs"]
mod tests;
