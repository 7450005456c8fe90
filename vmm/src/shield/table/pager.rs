//! Calls of who brings pages of a restored machine's memory.

use libc::{
    SYS_fadvise64, SYS_ftruncate, SYS_ioctl, SYS_lseek, SYS_madvise, SYS_pread64, SYS_pwrite64,
};

use super::requests;
use crate::shield::row::Kind::Pager;
use crate::shield::row::{ANY, Check::In, Row, row, values};

/// Why rows are there that no run has used.
const AHEAD: &str = "a record that takes longer to fetch than the machine to be built";

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(SYS_ioctl, &[In(1, requests::PAGES)], &[Pager], "puts a page into its place, and lets go on who waits for it"),
    row(SYS_lseek, ANY, &[Pager], "where the memory's file has holes"),
    row(SYS_madvise, &[In(2, values![MADV_POPULATE_READ, MADV_POPULATE_WRITE])], &[Pager], "pages come ahead")
        .unseen(&[(&[Pager], AHEAD)]),
    row(SYS_fadvise64, ANY, &[Pager], "the disk reads ahead")
        .unseen(&[(&[Pager], AHEAD)]),
    row(SYS_pread64, ANY, &[Pager], "whether another process brings pages"),
    row(SYS_pwrite64, ANY, &[Pager], "writes down which pages were used"),
    row(SYS_ftruncate, ANY, &[Pager], "writes that over an older record"),
];
