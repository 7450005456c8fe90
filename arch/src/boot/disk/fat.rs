//! Files of FAT12, FAT16 and FAT32 (Microsoft's FAT specification, 2005), read only; as [`super::ext4`],
//! for images that somebody else made.

use super::files::{FileSystem, Kind, Node, NodeId, Place, Run, Visit, add_run};
use super::source::{Fields, ReadError, Region};

/// A file system with what its boot sector says.
pub(crate) struct Fat<'a> {
    region: Region<'a>,
    bits: Bits,
    /// Bytes of a cluster.
    cluster: u32,
    /// Bytes of the region where the table and the root folder of FAT12 and FAT16 begin, and the data.
    table: u64,
    root: u64,
    data: u64,
    clusters: u32,
    root_entries: u16,
    root_cluster: u32,
    /// As Linux and GRUB write it: eight digits with a dash.
    pub uuid: String,
    pub label: String,
}

/// Bits of an entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

const ENTRY: usize = 32;
/// Numbers before the first cluster.
const RESERVED_CLUSTERS: u32 = 2;
/// From so many clusters on a file system has the next larger entries.
const FAT16_CLUSTERS: u32 = 4085;
const FAT32_CLUSTERS: u32 = 65525;
const MOST_FOLDER: u64 = 2 << 20;
/// Clusters that are followed in a chain.
const MOST_CHAIN: u64 = 1 << 20;
const FOLDER: u8 = 0x10;
const LABEL: u8 = 0x08;
/// Attributes of a part of a long name.
const LONG_NAME: u8 = 0x0F;

/// Whether `region` looks like one: its boot sector says how large its parts are, and they are sane.
pub(crate) fn is_fat(region: &Region) -> bool {
    region.has(510, &[0x55, 0xAA]) && Fat::open(*region).is_ok()
}

