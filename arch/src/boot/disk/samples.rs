//! Small disks for tests: partition tables, and an ext4 that has what is put into it and nothing else.

/// What is at a path.
pub enum Content<'a> {
    File(&'a [u8]),
    /// Of so many bytes, all zero and none on the disk.
    Hole(u64),
    Link(&'a str),
}

use Content::{File, Hole, Link};

/// How an ext4 finds a file's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    Extents,
    /// As ext2 does.
    Blocks,
}

pub const BLOCK: usize = 1024;
const INODES: usize = 128;
const INODE: usize = 128;
const TABLE: usize = 5;
const FIRST_FREE: usize = TABLE + INODES * INODE / BLOCK;
/// The file system's UUID, as [`uuid`] writes it.
pub const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
pub const LABEL: &str = "rootfs";

/// An ext4 of one group, with blocks of 1 KiB, and no checksums, journal or bitmaps.
pub fn ext4(files: &[(&str, Content)], mapping: Mapping) -> Vec<u8> {
    let mut disk = Ext4 { bytes: vec![0; FIRST_FREE * BLOCK], inodes: 11, mapping };
    let mut root = Folder::default();
    for (path, content) in files {
        root.add(path.trim_start_matches('/'), content);
    }
    disk.folder(2, 2, &root);
    let blocks = (disk.bytes.len() / BLOCK) as u32;
    let superblock = 1024;
    let mut put = |at: usize, value: &[u8]| put(&mut disk.bytes, superblock + at, value);
    put(0x00, &(INODES as u32).to_le_bytes());
    put(0x04, &blocks.to_le_bytes());
    put(0x14, &1u32.to_le_bytes()); // first_data_block
    put(0x18, &0u32.to_le_bytes()); // log_block_size
    put(0x20, &8192u32.to_le_bytes()); // blocks_per_group
    put(0x28, &(INODES as u32).to_le_bytes());
    put(0x38, &0xEF53u16.to_le_bytes());
    put(0x4C, &1u32.to_le_bytes()); // revision
    put(0x54, &11u32.to_le_bytes()); // first inode
    put(0x58, &(INODE as u16).to_le_bytes());
    let features = if mapping == Mapping::Extents { 0x42u32 } else { 0x2 };
    put(0x60, &features.to_le_bytes());
    let uuid: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
    put(0x68, &uuid);
    put(0x78, LABEL.as_bytes());
    put(1024 + 0x08, &(TABLE as u32).to_le_bytes());
    disk.bytes
}

#[derive(Default)]
struct Folder<'a> {
    folders: Vec<(String, Folder<'a>)>,
    files: Vec<(String, &'a Content<'a>)>,
}

impl<'a> Folder<'a> {
    fn add(&mut self, path: &str, content: &'a Content<'a>) {
        let Some((first, rest)) = path.split_once('/') else {
            return self.files.push((path.to_owned(), content));
        };
        if !self.folders.iter().any(|(name, _)| name == first) {
            self.folders.push((first.to_owned(), Folder::default()));
        }
        let folder = self.folders.iter_mut().find(|(name, _)| name == first);
        folder.unwrap().1.add(rest, content);
    }
}

struct Ext4 {
    bytes: Vec<u8>,
    inodes: u32,
    mapping: Mapping,
}

impl Ext4 {
    fn new_inode(&mut self) -> u32 {
        self.inodes += 1;
        assert!((self.inodes as usize) <= INODES);
        self.inodes
    }

    fn folder(&mut self, number: u32, parent: u32, folder: &Folder) {
        let mut entries = vec![(number, 2, ".".to_owned()), (parent, 2, "..".to_owned())];
        for (name, inner) in &folder.folders {
            let inode = self.new_inode();
            self.folder(inode, number, inner);
            entries.push((inode, 2, name.clone()));
        }
        for (name, content) in &folder.files {
            let inode = self.new_inode();
            let kind = match content {
                File(bytes) => {
                    self.write(inode, 0x8000, bytes);
                    1
                }
                Hole(len) => {
                    self.inode(inode, 0x8000, *len, [0; 60]);
                    1
                }
                Link(target) if target.len() < 60 => {
                    let mut blocks = [0; 60];
                    blocks[..target.len()].copy_from_slice(target.as_bytes());
                    self.inode(inode, 0xA000, target.len() as u64, blocks);
                    7
                }
                Link(target) => {
                    self.write(inode, 0xA000, target.as_bytes());
                    7
                }
            };
            entries.push((inode, kind, name.clone()));
        }
        self.write(number, 0x4000, &entries_of(&entries));
    }

