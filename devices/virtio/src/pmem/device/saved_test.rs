//! Tests of persistent memory that goes on in another process.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use device_core::snapshot::Saved;
use device_core::testing::mutants;

use super::*;
use crate::device::VirtioDevice;
use crate::pmem::PmemSpec;
use crate::testing::guest::TestGuest;
use crate::testing::ring::writable;

const MIB: u64 = 1 << 20;

fn build(guest: &TestGuest, path: &Path, size: u64, read_only: bool) -> Arc<Pmem> {
    File::create(path).unwrap().set_len(size).unwrap();
    let spec = PmemSpec { id: "pmem0".into(), path: path.into(), read_only, ..PmemSpec::default() };
    Pmem::build(&spec, &guest.machine.kit()).unwrap()
}

/// Runs a request of this type: its answer.
fn request(guest: &mut TestGuest, pmem: &Pmem, kind: u32) -> Vec<u8> {
    let request = guest.readable(&kind.to_le_bytes());
    let answer = guest.buffer(4);
    guest.queues[0].offer(&[request, writable(answer, 4)]);
    guest.queues[0].kick();
    pmem.settle();
    assert_eq!(guest.queues[0].take_all().len(), 1);
    guest.read(answer, 4)
}

#[test]
fn requests_go_on_where_they_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = TestGuest::new(1, false);
    let old = build(&guest, &folder.path().join("a"), 4 * MIB, false);
    guest.plug(&*old, 0);
    assert_eq!(request(&mut guest, &old, 0), [0; 4]);
    let queues = old.unplug();
    let saved = VirtioDevice::save(&*old).unwrap();
    let new = build(&guest, &folder.path().join("b"), 4 * MIB, false);
    VirtioDevice::load(&*new, 0, &saved).unwrap();
    assert_eq!(VirtioDevice::save(&*new).unwrap(), saved);
    new.plug(0, queues, guest.notice.clone()).unwrap();
    assert_eq!(request(&mut guest, &new, 0), [0; 4]);
    assert_eq!(request(&mut guest, &new, 7), [1, 0, 0, 0]);
    assert_eq!(new.counters().flushes.get(), 1);
}

#[test]
fn other_memory_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let guest = TestGuest::new(1, false);
    let state = Snapshot::save(&*build(&guest, &folder.path().join("a"), 4 * MIB, false));
    let path = folder.path().join("b");
    let refusal = |size, read_only, state: &PmemState| {
        let new = build(&guest, &path, size, read_only);
        Snapshot::load(&*new, state.clone()).unwrap_err().to_string()
    };
    let size = refusal(6 * MIB, false, &state);
    let text =
        "size of the virtio-pmem cannot be: the file had 4194304 bytes, and this one has 6291456";
    assert_eq!(size, text);
    let read_only = refusal(4 * MIB, true, &state);
    assert_eq!(read_only, "read_only of the virtio-pmem cannot be: this file cannot be written");
    let elsewhere = PmemState { address: 1 << 41, ..state };
    let address = refusal(4 * MIB, false, &elsewhere);
    assert!(
        address.starts_with("address of the virtio-pmem cannot be: the guest has it at"),
        "{address}"
    );
}

/// There is one right state but for what limits have left, which may be anything.
#[test]
fn no_wrong_state_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let guest = TestGuest::new(1, false);
    let pmem = build(&guest, &folder.path().join("a"), 4 * MIB, false);
    let saved = serde_json::to_value(VirtioDevice::save(&*pmem).unwrap()).unwrap();
    for mutant in mutants(&saved) {
        let Ok(mutant) = serde_json::from_value::<Saved>(mutant) else { continue };
        let mut but_limits = mutant.state.clone();
        if let Some(limits) = but_limits.get_mut("limits") {
            *limits = saved["state"]["limits"].clone();
        }
        if mutant.version == saved["version"] && but_limits == saved["state"] {
            continue;
        }
        // An older version, of which there is none, is read as the first.
        let refused = VirtioDevice::load(&*pmem, 0, &mutant).is_err();
        assert!(refused || mutant.version < 1, "{mutant:?}");
    }
}
