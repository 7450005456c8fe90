//! Where the content of a machine's memory is, as far as nobody has touched it.

use std::fs::File;

/// Where it is.
pub enum Backing {
    /// Nowhere: it is zero. So it is in a machine that came from another process with all that is not.
    Zero,
    /// In a file, which is mapped.
    Mapped(File),
    /// With a pager; in a file, if it is ours.
    Brought(Option<File>),
}

impl Backing {
    /// The file, if it is one that we have.
    pub fn file(&self) -> Option<&File> {
        match self {
            Backing::Zero | Backing::Brought(None) => None,
            Backing::Mapped(file) | Backing::Brought(Some(file)) => Some(file),
        }
    }

    /// Whether untouched memory has what a snapshot had.
    pub fn is_restored(&self) -> bool {
        !matches!(self, Backing::Zero)
    }

    /// Whether nobody here can tell what untouched memory has in it.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Backing::Brought(None))
    }
}
