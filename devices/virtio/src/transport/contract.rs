//! What every transport does for its device, whatever its registers look like: tests that all of them pass.

use std::sync::atomic::Ordering;

use virtio_queue::QueueT;

use super::test_device::{
    ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES, Guest, NEEDS_RESET, Plugged, RAM_LEN, Rings,
    SECOND_RAM, TestDevice, rings,
};
use super::test_slot::Slot;

/// The ways of a driver and of the machine's owner to the test device, behind a transport.
pub trait Side {
    fn new() -> Self;
    fn device(&self) -> &TestDevice;
    fn status(&mut self) -> u64;
    fn add_status(&mut self, bits: u64);
    fn negotiate(&mut self, features: u64) -> bool;
    fn set_queue(&mut self, queue: u16, rings: Rings);
    fn start(&mut self);
    fn start_with(&mut self, rings: Rings);
    /// How often it was told of something but a queue.
    fn config_interrupts(&self) -> u64;
    fn pause(&self);
    fn resume(&self);
}

macro_rules! side {
    ($side:ty, $config_interrupts:expr) => {
        impl Side for $side {
            fn new() -> Self {
                Self::new()
            }
            fn device(&self) -> &TestDevice {
                &self.device
            }
            fn status(&mut self) -> u64 {
                self.status()
            }
            fn add_status(&mut self, bits: u64) {
                self.add_status(bits);
            }
            fn negotiate(&mut self, features: u64) -> bool {
                self.negotiate(features)
            }
            fn set_queue(&mut self, queue: u16, rings: Rings) {
                self.set_queue(queue, rings);
            }
            fn start(&mut self) {
                self.start();
            }
            fn start_with(&mut self, rings: Rings) {
                self.start_with(rings);
            }
            fn config_interrupts(&self) -> u64 {
                $config_interrupts(self)
            }
            fn pause(&self) {
                self.pause();
            }
            fn resume(&self) {
                self.resume();
            }
        }
    };
}

side!(Guest, Guest::config_interrupts);
// Its line is for queues too, which nothing uses here.
side!(Slot, |slot: &Slot| slot.line.pulses());

pub fn only_queues_that_were_set_up_live_and_event_idx_is_as_negotiated(mut side: impl Side) {
    side.start_with(Rings { size: 16, ..rings(0) });
    let lives = side.device().plugged(|plugged| {
        let queue = &plugged.queues[0];
        (plugged.queues.len(), queue.ring.size(), queue.ring.state().event_idx_enabled)
    });
    assert_eq!(lives, Some((1, 16, false)));
}

pub fn without_version_1_there_is_no_agreement_and_no_start(mut side: impl Side) {
    assert!(!side.negotiate(FEATURES));
    side.set_queue(0, rings(0));
    side.add_status(DRIVER_OK);
    assert_eq!(side.status(), ACKNOWLEDGE | DRIVER);
    assert!(!side.device().is_plugged());
}

pub fn hostile_queues_need_a_reset_and_touch_nothing<S: Side>(_: S) {
    let good = rings(0);
    let end = RAM_LEN as u64;
    for bad in [
        Rings { size: 0, ..good },
        Rings { size: 3, ..good },
        Rings { size: 512, ..good },
        Rings { size: 0xffff, ..good },
        Rings { descriptors: good.descriptors + 8, ..good },
        Rings { available: good.available + 1, ..good },
        Rings { used: good.used + 2, ..good },
        Rings { descriptors: end, ..good },
        Rings { descriptors: end - 0xff0, ..good },
        Rings { available: end - 0x200, ..good },
        Rings { used: end - 0x800, ..good },
        Rings { used: SECOND_RAM - 4, ..good },
        // Where devices are.
        Rings { descriptors: 0xe000_0000, ..good },
        Rings { descriptors: 0xfe00_0000, ..good },
        Rings { descriptors: !0xf, ..good },
        Rings { available: !1, ..good },
        Rings { used: !3, ..good },
    ] {
        let mut side = S::new();
        side.start_with(bad);
        assert_eq!(side.status(), 15 | NEEDS_RESET, "{bad:?}");
        assert_eq!(side.config_interrupts(), 1, "{bad:?}");
        assert!(!side.device().is_plugged(), "{bad:?}");

        side.start();
        assert_eq!(side.status(), 15, "a reset mends it");
    }
}

pub fn rings_may_end_where_memory_ends(mut side: impl Side) {
    let end = SECOND_RAM + RAM_LEN as u64;
    side.start_with(Rings { size: 256, descriptors: end - 0x1000, available: 0, used: 0x1000 });
    assert!(side.device().is_plugged());
}

pub fn a_device_that_refuses_its_queues_needs_a_reset(mut side: impl Side) {
    side.device().refuses.store(true, Ordering::Relaxed);
    side.start();
    assert_eq!(side.status(), 15 | NEEDS_RESET);
    assert_eq!(side.config_interrupts(), 1);

    side.pause();
    side.resume();
    side.device().refuses.store(false, Ordering::Relaxed);
    side.start();
    assert_eq!(side.status(), 15);
}

pub fn a_driver_that_gives_up_gets_its_memory_back(mut side: impl Side) {
    side.start();
    side.add_status(FAILED);
    assert!(!side.device().is_plugged());
    assert_eq!(side.status(), 15 | FAILED);
}

pub fn stop_and_start_keep_the_cursors(mut side: impl Side) {
    side.start();
    side.device().plugged(|plugged| {
        plugged.queues[1].ring.set_next_avail(17);
        plugged.queues[1].ring.set_next_used(13);
    });
    side.pause();
    assert!(!side.device().is_plugged());
    assert_eq!(side.status(), 15, "the driver does not notice");
    side.resume();
    assert_eq!(side.device().plugged(cursors), Some((17, 13)));
    assert_eq!(*side.device().resets.lock().unwrap(), 1, "only the driver's own");
}

/// Those of queue 1.
pub fn cursors(plugged: &mut Plugged) -> (u16, u16) {
    let ring = &plugged.queues[1].ring;
    (ring.next_avail(), ring.next_used())
}

/// The tests, of one transport.
macro_rules! transport_contract {
    ($side:ty) => {
        transport_contract! { $side:
            only_queues_that_were_set_up_live_and_event_idx_is_as_negotiated,
            without_version_1_there_is_no_agreement_and_no_start,
            hostile_queues_need_a_reset_and_touch_nothing,
            rings_may_end_where_memory_ends,
            a_device_that_refuses_its_queues_needs_a_reset,
            a_driver_that_gives_up_gets_its_memory_back,
            stop_and_start_keep_the_cursors,
        }
    };
    ($side:ty: $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                crate::transport::contract::$test(<$side>::new());
            }
        )*
    };
}

pub(super) use transport_contract;
