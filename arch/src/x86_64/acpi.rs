//! ACPI tables from plain facts: what hardware is there, how to reset it and how to power it off.
//!
//! The machine is *hardware-reduced* in ACPI's sense: no SCI, no PM timer, no fixed event registers.
//! Power-off and reset are one port write each; the power button, cards that come or go, and a new identity are
//! interrupts of the generic event device. There is no PCI interrupt routing: PCI functions have MSI-X only. A machine without PCI has its
//! virtio devices here, each with its registers and its line.

mod hotplug;
mod identity;

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink, aml};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::layout::{
    ACPI_TABLES, AddressRange, COM1_GSI, COM1_PORT, COM1_PORTS, GED_GSI, HOTPLUG_GSI,
    I8042_COMMAND_PORT, I8042_DATA_PORT, I8042_KEYBOARD_GSI, IDENTITY_GSI, IOAPIC, IOAPIC_ID,
    LAPIC, PCI_BUSES, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, PCI_ECAM, PCI_MMIO32, RESET_PORT,
    RESET_VALUE, RTC_PORT, RTC_PORTS, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT, SLEEP_TYPE_S5,
    VIRTIO_MMIO_SIZE, VirtioMmioSlot, virtio_mmio_slots,
};

/// What is on this board and not the same on every board; the rest is in [`crate::layout`].
#[derive(Clone, Copy, Debug)]
pub struct BoardFacts {
    /// Number of vCPUs; their APIC ids count from 0.
    pub cpus: u8,
    /// Window for 64-bit BARs, see [`crate::layout::pci_mmio64`]; `None` if there is no PCI.
    pub pci_mmio64: Option<AddressRange>,
    /// How many virtio devices are in the slots of [`crate::layout::virtio_mmio_slots`], from the first on.
    pub virtio_mmio: usize,
    /// Whether there is a serial port at COM1.
    pub serial: bool,
    /// Whether there is a keyboard controller for the guest's driver to find. A guest can reset the
    /// machine through port 0x64 either way.
    pub keyboard: bool,
    /// Whether there is a CMOS clock.
    pub rtc: bool,
}

/// Why the tables could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AcpiError {
    /// They are longer than the area set aside for them.
    #[error("the ACPI tables take {needed} bytes, more than the {room} set aside for them")]
    NoRoom {
        /// Bytes they take, up to the table that did not fit.
        needed: u64,
        /// Bytes of the area, [`ACPI_TABLES`].
        room: u64,
    },
    /// The area is not in the guest's memory.
    #[error("cannot write the ACPI tables into guest memory")]
    Memory(#[from] GuestMemoryError),
}

const OEM_ID: [u8; 6] = *b"VMM   ";
const OEM_TABLE_ID: [u8; 8] = *b"VMMBOARD";
const OEM_REVISION: u32 = 1;

/// Writes all tables into their place below 1 MiB; returns the address of the RSDP, which comes first.
/// The tables are those of ACPI 6.5. Fails if they have no room there, or the place is not in `memory`.
pub fn write_tables<M: GuestMemoryBackend>(
    memory: &M,
    facts: &BoardFacts,
) -> Result<GuestAddress, AcpiError> {
    let rsdp_at = ACPI_TABLES.start;
    let mut place = Place { memory, next: rsdp_at.saturating_add(align(Rsdp::len() as u64)) };
    let dsdt = place.put(&dsdt(facts))?;
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(place.put(&fadt(facts, dsdt))?);
    xsdt.add_entry(place.put(&madt(facts))?);
    if facts.pci_mmio64.is_some() {
        xsdt.add_entry(place.put(&mcfg())?);
    }
    let xsdt = place.put(&xsdt)?;
    // Last, so that whoever finds the root pointer finds everything behind it.
    memory.write_slice(&bytes(&Rsdp::new(OEM_ID, xsdt)), GuestAddress(rsdp_at))?;
    Ok(GuestAddress(rsdp_at))
}

/// Hands out the reserved area from bottom to top.
struct Place<'a, M> {
    memory: &'a M,
    next: u64,
}

