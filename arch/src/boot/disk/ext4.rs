//! Files of ext2, ext3 and ext4 (Linux `Documentation/filesystems/ext4`), read only.
//!
//! Written for images that somebody else made: no walk is longer than the budget of the disk allows, and
//! none depends on counts that only the image tells. Checksums are not looked at, and the journal is not
//! replayed: both are as GRUB does it, which reads the same files.

use std::num::NonZeroU32;

use super::files::{FileSystem, Kind, Node, NodeId, Place, Run, Visit, add_run};
use super::source::{Fields, ReadError, Region};

/// A file system with what its superblock says.
pub(crate) struct Ext4<'a> {
    region: Region<'a>,
    block_size: u32,
    inodes: u32,
    inodes_per_group: NonZeroU32,
    inode_size: u16,
    descriptor_size: u16,
    meta_groups: Option<MetaGroups>,
    /// As Linux and GRUB write it.
    pub uuid: String,
    pub label: String,
}

/// Where blocks of descriptors are that do not follow the superblock: each in the first of the groups that it is of.
struct MetaGroups {
    /// The first such block.
    first: u32,
    first_data_block: u32,
    blocks_per_group: u32,
    /// Groups with a copy of the superblock before it; `None` if all have one. Such a group's number is even, and of
    /// those that have a copy by their number alone each is odd.
    with_superblock: Option<[u32; 2]>,
}

impl MetaGroups {
    fn of(superblock: &Fields<'_>) -> MetaGroups {
        let is_sparse = superblock.u32(0x64) & SPARSE_SUPER > 0;
        let names_two = superblock.u32(0x5C) & SPARSE_SUPER_2 > 0;
        MetaGroups {
            first: superblock.u32(0x104),
            first_data_block: superblock.u32(0x14),
            blocks_per_group: superblock.u32(0x20),
            with_superblock: match (names_two, is_sparse) {
                (true, _) => Some([superblock.u32(0x24C), superblock.u32(0x250)]),
                (false, true) => Some([0; 2]),
                (false, false) => None,
            },
        }
    }

    /// The block with the descriptor of `group` and of those that go with it, of which it is the first.
    fn block(&self, group: u32) -> u64 {
        let begin = u64::from(group).saturating_mul(self.blocks_per_group.into());
        let begin = begin.saturating_add(self.first_data_block.into());
        let has_superblock = self.with_superblock.is_none_or(|groups| groups.contains(&group));
        begin.saturating_add(has_superblock.into())
    }
}

const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_LEN: usize = 1024;
const MAGIC: u16 = 0xEF53;
const MAGIC_AT: u64 = SUPERBLOCK_AT + 0x38;
/// 1 KiB shifted by this much is 64 KiB, the largest block.
const MOST_BLOCK_SHIFT: u32 = 6;
const ROOT_INODE: u32 = 2;
/// What an inode has in all versions, without the rest of a larger one.
const INODE_LEN: usize = 128;
const OLD_DESCRIPTOR: u16 = 32;
/// Largest folder that is looked through; `/boot` has one block.
const MOST_FOLDER: u64 = 4 << 20;
/// Most runs of one file; a file that was written in one go has a few.
const MOST_RUNS: usize = 1 << 16;

/// Of `s_feature_ro_compat` and of `s_feature_compat`: not every group has a copy of the superblock, or just two.
const SPARSE_SUPER: u32 = 0x1;
const SPARSE_SUPER_2: u32 = 0x200;

/// Features without which files cannot be found (`s_feature_incompat`).
mod incompat {
    pub const COMPRESSION: u32 = 0x1;
    pub const FILE_TYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BITS64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGE_DIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
    pub const ENCRYPT: u32 = 0x1_0000;
    pub const CASEFOLD: u32 = 0x2_0000;
    /// Those with which files are found as without, or by what is done here.
    pub const KNOWN: u32 = FILE_TYPE
        | RECOVER
        | META_BG
        | EXTENTS
        | BITS64
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGE_DIR
        | INLINE_DATA
        | ENCRYPT
        | CASEFOLD;
}

