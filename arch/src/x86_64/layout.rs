//! Fixed addresses: RAM and its holes, MMIO windows, ports, interrupt lines, low-memory places.
//!
//! ```text
//!          0  RAM, with the boot data below 640 KiB and the firmware's tables below 1 MiB
//! 0xC000_0000  32-bit PCI window
//! 0xE800_0000  PCI configuration space (ECAM), 1 MiB per bus
//! 0xFE00_0000  virtio devices of a machine without PCI, a page each
//! 0xFEC0_0000  I/O APIC      0xFEE0_0000  local APICs      0xFFFB_C000  KVM's own pages
//!       4 GiB  RAM that did not fit below 3 GiB
//!   above RAM  memory that is plugged while the machine runs, then persistent memory
//! above these  64-bit PCI window
//! ```

use vm_memory::GuestAddress;

/// Bytes in a KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// Granule of guest memory: RAM sizes are multiples of it.
pub const PAGE_SIZE: u64 = 4 * KIB;

/// Most vCPUs of one machine; their APIC ids are their indices.
pub const MAX_CPUS: u8 = 64;

/// A range of guest-physical addresses: `start` included, `end` not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
}

impl AddressRange {
    /// The range from `start` up to but without `end`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// Bytes in the range; 0 if it is empty or upside down.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `[address, address + len)` lies inside; false when that sum overflows.
    pub const fn contains(&self, address: u64, len: u64) -> bool {
        match address.checked_add(len) {
            Some(end) => self.start <= address && end <= self.end,
            None => false,
        }
    }
}

/// End of the RAM below 4 GiB: what does not fit goes on at [`HIGH_RAM`].
pub const LOW_RAM_END: u64 = 3 * GIB;
/// Start of the RAM above the hole.
pub const HIGH_RAM: u64 = 4 * GIB;

/// Window for 32-bit BARs.
pub const PCI_MMIO32: AddressRange = AddressRange::new(LOW_RAM_END, PCI_ECAM.start);
/// Memory-mapped PCI configuration space of segment 0, from bus 0 on.
pub const PCI_ECAM: AddressRange =
    AddressRange::new(0xE800_0000, 0xE800_0000 + PCI_BUSES as u64 * MIB);
/// Buses of segment 0.
pub const PCI_BUSES: u8 = 1;
/// Port of the address register of configuration mechanism 1; the data register is 4 above.
pub const PCI_CONFIG_PORT: u16 = 0xCF8;
/// Ports of configuration mechanism 1.
pub const PCI_CONFIG_PORTS: u8 = 8;

/// Registers of virtio devices in a machine without PCI: a page for each slot.
pub const VIRTIO_MMIO: AddressRange =
    AddressRange::new(0xFE00_0000, 0xFE00_0000 + VIRTIO_MMIO_GSIS.len() as u64 * VIRTIO_MMIO_SIZE);
/// Bytes of a slot.
pub const VIRTIO_MMIO_SIZE: u64 = PAGE_SIZE;
/// Edge-triggered lines of these slots, one each.
///
/// Those below 16 come first: a kernel that knows of no I/O APIC has only them, as pins of the PICs. They
/// are such as no device here has, nor a driver takes for itself without looking: not those of timer,
/// keyboard, cascade, COM1, generic event device, clock and mouse.
pub const VIRTIO_MMIO_GSIS: [u32; 17] =
    [6, 9, 10, 11, 14, 15, 7, 3, 13, 16, 17, 18, 19, 20, 21, 22, 23];

/// Where a virtio device is in a machine without PCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmioSlot {
    /// Guest-physical address of its [`VIRTIO_MMIO_SIZE`] bytes.
    pub address: u64,
    /// Its interrupt line.
    pub gsi: u32,
}

/// All slots, in the order in which devices take them.
pub fn virtio_mmio_slots() -> impl Iterator<Item = VirtioMmioSlot> {
    let addresses = (VIRTIO_MMIO.start..).step_by(VIRTIO_MMIO_SIZE as usize);
    addresses.zip(VIRTIO_MMIO_GSIS).map(|(address, gsi)| VirtioMmioSlot { address, gsi })
}

