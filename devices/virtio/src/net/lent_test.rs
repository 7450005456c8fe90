//! Tests of a card whose rings the kernel has, which is played.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use device_core::interrupt::MsiSet;
use device_core::testing::{TestMachine, ram};
use net::backend::vhost::fake::{self, Asked, Fake};
use net::backend::vhost::{RX, TX};
use net::port::{NetPort, PortControl};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};

use crate::device::VirtioDevice;
use crate::net::Net;
use crate::testing::nic::{ABLE, CTRL, HASH_REPORT, MAC, MQ, MRG_RXBUF, Nic, RSS};

const MQ_CLASS: u8 = 4;

/// A card of `pairs` pairs, and what plays the kernel for each.
fn card(pairs: u16) -> (Nic, Vec<Fake>) {
    let (backend, queues, fakes) = fake::backend(pairs, ABLE).unwrap();
    let machine = TestMachine::new(ram(0x200_0000));
    let port = NetPort::with_backend("test", Box::new(backend), queues, &machine.kit()).unwrap();
    let net = Net::on_port("test", MAC, port, &machine.kit());
    (Nic::of(machine, net, Vec::new(), pairs, true), fakes)
}

fn asked(fake: &Fake) -> Vec<Asked> {
    std::mem::take(&mut fake.played().asked)
}

fn passes(asked: &[Asked]) -> Vec<(u32, bool)> {
    let backend = |asked: &Asked| match asked {
        Asked::Backend(number, on) => Some((*number, *on)),
        _ => None,
    };
    asked.iter().filter_map(backend).collect()
}

#[test]
fn what_takes_somebody_who_looks_at_frames_is_not_offered() {
    let (nic, _) = card(2);
    let offered = nic.net.features();
    assert_eq!(offered & (RSS | HASH_REPORT | 1 << 18 | 1 << 20), 0);
    assert_eq!(offered & (MQ | MRG_RXBUF | 1 << 17 | 1 << 23), MQ | MRG_RXBUF | 1 << 17 | 1 << 23);
    assert!(nic.net.port().is_passed_by());
}

#[test]
fn the_kernel_gets_the_rings_of_the_driver_and_a_pause_brings_them_home_as_they_are() {
    let (mut nic, fakes) = card(1);
    nic.start(MRG_RXBUF);
    let told = asked(&fakes[0]);
    assert!(told.contains(&Asked::Features(MRG_RXBUF)), "{told:?}");
    assert!(told.contains(&Asked::Ring(RX, 256, 0)) && told.contains(&Asked::Ring(TX, 256, 0)));
    assert_eq!(passes(&told), [(RX, true), (TX, true)]);

    // It has taken five frames, and given four of them back.
    fakes[0].played().taken = [0, 5];
    let used = nic.live()[1].ring.used_ring() + 2;
    nic.memory.write_obj(4u16.to_le(), GuestAddress(used)).unwrap();
    let queues = nic.net.unplug();
    assert_eq!(passes(&asked(&fakes[0])), [(RX, false), (TX, false)]);
    let stands = queues.iter().map(|q| (q.index, q.ring.next_avail(), q.ring.next_used()));
    assert_eq!(stands.collect::<Vec<_>>(), [(0, 0, 0), (1, 5, 4)]);

    nic.net.plug(MRG_RXBUF, queues, nic.notice.clone()).unwrap();
    assert!(asked(&fakes[0]).contains(&Asked::Ring(TX, 256, 5)), "it goes on there");
}

#[test]
fn the_kernel_signals_the_vector_of_each_queue() {
    let (mut nic, fakes) = card(1);
    nic.start(0);
    for number in [RX, TX] {
        let vector = nic.vectors.vector(number as u16).unwrap();
        // What fires while a vector is masked is kept in just this eventfd.
        let call = fakes[0].played().calls[number as usize].take().unwrap();
        assert!(!vector.is_pending());
        File::from(call.as_fd().try_clone_to_owned().unwrap())
            .write_all(&1u64.to_ne_bytes())
            .unwrap();
        assert!(vector.is_pending(), "ring {number}");
    }
}

#[test]
fn pairs_get_frames_as_the_driver_switches_them_on() {
    let (mut nic, fakes) = card(2);
    nic.start(CTRL & !(1 << 18 | 1 << 20) | MQ);
    assert_eq!(passes(&asked(&fakes[0])), [(RX, true), (TX, true)]);
    assert_eq!(passes(&asked(&fakes[1])), [], "its queue of the TAP is off");
    assert_eq!(nic.command(MQ_CLASS, 0, &2u16.to_le_bytes()), Some(0));
    assert_eq!(passes(&asked(&fakes[1])), [(RX, true), (TX, true)]);
    assert_eq!(nic.command(MQ_CLASS, 0, &1u16.to_le_bytes()), Some(0));
    assert_eq!(passes(&asked(&fakes[1])), [(RX, false), (TX, false)]);
    assert_eq!(asked(&fakes[0]), [], "the first one goes on all the time");
    assert_eq!(nic.net.unplug().len(), 5, "the control queue among them");
}

#[test]
fn a_ring_that_the_kernel_finds_impossible_breaks_the_card() {
    let (mut nic, fakes) = card(1);
    nic.start(0);
    let error = fakes[0].played().errors[RX as usize].take().unwrap();
    File::from(error).write_all(&1u64.to_ne_bytes()).unwrap();
    nic.settle();
    assert_eq!(nic.notice.resets_asked(), 1);
    assert_eq!(nic.total("guest_faults"), 1);
    assert_eq!(nic.net.unplug().len(), 2);
}

#[test]
fn a_refusal_of_the_kernel_leaves_nothing_lent() {
    let (nic, fakes) = card(1);
    fakes[0].played().refuses = Some(14);
    let refused = nic.net.plug(0, nic.live(), nic.notice.clone()).unwrap_err();
    assert!(refused.0.contains("pair 0"), "{refused}");
    assert_eq!(passes(&asked(&fakes[0])).last(), Some(&(TX, false)));
    assert!(nic.net.unplug().is_empty());
}
