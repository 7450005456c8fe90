//! SMBIOS: what a machine says it is, to whoever asks it (`dmidecode`, systemd, cloud-init). System
//! Management BIOS Reference Specification (DSP0134) 3.0.
//!
//! The entry point is where EDK2's CloudHv looks for it, and first of those where Linux does
//! (`drivers/firmware/dmi_scan.c`).

use std::fmt;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::guid::Guid;
use crate::layout::{self, KIB, MIB, SMBIOS};

/// What a user may say about who the machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who made it: `sys_vendor`, and the same of board, chassis and BIOS. `vmm` if not said.
    pub vendor: Option<Text>,
    /// What it is: `product_name`. `vmm` if not said.
    pub product: Option<Text>,
    /// Which of those it is: `product_version`.
    pub version: Option<Text>,
    /// Its number: `product_serial`; cloud-init reads `ds=…` there.
    pub serial: Option<Text>,
    /// Its name among all machines: `product_uuid`. All zero, which says that it has none, if not said.
    pub uuid: Guid,
    /// `board_asset_tag` and `chassis_asset_tag`; in EC2 the instance's id.
    pub asset_tag: Option<Text>,
}

/// Text that can be in a table: 1 to 64 printable characters of ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

/// Why a text cannot be in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write 1 to {MOST_TEXT} printable ASCII characters")]
pub struct TextError;

/// Longest text; older readers take no more (SMBIOS 2.6, 6.1.3).
const MOST_TEXT: usize = 64;