/// The in-kernel I/O APIC; KVM fixes this address.
pub const IOAPIC: u64 = 0xFEC0_0000;
/// Its id, as MADT and MP table say it.
pub const IOAPIC_ID: u8 = 0;
/// Its pins, which are GSIs 0 to 23.
pub const IOAPIC_PINS: u32 = 24;
/// The local APICs.
pub const LAPIC: u64 = 0xFEE0_0000;
/// For `KVM_SET_IDENTITY_MAP_ADDR`: one page, unused by the guest.
pub const KVM_IDENTITY_MAP: u64 = 0xFFFB_C000;
/// For `KVM_SET_TSS_ADDR`: three pages behind the identity map.
pub const KVM_TSS: u64 = KVM_IDENTITY_MAP + PAGE_SIZE;

/// First port of the first serial port.
pub const COM1_PORT: u16 = 0x3F8;
/// Ports of the first serial port, one for each register.
pub const COM1_PORTS: u8 = 8;
/// Interrupt line of the first serial port, edge-triggered.
pub const COM1_GSI: u32 = 4;
/// First port of the CMOS clock: the index, with the data port behind it.
pub const RTC_PORT: u16 = 0x70;
/// Ports of the CMOS clock.
pub const RTC_PORTS: u8 = 2;
/// Data port of the keyboard controller.
pub const I8042_DATA_PORT: u16 = 0x60;
/// Command and status port of the keyboard controller.
pub const I8042_COMMAND_PORT: u16 = 0x64;
/// Interrupt line of the keyboard, edge-triggered.
pub const I8042_KEYBOARD_GSI: u32 = 1;
/// ACPI sleep control register, one byte; see [`SLEEP_INTO_S5`]. ACPI 6.5, 4.8.3.7.
pub const SLEEP_CONTROL_PORT: u16 = 0x600;
/// ACPI sleep status register, one byte; reads as 0, writes of the wake bit are ignored. ACPI 6.5,
/// 4.8.3.7.
pub const SLEEP_STATUS_PORT: u16 = 0x601;
/// ACPI reset register, one byte: a write of [`RESET_VALUE`] resets the machine. ACPI 6.5, 4.8.3.6.
pub const RESET_PORT: u16 = 0x602;
/// What a guest writes to the reset register to reset the machine.
pub const RESET_VALUE: u8 = 0x01;
/// SLP_TYP of S5 as the `_S5` package says it.
pub const SLEEP_TYPE_S5: u8 = 5;
/// What a guest writes to the sleep control register to power off: SLP_TYP in bits 2 to 4, SLP_EN.
pub const SLEEP_INTO_S5: u8 = (SLEEP_TYPE_S5 << 2) | (1 << 5);
/// Edge-triggered line of the generic event device: one pulse is one press of the power button.
pub const GED_GSI: u32 = 5;

/// Edge-triggered line of the generic event device: one pulse says that [`IDENTITY`] has changed. It is that of a
/// mouse where there is one; virtio devices take all others.
pub const IDENTITY_GSI: u32 = 12;

/// First port of the registers of PCI hot-plug, 12 bytes: slots that have got a card, slots whose card is asked for,
/// and slots that the guest lets go, each a double word with a bit for each slot.
pub const HOTPLUG_PORT: u16 = 0x610;
/// Ports of these registers.
pub const HOTPLUG_PORTS: u8 = 12;
/// Edge-triggered line of the generic event device: one pulse says that these registers have news. There are virtio
/// devices on it in a machine without PCI, which has no such registers.
pub const HOTPLUG_GSI: u32 = 9;
/// Device numbers of the PCI bus.
pub const PCI_SLOTS: u8 = 32;

/// GSIs that belong to no fixed device; MSI routes are free to start here.
pub const FIRST_MSI_GSI: u32 = IOAPIC_PINS;

