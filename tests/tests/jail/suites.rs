//! Suites of native guests, whose vmm somebody starts who has no privilege.
//!
//! What of them cannot hold so: a TAP that is to be made, a card on an interface (the host's network is not his), a jail that takes root. In his
//! jail neither what looks at the process that was started, which is the keeper, nor relative paths and descriptors, nor a command line with
//! an `--id` of its own; and there is no `/proc`, by which changes of memory that was not tracked are told.

use std::path::Path;
use std::process::{Command, Stdio};

use tests::unprivileged::{self, Way};
use tests::{cargo, host};

use super::scene::vmm;

/// How a vmm is started, a suite, and part of the names of its tests that run so.
const QUICK: [(Way, &str, &str); 3] = [
    (Way::Plain, "native", "each_frame_comes_back_as_it_went [Vmm]"),
    (Way::Plain, "native_disk", "an_image_of_whole_blocks_is_used_to_its_end [Vmm queues=4]"),
    (Way::Jailed, "native_snapshot", "a_guest_is_what_it_was_from_snapshot_to_snapshot [virtio]"),
];

/// Runs tests of a suite whose names have `part` in them.
fn run(way: Way, suite: &str, part: &str) {
    // All of temporary files is in there.
    let folder = tempfile::tempdir().unwrap();
    let program = unprivileged::start_by(way, &vmm(), &cargo::workspace(), folder.path()).unwrap();
    let mut tests = Command::new(cargo::test(suite).unwrap());
    tests.arg(part).env_remove("VMM_LONG").env("VMM_BIN", program).env("TMPDIR", folder.path());
    let output = tests.current_dir(Path::new("/")).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{way:?} {suite}: {said}");
    assert!(
        said.contains(" 0 ignored;") && !said.contains(" 0 passed;"),
        "{way:?} {suite}: {said}"
    );
}

#[test]
fn a_native_guest_runs_for_who_has_no_privilege_and_in_his_jail() {
    host::need_kvm();
    for (way, suite, part) in QUICK {
        run(way, suite, part);
    }
}