    /// Gives the inode these bytes, in blocks of their own.
    fn write(&mut self, inode: u32, kind: u16, bytes: &[u8]) {
        let first = (self.bytes.len() / BLOCK) as u32;
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        let count = bytes.len().div_ceil(BLOCK) as u32;
        let mut blocks = [0; 60];
        match self.mapping {
            Mapping::Extents => {
                put(&mut blocks, 0, &0xF30Au16.to_le_bytes());
                put(&mut blocks, 2, &1u16.to_le_bytes());
                put(&mut blocks, 4, &4u16.to_le_bytes());
                put(&mut blocks, 16, &(count as u16).to_le_bytes());
                put(&mut blocks, 20, &first.to_le_bytes());
            }
            Mapping::Blocks => {
                for nth in 0..count.min(12) {
                    put(&mut blocks, nth as usize * 4, &(first + nth).to_le_bytes());
                }
                let per_block = BLOCK as u32 / 4;
                let rest: Vec<u32> = (12..count).map(|nth| first + nth).collect();
                let single = &rest[..rest.len().min(per_block as usize)];
                if !single.is_empty() {
                    put(&mut blocks, 48, &self.map(single).to_le_bytes());
                }
                if let Some(double) = rest.get(per_block as usize..).filter(|r| !r.is_empty()) {
                    let maps: Vec<u32> =
                        double.chunks(per_block as usize).map(|part| self.map(part)).collect();
                    put(&mut blocks, 52, &self.map(&maps).to_le_bytes());
                }
            }
        }
        self.inode(inode, kind, bytes.len() as u64, blocks);
    }

    /// A block of block numbers.
    fn map(&mut self, numbers: &[u32]) -> u32 {
        let at = (self.bytes.len() / BLOCK) as u32;
        self.bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        at
    }

    fn inode(&mut self, number: u32, kind: u16, size: u64, blocks: [u8; 60]) {
        let at = TABLE * BLOCK + (number as usize - 1) * INODE;
        put(&mut self.bytes, at, &(kind | 0o755).to_le_bytes());
        put(&mut self.bytes, at + 4, &(size as u32).to_le_bytes());
        put(&mut self.bytes, at + 0x1A, &1u16.to_le_bytes());
        let is_tree = blocks.starts_with(&[0x0A, 0xF3]);
        put(&mut self.bytes, at + 0x20, &(if is_tree { 0x8_0000u32 } else { 0 }).to_le_bytes());
        put(&mut self.bytes, at + 0x28, &blocks);
        put(&mut self.bytes, at + 0x6C, &((size >> 32) as u32).to_le_bytes());
    }
}