/// The boot vCPU's GDT, first of the places of boot data: all in RAM below the EBDA; the kernel takes
/// over what it needs early.
pub const GDT: GuestAddress = GuestAddress(0x1000);
/// PVH's `hvm_start_info` (Linux `include/xen/interface/hvm/start_info.h`).
pub const PVH_START_INFO: GuestAddress = GuestAddress(0x2000);
/// PVH's list of modules, `hvm_modlist_entry`; the only one is the initrd.
pub const PVH_MODULES: GuestAddress = GuestAddress(0x2100);
/// PVH's memory map, `hvm_memmap_table_entry` for each range.
pub const PVH_MEMORY_MAP: GuestAddress = GuestAddress(0x2200);
/// The 64-bit boot protocol's `boot_params` (Linux `Documentation/arch/x86/zero-page.rst`), one page.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x3000);
/// The kernel command line, with its final NUL.
pub const CMDLINE: GuestAddress = GuestAddress(0x4000);
/// Bytes of room for the command line with its final NUL.
pub const CMDLINE_ROOM: u64 = 0xC000;
/// Six pages: one PML4, one PDPT, four page directories.
pub const PAGE_TABLES: GuestAddress = GuestAddress(0x1_0000);
/// Extended BIOS data area; nothing is in it, but kernels expect RAM to end here.
pub const EBDA: u64 = 0x9_FC00;
/// ACPI tables, where a kernel without further hints searches for them too.
pub const ACPI_TABLES: AddressRange = AddressRange::new(0xE_0000, 0xE_E000);
/// Two pages by which a guest is told that it is another machine now: one with the [`GENERATION_ID`], and the
/// [`VM_CLOCK`].
pub const IDENTITY: AddressRange = AddressRange::new(ACPI_TABLES.end, 0xF_0000);
/// 16 random bytes, others in each machine that goes on from a snapshot (Microsoft, "Virtual Machine Generation ID").
/// Behind the begin of its page: kernels take certain bytes there for the header of an option ROM.
pub const GENERATION_ID: GuestAddress = GuestAddress(IDENTITY.start + 0x100);
/// The page of the virtual machine clock (Linux `include/uapi/linux/vmclock-abi.h`).
pub const VM_CLOCK: GuestAddress = GuestAddress(IDENTITY.start + PAGE_SIZE);
/// SMBIOS: its entry point, where firmware and kernels look first, and its tables.
pub const SMBIOS: AddressRange = AddressRange::new(0xF_0000, 0xF_8000);
/// The MP table, in the one place of those where kernels look that has room for all CPUs.
pub const MP_TABLE: AddressRange = AddressRange::new(SMBIOS.end, 0x10_0000);
/// First byte of RAM that a kernel image or an initrd may take.
pub const HIGH_MEMORY: u64 = MIB;

/// The RAM of a machine with `bytes` of it, as (start, length in bytes): below the hole, and above if
/// needed.
pub fn ram_regions(bytes: u64) -> Vec<(GuestAddress, u64)> {
    let low = bytes.min(LOW_RAM_END);
    let high = bytes.saturating_sub(low);
    let regions = [(GuestAddress(0), low), (GuestAddress(HIGH_RAM), high)];
    regions.into_iter().filter(|&(_, len)| len > 0).collect()
}

/// End of the RAM below the hole, in a machine with `bytes` of RAM.
pub fn low_ram_end(bytes: u64) -> u64 {
    bytes.min(LOW_RAM_END)
}

/// End of the highest RAM, in a machine with `bytes` of RAM.
pub fn ram_end(bytes: u64) -> u64 {
    match bytes.saturating_sub(LOW_RAM_END) {
        0 => bytes,
        high => HIGH_RAM.saturating_add(high),
    }
}

/// Where memory that is plugged while the machine runs begins: at a multiple of the largest blocks in which Linux plugs
/// memory (`MAX_BLOCK_SIZE` of x86-64), or it would leave a part of one out.
const HOT_MEMORY_ALIGNMENT: u64 = 2 * GIB;

