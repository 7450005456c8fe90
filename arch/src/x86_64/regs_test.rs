//! Registers and tables at the first instruction, read as a processor does.

use super::*;
use vm_memory::GuestMemoryMmap;

const LONG: Entry = Entry { rip: 0x100_0200, boot_data: 0x3000, mode: EntryMode::Long64 };
const PVH: Entry = Entry { rip: 0x100_0A30, boot_data: 0x2000, mode: EntryMode::Pvh32 };

fn memory_with_tables(mode: EntryMode) -> GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    write_tables(&memory, mode).unwrap();
    memory
}

fn u64_at(memory: &GuestMemoryMmap, at: u64) -> u64 {
    memory.read_obj(GuestAddress(at)).unwrap()
}

/// Walks the page tables as a processor does.
fn translate(memory: &GuestMemoryMmap, cr3: u64, address: u64) -> Option<u64> {
    const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    let mut table = cr3;
    for shift in [39, 30, 21] {
        let entry = u64_at(memory, table + (address >> shift & 0x1FF) * 8);
        if entry & PAGE_PRESENT_WRITABLE != PAGE_PRESENT_WRITABLE {
            return None;
        }
        if shift == 21 {
            assert_ne!(entry & PAGE_LARGE, 0);
            return Some(
                (entry & ADDRESS & !(LARGE_PAGE_SIZE - 1)) | (address & (LARGE_PAGE_SIZE - 1)),
            );
        }
        table = entry & ADDRESS;
    }
    None
}

#[test]
fn boot_data_goes_where_each_protocol_looks_for_it() {
    let long = general(&LONG);
    assert_eq!((long.rip, long.rsi, long.rbx), (LONG.rip, LONG.boot_data, 0));
    let pvh = general(&PVH);
    assert_eq!((pvh.rip, pvh.rsi, pvh.rbx), (PVH.rip, 0, PVH.boot_data));
    assert_eq!((long.rflags, pvh.rflags), (2, 2));
}

#[test]
fn long_mode_is_on_for_the_64_bit_entry() {
    let sregs = special(&kvm_sregs::default(), &LONG);
    assert_eq!(sregs.cr0, 0x8000_0011);
    assert_eq!(sregs.cr4, 0x20);
    assert_eq!(sregs.efer, 0x500);
    assert_eq!((sregs.cs.l, sregs.cs.db, sregs.cs.selector), (1, 0, 0x10));
    assert_eq!((sregs.ds.l, sregs.ds.db, sregs.ss.selector), (0, 1, 0x18));
}

#[test]
fn pvh_starts_in_flat_protected_mode() {
    let sregs = special(&kvm_sregs::default(), &PVH);
    assert_eq!((sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer), (0x11, 0, 0, 0));
    for segment in [sregs.cs, sregs.ds, sregs.es, sregs.ss] {
        assert_eq!((segment.base, segment.limit), (0, 0xFFFF_FFFF));
        assert_eq!((segment.l, segment.db, segment.g), (0, 1, 1));
    }
    assert_eq!((sregs.tr.base, sregs.tr.limit, sregs.tr.type_), (0, 0x67, 0xB));
}

#[test]
fn what_kvm_gave_and_a_start_does_not_need_is_kept() {
    let current = kvm_sregs { apic_base: 0xFEE0_0900, cr8: 3, ..Default::default() };
    let sregs = special(&current, &LONG);
    assert_eq!((sregs.apic_base, sregs.cr8), (0xFEE0_0900, 3));
}

#[test]
fn the_first_four_gib_are_mapped_to_themselves() {
    let memory = memory_with_tables(EntryMode::Long64);
    let cr3 = special(&kvm_sregs::default(), &LONG).cr3;
    for address in [0, 0x3000, 0x100_0200, 0x7FFF_F123, 0xBFFF_FFFF, 0xFFFF_FFFF] {
        assert_eq!(translate(&memory, cr3, address), Some(address));
    }
    assert_eq!(translate(&memory, cr3, 1 << 32), None);
    assert_eq!(translate(&memory, cr3, 1 << 40), None);
}

#[test]
fn pvh_needs_no_page_tables() {
    let memory = memory_with_tables(EntryMode::Pvh32);
    assert_eq!(u64_at(&memory, PAGE_TABLES.0), 0);
}

#[test]
fn descriptors_in_memory_are_those_of_the_registers() {
    let long = memory_with_tables(EntryMode::Long64);
    let words = |memory: &GuestMemoryMmap| [0, 8, 16, 24, 32].map(|at| u64_at(memory, GDT.0 + at));
    let expected = [0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067];
    assert_eq!(words(&long), expected);
    let pvh = memory_with_tables(EntryMode::Pvh32);
    assert_eq!(words(&pvh)[2], 0x00CF_9B00_0000_FFFF);
    assert_eq!(special(&kvm_sregs::default(), &PVH).gdt.base, GDT.0);
}

#[test]
fn pins_of_the_local_apic_are_wired_and_other_bits_kept() {
    let mut lapic = kvm_lapic_state::default();
    for offset in [LVT_LINT0, LVT_LINT1] {
        lapic.regs[offset + 2] = 1; // the mask bit
        lapic.regs[offset + 1] = 0b010; // another delivery mode
    }
    set_lints(&mut lapic);
    assert_eq!(lapic.regs[0x350..0x354], [0, 0b111, 1, 0]);
    assert_eq!(lapic.regs[0x360..0x364], [0, 0b100, 1, 0]);
    assert!(lapic.regs[..0x350].iter().all(|&byte| byte == 0));
}

#[test]
fn the_fpu_starts_with_all_exceptions_masked() {
    assert_eq!((fpu().fcw, fpu().mxcsr), (0x37F, 0x1F80));
}
