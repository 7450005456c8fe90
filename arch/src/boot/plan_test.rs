//! What fits into memory, and what lies there after loading.

use super::*;
use crate::boot::samples::{self, CODE_LEN, bzimage, open, put, vmlinux};
use crate::layout::GIB;
use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

const RSDP: GuestAddress = GuestAddress(0xE_0000);

fn cmdline(len: usize) -> Cmdline {
    Cmdline::new(&"x".repeat(len)).unwrap()
}

fn plan(kernel: &[u8], initrd: Option<u64>, ram: u64) -> Result<BootPlan, PlanError> {
    let initrd = initrd.map(samples::initrd);
    BootPlan::new(open(kernel).unwrap(), initrd, cmdline(5), ram)
}

fn memory(bytes: u64) -> GuestMemoryMmap {
    let regions: Vec<_> =
        layout::ram_regions(bytes).into_iter().map(|(start, len)| (start, len as usize)).collect();
    GuestMemoryMmap::from_ranges(&regions).unwrap()
}

fn read(memory: &GuestMemoryMmap, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn start(plan: &BootPlan, memory: &GuestMemoryMmap) -> Entry {
    plan.load_images(memory).unwrap();
    plan.write_parameters(memory, RSDP).unwrap()
}

/// The RAM lines of the zero page's memory map.
fn e820_ram(params: &boot_params) -> Vec<(u64, u64)> {
    let table = { params.e820_table };
    table[..usize::from(params.e820_entries)]
        .iter()
        .filter(|line| { line.r#type } == 1)
        .map(|line| (line.addr, line.size))
        .collect()
}

#[test]
fn a_bzimage_is_loaded_whole_with_its_zero_page() {
    let memory = memory(64 * MIB);
    let plan = plan(&bzimage(), None, 64 * MIB).unwrap();

    let entry = start(&plan, &memory);

    assert_eq!(entry.mode, EntryMode::Long64);
    assert_eq!(entry.rip, 0x100_0200);
    assert_eq!(read(&memory, 0x100_0000, CODE_LEN), bzimage()[samples::SETUP_LEN..]);
    let params: boot_params = memory.read_obj(GuestAddress(entry.boot_data)).unwrap();
    assert_eq!({ params.acpi_rsdp_addr }, RSDP.0);
    assert_eq!({ params.hdr.header }.to_le_bytes(), *b"HdrS");
    assert_eq!({ params.hdr.version }, 0x20F);
    assert_eq!({ params.hdr.type_of_loader }, 0xFF);
    assert_eq!({ params.hdr.init_size }, 0x40_0000);
    assert_eq!({ params.hdr.ramdisk_size }, 0);
    let at = u64::from(params.hdr.cmd_line_ptr);
    assert_eq!(read(&memory, at, 6), b"xxxxx\0");
    assert_eq!(e820_ram(&params), [(0, 0x9_FC00), (MIB, 63 * MIB)]);
}

#[test]
fn a_vmlinux_without_pvh_gets_a_zero_page_too() {
    let memory = memory(64 * MIB);
    let plan = plan(&vmlinux(&[]), None, 64 * MIB).unwrap();

    let entry = start(&plan, &memory);

    assert_eq!((entry.mode, entry.rip), (EntryMode::Long64, 0x100_0010));
    assert_eq!(read(&memory, 0x100_0000, 0x1000), samples::code_bytes());
    let params: boot_params = memory.read_obj(GuestAddress(entry.boot_data)).unwrap();
    assert_eq!({ params.hdr.header }.to_le_bytes(), *b"HdrS");
    assert_eq!({ params.hdr.boot_flag }, 0xAA55);
}

#[test]
fn pvh_gets_start_info_with_modules_and_memory_map() {
    let memory = memory(64 * MIB);
    let plan = plan(&vmlinux(&samples::pvh_notes()), Some(0x1801), 64 * MIB).unwrap();

    let entry = start(&plan, &memory);

    assert_eq!((entry.mode, entry.rip), (EntryMode::Pvh32, 0x100_0050));
    let info: hvm_start_info = memory.read_obj(GuestAddress(entry.boot_data)).unwrap();
    assert_eq!((info.magic, info.version), (0x336E_C578, 1));
    assert_eq!(info.rsdp_paddr, RSDP.0);
    assert_eq!(read(&memory, info.cmdline_paddr, 6), b"xxxxx\0");
    assert_eq!(info.nr_modules, 1);
    let module: hvm_modlist_entry = memory.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
    assert_eq!((module.paddr, module.size), (64 * MIB - 0x2000, 0x1801));
    let lines: Vec<hvm_memmap_table_entry> = (0..u64::from(info.memmap_entries))
        .map(|i| memory.read_obj(GuestAddress(info.memmap_paddr + 24 * i)).unwrap())
        .collect();
    let ram: Vec<_> = lines.iter().filter(|line| line.type_ == 1).collect();
    assert_eq!((ram[1].addr, ram[1].size), (MIB, 63 * MIB));
    assert_eq!(lines.len(), memory_map::memory_map(64 * MIB).len());
}

#[test]
fn loading_touches_no_page_it_need_not() {
    let memory = memory(64 * MIB);
    let plan = plan(&bzimage(), None, 64 * MIB).unwrap();
    start(&plan, &memory);
    let unused = [0x2_0000u64, 0x10_0000, 0x80_0000, 0x100_1000, 0x200_0000, 0x3FF_F000];
    for page in unused {
        assert_eq!(read(&memory, page, 0x1000), vec![0; 0x1000], "{page:#x}");
    }
}

#[test]
fn the_initrd_lies_at_the_top_of_low_ram_or_below_the_kernels_limit() {
    for (ram, end) in [(64 * MIB, 64 * MIB), (3 * GIB, 2 * GIB), (5 * GIB, 2 * GIB)] {
        let plan = plan(&bzimage(), Some(MIB + 1), ram).unwrap();
        let (_, place) = plan.initrd.unwrap();
        assert_eq!(place.address, end - MIB - PAGE_SIZE);
        assert_eq!(place.len, MIB + 1);
    }
    let plan = plan(&vmlinux(&samples::pvh_notes()), Some(PAGE_SIZE), 5 * GIB).unwrap();
    assert_eq!(plan.initrd.unwrap().1.address, 3 * GIB - PAGE_SIZE);
}

#[test]
fn the_zero_page_names_the_initrd() {
    let memory = memory(64 * MIB);
    let plan = plan(&bzimage(), Some(0x2345), 64 * MIB).unwrap();
    let entry = start(&plan, &memory);
    let params: boot_params = memory.read_obj(GuestAddress(entry.boot_data)).unwrap();
    assert_eq!({ params.hdr.ramdisk_image }, (64 * MIB - 0x3000) as u32);
    assert_eq!({ params.hdr.ramdisk_size }, 0x2345);
}

#[test]
fn init_size_decides_whether_a_kernel_fits() {
    let end = 0x140_0000;
    assert!(plan(&bzimage(), None, end).is_ok());
    let error = plan(&bzimage(), None, end - PAGE_SIZE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel kernel is too large for the memory: it needs 20 MiB below 3 GiB, the machine has 19 MiB there"
    );
    let mut huge = bzimage();
    put(&mut huge, 0x260, &u32::MAX.to_le_bytes());
    let error = plan(&huge, None, 1024 * GIB).unwrap_err();
    assert!(matches!(error, PlanError::KernelTooLarge { .. }));
}

#[test]
fn an_initrd_must_fit_above_the_kernel() {
    let free = 64 * MIB - 0x140_0000;
    assert!(plan(&bzimage(), Some(free), 64 * MIB).is_ok());
    for size in [free + 1, 64 * MIB, 4 * GIB, 1 << 40] {
        let error = plan(&bzimage(), Some(size), 64 * MIB).unwrap_err();
        assert!(matches!(error, PlanError::InitrdTooLarge { .. }), "{error}");
    }
    let error = plan(&bzimage(), Some(3 * GIB), 8 * GIB).unwrap_err();
    assert!(error.to_string().contains("only 2028 MiB are free"), "{error}");
}

#[test]
fn the_command_line_is_as_long_as_the_kernel_allows() {
    let with = |kernel: &[u8], len| {
        BootPlan::new(open(kernel).unwrap(), None, cmdline(len), 64 * MIB).map(drop)
    };
    for kernel in [bzimage(), vmlinux(&[]), vmlinux(&samples::pvh_notes())] {
        assert_eq!(with(&kernel, 2047), Ok(()));
        assert_eq!(
            with(&kernel, 2048),
            Err(PlanError::CmdlineTooLong { name: "kernel".into(), len: 2048, most: 2047 })
        );
    }
    // A kernel may claim more than there is room for.
    let mut greedy = bzimage();
    put(&mut greedy, 0x238, &u32::MAX.to_le_bytes());
    assert_eq!(with(&greedy, 0xBFFF), Ok(()));
    assert!(with(&greedy, 0xC000).is_err());
}

#[test]
fn a_file_cut_after_it_was_opened_is_an_error_of_loading() {
    let file = samples::file(&bzimage());
    let kernel = Kernel::from_file(file.try_clone().unwrap(), "vmlinuz").unwrap();
    let plan = BootPlan::new(kernel, None, cmdline(1), 64 * MIB).unwrap();
    file.set_len(0x800).unwrap();
    let error = plan.load_images(&memory(64 * MIB)).unwrap_err();
    assert!(error.to_string().contains("vmlinuz"), "{error}");
}

#[test]
fn memory_maps_of_large_machines_reach_the_kernel() {
    let plan = plan(&bzimage(), None, 5 * GIB).unwrap();
    let memory = memory(64 * MIB);
    let entry = start(&plan, &memory);
    let params: boot_params = memory.read_obj(GuestAddress(entry.boot_data)).unwrap();
    assert_eq!(e820_ram(&params), [(0, 0x9_FC00), (MIB, 3 * GIB - MIB), (4 * GIB, 2 * GIB)]);
}

/// Loads whatever is accepted into guarded memory: everything must lie in RAM above 1 MiB.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    const RAM: u64 = 32 * MIB;
    let Ok(kernel) = open(bytes) else {
        return Ok(());
    };
    let limit = kernel.cmdline_max().min(16) as usize;
    let Ok(plan) = BootPlan::new(kernel, Some(samples::initrd(5000)), cmdline(limit), RAM) else {
        return Ok(());
    };
    for segment in &plan.kernel.image.segments {
        prop_assert!(segment.address >= MIB && segment.end() <= RAM);
    }
    let place = plan.initrd.as_ref().map(|(_, place)| *place).unwrap();
    prop_assert!(place.address >= plan.kernel.image.memory_end && place.end() <= RAM);
    let memory = memory(RAM);
    plan.load_images(&memory).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let entry = plan
        .write_parameters(&memory, RSDP)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(entry.rip >= MIB && entry.rip < RAM);
    prop_assert_eq!(read(&memory, 0, 0x1000), vec![0; 0x1000]);
    Ok(())
}

/// Overwrites `image` at some places of its first 1024 bytes and cuts it somewhere.
fn mutations() -> impl Strategy<Value = (Vec<(usize, Vec<u8>)>, Option<usize>)> {
    let interesting = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        any::<u32>().prop_map(|word| word.to_le_bytes().to_vec()),
        any::<u64>().prop_map(|word| word.to_le_bytes().to_vec()),
        (0u32..64).prop_map(|shift| (1u64 << shift).to_le_bytes().to_vec()),
        (0u64..0x3000).prop_map(|small| small.to_le_bytes().to_vec()),
        Just(vec![0xFF; 8]),
    ];
    let writes = proptest::collection::vec((0usize..1016, interesting), 1..6);
    (writes, proptest::option::of(0usize..0x1400))
}

fn mutate(mut image: Vec<u8>, writes: &[(usize, Vec<u8>)], cut: Option<usize>) -> Vec<u8> {
    for (at, value) in writes {
        put(&mut image, *at, value);
    }
    image.truncate(cut.unwrap_or(usize::MAX));
    image
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn random_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 1..2048)) {
        survives(&bytes)?;
    }

    #[test]
    fn mutated_bzimages_never_panic_nor_leave_ram((writes, cut) in mutations()) {
        survives(&mutate(bzimage(), &writes, cut))?;
    }

    #[test]
    fn bzimages_with_random_headers_never_panic_nor_leave_ram(header in proptest::collection::vec(any::<u8>(), 123)) {
        let mut image = bzimage();
        put(&mut image, 0x1F1, &header);
        put(&mut image, 0x202, b"HdrS\x0F\x02");
        put(&mut image, 0x236, &[0x7F]);
        put(&mut image, 0x211, &[0x81]);
        survives(&image)?;
    }

    #[test]
    fn mutated_vmlinuxes_never_panic_nor_leave_ram((writes, cut) in mutations()) {
        survives(&mutate(vmlinux(&samples::pvh_notes()), &writes, cut))?;
    }

    #[test]
    fn random_notes_never_panic(notes in proptest::collection::vec(any::<u8>(), 1..256)) {
        survives(&vmlinux(&notes))?;
    }

    #[test]
    fn any_segments_never_panic_nor_leave_ram(
        segments in proptest::collection::vec(
            (prop_oneof![Just(1u32), Just(4), any::<u32>()], 0u64..0x2000, 0xF_0000u64..0x220_0000, 0u64..0x2000, any::<u32>()),
            1..8,
        ),
    ) {
        let programs: Vec<_> = segments
            .iter()
            .map(|&(kind, offset, address, file_size, more)| samples::Program {
                kind,
                offset,
                address,
                file_size,
                memory_size: file_size + u64::from(more >> 8),
                alignment: 4,
            })
            .collect();
        survives(&samples::elf(0x100_0000, &programs, &vec![0x5A; 0x2000]))?;
    }
}

#[test]
fn a_kernel_put_at_random_is_entered_there_and_told_so() {
    const KASLR: u8 = 1 << 1;
    let elf = samples::with_relocations(&vmlinux(&[]), &[0, 0, 0x8100_0008]);
    let kernel = open(&bzimage()).unwrap().unpacked(samples::file(&elf)).unwrap();
    let plan = BootPlan::new(kernel, Some(samples::initrd(9000)), cmdline(5), 64 * MIB).unwrap();
    let plan = plan.randomized([3, 5]);
    let memory = memory(64 * MIB);

    let entry = start(&plan, &memory);

    assert_eq!(entry.rip, 0x100_0010 + 6 * MIB);
    let (code, mut expected) = (read(&memory, entry.rip - 0x10, 0x1000), samples::code_bytes());
    let word = u32::from_le_bytes(*expected[8..].first_chunk().unwrap());
    put(&mut expected, 8, &(word + 10 * MIB as u32).to_le_bytes());
    assert!(code == expected);
    let params: boot_params = memory.read_obj(GuestAddress(entry.boot_data)).unwrap();
    assert_eq!(params.hdr.loadflags & KASLR, KASLR);
}
