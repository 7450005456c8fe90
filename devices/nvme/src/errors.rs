//! The log of errors (NVMe base specification 1.4, 5.14.1.1): what failed last, the latest first.

pub mod saved;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use device_core::fields::PutLe;
use serde::{Deserialize, Serialize};

use crate::abi::Status;
use crate::page::Page;

/// Entries that are kept.
pub const ENTRIES: u8 = 64;
/// Bytes of one, and of all.
const ENTRY: usize = 64;
/// Bytes of the page.
pub const LEN: u64 = ENTRIES as u64 * ENTRY as u64;
/// In place of a queue, a command, or a field that an error is of.
const NONE: u16 = u16::MAX;

/// Something that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Error {
    /// Submission queue of the command.
    pub queue: u16,
    /// Its id.
    pub command: u16,
    /// What it was told.
    pub status: Status,
    /// The first block that it was about, or 0.
    pub block: u64,
    /// The namespace that it was about.
    pub namespace: u32,
}

impl Error {
    /// One that no command made.
    pub fn of_controller(status: Status) -> Error {
        Error { queue: NONE, command: NONE, status, block: 0, namespace: 0 }
    }
}

/// What the log is at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// With their numbers, from 1 on, the latest first.
    entries: VecDeque<(u64, Error)>,
    /// How many there have been.
    count: u64,
}

/// The log. Its lock is taken where something failed, and where the log is read.
#[derive(Debug, Default)]
pub struct ErrorLog(Mutex<State>);

impl ErrorLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an error; the status that its command is to have.
    pub fn note(&self, error: Error) -> Status {
        let mut state = self.state();
        state.count = state.count.wrapping_add(1);
        let number = state.count;
        state.entries.truncate(usize::from(ENTRIES).saturating_sub(1));
        state.entries.push_front((number, error));
        error.status.with_more()
    }

    /// Forgets the entries, as a reset of the controller does, but not how many there have been.
    pub fn clear(&self) {
        self.state().entries.clear();
    }

    /// How many errors there have been since the controller was built.
    pub fn count(&self) -> u64 {
        self.state().count
    }

    /// The log page.
    pub fn page(&self) -> Page {
        let mut page = Page::default();
        for ((number, error), at) in self.state().entries.iter().zip((0..).step_by(ENTRY)) {
            let at = |offset: usize| offset.saturating_add(at);
            page.put_double(at(0), *number);
            page.put_half(at(8), error.queue);
            page.put_half(at(10), error.command);
            page.put_half(at(12), error.status.with_more().0 << 1);
            page.put_half(at(14), NONE); // in no field of the command
            page.put_double(at(16), error.block);
            page.put_word(at(24), error.namespace);
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(block: u64) -> Error {
        Error { queue: 3, command: 9, status: Status::READ_ERROR, block, namespace: 1 }
    }

    fn numbers(page: &Page) -> Vec<u64> {
        let entries = page.bytes().chunks(ENTRY).map(|entry| *entry.first_chunk().unwrap());
        entries.map(u64::from_le_bytes).take_while(|number| *number != 0).collect()
    }

    #[test]
    fn the_latest_error_is_first_and_the_oldest_makes_room() {
        let log = ErrorLog::default();
        assert_eq!(numbers(&log.page()), [0; 0]);
        for block in 1..=u64::from(ENTRIES) + 6 {
            log.note(error(block));
        }
        let page = log.page();
        assert_eq!(numbers(&page), (7..=70).rev().collect::<Vec<_>>());
        let blocks = page.bytes().chunks(ENTRY).map(|entry| entry[16]);
        assert_eq!(blocks.collect::<Vec<_>>(), (7..=70).rev().collect::<Vec<_>>());
        assert_eq!(log.count(), 70);
    }

    #[test]
    fn an_entry_has_its_fields_where_the_specification_has_them() {
        let log = ErrorLog::default();
        assert_eq!(log.note(error(0x1122_3344_5566)), Status(0x6281));
        let page = log.page();
        let wanted = [
            [1, 0, 0, 0, 0, 0, 0, 0],
            [3, 0, 9, 0, 0x02, 0xc5, 0xff, 0xff],
            [0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(page.bytes()[..32], *wanted.as_flattened());
        assert!(page.bytes()[32..].iter().all(|byte| *byte == 0));
        log.note(Error::of_controller(Status::INTERNAL));
        assert_eq!(log.page().bytes()[8..12], [0xff; 4]);
    }

    #[test]
    fn a_reset_forgets_the_errors_and_goes_on_counting() {
        let log = ErrorLog::default();
        log.note(error(0));
        log.clear();
        assert_eq!((numbers(&log.page()), log.count()), (vec![], 1));
        log.note(error(0));
        assert_eq!(numbers(&log.page()), [2]);
    }
}
