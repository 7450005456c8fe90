//! Tests of a live split ring against good and bad drivers.

use super::*;
use crate::testing::ring::{
    Descriptor as Raw, DriverRing, INDIRECT, NEXT, WRITE, readable, writable,
};
use device_core::testing::{ram, ram_at};
use proptest::prelude::*;

const SIZE: u16 = 8;
const AT: u64 = 0x1000;
const TABLE: u64 = 0x8000;
const INDIRECT_FEATURE: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;

struct Rings {
    driver: DriverRing,
    device: SplitRing,
    memory: GuestRam,
}

fn rings(event_idx: bool) -> Rings {
    let memory = ram(0x1_0000);
    let driver = DriverRing::new(&memory, AT, SIZE, event_idx);
    let device = SplitRing::new(driver.queue(), memory.clone(), INDIRECT_FEATURE).unwrap();
    Rings { driver, device, memory }
}

/// All chains on offer, as their buffers.
fn pop_all(ring: &mut SplitRing) -> Result<Vec<(u16, Vec<Buffer>)>, GuestFault> {
    let mut chains = Vec::new();
    loop {
        let mut buffers = Vec::new();
        let collect = |buffer| {
            buffers.push(buffer);
            Ok(())
        };
        match ring.pop(collect)? {
            Some(head) => chains.push((head, buffers)),
            None => return Ok(chains),
        }
    }
}

#[test]
fn chains_come_in_order_with_their_buffers() {
    let mut rings = rings(true);
    let first = [readable(0x100, 12), readable(0x200, 60)];
    let second = [readable(0x300, 1), writable(0x400, 2), writable(0x500, 3)];
    let heads = [rings.driver.offer(&first), rings.driver.offer_indirect(TABLE, &second)];
    let chains = pop_all(&mut rings.device).unwrap();
    assert_eq!(chains, [(heads[0], first.to_vec()), (heads[1], second.to_vec())]);
}

#[test]
fn pushed_chains_are_seen_together_and_only_when_published() {
    let mut rings = rings(true);
    let heads = [0x100, 0x200].map(|addr| rings.driver.offer(&[writable(addr, 64)]));
    pop_all(&mut rings.device).unwrap();
    rings.device.push(heads[0], 64).unwrap();
    rings.device.push(heads[1], 7).unwrap();
    assert_eq!(rings.driver.take(), None);
    assert_eq!(rings.device.publish(), Ok(true));
    assert_eq!(rings.driver.take_all(), [(heads[0], 64), (heads[1], 7)]);
    assert_eq!(rings.device.publish(), Ok(false));
}

#[test]
fn the_ring_goes_on_past_the_end_of_its_indices() {
    for event_idx in [false, true] {
        let mut rings = rings(event_idx);
        for round in 0..70_000u32 {
            rings.driver.offer(&[readable(0x100, round % 100 + 1)]);
            let chains = pop_all(&mut rings.device).unwrap();
            assert_eq!(chains.len(), 1);
            rings.device.push(chains[0].0, round).unwrap();
            rings.device.publish().unwrap();
            assert_eq!(rings.driver.take(), Some((chains[0].0, round)));
        }
    }
}

#[test]
fn a_chain_put_back_comes_again_before_those_behind_it() {
    let mut rings = rings(true);
    let heads = [0x100, 0x200].map(|addr| rings.driver.offer(&[readable(addr, 64)]));
    assert_eq!(rings.device.pop(|_| Ok(())), Ok(Some(heads[0])));
    rings.device.unpop(1);
    let again: Vec<_> = pop_all(&mut rings.device).unwrap().iter().map(|(head, _)| *head).collect();
    assert_eq!(again, heads);
}

#[test]
fn an_interrupt_comes_only_past_the_index_the_driver_named() {
    let mut rings = rings(true);
    rings.driver.interrupt_after(2);
    let wanted: Vec<bool> = (0..4)
        .map(|_| {
            rings.driver.offer(&[readable(0x100, 1)]);
            let head = pop_all(&mut rings.device).unwrap()[0].0;
            rings.device.push(head, 0).unwrap();
            rings.device.publish().unwrap()
        })
        .collect();
    assert_eq!(wanted, [false, false, true, false]);
}

