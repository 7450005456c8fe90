//! Every system call that a thread may make once the guest runs, and why.
//!
//! A call that is missing is a row in the file of the part that makes it; a new part is a new file here. Each
//! thread's filter, the manual's page on security and the budgets are of these rows alone.

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

use super::row::Row;

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

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    PARTS.iter().copied().flatten()
}

/// All rows, and what a build with checks of its own makes besides.
pub fn rows_of_build() -> impl Iterator<Item = &'static Row> {
    let more: &[Row] = if cfg!(debug_assertions) { base::CHECKED } else { &[] };
    rows().chain(more)
}
