//! Tests of the MSI-X table and its pending bits.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use device_core::interrupt::Interrupt;
use device_core::testing::TestMsiSet;

use super::*;
use Width::{B1, B2, B4, B8};

const ON: MsixControl = MsixControl { enabled: true, all_masked: false };
const ALL_MASKED: MsixControl = MsixControl { enabled: true, all_masked: true };

/// A set that counts how often it is told to route, and can fail to.
struct Routes {
    set: Arc<TestMsiSet>,
    calls: AtomicUsize,
    broken: AtomicBool,
}

impl MsiSet for Routes {
    fn count(&self) -> u16 {
        self.set.count()
    }
    fn vector(&self, index: u16) -> Option<Arc<dyn MsiVector>> {
        self.set.vector(index)
    }
    fn route(&self, changes: &[Route]) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("broken"));
        }
        self.set.route(changes)
    }
}

impl Routes {
    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

fn table(vectors: u16) -> (Arc<Routes>, Msix) {
    let set = TestMsiSet::new(vectors);
    let routes =
        Arc::new(Routes { set, calls: AtomicUsize::new(0), broken: AtomicBool::new(false) });
    let set: Arc<dyn MsiSet> = routes.clone();
    let msix = Msix::new("card", &set);
    msix.set_bus_master(true);
    (routes, msix)
}

/// Programs a vector as drivers do: while masked, by words, then unmasks it.
fn program(msix: &Msix, vector: u64, address: u64, data: u32) {
    msix.write(vector * 16, B4, address & 0xffff_ffff);
    msix.write(vector * 16 + 4, B4, address >> 32);
    msix.write(vector * 16 + 8, B4, data.into());
    msix.write(vector * 16 + 12, B4, 0);
}

fn mask(msix: &Msix, vector: u64, on: bool) {
    msix.write(vector * 16 + 12, B4, on.into());
}

#[test]
fn a_programmed_vector_goes_where_the_driver_said() {
    let (routes, msix) = table(4);
    msix.set_control(ON);
    program(&msix, 2, 0x1_fee0_2004, 0x4031);

    let message = MsiMessage { address: 0x1_fee0_2004, data: 0x4031 };
    assert_eq!(routes.set.routed(2), Some(message));
    assert_eq!(msix.read(32, B8), 0x1_fee0_2004);
    assert_eq!(msix.read(40, B8), 0x4031);
    routes.set.test_vector(2).fire();
    assert_eq!(routes.set.test_vector(2).delivered(), 1);
}

#[test]
fn the_host_hears_of_changes_only_and_of_all_at_once() {
    let (routes, msix) = table(64);
    msix.set_control(ALL_MASKED);
    (0..64).for_each(|vector| program(&msix, vector, 0xfee0_0000, vector as u32));
    assert_eq!(routes.calls(), 0, "nothing is open yet");

    msix.set_control(ON);
    assert_eq!(routes.calls(), 1, "64 vectors in one batch");
    assert!((0..64).all(|vector| routes.set.routed(vector).is_some()));

    mask(&msix, 5, false);
    msix.set_control(ON);
    program(&msix, 5, 0xfee0_0000, 5);
    assert_eq!(routes.calls(), 0, "all as before");

    mask(&msix, 5, true);
    mask(&msix, 5, true);
    program(&msix, 5, 0xfee0_0000, 5);
    assert_eq!(routes.calls(), 2);
}

#[test]
fn a_masked_vector_keeps_its_interrupt_shows_it_and_delivers_it_once() {
    let (routes, msix) = table(100);
    msix.set_control(ON);
    program(&msix, 70, 0xfee0_0000, 1);
    mask(&msix, 70, true);
    let vector = routes.set.test_vector(70);
    vector.fire();
    vector.fire();

    assert_eq!(vector.delivered(), 0);
    let pending = u64::from(Msix::pending_offset(100));
    assert_eq!(msix.read(pending, B8), 0);
    assert_eq!(msix.read(pending + 8, B8), 1 << 6);
    assert_eq!(msix.read(pending + 8, B4), 1 << 6);
    assert_eq!(msix.read(pending + 12, B4), 0);

    mask(&msix, 70, false);
    assert_eq!(vector.delivered(), 1);
    assert_eq!(msix.read(pending + 8, B8), 0);
}

#[test]
fn the_function_mask_holds_all_back_and_loses_none() {
    let (routes, msix) = table(2);
    msix.set_control(ON);
    (0..2).for_each(|vector| program(&msix, vector, 0xfee0_0000, 0));
    msix.set_control(ALL_MASKED);
    (0..2).for_each(|vector| routes.set.test_vector(vector).fire());
    assert_eq!(msix.read(0x1000, B4), 0b11);
    msix.set_control(ON);
    assert!((0..2).all(|vector| routes.set.test_vector(vector).delivered() == 1));
}

#[test]
fn without_bus_mastering_nothing_is_delivered() {
    let (routes, msix) = table(1);
    msix.set_control(ON);
    program(&msix, 0, 0xfee0_0000, 0);
    msix.set_bus_master(false);
    routes.set.test_vector(0).fire();
    assert_eq!(routes.set.test_vector(0).delivered(), 0);
    assert_eq!(msix.read(0x1000, B4), 1);
}

#[test]
fn a_reset_masks_and_clears_the_table() {
    let (routes, msix) = table(2);
    msix.set_control(ON);
    (0..2).for_each(|vector| program(&msix, vector, 0xfee0_0000, 7));
    routes.calls();
    msix.reset();
    assert_eq!(routes.calls(), 1);
    for vector in 0..2 {
        assert_eq!(routes.set.routed(vector), None);
        let words = [0, 4, 8, 12].map(|word| msix.read(u64::from(vector) * 16 + word, B4));
        assert_eq!(words, [0, 0, 0, 1]);
    }
}

#[test]
fn a_reset_forgets_what_was_pending() {
    let (routes, msix) = table(1);
    routes.set.test_vector(0).fire();
    assert_eq!(msix.read(0x1000, B4), 1);
    msix.reset();
    assert_eq!(msix.read(0x1000, B4), 0);
    msix.set_bus_master(true);
    msix.set_control(ON);
    program(&msix, 0, 0xfee0_0000, 0);
    assert_eq!(routes.set.test_vector(0).delivered(), 0);
}

#[test]
fn odd_accesses_read_ones_and_change_nothing() {
    let (routes, msix) = table(1);
    msix.set_control(ON);
    for (offset, width) in [(0, B1), (12, B1), (12, B2), (2, B4), (4, B8), (0xffe, B4)] {
        msix.write(offset, width, 0);
        assert_eq!(msix.read(offset, width), width.mask(), "{offset:#x}");
    }
    // Past the table, and the pending bits: read-only zeroes.
    for offset in [16, 0xff8, 0x1000, 0x1008, 0x1ff8] {
        msix.write(offset, B8, u64::MAX);
        assert_eq!(msix.read(offset, B8), 0, "{offset:#x}");
    }
    assert_eq!(routes.calls(), 0);
}

#[test]
fn reserved_bits_of_an_entry_are_read_only() {
    let (_, msix) = table(1);
    msix.write(0, B4, u32::MAX.into());
    msix.write(12, B4, u32::MAX.into());
    assert_eq!(msix.read(0, B4), 0xffff_fffc);
    assert_eq!(msix.read(12, B4), 1);
}

#[test]
fn a_route_that_failed_is_tried_again_with_the_next_change() {
    let (routes, msix) = table(2);
    msix.set_control(ON);
    routes.broken.store(true, Ordering::Relaxed);
    program(&msix, 0, 0xfee0_0000, 1);
    assert_eq!(routes.set.routed(0), None);

    routes.broken.store(false, Ordering::Relaxed);
    program(&msix, 1, 0xfee0_0000, 2);
    assert!(routes.set.routed(0).is_some());
    assert!(routes.set.routed(1).is_some());
}

#[test]
fn table_and_pending_bits_fit_their_bar() {
    for count in [1, 64, 65, 129, 256, 257, 2048] {
        let (pending, size) = (u64::from(Msix::pending_offset(count)), Msix::bar_size(count));
        assert!(u64::from(count) * 16 <= pending && pending.is_multiple_of(0x1000));
        assert!(pending + u64::from(count).div_ceil(64) * 8 <= size && size.is_power_of_two());
    }
    assert_eq!((Msix::pending_offset(129), Msix::bar_size(129)), (0x1000, 0x2000));
}