impl<'a> Fat<'a> {
    /// Reads the boot sector. Fails if it is none.
    pub fn open(region: Region<'a>) -> Result<Self, ReadError> {
        let boot = region.array::<512>(0)?;
        let fields = Fields(&boot);
        let damaged = ReadError::Damaged("its boot sector is damaged");
        let (sector, per_cluster) = (u32::from(fields.u16(11)), u32::from(fields.u8(13)));
        let (reserved, tables) = (u64::from(fields.u16(14)), u64::from(fields.u8(16)));
        let is_sane = matches!(fields.u8(0), 0xEB | 0xE9)
            && sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&tables);
        if !is_sane {
            return Err(damaged);
        }
        let root_entries = fields.u16(17);
        let sectors = match fields.u16(19) {
            0 => u64::from(fields.u32(32)),
            sectors => sectors.into(),
        };
        let per_table = match fields.u16(22) {
            0 => u64::from(fields.u32(36)),
            sectors => sectors.into(),
        };
        let root_len = u64::from(root_entries).saturating_mul(ENTRY as u64);
        let root = reserved.saturating_add(tables.saturating_mul(per_table));
        let data = root.saturating_add(root_len.div_ceil(sector.into()));
        let in_clusters = sectors.checked_sub(data).ok_or(damaged)?;
        let clusters = in_clusters.checked_div(per_cluster.into()).unwrap_or_default();
        let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
        let bits = match clusters {
            _ if fields.u16(22) == 0 => Bits::ThirtyTwo,
            0..FAT16_CLUSTERS => Bits::Twelve,
            FAT16_CLUSTERS..FAT32_CLUSTERS => Bits::Sixteen,
            _ => return Err(ReadError::Damaged("its boot sector is damaged")),
        };
        let ids = if bits == Bits::ThirtyTwo { 67 } else { 39 };
        let (id, bytes) = (fields.u32(ids), |sectors: u64| sectors.saturating_mul(sector.into()));
        let mut fat = Self {
            region,
            bits,
            cluster: sector.saturating_mul(per_cluster),
            table: bytes(reserved),
            root: bytes(root),
            data: bytes(data),
            clusters,
            root_entries,
            root_cluster: fields.u32(44),
            uuid: format!("{:04X}-{:04X}", id >> 16, id & 0xFFFF),
            label: padded(fields.bytes(ids.saturating_add(4), 11)),
        };
        if let Some(label) = fat.root_label() {
            fat.label = label;
        }
        Ok(fat)
    }

    /// The label as tools set it later: an entry of the root folder.
    fn root_label(&self) -> Option<String> {
        let bytes = self.read(&self.root().ok()?, MOST_FOLDER).ok()?;
        let entries = bytes.chunks_exact(ENTRY).take_while(|entry| Fields(entry).u8(0) != 0);
        let mut entries = entries.filter(|entry| Fields(entry).u8(0) != 0xE5);
        let entry = entries.find(|entry| Fields(entry).u8(11) & LONG_NAME == LABEL)?;
        Some(padded(Fields(entry).bytes(0, 11)))
    }

    /// The cluster behind `cluster` in its chain; `None` at the chain's end. Fails if there is none with
    /// such a number.
    fn next(&self, cluster: u32) -> Result<Option<u32>, ReadError> {
        let number = u64::from(cluster);
        let (value, end) = match self.bits {
            Bits::Twelve => {
                let at = number.saturating_add(number / 2);
                let pair = Fields(&self.entry(at)?).u16(0);
                let value = if cluster.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 };
                (value.into(), 0xFF8)
            }
            Bits::Sixteen => {
                (u32::from(Fields(&self.entry(number.saturating_mul(2))?).u16(0)), 0xFFF8)
            }
            Bits::ThirtyTwo => {
                let at = self.table.saturating_add(number.saturating_mul(4));
                (Fields(&self.region.array::<4>(at)?).u32(0) & 0x0FFF_FFFF, 0x0FFF_FFF8)
            }
        };
        Ok((value < end).then_some(value))
    }

    fn entry(&self, at: u64) -> Result<[u8; 2], ReadError> {
        self.region.array(self.table.saturating_add(at))
    }

    fn place_of(&self, cluster: u32) -> Result<u64, ReadError> {
        let index = cluster.checked_sub(RESERVED_CLUSTERS).filter(|index| *index < self.clusters);
        let index = index.ok_or(ReadError::Damaged("its table of clusters is damaged"))?;
        Ok(self.data.saturating_add(u64::from(index).saturating_mul(self.cluster.into())))
    }

    /// The clusters from `first` to the chain's end, or as many as have `len` bytes.
    fn chain(&self, first: u32, len: Option<u64>) -> Result<Vec<Run>, ReadError> {
        let mut runs = Vec::new();
        let (mut cluster, mut left) = (Some(first), len.unwrap_or(MOST_FOLDER));
        for _ in 0..MOST_CHAIN {
            let Some(at) = cluster.filter(|_| left > 0) else { break };
            let run = left.min(self.cluster.into());
            add_run(&mut runs, Run { at: Some(self.place_of(at)?), len: run });
            left = left.saturating_sub(run);
            cluster = if left > 0 { self.next(at)? } else { None };
        }
        match left {
            0 => Ok(runs),
            _ if len.is_none() => Ok(runs),
            _ => Err(ReadError::Damaged("a file is shorter than its folder says")),
        }
    }
}