/// The `bytes` of memory that is plugged while a machine with `ram_bytes` of RAM runs; empty, and at the end of RAM, if
/// there is none. `None` if there are not so many addresses.
///
/// It is in no memory map: whoever boots finds it by its device. Nor does an SRAT announce it, as Linux would set 64
/// MiB aside for devices that reach 4 GiB alone (swiotlb) once there may be memory above, and there are none such.
pub fn hot_memory(ram_bytes: u64, bytes: u64) -> Option<AddressRange> {
    let ram_end = ram_end(ram_bytes);
    if bytes == 0 {
        return Some(AddressRange::new(ram_end, ram_end));
    }
    let start = ram_end.max(HIGH_RAM).checked_next_multiple_of(HOT_MEMORY_ALIGNMENT)?;
    Some(AddressRange::new(start, start.checked_add(bytes)?))
}

/// Where persistent memory begins: each at such a multiple, as Linux has it in whole sections, its own
/// (`SECTION_SIZE_BITS` of x86-64) apart from those of RAM.
const PMEM_ALIGNMENT: u64 = 128 * MIB;

/// Room for persistent memory of these sizes in bytes, in this order, in a machine whose other memory ends at
/// `memory_end`; empty without any. `None` if there are not so many addresses.
pub fn pmem(memory_end: u64, sizes: impl IntoIterator<Item = u64>) -> Option<AddressRange> {
    let start = memory_end.max(HIGH_RAM).checked_next_multiple_of(GIB)?;
    let mut room = AddressRange::new(start, u64::MAX);
    for size in sizes {
        room.start = next_pmem(&room, size)?.end;
    }
    Some(AddressRange::new(start, room.start))
}

/// The room for persistent memory, and what a machine leaves behind it for more while it runs: a quarter of the
/// addresses above it, within `address_bits`, 256 GiB at most.
pub fn with_spare_pmem(room: AddressRange, address_bits: u8) -> AddressRange {
    const MOST: u64 = 256 * GIB;
    let limit = 1u64.checked_shl(u32::from(address_bits)).unwrap_or(u64::MAX);
    let spare = (limit.saturating_sub(room.end) / 4).min(MOST);
    AddressRange::new(room.start, room.end.saturating_add(spare & !(GIB - 1)))
}

/// Where the next piece of persistent memory, of `size` bytes, goes in what is left of the room for it. `None` if it
/// does not fit.
pub fn next_pmem(room: &AddressRange, size: u64) -> Option<AddressRange> {
    let start = room.start.checked_next_multiple_of(PMEM_ALIGNMENT)?;
    let end = start.checked_add(size)?;
    (end <= room.end).then_some(AddressRange::new(start, end))
}

/// Window for 64-bit BARs: above RAM and persistent memory, which ends at `pmem_end`, within the guest's physical
/// address bits.
///
/// `None` if these and a window of at least 1 GiB do not fit below `1 << address_bits`.
pub fn pci_mmio64(ram_bytes: u64, pmem_end: u64, address_bits: u8) -> Option<AddressRange> {
    const MOST: u64 = 256 * GIB;
    let end = ram_end(ram_bytes).max(pmem_end);
    let start = end.max(HIGH_RAM).checked_next_multiple_of(GIB)?;
    let limit = 1u64.checked_shl(u32::from(address_bits))?;
    let end = limit.min(start.checked_add(MOST)?);
    let window = AddressRange::new(start, end);
    (window.len() >= GIB).then_some(window)
}

const _: () = {
    assert!(PCI_ECAM.end <= VIRTIO_MMIO.start);
    assert!(VIRTIO_MMIO.end <= IOAPIC);
    assert!(VM_CLOCK.0 + PAGE_SIZE == IDENTITY.end && IDENTITY.end == SMBIOS.start);
    assert!(CMDLINE.0 + CMDLINE_ROOM <= PAGE_TABLES.0);
    assert!(PAGE_TABLES.0 + 6 * PAGE_SIZE <= EBDA);
    assert!(KVM_TSS + 3 * PAGE_SIZE <= HIGH_RAM);
};

#[cfg(test)]
#[path = "layout_test.rs"]
mod tests;
