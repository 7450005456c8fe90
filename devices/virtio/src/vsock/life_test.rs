//! Tests of the device's life: configuration, pauses, resets, and the event that its connections are gone.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use device_core::bus::Width;
use vm_memory::{Bytes, GuestAddress};

use super::packet::Op;
use super::to_guest::ASKING;
use super::view::VsockControl;
use crate::device::VirtioDevice;
use crate::testing::vsock::{CID, TestVsock, has_ended, heard};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_configuration_is_the_guests_address_at_any_width() {
    let folder = folder();
    let vsock = TestVsock::unplugged(folder.path(), false);
    assert_eq!(vsock.device.read_config(0, Width::B8), u64::from(CID));
    assert_eq!(vsock.device.read_config(0, Width::B4), u64::from(CID));
    assert_eq!(vsock.device.read_config(0, Width::B1), u64::from(CID));
    for (offset, width) in [(1, Width::B1), (4, Width::B4), (8, Width::B8), (u64::MAX, Width::B8)] {
        assert_eq!(vsock.device.read_config(offset, width), 0);
    }
    vsock.device.write_config(0, Width::B8, 9);
    assert_eq!(vsock.device.read_config(0, Width::B8), u64::from(CID));
}

#[test]
fn a_driver_sets_all_three_queues_up_or_none_work() {
    let folder = folder();
    let vsock = TestVsock::unplugged(folder.path(), false);
    for missing in 0..3 {
        let mut queues = vsock.live();
        queues.remove(missing);
        assert!(vsock.device.plug(0, queues, vsock.notice.clone()).is_err());
    }
    assert!(!vsock.device.view().running);
}

#[test]
fn a_pause_loses_neither_connections_nor_data_nor_time() {
    for event_idx in [false, true] {
        let folder = folder();
        let mut vsock = TestVsock::unplugged(folder.path(), event_idx);
        vsock.start(8);
        let (mut client, host) = vsock.connected(52);
        let asking = vsock.client("CONNECT 53\n");
        assert_eq!(vsock.ops(), [Op::Request]);

        let queues = vsock.device.unplug();
        assert_eq!(queues.len(), 3);
        client.write_all(b"meanwhile").unwrap();
        vsock.offer(&vsock.header(Op::Data, 52, host), b"as well");
        vsock.tx.kick();
        let late = vsock.client("CONNECT 54\n");
        vsock.settle();
        assert_eq!((vsock.taken(), heard(&client)), (vec![], vec![]));

        vsock.plug(queues);
        vsock.settle();
        assert_eq!(heard(&client), b"as well");
        let packets = vsock.received();
        assert!(packets.iter().any(|(_, data)| data == b"meanwhile"), "{packets:?}");
        assert!(packets.iter().any(|(header, _)| header.dst_port == 54), "{packets:?}");
        assert!(!has_ended(&asking) && !has_ended(&late));
        // Receive buffers that were on offer still are.
        for _ in 0..20 {
            client.write_all(b"x").unwrap();
            vsock.settle();
            assert_eq!(vsock.received().len(), 1);
        }
    }
}

#[test]
fn time_stands_still_in_a_pause() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let asking = vsock.client("CONNECT 53\n");
    assert_eq!(vsock.ops(), [Op::Request]);
    let queues = vsock.device.unplug();
    std::thread::sleep(Duration::from_millis(30));
    vsock.plug(queues);
    vsock.device.pass_time(ASKING - Duration::from_millis(25));
    assert!(!has_ended(&asking));
    vsock.device.pass_time(ASKING + Duration::from_millis(100));
    assert!(has_ended(&asking));
}

#[test]
fn a_driver_that_resets_the_device_has_no_connections_and_gets_new_ones() {
    let folder = folder();
    let mut vsock = TestVsock::new(folder.path());
    let (client, _) = vsock.connected(52);
    let asking = vsock.client("CONNECT 53\n");
    drop(vsock.device.unplug());
    assert!(!has_ended(&client), "that may have been a pause");
    vsock.device.reset();
    assert!(has_ended(&client) && has_ended(&asking));
    assert_eq!((vsock.connections(), vsock.device.view().running), (0, false));
    vsock.start(8);
    assert_eq!(vsock.ops(), [], "nothing of before is left");
    drop(vsock.connected(52));
}