impl<M: GuestMemoryBackend> Place<'_, M> {
    fn put(&mut self, table: &dyn Aml) -> Result<u64, AcpiError> {
        let table = bytes(table);
        let len = table.len() as u64;
        if !ACPI_TABLES.contains(self.next, len) {
            return Err(AcpiError::NoRoom {
                needed: self.next.saturating_sub(ACPI_TABLES.start).saturating_add(len),
                room: ACPI_TABLES.len(),
            });
        }
        let at = self.next;
        self.memory.write_slice(&table, GuestAddress(at))?;
        self.next = at.saturating_add(align(len));
        Ok(at)
    }
}

fn align(len: u64) -> u64 {
    len.next_multiple_of(16)
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn fadt(facts: &BoardFacts, dsdt: u64) -> impl Aml {
    /// IA-PC boot architecture flags, ACPI 6.5 table 5.11.
    const LEGACY_DEVICES: u16 = 1 << 0;
    const KEYBOARD_CONTROLLER: u16 = 1 << 1;
    const NO_VGA: u16 = 1 << 2;
    const NO_ASPM: u16 = 1 << 4;
    const NO_CMOS_RTC: u16 = 1 << 5;

    let mut boot_architecture = NO_VGA | NO_ASPM;
    for (present, flag) in [
        (facts.serial, LEGACY_DEVICES),
        (facts.keyboard, KEYBOARD_CONTROLLER),
        (!facts.rtc, NO_CMOS_RTC),
    ] {
        if present {
            boot_architecture |= flag;
        }
    }
    // With the button and RTC flags set, neither is a fixed-feature event.
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::Headless)
        .flag(Flags::Wbinvd);
    fadt.iapc_boot_arch = boot_architecture.into();
    fadt.reset_reg = byte_port(RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = byte_port(SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = byte_port(SLEEP_STATUS_PORT);
    fadt.finalize()
}

fn byte_port(port: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(port))
}

fn madt(facts: &BoardFacts) -> MADT {
    let lapic = LocalInterruptController::Address(LAPIC as u32);
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, lapic);
    for id in 0..facts.cpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(IOAPIC_ID, IOAPIC as u32, 0));
    madt
}

fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(PCI_ECAM.start, 0, 0, LAST_BUS);
    mcfg
}

const LAST_BUS: u8 = PCI_BUSES - 1;

fn dsdt(facts: &BoardFacts) -> Sdt {
    let mut body = Vec::new();
    if let Some(mmio64) = facts.pci_mmio64 {
        pci_root(mmio64, &mut body);
        configuration_space(&mut body);
    }
    identity::devices(&mut body);
    events(facts.pci_mmio64.is_some(), &mut body);
    if facts.serial {
        serial(&mut body);
    }
    if facts.rtc {
        clock(&mut body);
    }
    if facts.keyboard {
        keyboard(&mut body);
    }
    for (number, slot) in (0u8..).zip(virtio_mmio_slots()).take(facts.virtio_mmio) {
        virtio(number, slot, &mut body);
    }
    soft_off(&mut body);

    const HEADER_LEN: u32 = 36;
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN, 6, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&body);
    dsdt
}

/// A device below `\_SB_`.
fn device(name: &str, children: Vec<&dyn Aml>, body: &mut Vec<u8>) {
    aml::Device::new(name.into(), children).to_aml_bytes(body);
}

fn hid(id: &str) -> aml::Name {
    aml::Name::new("_HID".into(), &aml::EISAName::new(id))
}

