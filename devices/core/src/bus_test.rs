//! Tests of the bus.

use super::*;

#[derive(Default)]
struct Echo {
    written: AtomicU64,
}

impl BusDevice for Echo {
    fn read(&self, offset: u64, _: Width) -> u64 {
        0xdead_0000_0000_0000 | offset
    }
    fn write(&self, _: u64, _: Width, value: u64) {
        self.written.store(value, Ordering::Relaxed);
    }
}

fn bus_with(ranges: &[(u64, u64)]) -> (Arc<Bus>, BusView) {
    let bus = Bus::new();
    let view = bus.view();
    for &(start, len) in ranges {
        bus.insert(start, len, Arc::new(Echo::default())).unwrap();
    }
    (bus, view)
}

#[test]
fn an_access_reaches_the_device_with_its_offset_and_is_cut_to_its_width() {
    let (_bus, mut view) = bus_with(&[(0x100, 0x10), (0x200, 0x10)]);
    assert_eq!(view.read(0x20f, Width::B1), Some(0x0f));
    assert_eq!(view.read(0x208, Width::B8), Some(0xdead_0000_0000_0008));
    assert_eq!(view.read(0x104, Width::B4), Some(4));
}

#[test]
fn a_write_is_cut_to_its_width() {
    let bus = Bus::new();
    let echo = Arc::new(Echo::default());
    bus.insert(0, 8, echo.clone()).unwrap();
    assert!(bus.view().write(0, Width::B2, 0x1_2345));
    assert_eq!(echo.written.load(Ordering::Relaxed), 0x2345);
}

#[test]
fn an_access_that_straddles_the_end_of_a_range_or_of_the_address_space_finds_nothing() {
    let (bus, mut view) = bus_with(&[(0x100, 0x10), (0x110, 0x10)]);
    bus.insert(u64::MAX - 3, 4, Arc::new(Echo::default())).unwrap();
    assert_eq!(view.read(0x10e, Width::B4), None);
    assert_eq!(view.read(0xff, Width::B2), None);
    assert_eq!(view.read(u64::MAX, Width::B2), None);
    assert_eq!(view.read(u64::MAX, Width::B1), Some(3));
    assert!(!view.write(0x120, Width::B1, 1));
}

#[test]
fn overlapping_empty_and_wrapping_ranges_are_refused() {
    let (bus, _) = bus_with(&[(0x100, 0x10)]);
    let echo = || Arc::new(Echo::default());
    assert_eq!(
        bus.insert(0xf1, 0x10, echo()),
        Err(BusError::Overlap { start: 0xf1, len: 0x10, other: 0x100 })
    );
    assert!(matches!(bus.insert(0x10f, 1, echo()), Err(BusError::Overlap { .. })));
    assert!(matches!(bus.insert(0, 0x1000, echo()), Err(BusError::Overlap { .. })));
    assert_eq!(bus.insert(5, 0, echo()), Err(BusError::BadRange { start: 5, len: 0 }));
    assert!(matches!(bus.insert(u64::MAX, 2, echo()), Err(BusError::BadRange { .. })));
    assert_eq!(bus.insert(0xf0, 0x10, echo()), Ok(()));
}

#[test]
fn a_view_sees_ranges_come_and_go() {
    let (bus, mut view) = bus_with(&[(0x100, 0x10)]);
    assert!(view.read(0x100, Width::B1).is_some());
    assert!(bus.remove(0x100));
    assert_eq!(view.read(0x100, Width::B1), None);
    assert!(!bus.remove(0x100));
    bus.insert(0x1000, 0x10, Arc::new(Echo::default())).unwrap();
    assert_eq!(view.read(0x1004, Width::B1), Some(4));
}

#[test]
fn a_bus_that_is_cleared_holds_no_device() {
    let bus = Bus::new();
    let device: Arc<dyn BusDevice> = Arc::new(Echo::default());
    bus.insert(0x100, 0x10, device.clone()).unwrap();
    bus.insert(0x200, 0x10, device.clone()).unwrap();
    let mut view = bus.view();
    bus.clear();
    assert_eq!((view.read(0x100, Width::B1), view.read(0x200, Width::B1)), (None, None));
    assert_eq!(Arc::strong_count(&device), 1);
    assert_eq!(bus.insert(0x100, 0x200, device), Ok(()));
}

#[test]
fn a_view_that_forgets_holds_no_device_and_finds_those_that_are_left() {
    let bus = Bus::new();
    let gone: Arc<dyn BusDevice> = Arc::new(Echo::default());
    bus.insert(0x100, 0x10, gone.clone()).unwrap();
    bus.insert(0x200, 0x10, Arc::new(Echo::default())).unwrap();
    let mut view = bus.view();
    assert!(view.read(0x100, Width::B1).is_some());
    bus.remove(0x100);
    assert_eq!(Arc::strong_count(&gone), 2, "the view still has it");
    view.forget();
    assert_eq!(Arc::strong_count(&gone), 1);
    assert!(view.read(0x100, Width::B1).is_none());
    assert!(view.read(0x200, Width::B1).is_some());
}

#[test]
fn bytes_load_in_any_width_and_behind_their_end_as_zeroes() {
    let bytes = [1, 2, 3, 4, 5];
    assert_eq!(Width::B1.load(&bytes, 4), 5);
    assert_eq!(Width::B2.load(&bytes, 1), 0x0302);
    assert_eq!(Width::B4.load(&bytes, 3), 0x0504);
    assert_eq!(Width::B8.load(&bytes, 0), 0x05_0403_0201);
    assert_eq!(Width::B8.load(&bytes, 5), 0);
    assert_eq!(Width::B8.load(&bytes, u64::MAX), 0);
}
