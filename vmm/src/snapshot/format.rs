//! The state's file: a head that any later version can read, and what it is the head of.
//!
//! ```text
//!    0  "vmm-snap"
//!    8  format, u32            12  bytes of the head, u32        16  bytes of the body, u64
//!   24  SHA-256 of bytes 0 to 23 and of all behind these 32
//!   56  the head: JSON, what the snapshot is
//!    .  the body: JSON, the machine's configuration and state
//! ```
//!
//! Numbers are little-endian. Up to the head, and what it has to say, nothing changes with the format.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::ReadError;
use super::kept::Kept;
use super::memory_file::Sums;
use super::turn::Turn;
use crate::vm::saved::MachineState;

const MAGIC: [u8; 8] = *b"vmm-snap";
/// The form of the body; what a part's own version says is not in it.
pub const FORMAT: u32 = 1;
/// Bytes before the digest, and before the head.
const PREFIX: usize = 24;
const FRAME: usize = PREFIX + 32;
/// Far more than the largest machine's.
const MOST: u64 = 64 << 20;
/// Bytes of the head at most.
const MOST_HEAD: u32 = 1 << 20;

/// What this vmm runs.
pub const ARCHITECTURE: &str = std::env::consts::ARCH;

/// What a snapshot is, for people and for vmms of other versions. More may come, and nothing goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the vmm that wrote it.
    pub vmm_version: String,
    /// Of the processor, as Rust has it.
    pub architecture: String,
    /// `full`: all of the machine; `diff`: of its memory only what has changed.
    pub kind: String,
    /// Its name, of 32 hexadecimal digits, which no other has.
    pub id: String,
    /// By which of its names the memory is beside its place, until it is in that.
    pub turn: Turn,
    /// The name of the snapshot that has the rest of its memory, if it has not all.
    pub base: Option<String>,
    /// Seconds since 1970.
    pub created_s: u64,
    /// Number of vCPUs.
    pub vcpus: usize,
    /// Bytes of memory, and so of the memory's file.
    pub memory_bytes: u64,
    /// Bytes of it that are not in holes of the file.
    pub memory_data_bytes: u64,
    /// Kinds of the states in the body, each with its version.
    pub parts: Vec<Part>,
}

/// A state in the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What the machine calls it.
    pub id: String,
    /// Of its state.
    pub kind: String,
    /// Of its state.
    pub version: u16,
}

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// What the machine is made of, in the layout of a configuration file.
    pub config: Value,
    /// What it was like.
    pub state: MachineState,
    /// What it had in its process alone.
    pub kept: Kept,
    /// What its memory's file is like.
    pub memory: Sums,
}

/// The frame of a file, and what is in it: not read yet, but undamaged.
pub struct Sealed {
    format: u32,
    text: Vec<u8>,
    head: usize,
}

/// Writes a snapshot's state to `file`.
pub fn write(mut file: &File, head: &Head, body: &Body) -> io::Result<()> {
    let (head, body) = (serde_json::to_vec(head)?, serde_json::to_vec(body)?);
    let too_large = || io::Error::other("the machine's state is too large");
    let head_len = u32::try_from(head.len()).ok().filter(|len| *len <= MOST_HEAD);
    let head_len = head_len.ok_or_else(too_large)?;
    let body_len = u64::try_from(body.len()).ok().filter(|len| *len < MOST / 2);
    let body_len = body_len.ok_or_else(too_large)?;
    let mut prefix = Vec::with_capacity(FRAME);
    prefix.extend(MAGIC);
    prefix.extend(FORMAT.to_le_bytes());
    prefix.extend(head_len.to_le_bytes());
    prefix.extend(body_len.to_le_bytes());
    let digest = Sha256::new().chain_update(&prefix).chain_update(&head).chain_update(&body);
    prefix.extend(digest.finalize());
    for part in [prefix, head, body] {
        file.write_all(&part)?;
    }
    Ok(())
}

/// Reads the file at `path`. Fails if it is none of ours, or not as it was written.
pub fn open(path: &Path) -> Result<Sealed, ReadError> {
    // A FIFO would keep us waiting.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    read(file)
}