/// Flags of an inode.
mod flag {
    pub const ENCRYPTED: u32 = 0x800;
    pub const EXTENTS: u32 = 0x8_0000;
    pub const INLINE_DATA: u32 = 0x1000_0000;
}

/// Whether `region` says that it is one.
pub(crate) fn is_ext4(region: &Region) -> bool {
    region.has(MAGIC_AT, &MAGIC.to_le_bytes())
}

impl<'a> Ext4<'a> {
    /// Reads the superblock. Fails if it is none, or has features with which files are elsewhere.
    pub fn open(region: Region<'a>) -> Result<Self, ReadError> {
        let superblock = region.array::<SUPERBLOCK_LEN>(SUPERBLOCK_AT)?;
        let fields = Fields(&superblock);
        let damaged = ReadError::Damaged("its superblock is damaged");
        let unknown = fields.u32(0x60) & !incompat::KNOWN;
        if unknown & incompat::COMPRESSION > 0 {
            return Err(ReadError::Unknown("it is compressed"));
        }
        if unknown > 0 {
            return Err(ReadError::Unknown("it has a feature"));
        }
        let shift = fields.u32(0x18);
        let (revision, has_64_bits) = (fields.u32(0x4C), fields.u32(0x60) & incompat::BITS64 > 0);
        let has_meta_groups = fields.u32(0x60) & incompat::META_BG > 0;
        let inode_size = if revision == 0 { INODE_LEN as u16 } else { fields.u16(0x58) };
        let descriptor_size = if has_64_bits { fields.u16(0xFE) } else { OLD_DESCRIPTOR };
        let is_sane = shift <= MOST_BLOCK_SHIFT
            && usize::from(inode_size) >= INODE_LEN
            && descriptor_size >= OLD_DESCRIPTOR;
        let (Some(inodes_per_group), true, MAGIC) =
            (NonZeroU32::new(fields.u32(0x28)), is_sane, fields.u16(0x38))
        else {
            return Err(damaged);
        };
        Ok(Self {
            region,
            block_size: 1024u32.checked_shl(shift).ok_or(damaged)?,
            inodes: fields.u32(0),
            inodes_per_group,
            inode_size,
            descriptor_size,
            meta_groups: has_meta_groups.then(|| MetaGroups::of(&fields)),
            uuid: uuid(fields.bytes(0x68, 16)),
            label: text(fields.bytes(0x78, 16)),
        })
    }

