//! cloud-init's seed: a disk of the label CIDATA from which the data source NoCloud takes what a user says
//! (cloud-init, "NoCloud"; Microsoft's FAT specification, 2005).
//!
//! It is a FAT12 without partitions: the smallest file system that every distribution mounts, and one that
//! the guest writes nothing to.

/// What cloud-init is told, by the files of its seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// What is to be done: `#cloud-config`, a script, and whatever else cloud-init knows.
    pub user_data: Vec<u8>,
    /// Who the instance is, in YAML; see [`meta_data`].
    pub meta_data: Vec<u8>,
    /// How its network is made up, in YAML; by DHCP if not given.
    pub network_config: Option<Vec<u8>>,
}

/// Why there can be no seed with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} has {len} bytes; at most {MOST_FILE} are taken")]
pub struct SeedError {
    /// Name of the file in the seed.
    pub name: &'static str,
    /// Bytes of it.
    pub len: usize,
}

/// Bytes that a file of the seed may have.
pub const MOST_FILE: usize = 1 << 20;

/// Meta-data of an instance that has nothing but a name: letters, digits and `-`. cloud-init does its work
/// once for each instance-id.
pub fn meta_data(name: &str) -> Vec<u8> {
    format!("instance-id: {name}\nlocal-hostname: {name}\n").into_bytes()
}

const SECTOR: usize = 512;
const CLUSTER: usize = 4 * SECTOR;
const ROOT_ENTRIES: usize = 64;
const ENTRY: usize = 32;
/// Numbers before the first cluster.
const RESERVED_CLUSTERS: usize = 2;
/// Clusters that a seed has at least; a FAT12 has less than 4085.
const LEAST_CLUSTERS: usize = 64;
const END_OF_CHAIN: u16 = 0xFFF;
const HARD_DISK: u8 = 0xF8;
const LABEL: &[u8; 11] = b"CIDATA     ";
/// Attributes: of the label's entry, of a file, of a part of a long name.
const IS_LABEL: u8 = 0x08;
const IS_FILE: u8 = 0x20;
const IS_LONG_NAME: u8 = 0x0F;
/// The first day that FAT knows.
const DATE: u16 = 0x0021;
/// UTF-16 units of a long name in one entry.
const UNITS: usize = 13;

impl Seed {
    /// The bytes of the disk, a multiple of its sectors of 512 bytes. The same files make the same bytes.
    /// Fails if a file is larger than [`MOST_FILE`].
    pub fn to_disk(&self) -> Result<Vec<u8>, SeedError> {
        let mut files = vec![
            ("meta-data", b"META-D~1   ", self.meta_data.as_slice()),
            ("user-data", b"USER-D~1   ", self.user_data.as_slice()),
        ];
        files.extend(
            self.network_config.as_deref().map(|bytes| ("network-config", b"NETWOR~1   ", bytes)),
        );
        let (mut table, mut root, mut data) =
            (vec![0xF00 | u16::from(HARD_DISK), END_OF_CHAIN], Vec::new(), Vec::new());
        root.extend(entry(LABEL, IS_LABEL, 0, 0));
        for (name, short, bytes) in files {
            if bytes.len() > MOST_FILE {
                return Err(SeedError { name, len: bytes.len() });
            }
            let first = if bytes.is_empty() { 0 } else { table.len() };
            let end = table.len().saturating_add(bytes.len().div_ceil(CLUSTER));
            while table.len() < end {
                let next = table.len().saturating_add(1);
                table.push(if next == end { END_OF_CHAIN } else { next as u16 });
            }
            root.extend(long_name(name, short));
            root.extend(entry(short, IS_FILE, first as u16, bytes.len() as u32));
            data.extend_from_slice(bytes);
            data.resize(data.len().next_multiple_of(CLUSTER), 0);
        }
        root.resize(ROOT_ENTRIES.saturating_mul(ENTRY), 0);
        table.resize(table.len().max(LEAST_CLUSTERS.saturating_add(RESERVED_CLUSTERS)), 0);
        let clusters = table.len().saturating_sub(RESERVED_CLUSTERS);
        data.resize(clusters.saturating_mul(CLUSTER), 0);
        let table = packed(&table);

        let parts = [&table, &table, &root, &data].map(|part| part.as_slice()).concat();
        let mut disk = boot_sector(
            SECTOR.saturating_add(parts.len()) / SECTOR,
            table.len() / SECTOR,
            crc32fast::hash(&parts),
        );
        disk.extend(parts);
        Ok(disk)
    }
}