/// The PCI host bridge with its windows; a hierarchy of PCI Express, so that Linux looks at MCFG.
fn pci_root(mmio64: AddressRange, body: &mut Vec<u8>) {
    let buses = aml::AddressSpace::new_bus_number(0u16, u16::from(LAST_BUS));
    let config_ports = aml::IO::new(PCI_CONFIG_PORT, PCI_CONFIG_PORT, 1, PCI_CONFIG_PORTS);
    let mmio32 = memory_window(PCI_MMIO32);
    let mmio64 = memory_window(mmio64);
    let resources = aml::ResourceTemplate::new(vec![&buses, &config_ports, &mmio32, &mmio64]);
    let mut capabilities = Vec::new();
    operating_system_capabilities(&mut capabilities);
    let mut slots = Vec::new();
    hotplug::slots(&mut slots);
    device(
        "\\_SB_.PCI0",
        vec![
            &hid("PNP0A08"),
            &aml::Name::new("_CID".into(), &aml::EISAName::new("PNP0A03")),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new("_SEG".into(), &aml::ZERO),
            &aml::Name::new("_BBN".into(), &aml::ZERO),
            &aml::Name::new("_CRS".into(), &resources),
            &Encoded(capabilities),
            &Encoded(slots),
        ],
        body,
    );
}

/// AML that is already bytes.
struct Encoded(Vec<u8>);

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// `_OSC` of the host bridge, PCI Firmware Specification 3.3, 4.5.1: the operating system may control
/// the PCI Express capability structures, and nothing else is there to control.
fn operating_system_capabilities(body: &mut Vec<u8>) {
    const PCI_HOST_BRIDGE: &str = "33DB4D5B-1FF7-401C-9657-7441C03DD766";
    const EXPRESS_CAPABILITY: u8 = 1 << 4;
    const UNKNOWN_UUID: u8 = 1 << 2;
    const CAPABILITIES_MASKED: u8 = 1 << 4;
    const CONTROL_OFFSET: u8 = 8;

    let (uuid, buffer, granted) = (aml::Arg(0), aml::Arg(3), aml::Local(0));
    let status = aml::Path::new("STAT");
    let control = aml::Path::new("CTRL");
    let host_bridge = aml::Uuid::new(PCI_HOST_BRIDGE);
    aml::Method::new(
        "_OSC".into(),
        4,
        true,
        vec![
            &aml::CreateDWordField::new(&status, &buffer, &aml::ZERO),
            &aml::If::new(
                &aml::Equal::new(&uuid, &host_bridge),
                vec![
                    &aml::CreateDWordField::new(&control, &buffer, &CONTROL_OFFSET),
                    &aml::And::new(&granted, &control, &EXPRESS_CAPABILITY),
                    &aml::If::new(
                        &aml::NotEqual::new(&granted, &control),
                        vec![&aml::Or::new(&status, &status, &CAPABILITIES_MASKED)],
                    ),
                    &aml::Store::new(&control, &granted),
                ],
            ),
            &aml::Else::new(vec![&aml::Or::new(&status, &status, &UNKNOWN_UUID)]),
            &aml::Return::new(&buffer),
        ],
    )
    .to_aml_bytes(body);
}

fn memory_window(range: AddressRange) -> aml::AddressSpace<u64> {
    aml::AddressSpace::new_memory(
        aml::AddressSpaceCacheable::NotCacheable,
        true,
        range.start,
        range.end.saturating_sub(1),
        None,
    )
}

/// A motherboard resource that keeps configuration space for itself: Linux wants one to trust MCFG.
fn configuration_space(body: &mut Vec<u8>) {
    let ecam = aml::Memory32Fixed::new(true, PCI_ECAM.start as u32, PCI_ECAM.len() as u32);
    device(
        "\\_SB_.MBRD",
        vec![
            &hid("PNP0C02"),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&ecam])),
        ],
        body,
    );
}

