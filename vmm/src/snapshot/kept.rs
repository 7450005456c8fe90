//! What a machine has in the memory of its process, and in no file that would be there for the next one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use device_core::snapshot::blob;
use devices::net::service::store::{Documents, Store};
use serde::{Deserialize, Serialize};

/// All of that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The disk that cloud-init reads, if the machine has one.
    pub seed: Option<Bytes>,
    /// What the metadata service tells.
    pub metadata: Documents,
}

impl Kept {
    /// Of a machine with this disk for cloud-init, and what its metadata service tells. Fails if the disk cannot be read.
    pub fn of(seed: Option<&File>, metadata: &Store) -> io::Result<Kept> {
        let seed = seed.map(Bytes::of).transpose()?;
        Ok(Kept { seed, metadata: metadata.documents() })
    }
}

/// Bytes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes(#[serde(with = "blob")] pub Vec<u8>);

impl Bytes {
    /// All of `file`. Fails if it cannot be read.
    pub fn of(file: &File) -> io::Result<Bytes> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Bytes(bytes))
    }
}