impl FileSystem for Fat<'_> {
    fn root(&self) -> Result<Node, ReadError> {
        let place = match self.bits {
            Bits::ThirtyTwo => Place::Fat { first: self.root_cluster },
            _ => Place::FatRoot,
        };
        Ok(Node { kind: Kind::Folder, size: 0, place })
    }

    fn visit(&self, folder: &Node, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let mut long = LongName::default();
        for entry in self.read(folder, MOST_FOLDER)?.chunks_exact(ENTRY) {
            let fields = Fields(entry);
            match (fields.u8(0), fields.u8(11)) {
                (0, _) => break,
                (0xE5, _) => long = LongName::default(),
                (order, LONG_NAME) => long.add(order, &fields),
                (_, kind) if kind & LABEL > 0 => long = LongName::default(),
                (_, kind) => {
                    let long = std::mem::take(&mut long).name_of(fields.bytes(0, 11));
                    let name = long.unwrap_or_else(|| short_name(&fields));
                    let high = if self.bits == Bits::ThirtyTwo { fields.u16(20) } else { 0 };
                    let first = (u32::from(high) << 16) | u32::from(fields.u16(26));
                    let kind = if kind & FOLDER > 0 { Kind::Folder } else { Kind::File };
                    let place = match (kind, first) {
                        // That is how `..` names the root.
                        (Kind::Folder, 0) => self.root()?.place,
                        _ => Place::Fat { first },
                    };
                    let node = Node { kind, size: fields.u32(28).into(), place };
                    if !visit(&name, NodeId::Known(node)) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        one.eq_ignore_ascii_case(other)
    }

    fn node(&self, id: NodeId) -> Result<Node, ReadError> {
        match id {
            NodeId::Known(node) => Ok(node),
            NodeId::Inode(_) => Err(ReadError::Damaged("it has no inodes")),
        }
    }

    fn runs(&self, node: &Node, most: u64) -> Result<Vec<Run>, ReadError> {
        match (&node.place, node.kind) {
            (Place::FatRoot, _) => {
                let len = u64::from(self.root_entries).saturating_mul(ENTRY as u64);
                Ok(vec![Run { at: Some(self.root), len }])
            }
            (Place::Fat { first }, Kind::Folder) => self.chain(*first, None),
            (Place::Fat { first }, _) if node.size <= most => self.chain(*first, Some(node.size)),
            (Place::Fat { .. }, _) => Err(ReadError::TooLarge { len: node.size, most }),
            (Place::Ext4 { .. }, _) => Ok(Vec::new()),
        }
    }

    fn target(&self, _: &Node) -> Option<Vec<u8>> {
        None
    }

    fn disk(&self) -> Region<'_> {
        self.region
    }
}

/// A long name while its parts come, the last first.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    /// Of the short name that it belongs to.
    checksum: u8,
    /// Parts that are still to come.
    left: u8,
}

impl LongName {
    fn add(&mut self, order: u8, fields: &Fields) {
        const LAST: u8 = 0x40;
        const MOST_PARTS: u8 = 20;
        let (number, checksum) = (order & !LAST, fields.u8(13));
        if order & LAST > 0 && (1..=MOST_PARTS).contains(&number) {
            *self = Self { units: Vec::new(), checksum, left: number };
        }
        if self.left == 0 || number != self.left || checksum != self.checksum {
            *self = Self::default();
            return;
        }
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        let units = places.map(|at| fields.u16(at));
        self.units.splice(0..0, units);
        self.left = self.left.saturating_sub(1);
    }

    /// The name, if it is whole and that of the entry with this short one.
    fn name_of(self, short: &[u8]) -> Option<String> {
        let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let is_its = !self.units.is_empty() && self.left == 0 && self.checksum == checksum;
        let units = self.units.split(|unit| *unit == 0).next()?;
        is_its.then(|| String::from_utf16_lossy(units))
    }
}

/// `NAME.EXT`, in the case that the entry asks for.
fn short_name(fields: &Fields) -> String {
    const LOWER_NAME: u8 = 0x08;
    const LOWER_EXTENSION: u8 = 0x10;
    let part = |at, len, flag: u8| {
        let text = padded(fields.bytes(at, len));
        if fields.u8(12) & flag > 0 { text.to_ascii_lowercase() } else { text }
    };
    let (name, extension) = (part(0, 8, LOWER_NAME), part(8, 3, LOWER_EXTENSION));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

/// Text that is filled up with spaces.
fn padded(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    text.trim_end_matches([' ', '\0']).to_owned()
}

#[cfg(test)]
#[path = "fat_test.rs"]
mod tests;
