//! Tests of the entropy device as its driver sees it (virtio 1.2, 5.4).

use std::num::NonZeroU64;
use std::time::Instant;

use device_core::limiter::Limits;
use device_core::rate::{Bucket, Quota};
use proptest::prelude::*;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::super::requests::MAX_FILL;
use super::*;
use crate::testing::guest::{END, GAP, HIGH, SEAM, TestGuest};
use crate::testing::ring::{readable, writable};

const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

fn plugged(limits: Limits) -> (TestGuest, Arc<Entropy>) {
    let guest = TestGuest::new(1, false);
    let entropy = Entropy::build(&EntropySpec { limits }, &guest.machine.kit());
    guest.plug(&*entropy, INDIRECT);
    (guest, entropy)
}

fn run(guest: &mut TestGuest, entropy: &Entropy) -> Vec<u32> {
    guest.queues[0].kick();
    entropy.settle();
    guest.queues[0].take_all().into_iter().map(|(_, len)| len).collect()
}

#[test]
fn it_is_device_4_with_one_queue_and_nothing_to_negotiate_or_configure() {
    let (guest, entropy) = plugged(Limits::default());
    assert_eq!((entropy.kind(), entropy.features()), (4, 0));
    assert_eq!(entropy.queue_sizes(), [256]);
    assert_eq!(entropy.read_config(0, Width::B4), 0);
    entropy.write_config(0, Width::B4, 1);
    assert_eq!(guest.notice.resets_asked(), 0);
}

#[test]
fn a_buffer_is_filled_and_the_driver_is_told_how_far() {
    let (mut guest, entropy) = plugged(Limits::default());
    let at = guest.buffer(256);
    guest.queues[0].offer(&[writable(at, 64), writable(at + 128, 64)]);
    assert_eq!(run(&mut guest, &entropy), [128]);
    assert_eq!(guest.interrupts(0), 1);
    let (first, between, second) =
        (guest.read(at, 64), guest.read(at + 64, 64), guest.read(at + 128, 64));
    assert_eq!(between, [0; 64], "what was not offered is left alone");
    assert!(first != [0; 64] && second != [0; 64] && first != second);
    assert_eq!(entropy.counters().bytes.get(), 128);
    assert_eq!(entropy.counters().requests.get(), 1);
}

#[test]
fn two_fillings_of_a_buffer_differ() {
    let (mut guest, entropy) = plugged(Limits::default());
    let at = guest.buffer(64);
    guest.queues[0].offer(&[writable(at, 64)]);
    run(&mut guest, &entropy);
    let first = guest.read(at, 64);
    guest.queues[0].offer(&[writable(at, 64)]);
    run(&mut guest, &entropy);
    assert_ne!(guest.read(at, 64), first);
}

#[test]
fn a_large_buffer_is_left_short() {
    let (mut guest, entropy) = plugged(Limits::default());
    guest.queues[0].offer(&[writable(SEAM - 0x8000, 0x10_0000)]);
    assert_eq!(run(&mut guest, &entropy), [MAX_FILL as u32]);
    assert_ne!(guest.read(SEAM, 64), [0; 64], "it goes on in the next region");
    assert_eq!(guest.read(SEAM + 0x8000, 64), [0; 64]);
}

#[test]
fn many_buffers_are_filled_in_order_with_as_many_turns_as_it_takes() {
    let (mut guest, entropy) = plugged(Limits::default());
    let at = guest.buffer(0x10_0000);
    let heads: Vec<_> = (0..16u64)
        .map(|nth| guest.queues[0].offer(&[writable(at + nth * 0x1_0000, 0x1_0000)]))
        .collect();
    guest.queues[0].kick();
    let mut back = Vec::new();
    while back.len() < heads.len() {
        entropy.settle();
        back.extend(guest.queues[0].take_all());
    }
    assert_eq!(back.iter().map(|(head, _)| *head).collect::<Vec<_>>(), heads);
    assert!(back.iter().all(|(_, len)| *len == 0x1_0000));
}

