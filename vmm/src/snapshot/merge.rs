//! Laying what has changed over the snapshot that it is of.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use device_core::files::Own;

use super::error::{LoadError, MergeError};
use super::format::{self, Body, Head};
use super::memory_file::{self, PIECE, Sums};
use super::pair::{self, Pair};
use super::store;
use super::unwritten::at;

/// A snapshot that is read: its files, and what is in the first.
pub struct Snapshot {
    /// Of the state.
    pub state: PathBuf,
    /// Of the memory.
    pub memory: PathBuf,
    head: Head,
    body: Body,
    file: File,
}

impl Snapshot {
    /// Opens the snapshot in these files. Fails if it cannot be read, or the memory has another size.
    pub fn open(state: PathBuf, memory: PathBuf) -> Result<Snapshot, LoadError> {
        let (head, body) = store::open(&state)?;
        let memory = pair::memory_at(&memory, head.turn);
        let file = store::open_any_memory(&memory, body.memory.bytes)?;
        Ok(Snapshot { state, memory, head, body, file })
    }

    /// What is in the state's file.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Its memory, or what it has of that.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads all of its memory's file, to see whether it is as it was written. Fails if it is not.
    pub fn check(&self) -> Result<(), LoadError> {
        let found = match &self.body.memory.changed {
            Some(changed) => memory_file::check_changed(&self.file, changed),
            None => memory_file::check(&self.file, &self.body.memory),
        };
        let path = self.memory.clone();
        match found {
            Ok(None) => Ok(()),
            Ok(Some(differs)) => Err(LoadError::OtherMemory { path, at: differs.at }),
            Err(source) => Err(LoadError::Memory { path, source }),
        }
    }
}

/// Lays `diffs` in their order over `base`, and writes what they come to as a whole snapshot to the files `state` and
/// `memory`, in place of what is there once it is whole. Fails, with nothing written, if one does not fit the one
/// before, or is not as it was written.
pub fn merge(
    base: &Snapshot,
    diffs: &[Snapshot],
    (state, memory): (&Path, &Path),
) -> Result<Sums, MergeError> {
    if let Some(changed) = &base.body.memory.changed {
        let (path, wanted) = (base.state.clone(), changed.base.clone());
        return Err(MergeError::NotWhole { path, wanted });
    }
    let mut before = base;
    for diff in diffs {
        let path = || diff.state.clone();
        let Some(changed) = &diff.body.memory.changed else {
            return Err(MergeError::NoDiff(path()));
        };
        let (wanted, found) = (changed.base.clone(), before.head.id.clone());
        if wanted != found || diff.body.memory.bytes != base.body.memory.bytes {
            return Err(MergeError::OtherBase { path: path(), wanted, found });
        }
        before = diff;
    }
    for snapshot in std::iter::once(base).chain(diffs) {
        snapshot.check()?;
    }
    let pair = Pair::beside(state, memory, &Own)?;
    let sums = lay(base, diffs, pair.memory()).map_err(at(memory))?;
    let head = Head {
        kind: "full".to_string(),
        base: None,
        turn: pair.turn(),
        memory_data_bytes: sums.data_bytes,
        ..before.head.clone()
    };
    let body = Body { memory: sums, ..before.body.clone() };
    format::write(pair.state(), &head, &body).map_err(at(state))?;
    pair.publish()?;
    Ok(body.memory)
}

/// Writes the memory that they come to to an empty file.
fn lay(base: &Snapshot, diffs: &[Snapshot], to: &File) -> io::Result<Sums> {
    const PAGE: u64 = 4096;
    let bytes = base.body.memory.bytes;
    to.set_len(bytes)?;
    let mut sums = Sums { bytes, data_bytes: 0, pieces: Vec::new(), changed: None };
    let mut of_base = base.body.memory.pieces.iter().peekable();
    let mut layers: Vec<_> = diffs
        .iter()
        .map(|diff| {
            let runs = diff.body.memory.changed.as_ref().map(|changed| &changed.runs[..]);
            let pieces = memory_file::by_piece(runs.unwrap_or_default());
            (&diff.file, pieces.into_iter().peekable())
        })
        .collect();
    let mut piece = vec![0u8; PIECE];
    let pieces = bytes.div_ceil(PIECE as u64);
    for number in 0..u32::try_from(pieces).map_err(io::Error::other)? {
        let offset = u64::from(number).saturating_mul(PIECE as u64);
        let size = usize::try_from(bytes.saturating_sub(offset)).unwrap_or(PIECE).min(PIECE);
        let piece = piece.get_mut(..size).unwrap_or_default();
        match of_base.next_if(|(of_base, _)| *of_base == number) {
            Some(_) => base.file.read_exact_at(piece, offset)?,
            None => piece.fill(0),
        }
        for (file, pieces) in &mut layers {
            let Some((_, runs)) = pieces.next_if(|(of_diff, _)| *of_diff == number) else {
                continue;
            };
            for (first, count) in runs {
                let at = first.saturating_mul(PAGE);
                let begin = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
                let len = usize::try_from(count.saturating_mul(PAGE)).unwrap_or(usize::MAX);
                let part = piece.get_mut(begin..begin.saturating_add(len)).unwrap_or_default();
                file.read_exact_at(part, at)?;
            }
        }
        memory_file::add(&mut sums, to, offset, piece)?;
    }
    Ok(sums)
}

#[cfg(test)]
#[path = "merge_test.rs"]
mod tests;
