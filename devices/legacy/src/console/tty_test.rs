//! Raw mode, on pseudo terminals.

use std::os::fd::AsFd;

use super::*;
use crate::console::testing::{Pty, one_raw_terminal_at_a_time};

#[test]
fn raw_mode_takes_every_key_and_keeps_output_processing() {
    let _guard = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let (before, settings) = (pty.modes(), pty.settings());
    assert_ne!(before.c_lflag & (libc::ICANON | libc::ECHO), 0);

    let raw = RawMode::enter(pty.terminal()).unwrap();
    let modes = pty.modes();
    assert_eq!(modes.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG | libc::IEXTEN), 0);
    assert_eq!(modes.c_iflag & (libc::ICRNL | libc::IXON), 0);
    assert_eq!(modes.c_oflag, before.c_oflag);
    assert_ne!(modes.c_oflag & libc::OPOST, 0);

    drop(raw);
    assert_eq!(pty.settings(), settings);
}

#[test]
fn a_panic_hook_can_restore_the_terminal_and_the_owner_may_too() {
    let _guard = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let before = pty.settings();
    let raw = RawMode::enter(pty.terminal()).unwrap();
    assert_ne!(pty.settings(), before);
    restore_terminal();
    assert_eq!(pty.settings(), before);
    drop(raw);
    restore_terminal();
    assert_eq!(pty.settings(), before);
}

#[test]
fn a_second_terminal_is_refused_and_left_alone() {
    let _guard = one_raw_terminal_at_a_time();
    let (first, second) = (Pty::open(), Pty::open());
    let before = second.settings();
    let raw = RawMode::enter(first.terminal()).unwrap();
    assert!(RawMode::enter(second.terminal()).is_err());
    assert_eq!(second.settings(), before);
    drop(raw);
    drop(RawMode::enter(second.terminal()).unwrap());
}

#[test]
fn what_is_no_terminal_cannot_be_raw() {
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(RawMode::enter(file.into()).is_err());
}

#[test]
fn a_terminal_that_is_not_ours_to_be_stopped_by_counts_as_foreground() {
    let pty = Pty::open();
    assert!(!runs_in_background(pty.terminal().as_fd()));
}
