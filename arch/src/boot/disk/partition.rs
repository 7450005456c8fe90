//! Partition tables: GPT with its backup (UEFI 2.10, chapter 5), and the MBR with its chain of logical
//! partitions.

use super::source::{Fields, ReadError, Region};
use crate::guid::Guid;

/// A partition as its table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// From 1, as Linux and GRUB count.
    pub number: u32,
    /// In which kind of table.
    pub table: Table,
    /// First byte of the disk.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What Linux calls its PARTUUID: a GUID, or the disk's signature and the number.
    pub uuid: String,
    /// Whether firmware looks for boot loaders there.
    pub is_esp: bool,
}

/// The kinds of tables, by GRUB's names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Gpt,
    Mbr,
}

/// What a disk is divided into.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    /// In the order of their numbers; empty without a table.
    pub list: Vec<Partition>,
    /// Whether the first of the GPT's two copies was unusable, and the other taken.
    pub from_backup: bool,
}

/// Sizes of a disk's blocks that a GPT may count in; files have the first, nearly always.
const BLOCK_SIZES: [u64; 2] = [512, 4096];
/// Most entries that are looked at; tables have 128.
const MOST_ENTRIES: u32 = 1024;
const LEAST_ENTRY: u32 = 128;
const MOST_ENTRY: u32 = 4096;
const GPT_HEADER_LEN: usize = 92;
/// EFI system partition, `C12A7328-F81F-11D2-BA4B-00A0C93EC93B`.
const ESP: [u8; 16] = *b"\x28\x73\x2A\xC1\x1F\xF8\xD2\x11\xBA\x4B\x00\xA0\xC9\x3E\xC9\x3B";
const ESP_OF_MBR: u8 = 0xEF;
const PROTECTIVE: u8 = 0xEE;
/// Kinds that are no partitions but lead to a chain of them.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// First number of a logical partition.
const FIRST_LOGICAL: u32 = 5;
const MOST_LOGICAL: u32 = 64;
const SECTOR: u64 = 512;

/// Reads the table of `disk`; what is in it but not on the disk is left out. Fails if the host cannot
/// read it, or if the disk says that it has a GPT and neither copy is whole.
pub(crate) fn partitions(disk: &Region) -> Result<Partitions, ReadError> {
    let mbr = match disk.array::<512>(0) {
        Ok(mbr) if mbr.ends_with(&[0x55, 0xAA]) => mbr,
        Ok(_) | Err(ReadError::Beyond) => return Ok(Partitions::default()),
        Err(error) => return Err(error),
    };
    let slots = mbr_slots(&mbr);
    if slots.iter().any(|slot| slot.kind == PROTECTIVE) {
        return gpt(disk);
    }
    let is_table = slots.iter().any(|slot| slot.is_used()) && slots.iter().all(Slot::is_sane);
    let list = if is_table { mbr_partitions(disk, &mbr, &slots)? } else { Vec::new() };
    Ok(Partitions { list, from_backup: false })
}

fn gpt(disk: &Region) -> Result<Partitions, ReadError> {
    let mut last = ReadError::Damaged("neither of its two partition tables (GPT) is whole");
    for block in BLOCK_SIZES {
        let backup = disk.len().checked_div(block).and_then(|blocks| blocks.checked_sub(1));
        for (lba, from_backup) in [(Some(1), false), (backup, true)] {
            match lba.map(|lba| gpt_copy(disk, block, lba)) {
                Some(Ok(list)) => return Ok(Partitions { list, from_backup }),
                Some(Err(error @ (ReadError::Host(_) | ReadError::Endless))) => last = error,
                _ => {}
            }
        }
    }
    Err(last)
}

