//! The indirection table: from a hash to a lane, every entry checked when it is set.

/// Most entries of a table: virtio's largest, ENA's has 128.
pub const MAX_ENTRIES: usize = 512;

/// Why a table was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No table has so many entries.
    #[error("a table of {0} entries; it must be a power of two of at most {MAX_ENTRIES}")]
    Size(usize),
    /// An entry leads nowhere.
    #[error("an entry names lane {entry}, but there are {lanes}")]
    NoSuchLane {
        /// The lane it names.
        entry: u16,
        /// How many lanes there are, numbered from 0.
        lanes: u16,
    },
}

/// A table of 1 to [`MAX_ENTRIES`] lanes, a power of two.
///
/// All its lanes exist. Whether a lane has a ring at the moment is the lane's business: without one
/// it drops and counts what comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    entries: Vec<u16>,
    unhashed: u16,
}

impl Table {
    /// A table for a card with `lanes` lanes. Frames without a hash go where entry 0 says. Fails unless
    /// their number is a power of two of at most [`MAX_ENTRIES`], and all name a lane.
    pub fn new(entries: Vec<u16>, lanes: u16) -> Result<Table, TableError> {
        if !entries.len().is_power_of_two() || entries.len() > MAX_ENTRIES {
            return Err(TableError::Size(entries.len()));
        }
        entries.iter().try_for_each(|entry| check(*entry, lanes))?;
        let unhashed = entries.first().copied().unwrap_or_default();
        Ok(Table { entries, unhashed })
    }

    /// The same, with a lane of its own for frames without a hash. Fails alike.
    pub fn with_unhashed(
        entries: Vec<u16>,
        unhashed: u16,
        lanes: u16,
    ) -> Result<Table, TableError> {
        check(unhashed, lanes)?;
        Ok(Table { unhashed, ..Table::new(entries, lanes)? })
    }

    /// `size` entries over `lanes` lanes in turn, as drivers do by default. Fails unless `size` is a
    /// power of two of at most [`MAX_ENTRIES`].
    pub fn spread(size: usize, lanes: u16) -> Result<Table, TableError> {
        let lanes = lanes.max(1);
        let entries = (0..lanes).cycle().take(size.min(MAX_ENTRIES.saturating_add(1)));
        Table::new(entries.collect(), lanes)
    }

    /// The lane of each entry.
    pub fn entries(&self) -> &[u16] {
        &self.entries
    }

    /// Where frames without a hash go.
    pub fn unhashed(&self) -> u16 {
        self.unhashed
    }

    /// The entry for a hash: its low bits.
    pub fn bucket(&self, hash: u32) -> usize {
        hash as usize & self.entries.len().wrapping_sub(1)
    }

    /// The lane for a hash, or for frames without one.
    pub fn lane(&self, hash: Option<u32>) -> u16 {
        let entry = hash.and_then(|hash| self.entries.get(self.bucket(hash)));
        entry.copied().unwrap_or(self.unhashed)
    }
}

fn check(entry: u16, lanes: u16) -> Result<(), TableError> {
    if entry < lanes { Ok(()) } else { Err(TableError::NoSuchLane { entry, lanes }) }
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