    fn byte_of(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_size.into())
    }

    /// Where the descriptor of a group is.
    fn descriptor(&self, group: u32) -> u64 {
        let size = u64::from(self.descriptor_size);
        let in_block = self.block_size.checked_div(self.descriptor_size.into()).unwrap_or_default();
        if let (Some(meta), Some(in_block)) = (&self.meta_groups, NonZeroU32::new(in_block))
            && group / in_block >= meta.first
            && group >= in_block.get()
        {
            let within = group % in_block;
            let block = meta.block(group.saturating_sub(within));
            return self.byte_of(block).saturating_add(u64::from(within).saturating_mul(size));
        }
        // From the block behind that of the superblock on.
        let superblock = SUPERBLOCK_AT.checked_div(self.block_size.into()).unwrap_or_default();
        let descriptors = self.byte_of(superblock.saturating_add(1));
        descriptors.saturating_add(u64::from(group).saturating_mul(size))
    }

    fn inode(&self, number: u32) -> Result<Node, ReadError> {
        let index = number.checked_sub(1).filter(|_| number <= self.inodes);
        let index = index.ok_or(ReadError::Damaged("it names a file that it does not have"))?;
        let (group, index) = (index / self.inodes_per_group, index % self.inodes_per_group);
        let at = self.descriptor(group);
        let low = Fields(&self.region.array::<4>(at.saturating_add(8))?).u32(0);
        let high = match self.descriptor_size > OLD_DESCRIPTOR {
            true => Fields(&self.region.array::<4>(at.saturating_add(0x28))?).u32(0),
            false => 0,
        };
        let table = self.byte_of(wide(high, low));
        let at = table.saturating_add(u64::from(index).saturating_mul(self.inode_size.into()));
        let inode = self.region.array::<INODE_LEN>(at)?;
        let fields = Fields(&inode);
        let kind = match fields.u16(0) & 0xF000 {
            0x8000 => Kind::File,
            0x4000 => Kind::Folder,
            0xA000 => Kind::Link,
            _ => Kind::Other,
        };
        let blocks = inode.get(0x28..).and_then(|rest| rest.first_chunk());
        let place =
            Place::Ext4 { flags: fields.u32(0x20), blocks: blocks.copied().unwrap_or([0; 60]) };
        Ok(Node { kind, size: wide(fields.u32(0x6C), fields.u32(4)), place })
    }

    /// The run of blocks of a file that begins with its block `index`.
    fn run(&self, flags: u32, blocks: &[u8; 60], index: u32) -> Result<Blocks, ReadError> {
        match flags & flag::EXTENTS > 0 {
            true => self.extent(blocks, index),
            false => self.mapped(blocks, index),
        }
    }

    /// Descends the tree of extents to the one with block `index`, or to the hole before the next.
    fn extent(&self, root: &[u8; 60], index: u32) -> Result<Blocks, ReadError> {
        const ENTRY: usize = 12;
        const MAGIC: u16 = 0xF30A;
        const MOST_DEPTH: u16 = 5;
        /// Extents that are longer are reserved but not written, and read as zeros.
        const MOST_WRITTEN: u16 = 0x8000;
        let damaged = ReadError::Damaged("its extents are damaged");
        let mut node = root.to_vec();
        let mut depth = Fields(&node).u16(6);
        // Where the hole ends if there is no extent.
        let mut end = u32::MAX;
        loop {
            let fields = Fields(&node);
            if fields.u16(0) != MAGIC || depth > MOST_DEPTH || fields.u16(6) != depth {
                return Err(damaged);
            }
            let entries = node.chunks_exact(ENTRY).skip(1).take(fields.u16(2).into());
            let starts = entries.clone().map(|entry| Fields(entry).u32(0));
            if let Some(next) = starts.clone().find(|start| *start > index) {
                end = end.min(next);
            }
            let hole = Blocks { first: None, count: end.saturating_sub(index) };
            let Some(entry) = entries.zip(starts).take_while(|(_, start)| *start <= index).last()
            else {
                return Ok(hole);
            };
            let (fields, start) = (Fields(entry.0), entry.1);
            if depth == 0 {
                let len = fields.u16(4);
                let is_written = len <= MOST_WRITTEN;
                let len = u32::from(if is_written { len } else { len.wrapping_sub(MOST_WRITTEN) });
                let skipped = index.saturating_sub(start);
                let count = len.saturating_sub(skipped);
                if count == 0 {
                    return Ok(hole);
                }
                let first = wide(fields.u16(6).into(), fields.u32(8));
                let first = is_written.then_some(first.saturating_add(skipped.into()));
                return Ok(Blocks { first, count });
            }
            let child = wide(fields.u16(8).into(), fields.u32(4));
            node = self.region.bytes(self.byte_of(child), self.block_size as usize)?;
            depth = depth.saturating_sub(1);
        }
    }

    /// Follows the block maps of ext2 and ext3: twelve blocks, then by one, two and three indirections.
    fn mapped(&self, root: &[u8; 60], index: u32) -> Result<Blocks, ReadError> {
        const DIRECT: u64 = 12;
        let per_block = u64::from(self.block_size / 4);
        let mut index = u64::from(index);
        let (mut slot, mut levels) = (index, 0u32);
        if index >= DIRECT {
            index = index.saturating_sub(DIRECT);
            loop {
                levels = levels.saturating_add(1);
                slot = DIRECT.saturating_add(u64::from(levels)).saturating_sub(1);
                let reach = per_block.saturating_pow(levels);
                if index < reach {
                    break;
                }
                if levels == 3 {
                    return Err(ReadError::Damaged("a file is too large for its block map"));
                }
                index = index.saturating_sub(reach);
            }
        }
        let mut block = Fields(root).u32((slot as usize).saturating_mul(4));
        while levels > 0 && block > 0 {
            levels = levels.saturating_sub(1);
            let reach = per_block.saturating_pow(levels);
            let slot = index.checked_div(reach).unwrap_or_default();
            index = index.checked_rem(reach).unwrap_or_default();
            let at = self.byte_of(block.into()).saturating_add(slot.saturating_mul(4));
            block = Fields(&self.region.array::<4>(at)?).u32(0);
        }
        Ok(Blocks { first: (block > 0).then_some(block.into()), count: 1 })
    }
}