#[test]
fn without_event_idx_the_flag_decides_on_interrupts() {
    let mut rings = rings(false);
    for on in [true, false, true] {
        rings.driver.want_interrupts(on);
        rings.driver.offer(&[readable(0x100, 1)]);
        let head = pop_all(&mut rings.device).unwrap()[0].0;
        rings.device.push(head, 0).unwrap();
        assert_eq!(rings.device.publish(), Ok(on));
    }
}

#[test]
fn kicks_that_were_asked_for_can_be_done_without() {
    for event_idx in [false, true] {
        let mut rings = rings(event_idx);
        for _ in 0..3 {
            assert_eq!(rings.device.arm(), Ok(true));
            rings.device.stay_quiet().unwrap();
            for _ in 0..2 {
                rings.driver.offer(&[readable(0x1000, 60)]);
                assert!(!rings.driver.kick(), "{event_idx}");
                let head = rings.device.pop(|_| Ok(())).unwrap().unwrap();
                rings.device.push(head, 0).unwrap();
            }
            rings.device.publish().unwrap();
            rings.driver.take_all();
            assert_eq!(rings.device.arm(), Ok(true));
            rings.driver.offer(&[readable(0x1000, 60)]);
            assert!(rings.driver.kick(), "{event_idx}");
            let head = rings.device.pop(|_| Ok(())).unwrap().unwrap();
            rings.device.push(head, 0).unwrap();
        }
    }
}

#[test]
fn kicks_are_wanted_once_armed_and_no_more_while_chains_are_taken() {
    for event_idx in [false, true] {
        let mut rings = rings(event_idx);
        assert_eq!(rings.device.arm(), Ok(true));
        rings.driver.offer(&[readable(0x100, 1)]);
        assert!(rings.driver.kick(), "armed");
        // The device is awake: it takes this chain and any that follows without a kick.
        assert!(rings.device.pop(|_| Ok(())).unwrap().is_some());
        rings.driver.offer(&[readable(0x100, 1)]);
        assert!(!rings.driver.kick(), "awake");
        assert_eq!(rings.device.arm(), Ok(false), "there is more");
        assert_eq!(pop_all(&mut rings.device).unwrap().len(), 1);
        assert_eq!(rings.device.arm(), Ok(true));
        assert_eq!(rings.device.arm(), Ok(true), "still");
        rings.driver.offer(&[readable(0x100, 1)]);
        assert!(rings.driver.kick(), "armed again");
    }
}

#[test]
fn a_wild_available_index_is_a_fault() {
    let mut rings = rings(true);
    rings.driver.set_available(SIZE + 1);
    assert_eq!(rings.device.pop(|_| Ok(())), Err(WILD_INDEX));
    rings.driver.set_available(0xffff);
    assert_eq!(rings.device.pop(|_| Ok(())), Err(WILD_INDEX));
}

#[test]
fn a_head_past_the_end_of_the_table_is_a_fault() {
    let mut rings = rings(true);
    rings.driver.offer_head(SIZE);
    assert_eq!(rings.device.pop(|_| Ok(())), Err(BAD_HEAD));
}

#[test]
fn every_broken_chain_is_a_fault_of_its_own() {
    let d = |flags, next| Raw { addr: 0x100, len: 16, flags, next };
    let table = |len| Raw { addr: TABLE, len, flags: INDIRECT, next: 0 };
    let cases: &[(&str, &[Raw], &[Raw], GuestFault)] = &[
        ("self loop", &[d(NEXT, 0)], &[], TOO_LONG),
        ("loop of two", &[d(NEXT, 1), d(NEXT, 0)], &[], TOO_LONG),
        ("next past the end", &[d(NEXT, SIZE)], &[], BAD_NEXT),
        ("next far past the end", &[d(NEXT, 0xffff)], &[], BAD_NEXT),
        ("readable after writable", &[d(NEXT | WRITE, 1), d(0, 0)], &[], OUT_OF_ORDER),
        ("more than 2^32 bytes", &[Raw { len: u32::MAX, ..d(NEXT, 1) }, d(0, 0)], &[], TOO_LARGE),
        ("empty table", &[table(0)], &[], BAD_TABLE),
        ("odd table", &[table(17)], &[], BAD_TABLE),
        ("huge table", &[table(0xffff_fff0)], &[], BAD_TABLE),
        ("table too long", &[table(16 * 1025)], &[], BAD_TABLE),
        ("table and next", &[Raw { flags: INDIRECT | NEXT, ..table(16) }], &[d(0, 0)], NESTED),
        ("table behind a buffer", &[d(NEXT, 1), table(16)], &[d(0, 0)], NESTED),
        ("table in a table", &[table(16)], &[table(16)], NESTED),
        ("next past the table", &[table(16)], &[d(NEXT, 1)], BAD_NEXT),
        ("loop in the table", &[table(32)], &[d(NEXT, 1), d(NEXT, 0)], TOO_LONG),
        ("table outside of RAM", &[Raw { addr: 0xfff8, ..table(16) }], &[], UNREADABLE),
        ("table at the end", &[Raw { addr: u64::MAX - 7, ..table(16) }], &[], UNREADABLE),
    ];
    for (name, ring, indirect, fault) in cases {
        let mut rings = rings(true);
        for (index, descriptor) in (0..).zip(*ring) {
            rings.driver.write_descriptor(index, *descriptor);
        }
        let tables = DriverRing::new(&rings.memory, TABLE, SIZE, true);
        for (index, descriptor) in (0..).zip(*indirect) {
            tables.write_descriptor(index, *descriptor);
        }
        rings.driver.offer_head(0);
        assert_eq!(rings.device.pop(|_| Ok(())), Err(*fault), "{name}");
    }
}