/// The blocks of a folder; the last entry of each goes to its end.
fn entries_of(entries: &[(u32, u8, String)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut last = 0;
    let fill = |bytes: &mut Vec<u8>, last: usize| {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let len = (bytes.len() - last) as u16;
        put(bytes, last + 4, &len.to_le_bytes());
    };
    for (inode, kind, name) in entries {
        let len = (8 + name.len()).next_multiple_of(4);
        if bytes.len() % BLOCK + len > BLOCK {
            fill(&mut bytes, last);
        }
        last = bytes.len();
        bytes.extend(inode.to_le_bytes());
        bytes.extend((len as u16).to_le_bytes());
        bytes.extend([name.len() as u8, *kind]);
        bytes.extend(name.as_bytes());
        bytes.resize(last + len, 0);
    }
    fill(&mut bytes, last);
    bytes
}

pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

const SECTOR: usize = 512;
/// First sector of the first partition.
pub const FIRST_SECTOR: usize = 64;
pub const LINUX: [u8; 16] = *b"\xAF\x3D\xC6\x0F\x83\x84\x72\x47\x8E\x79\x3D\x69\xD8\x47\x7D\xE4";
pub const ESP: [u8; 16] = *b"\x28\x73\x2A\xC1\x1F\xF8\xD2\x11\xBA\x4B\x00\xA0\xC9\x3E\xC9\x3B";

/// The PARTUUID of a GPT's partition.
pub fn partuuid(number: u32) -> String {
    format!("0000000{number}-0000-0000-0000-000000000000")
}

/// A disk with a GPT and its backup: kind, number and bytes of each partition.
pub fn gpt(parts: &[([u8; 16], u32, &[u8])]) -> Vec<u8> {
    let mut disk = vec![0; FIRST_SECTOR * SECTOR];
    let mut entries = vec![0; 128 * 128];
    for (kind, number, bytes) in parts {
        let at = (*number as usize - 1) * 128;
        let first = (disk.len() / SECTOR) as u64;
        disk.extend(*bytes);
        disk.resize(disk.len().next_multiple_of(SECTOR), 0);
        put(&mut entries, at, kind);
        put(&mut entries, at + 16, &number.to_le_bytes());
        put(&mut entries, at + 32, &first.to_le_bytes());
        put(&mut entries, at + 40, &((disk.len() / SECTOR) as u64 - 1).to_le_bytes());
    }
    put(&mut disk, 2 * SECTOR, &entries);
    let entries_at = (disk.len() / SECTOR) as u64;
    disk.extend(&entries);
    let backup = (disk.len() / SECTOR) as u64;
    disk.resize(disk.len() + SECTOR, 0);
    for (lba, other, entries_at) in [(1, backup, 2), (backup, 1, entries_at)] {
        let mut header = b"EFI PART\0\0\x01\0\x5C\0\0\0".to_vec();
        header.resize(92, 0);
        put(&mut header, 24, &lba.to_le_bytes());
        put(&mut header, 32, &other.to_le_bytes());
        put(&mut header, 72, &entries_at.to_le_bytes());
        put(&mut header, 80, &128u32.to_le_bytes());
        put(&mut header, 84, &128u32.to_le_bytes());
        put(&mut header, 88, &crc32(&entries).to_le_bytes());
        let crc = crc32(&header);
        put(&mut header, 16, &crc.to_le_bytes());
        put(&mut disk, lba as usize * SECTOR, &header);
    }
    mbr_slot(&mut disk, 0, 0, 0xEE, 1, backup as u32);
    disk
}

/// What [`mbr`] has as its signature.
pub const SIGNATURE: u32 = 0xC0FF_EE01;

/// A disk with an MBR: kind and bytes of each partition. More than four go into a chain, as 5 and so on.
pub fn mbr(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let mut disk = vec![0; FIRST_SECTOR * SECTOR];
    let (primary, logical) = parts.split_at(parts.len().min(if parts.len() > 4 { 3 } else { 4 }));
    let place = |disk: &mut Vec<u8>, bytes: &[u8]| {
        let first = (disk.len() / SECTOR) as u32;
        disk.extend(bytes);
        disk.resize(disk.len().next_multiple_of(SECTOR), 0);
        (first, (disk.len() / SECTOR) as u32 - first)
    };
    for (slot, (kind, bytes)) in primary.iter().enumerate() {
        let (first, len) = place(&mut disk, bytes);
        mbr_slot(&mut disk, 0, slot, *kind, first, len);
    }
    let base = (disk.len() / SECTOR) as u32;
    for (nth, (kind, bytes)) in logical.iter().enumerate() {
        let link = (disk.len() / SECTOR) as u32;
        disk.resize(disk.len() + SECTOR, 0);
        let (first, len) = place(&mut disk, bytes);
        mbr_slot(&mut disk, link as usize, 0, *kind, first - link, len);
        if nth + 1 < logical.len() {
            let next = (disk.len() / SECTOR) as u32;
            mbr_slot(&mut disk, link as usize, 1, 0x05, next - base, 1);
        }
    }
    if !logical.is_empty() {
        let end = (disk.len() / SECTOR) as u32;
        mbr_slot(&mut disk, 0, 3, 0x0F, base, end - base);
    }
    put(&mut disk, 440, &SIGNATURE.to_le_bytes());
    disk
}

fn mbr_slot(disk: &mut [u8], sector: usize, slot: usize, kind: u8, first: u32, len: u32) {
    let at = sector * SECTOR + 446 + slot * 16;
    put(disk, at + 4, &[kind]);
    put(disk, at + 8, &first.to_le_bytes());
    put(disk, at + 12, &len.to_le_bytes());
    put(disk, sector * SECTOR + 510, &[0x55, 0xAA]);
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}
