//! A file that has what was written to a disk, above a base that has the rest and is never written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::header::{CLUSTER, Header, HeaderError, Identity, PAGE, clusters, map_bytes};
use super::map::Map;

/// Bases that one disk can have at most, one above the other.
pub const MOST_BASES: usize = 7;

/// What is wrong with the file of an overlay.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It is none, or of another version.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is shorter than it says.
    #[error("it has {has} bytes, and {wanted} belong to it: its end is cut off")]
    CutOff {
        /// Bytes that it has.
        has: u64,
        /// Bytes that it says it has.
        wanted: u64,
    },
    /// No regular file.
    #[error("it is a block device, and an overlay is a regular file")]
    Device,
    /// Clusters that there are not.
    #[error("its map has clusters behind the end of the disk")]
    Map,
    /// The host does not read or write it.
    #[error(transparent)]
    Host(#[from] io::Error),
}

/// What an image has that is an overlay.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub header: Header,
    /// Which clusters it has.
    pub map: Map,
    /// Whether the end of the machine is to leave what would survive a power cut.
    ordered: AtomicBool,
}

impl Overlay {
    /// Makes the file, which is empty, one of a disk of `size` bytes that has all of `base`. Fails if the host does;
    /// then it begins as none.
    pub fn create(file: &File, size: u64, base: Identity) -> Result<Overlay, ContentError> {
        let header = Header::new(size, base);
        file.set_len(header.file_len())?;
        // Room for the map is not to be missing when a flush needs it.
        let zeroes = [0; PAGE as usize];
        for page in 0..map_bytes(size) / PAGE {
            file.write_all_at(&zeroes, map_at(page))?;
        }
        // What is not on the medium yet is by the first flush, before which nothing is promised.
        file.write_all_at(&header.to_page(), 0)?;
        Ok(Overlay::of(header, false))
    }

    /// Reads what is in the file. Fails if it is no overlay, or none that is whole.
    pub fn read(file: &File, read_only: bool) -> Result<Overlay, ContentError> {
        let has = file.metadata()?.len();
        let mut page = [0; PAGE as usize];
        if has < PAGE {
            return Err(HeaderError::NoOverlay.into());
        }
        file.read_exact_at(&mut page, 0)?;
        let header = Header::of_page(&page)?;
        let wanted = header.file_len();
        if has < wanted {
            return Err(ContentError::CutOff { has, wanted });
        }
        if !read_only {
            // Of what an end without flushes has left in the host's cache nothing is lost any more.
            file.sync_data()?;
        }
        let overlay = Overlay::of(header, read_only);
        for index in 0..map_bytes(header.size) / PAGE {
            file.read_exact_at(&mut page, map_at(index))?;
            if !overlay.map.load(index, &page) {
                return Err(ContentError::Map);
            }
        }
        Ok(overlay)
    }

    fn of(header: Header, read_only: bool) -> Overlay {
        let map = Map::new(header.size, read_only);
        Overlay { header, map, ordered: AtomicBool::new(true) }
    }

    /// What is in the map's file by [`Overlay::settle`] need not survive a power cut.
    pub fn promise_nothing(&self) {
        self.ordered.store(false, Ordering::Relaxed);
    }

    /// Has the map's part of the `file` say what the overlay has: data first, so that both would survive a power cut.
    /// For who has no request under way. Fails if the host does.
    pub fn settle(&self, file: &File) -> io::Result<()> {
        if !self.map.claim_flush_now() {
            return Err(io::Error::other("a flush is under way"));
        }
        let settled = self.try_settle(file);
        self.map.end_flush(settled.is_err());
        settled
    }

    fn try_settle(&self, file: &File) -> io::Result<()> {
        let sync = || match self.ordered.load(Ordering::Relaxed) {
            true => file.sync_data(),
            false => Ok(()),
        };
        self.map.begin_flush(true);
        sync()?;
        if self.map.unwritten(1).is_none() {
            return Ok(());
        }
        while let Some(pages) = self.map.unwritten(1) {
            let words: Vec<_> = self.map.page_words(&pages).collect();
            file.write_all_at(words.as_flattened(), map_at(pages.start))?;
            self.map.wrote(&pages);
        }
        sync()
    }

    /// Clusters that `len` bytes at `offset` of the disk touch.
    pub fn touched(&self, offset: u64, len: u64) -> Range<u64> {
        let end = offset.saturating_add(len);
        offset / CLUSTER..clusters(end)
    }

    /// Whether the overlay has the byte at `offset`, and of how many more up to `len` that is so too.
    pub fn run(&self, offset: u64, len: u64) -> (bool, u64) {
        let (has, run) = self.map.run(self.touched(offset, len));
        let end = (offset / CLUSTER).saturating_add(run).saturating_mul(CLUSTER);
        (has, end.saturating_sub(offset).min(len))
    }

    /// The part of the disk that `clusters` are: the last one may be cut off.
    pub fn bytes_of(&self, clusters: &Range<u64>) -> Range<u64> {
        let at = |cluster: u64| cluster.saturating_mul(CLUSTER).min(self.header.size);
        at(clusters.start)..at(clusters.end)
    }

    /// Where a byte of the disk is in the file.
    pub fn place(&self, offset: u64) -> u64 {
        self.header.data.saturating_add(offset)
    }
}

/// Where a page of the map is in the file.
pub(crate) fn map_at(page: u64) -> u64 {
    PAGE.saturating_add(page.saturating_mul(PAGE))
}

#[cfg(test)]
#[path = "overlay_test.rs"]
mod tests;
