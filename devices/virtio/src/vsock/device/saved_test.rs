//! Tests of a vsock that goes on in another process.

use std::path::Path;

use device_core::snapshot::Saved;
use device_core::testing::mutants;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::device::{LiveQueue, VirtioDevice};
use crate::testing::vsock::{CID, TestVsock, has_ended, heard};
use crate::vsock::{Op, OpenVsock, VsockSpec};

/// A device before any driver in the memory of `vsock`, whose socket is in `folder`.
fn fresh(vsock: &mut TestVsock, folder: &Path) {
    let path = folder.join("v.sock");
    let spec = VsockSpec { cid: CID, path: path.clone() };
    let open = OpenVsock::open(spec).unwrap();
    vsock.device = Vsock::build(&open, &vsock.machine.kit()).unwrap();
    vsock.path = path;
}

fn move_on(vsock: &mut TestVsock, folder: &Path) {
    let queues: Vec<LiveQueue> = vsock.device.unplug();
    let saved = VirtioDevice::save(&*vsock.device).unwrap();
    fresh(vsock, folder);
    VirtioDevice::load(&*vsock.device, 0, &saved).unwrap();
    assert_eq!(VirtioDevice::save(&*vsock.device).unwrap(), saved);
    vsock.plug(queues);
    vsock.settle();
}

#[test]
fn the_guest_is_told_that_its_connections_are_gone_and_has_new_ones_once_it_has_heard() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut vsock = TestVsock::new(one.path());
    let (client, host) = vsock.connected(52);
    move_on(&mut vsock, two.path());
    assert!(has_ended(&client), "it went with its process");
    let told = vsock.events.take_all();
    assert_eq!(told.iter().map(|(_, len)| *len).collect::<Vec<_>>(), [4]);
    let event: u32 = vsock.memory.read_obj(GuestAddress(0x40_0000 + 64 * 4096)).unwrap();
    assert_eq!(event, 0, "VIRTIO_VSOCK_EVENT_TRANSPORT_RESET");
    assert_eq!(vsock.connections(), 0);

    let early = vsock.client("CONNECT 52\n");
    assert_eq!(vsock.ops(), [], "the guest has not heard yet");
    // What it still sends on the old connection is of none.
    vsock.send(&vsock.header(Op::Data, 52, host), b"late");
    assert_eq!(vsock.ops(), []);
    vsock.post_event();
    vsock.settle();
    let ops = vsock.ops();
    assert!(ops.contains(&Op::Reset) && ops.contains(&Op::Request), "{ops:?}");
    assert_eq!(heard(&early), b"");
    let (client, _) = vsock.connected(53);
    assert!(!has_ended(&client));
}

#[test]
fn a_second_move_before_the_guest_has_heard_tells_it_again() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut vsock = TestVsock::new(folders[0].path());
    move_on(&mut vsock, folders[1].path());
    move_on(&mut vsock, folders[2].path());
    assert_eq!(vsock.events.take_all().len(), 2);
    vsock.post_event();
    vsock.settle();
    vsock.connected(52);
}

#[test]
fn a_driver_that_comes_later_knows_of_nothing() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut vsock = TestVsock::unplugged(one.path(), false);
    let saved = VirtioDevice::save(&*vsock.device).unwrap();
    fresh(&mut vsock, two.path());
    VirtioDevice::load(&*vsock.device, 0, &saved).unwrap();
    // Drivers begin with a reset.
    vsock.device.reset();
    vsock.start(8);
    assert_eq!(vsock.events.take_all(), []);
    vsock.connected(52);
}

#[test]
fn no_wrong_state_harms() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut vsock = TestVsock::unplugged(one.path(), false);
    let saved = serde_json::to_value(VirtioDevice::save(&*vsock.device).unwrap()).unwrap();
    fresh(&mut vsock, two.path());
    for mutant in mutants(&saved) {
        let Ok(mutant) = serde_json::from_value::<Saved>(mutant) else { continue };
        drop(VirtioDevice::load(&*vsock.device, 0, &mutant));
    }
    vsock.device.reset();
    vsock.start(8);
    vsock.connected(52);
}