/// Blocks one behind the other; without a first one they are a hole.
struct Blocks {
    first: Option<u64>,
    /// Not 0.
    count: u32,
}

impl FileSystem for Ext4<'_> {
    fn root(&self) -> Result<Node, ReadError> {
        self.inode(ROOT_INODE)
    }

    fn visit(&self, folder: &Node, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        const HEADER: usize = 8;
        let damaged = || ReadError::Damaged("a folder is damaged");
        if matches!(folder.place, Place::Ext4 { flags, .. } if flags & flag::ENCRYPTED > 0) {
            return Err(ReadError::Unknown("a folder is encrypted"));
        }
        let bytes = self.read(folder, MOST_FOLDER)?;
        // No entry crosses the end of a block; those of an index say that they fill one.
        for mut block in bytes.chunks(self.block_size as usize) {
            while block.len() >= HEADER {
                let fields = Fields(block);
                let (inode, len) = (fields.u32(0), usize::from(fields.u16(4)));
                if len < HEADER || len > block.len() {
                    return Err(damaged());
                }
                let name = fields.bytes(HEADER, fields.u8(6).into());
                // Nothing that boots has a name in another encoding.
                let name = std::str::from_utf8(name).unwrap_or_default();
                let is_used = inode > 0 && !name.is_empty();
                if is_used && !visit(name, NodeId::Inode(inode)) {
                    return Ok(());
                }
                block = block.get(len..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        one == other
    }

    fn node(&self, id: NodeId) -> Result<Node, ReadError> {
        match id {
            NodeId::Inode(number) => self.inode(number),
            NodeId::Known(node) => Ok(node),
        }
    }

    fn runs(&self, node: &Node, most: u64) -> Result<Vec<Run>, ReadError> {
        let Place::Ext4 { flags, blocks } = &node.place else { return Ok(Vec::new()) };
        let len = node.size;
        if len > most {
            return Err(ReadError::TooLarge { len, most });
        }
        if flags & flag::INLINE_DATA > 0 {
            return Err(ReadError::Unknown("a file's bytes are in its inode"));
        }
        if flags & flag::ENCRYPTED > 0 {
            return Err(ReadError::Unknown("a file is encrypted"));
        }
        let mut runs = Vec::new();
        let (mut done, mut index) = (0u64, 0u32);
        while done < len {
            let found = self.run(*flags, blocks, index)?;
            let reach = self.byte_of(found.count.into());
            let run = reach.min(len.saturating_sub(done));
            add_run(&mut runs, Run { at: found.first.map(|first| self.byte_of(first)), len: run });
            done = done.saturating_add(run);
            index = index.saturating_add(found.count);
            if found.count == 0 || runs.len() > MOST_RUNS {
                return Err(ReadError::Damaged("a file is in too many pieces"));
            }
        }
        Ok(runs)
    }

    fn target(&self, node: &Node) -> Option<Vec<u8>> {
        let Place::Ext4 { flags, blocks } = &node.place else { return None };
        let is_short = node.size < blocks.len() as u64 && flags & flag::EXTENTS == 0;
        is_short.then(|| Fields(blocks).bytes(0, node.size as usize).to_vec())
    }

    fn disk(&self) -> Region<'_> {
        self.region
    }
}

fn wide(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

/// A UUID, whose bytes are in the order in which they are written.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        text.push_str(&format!("{dash}{byte:02x}"));
    }
    text
}

/// What is before the first NUL.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "ext4_test.rs"]
mod tests;