#[test]
fn a_chain_that_cannot_be_filled_comes_back_empty_and_the_next_is_filled() {
    let (mut guest, entropy) = plugged(Limits::default());
    let at = guest.buffer(64);
    for chain in [
        &[readable(at, 64)][..],
        &[writable(at, 64), readable(at, 64)],
        &[writable(at, 0)],
        &[writable(GAP, 64)],
        &[writable(GAP - 32, 64)],
        &[writable(END - 1, 2)],
        &[writable(u64::MAX, 64)],
        &[writable(HIGH, u32::MAX)],
    ] {
        guest.queues[0].offer(chain);
        assert_eq!(run(&mut guest, &entropy), [0], "{chain:?}");
        assert_eq!(guest.read(at, 64), [0; 64], "{chain:?}");
    }
    assert_eq!(entropy.counters().refused.get(), 8);
    guest.queues[0].offer(&[writable(at, 64)]);
    assert_eq!(run(&mut guest, &entropy), [64]);
    assert_eq!(guest.notice.resets_asked(), 0);
}

#[test]
fn a_ring_that_cannot_be_is_given_up_and_the_driver_is_told() {
    let (mut guest, entropy) = plugged(Limits::default());
    let at = guest.buffer(64);
    guest.queues[0].offer(&[writable(at, 64)]);
    guest.queues[0].set_available(1000);
    guest.queues[0].force_kick();
    entropy.settle();
    assert_eq!((guest.notice.resets_asked(), guest.queues[0].take()), (1, None));
    assert_eq!(entropy.counters().guest_faults.get(), 1);
    assert_eq!(entropy.unplug().len(), 1);
    entropy.reset();
    guest.new_rings(1, false);
    guest.plug(&*entropy, 0);
    let at = guest.buffer(64);
    guest.queues[0].offer(&[writable(at, 64)]);
    assert_eq!(run(&mut guest, &entropy), [64]);
}

#[test]
fn limits_make_it_wait_and_lose_nothing() {
    let (mut guest, entropy) = plugged(Limits { bytes: None, operations: Quota::per_second(1) });
    let at = guest.buffer(128);
    guest.queues[0].offer(&[writable(at, 64)]);
    guest.queues[0].offer(&[writable(at + 64, 64)]);
    assert_eq!(run(&mut guest, &entropy), [64], "the second has to wait");
    assert!(entropy.counters().throttled.get() > 0);
    assert_eq!(guest.read(at + 64, 64), [0; 64]);

    entropy.shared.limiter.set(Limits::default());
    assert_eq!(run(&mut guest, &entropy), [64]);
}

#[test]
fn a_limit_of_bytes_counts_what_was_given() {
    let (mut guest, entropy) = plugged(Limits { bytes: Quota::per_second(6400), operations: None });
    let at = guest.buffer(6400);
    guest.queues[0].offer(&[writable(at, 6400)]);
    guest.queues[0].offer(&[writable(at, 64)]);
    assert_eq!(run(&mut guest, &entropy), [6400]);
    let now = Instant::now();
    let then = entropy.shared.limiter.ask(now).unwrap_err();
    assert!((then.until - now).as_millis() <= 1000, "a second's worth was given");
}

#[test]
fn what_a_limit_let_through_counts_in_another_process() {
    let hourly = Bucket {
        size: NonZeroU64::MIN,
        refill_time: NonZeroU64::new(3_600_000).unwrap(),
        one_time_burst: 1,
    };
    let limits = Limits { bytes: None, operations: Some(Quota::Bucket(hourly)) };
    let (mut guest, entropy) = plugged(limits);
    let at = guest.buffer(256);
    for nth in 0..4 {
        guest.queues[0].offer(&[writable(at + nth * 64, 64)]);
    }
    assert_eq!(run(&mut guest, &entropy), [64; 3]);
    let queues = entropy.unplug();
    let saved = VirtioDevice::save(&*entropy).unwrap();

    let entropy = Entropy::build(&EntropySpec { limits }, &guest.machine.kit());
    VirtioDevice::load(&*entropy, INDIRECT, &saved).unwrap();
    entropy.plug(INDIRECT, queues, guest.notice.clone()).unwrap();
    assert_eq!(run(&mut guest, &entropy), [0; 0]);
    assert!(entropy.shared.limiter.ask(Instant::now()).is_err());
}

