//! How a test of native guests runs.

use std::path::PathBuf;
use std::thread;

use anyhow::Result;
use libtest_mimic::{Completion, Failed};

use crate::{cargo, host, programs};

/// Runs a test that moves into a network of its own, and so has a thread of its own. Without KVM, or without root, it is
/// ignored, and that is said.
pub fn in_a_network(
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<Completion, Failed> {
    if let Err(error) = host::kvm() {
        return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
    }
    if !nix::unistd::geteuid().is_root() {
        return Ok(Completion::ignored_with("TAPs are made by root only"));
    }
    programs::ensure(&[programs::IP]).map_err(|error| format!("{error:#}"))?;
    match thread::spawn(test).join() {
        Ok(Ok(())) => Ok(Completion::Completed),
        Ok(Err(error)) => Err(Failed::from(format!("{error:#}"))),
        Err(_) => Err(Failed::from("the test panicked")),
    }
}

/// The vmm under test: that of VMM_BIN, or our own, built now. Fails if it cannot be built.
pub fn vmm() -> Result<PathBuf> {
    match std::env::var_os("VMM_BIN") {
        Some(path) => Ok(path.into()),
        None => cargo::vmm(),
    }
}
