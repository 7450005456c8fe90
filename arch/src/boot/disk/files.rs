//! What a file system is to those who look for files in it, whatever its kind.

use super::source::{ReadError, Region};

/// A file, folder or link, with what its file system needs to find its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub kind: Kind,
    /// Bytes of a file or of a link's target; as the disk says.
    pub size: u64,
    pub place: Place,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    /// A device, pipe or socket.
    Other,
}

/// Where a node's bytes are, in the words of its file system.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// An inode's flags and its 60 bytes of block numbers, extents or a short link's target.
    Ext4 { flags: u32, blocks: [u8; 60] },
    /// The first cluster of a chain; 0 for an empty file.
    Fat { first: u32 },
    /// The root folder of FAT12 and FAT16, which is no chain.
    FatRoot,
}

/// Bytes that lie one behind the other, or that are all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Byte of the file system's region where they begin; none of a hole.
    pub at: Option<u64>,
    /// Bytes.
    pub len: u64,
}

/// Adds `next` to `runs`, to the last of them if it goes on there.
pub(crate) fn add_run(runs: &mut Vec<Run>, next: Run) {
    match runs.last_mut() {
        Some(last) if last.at.map(|at| at.saturating_add(last.len)) == next.at => {
            last.len = last.len.saturating_add(next.len);
        }
        _ => runs.push(next),
    }
}

/// The `len` bytes of `runs` from `offset`; `None` if they are not all there.
pub(crate) fn cut(runs: &[Run], offset: u64, len: u64) -> Option<Vec<Run>> {
    let (mut skip, mut left, mut found) = (offset, len, Vec::new());
    for run in runs {
        let skipped = skip.min(run.len);
        skip = skip.saturating_sub(skipped);
        let len = run.len.saturating_sub(skipped).min(left);
        left = left.saturating_sub(len);
        if len > 0 {
            found.push(Run { at: run.at.map(|at| at.saturating_add(skipped)), len });
        }
    }
    (left == 0).then_some(found)
}

/// What is done with each name of a folder and the node behind it; `false` ends the walk.
pub(crate) type Visit<'v> = dyn FnMut(&str, NodeId) -> bool + 'v;

/// How a file system finds a node that it told of.
#[derive(Clone, Debug)]
pub(crate) enum NodeId {
    /// The number of an inode.
    Inode(u32),
    /// The node itself: its name's entry tells all.
    Known(Node),
}

/// A file system that is only read.
pub(crate) trait FileSystem {
    /// Its folder `/`. Fails if that cannot be read.
    fn root(&self) -> Result<Node, ReadError>;

    /// Shows `visit` what is in `folder`, in the disk's order. Fails if that cannot be read.
    fn visit(&self, folder: &Node, visit: &mut Visit<'_>) -> Result<(), ReadError>;

    /// Whether two names are the same to it.
    fn is_same(&self, one: &str, other: &str) -> bool;

    /// The node of `id`. Fails if it cannot be read.
    fn node(&self, id: NodeId) -> Result<Node, ReadError>;

    /// Where the bytes of `node` lie: runs of [`Node::size`] bytes in all. Fails if that is larger than
    /// `most` bytes, or cannot be found.
    fn runs(&self, node: &Node, most: u64) -> Result<Vec<Run>, ReadError>;

    /// The text of a link, if it is kept in the node itself.
    fn target(&self, node: &Node) -> Option<Vec<u8>>;

    /// The region it fills.
    fn disk(&self) -> Region<'_>;

    /// The bytes of `node`. Fails if they are more than `most`, or cannot be read.
    fn read(&self, node: &Node, most: u64) -> Result<Vec<u8>, ReadError> {
        self.bytes(&self.runs(node, most)?)
    }

    /// The bytes of `runs`. Fails if they cannot be read.
    fn bytes(&self, runs: &[Run]) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        for run in runs {
            let len = usize::try_from(run.len).map_err(|_| ReadError::Beyond)?;
            match run.at {
                Some(at) => bytes.extend(self.disk().bytes(at, len)?),
                None => bytes.resize(bytes.len().saturating_add(len), 0),
            }
        }
        Ok(bytes)
    }
}