/// The copy whose header is the block `lba`. Fails unless header and entries have their checksums.
fn gpt_copy(disk: &Region, block: u64, lba: u64) -> Result<Vec<Partition>, ReadError> {
    const CRC_AT: usize = 16;
    let header = disk.array::<GPT_HEADER_LEN>(lba.saturating_mul(block))?;
    let fields = Fields(&header);
    let damaged = ReadError::Damaged("its partition table (GPT) is damaged");
    let is_header = header.starts_with(b"EFI PART")
        && fields.u32(12) as usize == GPT_HEADER_LEN
        && fields.u64(24) == lba;
    let mut unsigned = header;
    if let Some(crc) = unsigned.get_mut(CRC_AT..CRC_AT.saturating_add(4)) {
        crc.fill(0);
    }
    if !is_header || crc32fast::hash(&unsigned) != fields.u32(CRC_AT) {
        return Err(damaged);
    }
    let (at, count, size) = (fields.u64(72), fields.u32(80), fields.u32(84));
    if count > MOST_ENTRIES
        || !size.is_power_of_two()
        || !(LEAST_ENTRY..=MOST_ENTRY).contains(&size)
    {
        return Err(damaged);
    }
    let len = count.saturating_mul(size) as usize;
    let entries = disk.bytes(at.saturating_mul(block), len)?;
    if crc32fast::hash(&entries) != fields.u32(88) {
        return Err(damaged);
    }
    let found = (1..).zip(entries.chunks_exact(size as usize));
    Ok(found.filter_map(|(number, entry)| gpt_entry(disk, block, number, entry)).collect())
}

fn gpt_entry(disk: &Region, block: u64, number: u32, entry: &[u8]) -> Option<Partition> {
    let fields = Fields(entry);
    let kind: [u8; 16] = *entry.first_chunk()?;
    let guid: [u8; 16] = *entry.get(16..)?.first_chunk()?;
    let (first, last) = (fields.u64(32), fields.u64(40));
    let blocks = last.checked_sub(first)?.checked_add(1)?;
    let (start, len) = (first.checked_mul(block)?, blocks.checked_mul(block)?);
    let is_used = kind != [0; 16] && start < disk.len();
    is_used.then(|| Partition {
        number,
        table: Table::Gpt,
        start,
        len,
        uuid: Guid(guid).to_string(),
        is_esp: kind == ESP,
    })
}

/// One of the four lines of an MBR, or of a link in the chain of logical partitions.
struct Slot {
    status: u8,
    kind: u8,
    /// In sectors.
    start: u32,
    len: u32,
}

impl Slot {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.len > 0
    }

    /// Boot code that lies in its place looks otherwise.
    fn is_sane(&self) -> bool {
        matches!(self.status, 0 | 0x80) && (!self.is_used() || self.start > 0)
    }
}

fn mbr_slots(sector: &[u8; 512]) -> [Slot; 4] {
    [446, 462, 478, 494].map(|at| {
        let fields = Fields(sector.get(at..).unwrap_or_default());
        Slot { status: fields.u8(0), kind: fields.u8(4), start: fields.u32(8), len: fields.u32(12) }
    })
}

fn mbr_partitions(
    disk: &Region,
    mbr: &[u8; 512],
    slots: &[Slot; 4],
) -> Result<Vec<Partition>, ReadError> {
    let signature = Fields(mbr).u32(440);
    let mut found = Vec::new();
    let mut add = |number: u32, base: u64, slot: &Slot| {
        let start = base.saturating_add(slot.start.into()).saturating_mul(SECTOR);
        if slot.is_used() && start < disk.len() {
            found.push(Partition {
                number,
                table: Table::Mbr,
                start,
                len: u64::from(slot.len).saturating_mul(SECTOR),
                uuid: format!("{signature:08x}-{number:02x}"),
                is_esp: slot.kind == ESP_OF_MBR,
            });
        }
    };
    let is_link = |slot: &&Slot| slot.is_used() && EXTENDED.contains(&slot.kind);
    for (number, slot) in (1..).zip(slots).filter(|(_, slot)| !is_link(slot)) {
        add(number, 0, slot);
    }
    // Links are counted from the first of them, what is in them from themselves.
    let mut link = slots.iter().find(is_link).map(|slot| u64::from(slot.start));
    let base = link.unwrap_or_default();
    for number in FIRST_LOGICAL..FIRST_LOGICAL.saturating_add(MOST_LOGICAL) {
        let Some(at) = link else { break };
        let sector = match disk.array::<512>(at.saturating_mul(SECTOR)) {
            Ok(sector) if sector.ends_with(&[0x55, 0xAA]) => sector,
            Ok(_) | Err(ReadError::Beyond) => break,
            Err(error) => return Err(error),
        };
        let slots = mbr_slots(&sector);
        if let Some(slot) = slots.iter().find(|slot| slot.is_used() && !is_link(slot)) {
            add(number, at, slot);
        }
        link = slots.iter().find(is_link).map(|slot| base.saturating_add(slot.start.into()));
    }
    Ok(found)
}

#[cfg(test)]
#[path = "partition_test.rs"]
mod tests;