impl Text {
    /// Checks `text`. Fails if it is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, TextError> {
        let is_printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        match (1..=MOST_TEXT).contains(&text.len()) && is_printable {
            true => Ok(Self(text.to_owned())),
            false => Err(TextError),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the tables say of the machine itself.
#[derive(Clone, Copy, Debug)]
pub struct MachineFacts {
    /// vCPUs, which are cores of one processor, or their threads.
    pub cpus: u8,
    /// Whether each two of them are the threads of one core.
    pub smt: bool,
    /// Bytes of RAM, laid out as [`crate::layout`] says.
    pub ram_bytes: u64,
}

/// What vendor and product are if nobody says otherwise.
const NAME: &str = "vmm";
/// A date is asked for; it is that of no release.
const BIOS_DATE: &str = "01/01/2026";
const ENTRY_LEN: u8 = 24;
/// No structure of that kind.
const NO_HANDLE: u16 = 0xFFFF;
/// No errors are told.
const NO_ERRORS: u16 = 0xFFFE;
const BOARD: u16 = 2;
const CHASSIS: u16 = 3;
const MEMORY: u16 = 16;

/// Writes entry point and tables into their place below 1 MiB. Fails if that is not in `memory`.
pub fn write<M: GuestMemoryBackend>(
    memory: &M,
    identity: &Identity,
    facts: &MachineFacts,
) -> Result<(), GuestMemoryError> {
    let tables = tables(identity, facts);
    let at = SMBIOS.start.saturating_add(ENTRY_LEN.next_multiple_of(16).into());
    memory.write_slice(&tables, GuestAddress(at))?;
    // Last, so that whoever finds it finds the tables behind it.
    memory.write_slice(&entry_point(at, tables.len() as u32), GuestAddress(SMBIOS.start))
}

/// The 64-bit entry point (5.2.2), to `len` bytes of tables at `address`.
fn entry_point(address: u64, len: u32) -> Vec<u8> {
    const CHECKSUM: usize = 5;
    let mut bytes = b"_SM3_".to_vec();
    // Version 3.0 of the specification, revision 1 of the entry point.
    bytes.extend([0, ENTRY_LEN, 3, 0, 0, 1, 0]);
    bytes.extend(len.to_le_bytes());
    bytes.extend(address.to_le_bytes());
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(byte) = bytes.get_mut(CHECKSUM) {
        *byte = sum.wrapping_neg();
    }
    bytes
}

/// All structures, one behind the other.
fn tables(identity: &Identity, facts: &MachineFacts) -> Vec<u8> {
    let text = |text: &Option<Text>| text.as_ref().map(Text::as_str).unwrap_or_default().to_owned();
    let or_name = |text: String| if text.is_empty() { NAME.to_owned() } else { text };
    let vendor = or_name(text(&identity.vendor));
    let product = or_name(text(&identity.product));
    let (version, serial) = (text(&identity.version), text(&identity.serial));
    let asset_tag = text(&identity.asset_tag);
    let mut all = Vec::new();
    let mut add = |structure: Structure| all.extend(structure.bytes());

    // 7.1 BIOS: no characteristics but that it is of a virtual machine.
    let mut bios = Structure::new(0, 0);
    bios.text(&vendor).text(env!("CARGO_PKG_VERSION")).u16(0).text(BIOS_DATE).u8(0);
    bios.u64(1 << 3).u8(0).u8(1 << 4).bytes_of(&[0xFF; 4]);
    add(bios);

    // 7.2 System, woken by its power switch.
    let mut system = Structure::new(1, 1);
    system.text(&vendor).text(&product).text(&version).text(&serial);
    system.bytes_of(&identity.uuid.0).u8(6).text("").text("");
    add(system);

    // 7.3 Board: a motherboard that has all the rest on it.
    let mut board = Structure::new(2, BOARD);
    board.text(&vendor).text("").text("").text("").text(&asset_tag);
    board.u8(1).text("").u16(CHASSIS).u8(10).u8(0);
    add(board);

    // 7.4 Chassis of another kind than those in the list, in a safe state.
    let mut chassis = Structure::new(3, CHASSIS);
    chassis.text(&vendor).u8(1).text("").text("").text(&asset_tag);
    chassis.u8(3).u8(3).u8(3).u8(2).u32(0).u8(0).u8(0).u8(0).u8(0).text("");
    add(chassis);

    add(processor(facts));

    // 7.17 Memory on the board, without error correction: one module.
    let kib = facts.ram_bytes / KIB;
    const ELSEWHERE: u32 = 1 << 31;
    let small = u32::try_from(kib).ok().filter(|kib| *kib < ELSEWHERE);
    let mut memory = Structure::new(16, MEMORY);
    memory.u8(3).u8(3).u8(3).u32(small.unwrap_or(ELSEWHERE)).u16(NO_ERRORS).u16(1);
    memory.u64(if small.is_some() { 0 } else { facts.ram_bytes });
    add(memory);
    add(module(facts.ram_bytes / MIB));
    for (nth, (start, len)) in (0..).zip(layout::ram_regions(facts.ram_bytes)) {
        add(mapped(nth, start.0, len));
    }

    // 7.33 Boot: there was no error.
    let mut boot = Structure::new(32, 32);
    boot.bytes_of(&[0; 7]);
    add(boot);
    add(Structure::new(127, 127));
    all
}

/// 7.5 A processor with its cores, enabled.
fn processor(facts: &MachineFacts) -> Structure {
    const IS_64_BIT: u16 = 1 << 2;
    const IS_MULTI_CORE: u16 = 1 << 3;
    const HAS_THREADS: u16 = 1 << 4;
    const OTHER: u8 = 1;
    let threads = facts.cpus;
    let cores = if facts.smt { threads.div_ceil(2) } else { threads };
    let mut kind = IS_64_BIT;
    kind |= if cores > 1 { IS_MULTI_CORE } else { 0 };
    kind |= if cores < threads { HAS_THREADS } else { 0 };
    let mut cpu = Structure::new(4, 4);
    // What it is, CPUID tells.
    cpu.text("CPU 0").u8(3).u8(OTHER).text("").u64(0).text("").u8(0).u16(0).u16(0).u16(0);
    cpu.u8(0x41).u8(OTHER).u16(NO_HANDLE).u16(NO_HANDLE).u16(NO_HANDLE).text("").text("").text("");
    cpu.u8(cores).u8(cores).u8(threads).u16(kind).u16(OTHER.into());
    cpu.u16(cores.into()).u16(cores.into()).u16(threads.into());
    cpu
}

/// 7.18 A module of `mib` MiB.
fn module(mib: u64) -> Structure {
    const ELSEWHERE: u16 = 0x7FFF;
    const MOST: u32 = 0x7FFF_FFFF;
    let large = u32::try_from(mib).unwrap_or(MOST).min(MOST);
    let small = u16::try_from(mib).ok().filter(|mib| *mib < ELSEWHERE);
    let mut module = Structure::new(17, 17);
    module.u16(MEMORY).u16(NO_ERRORS).u16(64).u16(64).u16(small.unwrap_or(ELSEWHERE));
    // A DIMM of RAM, of which no more is known.
    module.u8(9).u8(0).text("DIMM 0").text("").u8(7).u16(1 << 2).u16(0);
    module.text("").text("").text("").text("").u8(0);
    module.u32(if small.is_some() { 0 } else { large }).u16(0).u16(0).u16(0).u16(0);
    module
}

/// 7.20 The `nth` range of addresses of the memory.
fn mapped(nth: u16, start: u64, len: u64) -> Structure {
    const ELSEWHERE: u32 = u32::MAX;
    let last = start.saturating_add(len).saturating_sub(1);
    let kib = [start, last].map(|at| u32::try_from(at / KIB).unwrap_or(ELSEWHERE));
    let fits = !kib.contains(&ELSEWHERE);
    let mut range = Structure::new(19, 0x1900u16.saturating_add(nth));
    for at in kib {
        range.u32(if fits { at } else { ELSEWHERE });
    }
    range.u16(MEMORY).u8(1);
    for at in [start, last] {
        range.u64(if fits { 0 } else { at });
    }
    range
}

/// A structure (6.1) while it grows: its fields, and the texts that follow them.
struct Structure {
    fields: Vec<u8>,
    texts: Vec<String>,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        let mut new = Self { fields: vec![kind, 0], texts: Vec::new() };
        new.u16(handle);
        new
    }

    fn bytes_of(&mut self, bytes: &[u8]) -> &mut Self {
        self.fields.extend(bytes);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes_of(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes_of(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes_of(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes_of(&value.to_le_bytes())
    }

    /// A field that is the number of a text, from 1; 0 for an empty one.
    fn text(&mut self, text: &str) -> &mut Self {
        if text.is_empty() {
            return self.u8(0);
        }
        self.texts.push(text.to_owned());
        self.u8(self.texts.len() as u8)
    }

    fn bytes(mut self) -> Vec<u8> {
        let len = self.fields.len() as u8;
        if let Some(byte) = self.fields.get_mut(1) {
            *byte = len;
        }
        for text in &self.texts {
            self.fields.extend(text.bytes());
            self.fields.push(0);
        }
        // A NUL ends the texts, and two do if there is none.
        let end = if self.texts.is_empty() { 2 } else { 1 };
        self.fields.extend(std::iter::repeat_n(0, end));
        self.fields
    }
}

#[cfg(test)]
#[path = "smbios_test.rs"]
mod tests;
