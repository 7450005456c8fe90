//! The parts of a disk by what is in them: file systems that can be read, and the names of the others.

use super::ext4::{self, Ext4};
use super::fat::{self, Fat};
use super::files::{FileSystem, Kind, Node};
use super::partition::{Partition, Table};
use super::source::{ReadError, Region};
use super::walk;

/// A partition, or a whole disk without partitions.
pub(crate) struct Volume<'a> {
    /// `None` of a whole disk.
    pub partition: Option<Partition>,
    pub contents: Contents<'a>,
}

/// What is in a volume.
pub(crate) enum Contents<'a> {
    Files {
        /// As a user knows it, such as "ext4".
        kind: &'static str,
        files: Box<dyn FileSystem + 'a>,
        uuid: String,
        label: String,
    },
    /// Something of this name that is not read here, and what to do about it.
    Closed(&'static str),
    /// A file system of a kind that is known but that cannot be read.
    Damaged(&'static str, ReadError),
    /// Nothing that is known here, such as the code of a boot loader.
    Raw,
}

/// What is known but not read, by its first bytes.
const CLOSED: &[(u64, &[u8], &str)] = &[
    (0, b"XFSB", "XFS"),
    (0x1_0040, b"_BHRfS_M", "btrfs"),
    (0, b"LUKS\xBA\xBE", "LUKS (encrypted)"),
    (0x200, b"LABELONE", "LVM"),
    (0, b"LABELONE", "LVM"),
    (0x400, b"\x10\x20\xF5\xF2", "F2FS"),
    (0x400, b"\xE2\xE1\xF5\xE0", "EROFS"),
    (0, b"hsqs", "squashfs"),
    (0x8001, b"CD001", "ISO 9660"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (0x1000, b"\xFC\x4E\x2B\xA9", "a RAID member"),
    (0, b"\xFC\x4E\x2B\xA9", "a RAID member"),
    (0x1_0018, b"bcachefs", "bcachefs"),
];

impl<'a> Volume<'a> {
    /// Looks at what is in `region`.
    pub fn open(region: Region<'a>, partition: Option<Partition>) -> Self {
        Self { partition, contents: contents(region) }
    }

    /// As users know it.
    pub fn name(&self) -> String {
        match &self.partition {
            Some(partition) => format!("partition {}", partition.number),
            None => "the disk".to_owned(),
        }
    }

    /// As GRUB names it.
    pub fn grub_name(&self) -> String {
        match &self.partition {
            Some(Partition { number, table: Table::Gpt, .. }) => format!("hd0,gpt{number}"),
            Some(Partition { number, table: Table::Mbr, .. }) => format!("hd0,msdos{number}"),
            None => "hd0".to_owned(),
        }
    }

    /// Whether firmware looks for boot loaders there.
    pub fn is_esp(&self) -> bool {
        self.partition.as_ref().is_some_and(|partition| partition.is_esp)
    }

    pub fn files(&self) -> Option<&dyn FileSystem> {
        match &self.contents {
            Contents::Files { files, .. } => Some(&**files),
            _ => None,
        }
    }

    /// UUID and label of its file system; empty without one.
    pub fn ids(&self) -> (&str, &str) {
        match &self.contents {
            Contents::Files { uuid, label, .. } => (uuid, label),
            _ => ("", ""),
        }
    }

    /// The file or folder at `path`; `None` if nothing is there. Fails as [`walk::find`].
    pub fn find(&self, path: &str) -> Result<Option<Node>, ReadError> {
        self.files().map_or(Ok(None), |files| walk::find(files, path))
    }

    /// The file at `path`; `None` if there is none. Fails alike.
    pub fn file(&self, path: &str) -> Result<Option<Node>, ReadError> {
        Ok(self.find(path)?.filter(|node| node.kind == Kind::File))
    }

    /// The names in the folder at `path`, sorted. Fails alike.
    pub fn names(&self, path: &str) -> Result<Vec<String>, ReadError> {
        self.files().map_or(Ok(Vec::new()), |files| walk::names(files, path))
    }

    /// The bytes of the file at `path`, at most `most`; `None` if there is none. Fails alike, and if there
    /// are more.
    pub fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, ReadError> {
        match (self.files(), self.file(path)?) {
            (Some(files), Some(node)) => files.read(&node, most).map(Some),
            _ => Ok(None),
        }
    }
}

fn contents(region: Region) -> Contents {
    if let Some((_, _, name)) = CLOSED.iter().find(|(at, magic, _)| region.has(*at, magic)) {
        return Contents::Closed(name);
    }
    if ext4::is_ext4(&region) {
        return match Ext4::open(region) {
            Ok(files) => Contents::Files {
                kind: "ext4",
                uuid: files.uuid.clone(),
                label: files.label.clone(),
                files: Box::new(files),
            },
            Err(error) => Contents::Damaged("ext4", error),
        };
    }
    if fat::is_fat(&region) {
        return match Fat::open(region) {
            Ok(files) => Contents::Files {
                kind: "FAT",
                uuid: files.uuid.clone(),
                label: files.label.clone(),
                files: Box::new(files),
            },
            Err(error) => Contents::Damaged("FAT", error),
        };
    }
    Contents::Raw
}