#[test]
fn after_a_pause_it_goes_on_where_it_stopped() {
    let (mut guest, entropy) = plugged(Limits { bytes: None, operations: Quota::per_second(1) });
    let at = guest.buffer(256);
    for nth in 0..4 {
        guest.queues[0].offer(&[writable(at + nth * 64, 64)]);
    }
    assert_eq!(run(&mut guest, &entropy), [64]);
    let queues = entropy.unplug();
    guest.queues[0].force_kick();
    entropy.shared.limiter.set(Limits::default());
    assert_eq!(guest.queues[0].take(), None, "nothing is touched while it rests");
    entropy.plug(INDIRECT, queues, guest.notice.clone()).unwrap();
    assert_eq!(run(&mut guest, &entropy), [64; 3]);
}

#[test]
fn with_event_idx_no_kick_is_missed() {
    let mut guest = TestGuest::new(1, true);
    let entropy = Entropy::build(&EntropySpec::default(), &guest.machine.kit());
    guest.plug(&*entropy, EVENT_IDX);
    entropy.settle();
    let at = guest.buffer(64);
    for _ in 0..200 {
        guest.queues[0].interrupt_after(0);
        guest.queues[0].offer(&[writable(at, 64)]);
        assert!(guest.queues[0].kick(), "it asks to be kicked while it sleeps");
        entropy.settle();
        assert_eq!(guest.queues[0].take().map(|(_, len)| len), Some(64));
    }
    assert_eq!(guest.interrupts(0), 200);
}

proptest! {
    /// What is given is what was offered, up to what one request may have; and not a byte beside it.
    #[test]
    fn exactly_what_was_offered_is_filled(lens in prop::collection::vec(0u32..30_000, 1..12)) {
        let (mut guest, entropy) = plugged(Limits::default());
        let mut chain = Vec::new();
        for len in &lens {
            let at = guest.buffer(len + 64);
            chain.push(writable(at, *len));
        }
        guest.queues[0].offer(&chain);
        let wanted = lens.iter().sum::<u32>().min(MAX_FILL as u32);
        prop_assert_eq!(run(&mut guest, &entropy), vec![wanted]);
        let mut left = wanted;
        for buffer in chain {
            let here = left.min(buffer.len);
            left -= here;
            let behind = guest.read(buffer.addr + u64::from(here), (buffer.len + 64 - here) as usize);
            prop_assert!(behind.iter().all(|byte| *byte == 0), "bytes behind the buffer were written");
        }
    }
}

#[test]
fn requests_go_on_in_another_process_where_they_stopped() {
    let (mut guest, old) = plugged(Limits::default());
    let at = guest.buffer(64);
    guest.queues[0].offer(&[writable(at, 64)]);
    assert_eq!(run(&mut guest, &old), [64]);
    let queues = old.unplug();
    let at = guest.buffer(64);
    guest.queues[0].offer(&[writable(at, 64)]);
    guest.queues[0].kick();
    let new = Entropy::build(&EntropySpec { limits: Limits::default() }, &guest.machine.kit());
    let saved = VirtioDevice::save(&*old).unwrap();
    VirtioDevice::load(&*new, INDIRECT, &saved).unwrap();
    assert!(VirtioDevice::load(&*new, 0, &Saved { kind: "other".into(), ..saved }).is_err());
    new.plug(INDIRECT, queues, guest.notice.clone()).unwrap();
    assert_eq!(run(&mut guest, &new), [64]);
    assert_ne!(guest.read(at, 64), [0; 64]);
}
