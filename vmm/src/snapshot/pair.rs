//! The two files of a snapshot, which take their places together: until both are whole what was there is, and at any
//! moment there is the old snapshot or the new one, whoever is killed or loses power.
//!
//! The memory is written beside its place, by one of two names in turn. The state tells that name, and takes its place
//! first: from then on the new snapshot is there, with its memory beside. Then that takes its place too. Whoever reads
//! a snapshot looks beside the memory's place first. The other name is free meanwhile for who writes the next, and was
//! left by nobody but who was killed.

use std::fs::File;
use std::path::{Path, PathBuf};

use device_core::files::Files;

use super::error::ReadError;
use super::format;
use super::new_file::{self, NewFile};
use super::turn::Turn;
use super::unwritten::{Unwritten, at};

/// Where the memory is of a snapshot with that `turn`, whose place is `place`.
pub fn memory_at(place: &Path, turn: Turn) -> PathBuf {
    let beside = new_file::name_beside(place, turn.name());
    beside.filter(|beside| beside.exists()).unwrap_or_else(|| place.to_owned())
}

/// Two files on their way. Without [`Pair::publish`] nothing stays of them.
pub struct Pair<'a> {
    files: &'a dyn Files,
    state: NewFile<'a>,
    memory: NewFile<'a>,
    turn: Turn,
}

impl Pair<'_> {
    /// Has `files` make both, empty. Fails if that cannot be, or if somebody else writes to the same place.
    pub fn beside<'a>(
        state: &Path,
        memory: &Path,
        files: &'a dyn Files,
    ) -> Result<Pair<'a>, Unwritten> {
        let old = files.open(state, libc::O_RDONLY).map_err(ReadError::from);
        let old = old.and_then(format::read).and_then(|sealed| sealed.head());
        let turn = old.map_or(Turn::A, |head| head.turn.other());
        let memory = NewFile::beside(memory, turn.name(), files).map_err(at(memory))?;
        let state = NewFile::beside(state, Turn::A.name(), files).map_err(at(state))?;
        Ok(Pair { files, state, memory, turn })
    }

    /// For the state.
    pub fn state(&self) -> &File {
        self.state.file()
    }

    /// For the memory.
    pub fn memory(&self) -> &File {
        self.memory.file()
    }

    /// What the state is to tell.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// Puts both in their places once they are whole and would survive a power cut. Fails with the old ones in
    /// place, or, if only the memory could not be moved there, with the new ones as they can be read.
    pub fn publish(self) -> Result<(), Unwritten> {
        let Pair { files, mut state, mut memory, turn } = self;
        let (state_at, memory_at) = (state.place().to_owned(), memory.place().to_owned());
        memory.sync().map_err(at(&memory_at))?;
        state.sync().map_err(at(&state_at))?;
        // Once the state tells of it, it is not to be removed.
        memory.keep(true);
        if let Err(source) = state.publish() {
            memory.keep(state.is_in_place());
            return Err(at(&state_at)(source));
        }
        memory.publish().map_err(at(&memory_at))?;
        // Of one who was killed between the two: nobody reads it any more.
        match new_file::name_beside(&memory_at, turn.other().name()) {
            Some(old) => files.retire(&old).map_err(at(&memory_at)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "pair_test.rs"]
mod tests;
