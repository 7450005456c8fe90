//! What holds an image's bytes.

/// Bytes of a page of the host's page cache, and of a block of a file if its file system says nothing better.
pub(super) const PAGE: u32 = 4096;

/// What holds the image's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A regular file: any range may be discarded or zeroed.
    File,
    /// A block device, whose ranges are multiples of its own logical block.
    Device {
        /// Bytes of that block.
        block: u32,
    },
}