/// The first sector, of a file system with `sectors` sectors and tables of `per_table`.
fn boot_sector(sectors: usize, per_table: usize, id: u32) -> Vec<u8> {
    let mut bytes = b"\xEB\x3C\x90VMM     ".to_vec();
    let u16 = |value: usize| (value as u16).to_le_bytes();
    bytes.extend(u16(SECTOR));
    bytes.push((CLUSTER / SECTOR) as u8);
    bytes.extend(u16(1)); // sectors before the tables
    bytes.push(2); // tables
    bytes.extend(u16(ROOT_ENTRIES));
    let (short, long) = match u16::try_from(sectors) {
        Ok(short) => (short, 0),
        Err(_) => (0, sectors as u32),
    };
    bytes.extend(short.to_le_bytes());
    bytes.push(HARD_DISK);
    bytes.extend(u16(per_table));
    bytes.extend([32, 0, 64, 0]); // sectors of a track, heads: as disks of that size say
    bytes.extend([0; 4]); // sectors before the file system
    bytes.extend(long.to_le_bytes());
    bytes.extend([0x80, 0, 0x29]); // first disk; label and id follow
    bytes.extend(id.to_le_bytes());
    bytes.extend(LABEL);
    bytes.extend(b"FAT12   ");
    bytes.resize(SECTOR.saturating_sub(2), 0);
    bytes.extend([0x55, 0xAA]);
    bytes
}

/// A table with entries of 12 bits, to the end of its last sector.
fn packed(table: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for pair in table.chunks(2) {
        let (one, other) = match pair {
            [one, other] => (*one, *other),
            [one] => (*one, 0),
            _ => continue,
        };
        let three = u32::from(one) | (u32::from(other) << 12);
        bytes.extend(three.to_le_bytes().iter().take(3));
    }
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

/// An entry of the root folder.
fn entry(short: &[u8; 11], kind: u8, first: u16, len: u32) -> Vec<u8> {
    let mut bytes = short.to_vec();
    bytes.push(kind);
    bytes.extend([0; 4]); // case of the short name; time of making, to the second
    bytes.extend(DATE.to_le_bytes());
    bytes.extend(DATE.to_le_bytes()); // of the last access
    bytes.extend([0; 4]); // upper half of the cluster; time of change
    bytes.extend(DATE.to_le_bytes());
    bytes.extend(first.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes
}

/// The entries before that of `short` which give it the name `name`, in ASCII.
fn long_name(name: &str, short: &[u8; 11]) -> Vec<u8> {
    const LAST: u8 = 0x40;
    let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let name: Vec<u16> = name.bytes().map(u16::from).collect();
    let parts = name.chunks(UNITS);
    let count = parts.len();
    let mut bytes = Vec::new();
    for (nth, part) in (1..).zip(parts).collect::<Vec<_>>().into_iter().rev() {
        // A NUL ends a name that does not fill its last part; what is behind it is all ones.
        let ending = std::iter::once(0).chain(std::iter::repeat(0xFFFF));
        let units: Vec<u8> =
            part.iter().copied().chain(ending).take(UNITS).flat_map(u16::to_le_bytes).collect();
        let unit = |from: usize, to: usize| units.get(from..to).unwrap_or_default();
        bytes.push(if nth == count { nth as u8 | LAST } else { nth as u8 });
        bytes.extend(unit(0, 10));
        bytes.extend([IS_LONG_NAME, 0, checksum]);
        bytes.extend(unit(10, 22));
        bytes.extend([0; 2]); // cluster
        bytes.extend(unit(22, 26));
    }
    bytes
}

#[cfg(test)]
#[path = "seed_test.rs"]
mod tests;