/// The power button, and the generic event device whose interrupts are its press, a new identity and, with PCI, what
/// happens to slots.
fn events(has_pci: bool, body: &mut Vec<u8>) {
    const BUTTON_PRESSED: u8 = 0x80;
    const CHANGED: u8 = 0x80;

    device("\\_SB_.PWRB", vec![&hid("PNP0C0C")], body);

    let line = |gsi| aml::Interrupt::new(true, true, false, false, gsi);
    let (press_line, slots_line) = (line(GED_GSI), line(HOTPLUG_GSI));
    let identity_line = line(IDENTITY_GSI);
    let button = aml::Path::new("\\_SB_.PWRB");
    let press = aml::Notify::new(&button, &BUTTON_PRESSED);
    let scan =
        aml::MethodCall::new(format!("\\_SB_.PCI0.{}", hotplug::SCAN).as_str().into(), vec![]);
    let is_press = aml::Equal::new(&aml::Arg(0), &GED_GSI);
    let is_slots = aml::Equal::new(&aml::Arg(0), &HOTPLUG_GSI);
    let is_identity = aml::Equal::new(&aml::Arg(0), &IDENTITY_GSI);
    let on_press = aml::If::new(&is_press, vec![&press]);
    let on_slots = aml::If::new(&is_slots, vec![&scan]);
    let [id, clock] = identity::DEVICES.map(aml::Path::new);
    let (id, clock) = (aml::Notify::new(&id, &CHANGED), aml::Notify::new(&clock, &CHANGED));
    // Random numbers before time.
    let on_identity = aml::If::new(&is_identity, vec![&id, &clock]);
    let mut lines: Vec<&dyn Aml> = vec![&press_line, &identity_line];
    let mut handlers: Vec<&dyn Aml> = vec![&on_press, &on_identity];
    if has_pci {
        lines.push(&slots_line);
        handlers.push(&on_slots);
    }
    device(
        "\\_SB_.GED_",
        vec![
            &aml::Name::new("_HID".into(), &"ACPI0013"),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(lines)),
            &aml::Method::new("_EVT".into(), 1, true, handlers),
        ],
        body,
    );
}

fn serial(body: &mut Vec<u8>) {
    let ports = aml::IO::new(COM1_PORT, COM1_PORT, 1, COM1_PORTS);
    let line = aml::Interrupt::new(true, true, false, false, COM1_GSI);
    device(
        "\\_SB_.COM1",
        vec![
            &hid("PNP0501"),
            &aml::Name::new("_UID".into(), &aml::ONE),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&ports, &line])),
        ],
        body,
    );
}

/// The CMOS clock: it tells the time and raises no alarm, so it has no interrupt.
fn clock(body: &mut Vec<u8>) {
    let ports = aml::IO::new(RTC_PORT, RTC_PORT, 1, RTC_PORTS);
    device(
        "\\_SB_.RTC_",
        vec![
            &hid("PNP0B00"),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&ports])),
        ],
        body,
    );
}

fn keyboard(body: &mut Vec<u8>) {
    let data = aml::IO::new(I8042_DATA_PORT, I8042_DATA_PORT, 1, 1);
    let command = aml::IO::new(I8042_COMMAND_PORT, I8042_COMMAND_PORT, 1, 1);
    let line = aml::Interrupt::new(true, true, false, false, I8042_KEYBOARD_GSI);
    device(
        "\\_SB_.KBD_",
        vec![
            &hid("PNP0303"),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![&data, &command, &line]),
            ),
        ],
        body,
    );
}

/// A virtio device, by the id that Linux's virtio_mmio looks for.
fn virtio(number: u8, slot: VirtioMmioSlot, body: &mut Vec<u8>) {
    let registers = aml::Memory32Fixed::new(true, slot.address as u32, VIRTIO_MMIO_SIZE as u32);
    let line = aml::Interrupt::new(true, true, false, false, slot.gsi);
    device(
        &format!("\\_SB_.VR{number:02}"),
        vec![
            &aml::Name::new("_HID".into(), &"LNRO0005"),
            &aml::Name::new("_UID".into(), &number),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&registers, &line])),
        ],
        body,
    );
}

/// The value for SLP_TYP that means off.
fn soft_off(body: &mut Vec<u8>) {
    let package = aml::Package::new(vec![&SLEEP_TYPE_S5, &aml::ZERO, &aml::ZERO, &aml::ZERO]);
    aml::Name::new("\\_S5_".into(), &package).to_aml_bytes(body);
}

#[cfg(test)]
#[path = "acpi_test.rs"]
mod tests;