#[test]
fn connections_that_are_gone_are_announced_and_new_ones_wait_until_that_was_heard() {
    for event_idx in [false, true] {
        let folder = folder();
        let mut vsock = TestVsock::unplugged(folder.path(), event_idx);
        vsock.start(8);
        let (client, host) = vsock.connected(52);
        let before = vsock.vectors.test_vector(2).delivered();
        vsock.device.reset_connections();
        vsock.settle();
        assert!(has_ended(&client));
        let events = vsock.events.take_all();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].1, 4);
        assert_eq!(vsock.vectors.test_vector(2).delivered(), before + 1);

        let late = vsock.client("CONNECT 53\n");
        vsock.send(&vsock.header(Op::Data, 52, host), b"of the old one");
        assert_eq!(vsock.ops(), [], "the guest has not taken note");
        // Nor has it by a pause.
        let queues = vsock.device.unplug();
        vsock.plug(queues);
        vsock.settle();
        assert_eq!(vsock.ops(), []);
        vsock.post_event();
        vsock.settle();
        assert_eq!(vsock.ops(), [Op::Reset, Op::Request]);
        assert!(!has_ended(&late));
    }
}

#[test]
fn the_announcement_is_a_transport_reset() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), false);
    vsock.device.reset_connections();
    vsock.start(8);
    // The driver's first event buffer: its eighth offer was the last.
    let (head, len) = vsock.events.take().expect("an event");
    let at: u64 = vsock
        .memory
        .read_obj(GuestAddress(vsock.events.descriptors + u64::from(head) * 16))
        .unwrap();
    let id: u32 = vsock.memory.read_obj(GuestAddress(at)).unwrap();
    assert_eq!((id, len), (0, 4));
    vsock.device.unplug();
    vsock.device.reset();
    vsock.start(8);
    assert_eq!(vsock.events.take(), None, "a driver that begins anew has nothing to hear");
}

#[test]
fn an_event_waits_for_a_buffer() {
    let folder = folder();
    let mut vsock = TestVsock::unplugged(folder.path(), true);
    vsock.start(8);
    for _ in 0..8 {
        vsock.device.reset_connections();
        vsock.settle();
    }
    assert_eq!(vsock.events.take_all().len(), 8);
    vsock.device.reset_connections();
    vsock.settle();
    assert_eq!(vsock.events.take_all().len(), 0);
    vsock.post_event();
    vsock.settle();
    assert_eq!(vsock.events.take_all().len(), 1);
}

#[test]
fn the_first_connection_is_told_of_once_whoever_began_it() {
    for by_guest in [false, true] {
        let folder = folder();
        let mut vsock = TestVsock::new(folder.path());
        let told = Arc::new(AtomicU32::new(0));
        let count = told.clone();
        vsock.device.on_first_connection(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let refused = vsock.client("CONNECT 1\n");
        let host = vsock.one().0.src_port;
        vsock.send(&vsock.header(Op::Reset, 1, host), &[]);
        assert!(has_ended(&refused));
        assert_eq!(told.load(Ordering::Relaxed), 0);
        for round in 0..2 {
            match by_guest {
                true => drop(vsock.accepted(70 + round, 9)),
                false => drop(vsock.connected(52)),
            }
            vsock.settle();
            vsock.received();
            assert_eq!(told.load(Ordering::Relaxed), 1);
        }
    }
}

#[test]
fn the_socket_is_gone_with_the_device() {
    let folder = folder();
    let vsock = TestVsock::new(folder.path());
    let path = vsock.path.clone();
    assert!(path.exists());
    let view = vsock.device.view();
    assert_eq!((view.uds_path, view.socket), (path.clone(), path.clone()));
    drop(vsock);
    assert!(!path.exists());
}
