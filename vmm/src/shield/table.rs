//! Every system call that a thread may make once the guest runs, and why.
//!
//! A call that is missing is a row in the file of the part that makes it; a new part is a new file here. Each
//! thread's filter, the manual's page on security and the budgets are of these rows alone. Where the C library makes a difference the row says it.

mod base;
mod builder;
mod cards;
mod clients;
mod consoles;
mod disks;
mod forks;
mod late;
mod main;
mod memory;
mod migrations;
mod pager;
mod requests;
mod snapshots;
mod vcpus;
mod vsock;

use super::row::{Library, Row};

/// Those that are made most often first: in their order a filter looks for them.
const PARTS: &[&[Row]] = &[
    vcpus::ROWS,
    cards::ROWS,
    disks::ROWS,
    vsock::ROWS,
    memory::ROWS,
    pager::ROWS,
    base::ROWS,
    consoles::ROWS,
    clients::ROWS,
    main::ROWS,
    late::ROWS,
    builder::ROWS,
    forks::ROWS,
    snapshots::ROWS,
    migrations::ROWS,
];

/// All rows, of whatever C library.
pub fn all() -> impl Iterator<Item = &'static Row> {
    PARTS.iter().copied().flatten()
}

/// The rows of builds with `library`.
pub fn of(library: Library) -> impl Iterator<Item = Row> {
    all().filter_map(move |row| row.with(library))
}

/// The rows of this build, and what a build with checks of its own makes besides.
pub fn of_build() -> impl Iterator<Item = Row> {
    let more: &[Row] = if cfg!(debug_assertions) { base::CHECKED } else { &[] };
    of(Library::OF_BUILD).chain(more.iter().copied())
}