#[test]
fn an_indirect_table_needs_its_feature() {
    let mut rings = rings(true);
    let mut device = SplitRing::new(rings.driver.queue(), rings.memory.clone(), 0).unwrap();
    rings.driver.offer_indirect(TABLE, &[readable(0x100, 1)]);
    assert_eq!(device.pop(|_| Ok(())), Err(NO_INDIRECT));
}

#[test]
fn a_ring_taken_home_goes_on_where_it_stopped() {
    let mut rings = rings(true);
    let heads = [0x100, 0x200].map(|addr| rings.driver.offer(&[readable(addr, 64)]));
    assert_eq!(rings.device.pop(|_| Ok(())), Ok(Some(heads[0])));
    rings.device.push(heads[0], 0).unwrap();
    let home = rings.device.into_queue();
    assert_eq!(rings.driver.take(), Some((heads[0], 0)), "shown on the way home");
    let mut again = SplitRing::new(home, rings.memory, INDIRECT_FEATURE).unwrap();
    assert_eq!(again.pop(|_| Ok(())), Ok(Some(heads[1])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever lies in memory, the ring comes to an end, and never says more than it may.
    #[test]
    fn any_ring_ends(
        descriptors in prop::collection::vec((0u64..0x1_2000, 0u32..0x200, 0u16..8, 0u16..10), 8),
        table in prop::collection::vec((any::<u64>(), any::<u32>(), 0u16..8, 0u16..10), 4),
        heads in prop::collection::vec(0u16..10, 8),
        index in 0u16..12,
        event_idx: bool,
        indirect: bool,
    ) {
        let memory = ram_at(&[(0, 0x8000), (0x1_0000, 0x1000)]);
        let mut driver = DriverRing::new(&memory, AT, SIZE, event_idx);
        let features = if indirect { INDIRECT_FEATURE } else { 0 };
        let mut device = SplitRing::new(driver.queue(), memory.clone(), features).unwrap();
        let raw = |(addr, len, flags, next)| Raw { addr, len, flags, next };
        for (at, descriptor) in (0..).zip(descriptors) {
            driver.write_descriptor(at, raw(descriptor));
        }
        let tables = DriverRing::new(&memory, 0x1_0000, SIZE, true);
        for (at, descriptor) in (0..).zip(table) {
            tables.write_descriptor(at, raw(descriptor));
        }
        for head in heads {
            driver.offer_head(head);
        }
        driver.set_available(index);
        let mut chains = 0;
        loop {
            let (mut buffers, mut seen_writable) = (0u16, false);
            let popped = device.pop(|buffer| {
                buffers += 1;
                assert!(buffer.writable || !seen_writable, "order");
                seen_writable = buffer.writable;
                Ok(())
            });
            prop_assert!(buffers <= MAX_CHAIN);
            let Ok(Some(head)) = popped else { break };
            prop_assert!(head < SIZE && buffers > 0);
            chains += 1;
            prop_assert!(chains <= SIZE);
            device.push(head, 0).unwrap();
        }
        device.publish().unwrap();
        let _ = device.arm();
    }
}