/// Reads an open file. Fails as [`open`] does.
pub fn read(file: File) -> Result<Sealed, ReadError> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(ReadError::NoFile);
    }
    let (found, least) = (found.len(), FRAME as u64);
    if !(least..=MOST).contains(&found) {
        return Err(ReadError::Size { found, least, most: MOST });
    }
    let mut text = Vec::with_capacity(usize::try_from(found).unwrap_or(0).saturating_add(1));
    // It may grow while it is read.
    file.take(MOST).read_to_end(&mut text)?;
    unseal(text)
}

/// Takes the bytes of a file apart. Fails if they are none of ours, or not as they were written.
pub fn unseal(text: Vec<u8>) -> Result<Sealed, ReadError> {
    let found = text.len() as u64;
    let size = ReadError::Size { found, least: FRAME as u64, most: MOST };
    let Some((frame, rest)) = text.split_first_chunk::<FRAME>() else { return Err(size) };
    let (prefix, digest) = frame.split_at(PREFIX);
    let mut numbers = prefix.iter().copied().skip(MAGIC.len());
    let mut number = |bytes| {
        (0..bytes)
            .fold(0, |sum, at| sum | u64::from(numbers.next().unwrap_or_default()) << (8 * at))
    };
    let (format, head, body) = (number(4), number(4), number(8));
    if !prefix.starts_with(&MAGIC) {
        return Err(ReadError::NotOurs);
    }
    let told = (FRAME as u64).saturating_add(head).saturating_add(body);
    if told != found {
        return Err(ReadError::Length { told, found });
    }
    if *Sha256::new().chain_update(prefix).chain_update(rest).finalize() != *digest {
        return Err(ReadError::Digest);
    }
    // Both are less than the whole.
    Ok(Sealed { format: format as u32, head: head as usize, text })
}

/// The bytes of a file with lengths and digest as they should be for what is in it.
#[cfg(any(test, feature = "testing"))]
pub fn sealed_again(mut text: Vec<u8>) -> Vec<u8> {
    if text.len() >= FRAME {
        let body = u64::try_from(text.len() - FRAME).unwrap_or_default();
        let head = text.get(12..16).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let head = u64::from(head.unwrap_or_default()).min(body);
        text.splice(..8, MAGIC);
        text.splice(12..16, (head as u32).to_le_bytes());
        text.splice(16..24, (body - head).to_le_bytes());
        let (frame, rest) = text.split_at(FRAME);
        let digest = Sha256::new().chain_update(frame.split_at(PREFIX).0).chain_update(rest);
        let digest = digest.finalize();
        text.splice(PREFIX..FRAME, digest);
    }
    text
}

impl Sealed {
    /// What the snapshot is, whatever its format. Fails if it is not even that.
    pub fn head(&self) -> Result<Head, ReadError> {
        let (head, _) = self.parts();
        serde_json::from_slice(head).map_err(|source| self.form("head", source))
    }

    /// The version of its form.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// The machine. Fails if a later vmm wrote it, or for another architecture, or in a form that it never had.
    pub fn body(&self) -> Result<Body, ReadError> {
        if self.format > FORMAT {
            return Err(ReadError::Newer { found: self.format, known: FORMAT });
        }
        let found = self.head()?.architecture;
        if found != ARCHITECTURE {
            return Err(ReadError::Architecture { found, own: ARCHITECTURE });
        }
        let (_, body) = self.parts();
        let body: Body =
            serde_json::from_slice(body).map_err(|source| self.form("body", source))?;
        match &body.memory.changed {
            Some(changed) if !changed.fits(body.memory.bytes) => Err(ReadError::Runs),
            _ => Ok(body),
        }
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let behind = self.text.get(FRAME..).unwrap_or_default();
        behind.split_at(self.head.min(behind.len()))
    }

    fn form(&self, part: &'static str, source: serde_json::Error) -> ReadError {
        ReadError::Form { part, format: self.format, source }
    }
}

#[cfg(test)]
#[path = "format_test.rs"]
mod tests;
