//! What cloud-init is told at a machine's first start: files of a user, on a disk that is in memory only.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use arch::seed::{MOST_FILE, Seed, SeedError, meta_data};
use device_core::options::{Given, OptionError, parts};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::text_file::{self, ReadError};

/// Files of a user: `key=FILE` with commas between them, each key once. A comma in a path is written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedSpec {
    /// What is to be done.
    pub user_data: PathBuf,
    /// Who the instance is; made of the machine's name if not given.
    pub meta_data: Option<PathBuf>,
    /// How its network is made up; left to cloud-init if not given.
    pub network_config: Option<PathBuf>,
}

/// Why a text names no files for cloud-init.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedSpecError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("user-data is missing; write user-data=FILE")]
    NoUserData,
}

#[derive(Clone, Copy)]
enum Key {
    UserData,
    MetaData,
    NetworkConfig,
}

const KEYS: [(Key, &str); 3] = [
    (Key::UserData, "user-data"),
    (Key::MetaData, "meta-data"),
    (Key::NetworkConfig, "network-config"),
];

impl FromStr for SeedSpec {
    type Err = SeedSpecError;

    fn from_str(text: &str) -> Result<SeedSpec, SeedSpecError> {
        let (mut user_data, mut meta_data, mut network_config) = (None, None, None);
        for part in parts(text) {
            let given = Given::of(&part, &KEYS)?;
            let field = match given.key {
                Key::UserData => &mut user_data,
                Key::MetaData => &mut meta_data,
                Key::NetworkConfig => &mut network_config,
            };
            if given.value.is_empty() {
                return Err(given.bad("it is empty; name a file").into());
            }
            given.put(field, PathBuf::from(&given.value))?;
        }
        let user_data = user_data.ok_or(SeedSpecError::NoUserData)?;
        Ok(SeedSpec { user_data, meta_data, network_config })
    }
}

/// Why there is no disk for cloud-init.
#[derive(Debug, thiserror::Error)]
pub enum SeedDiskError {
    #[error("{key} {}", path.display())]
    File { key: &'static str, path: PathBuf, source: ReadError },
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error("cannot keep the disk in memory")]
    Memory(#[from] io::Error),
}

/// How long a pipe may take to bring a file.
const PATIENCE: Duration = Duration::from_secs(10);

impl SeedSpec {
    /// Reads the files, for the machine `name`. Fails if one cannot be read or is too large.
    fn read(&self, name: &str) -> Result<Seed, SeedDiskError> {
        let read = |key, path: &Path| {
            text_file::read(path, MOST_FILE, PATIENCE).map_err(|source| SeedDiskError::File {
                key,
                path: path.to_owned(),
                source,
            })
        };
        let network_config = self.network_config.as_deref();
        Ok(Seed {
            user_data: read("user-data", &self.user_data)?,
            meta_data: match &self.meta_data {
                Some(path) => read("meta-data", path)?,
                None => meta_data(name),
            },
            network_config: network_config.map(|path| read("network-config", path)).transpose()?,
        })
    }

    /// The disk for the machine `name`, in memory; nobody can change it any more. Fails if a file cannot be
    /// read or is too large, or the host has no memory for it.
    pub fn disk(&self, name: &str) -> Result<File, SeedDiskError> {
        Ok(in_memory(&self.read(name)?.to_disk()?)?)
    }
}

/// A disk of these bytes, in memory; nobody can change it any more. Fails if the host has no memory for it.
pub fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut disk = File::from(memfd_create("cidata", flags)?);
    disk.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&disk, seals)?;
    Ok(disk)
}

#[cfg(test)]
#[path = "seed_test.rs"]
mod tests;
