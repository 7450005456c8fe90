//! Tests of devices that go on in another process, on both buses.

use device_core::device::Device;
use device_core::testing::mutants;
use serde_json::{Value, json};
use virtio_queue::QueueT;

use crate::transport::test_device::{Guest, Rings, SIZES, TestDevice, rings};
use crate::transport::test_slot::Slot;

fn set_cursors(device: &TestDevice) {
    device.plugged(|plugged| {
        plugged.queues[1].ring.set_next_avail(17);
        plugged.queues[1].ring.set_next_used(13);
    });
}

#[test]
fn queues_come_back_where_they_were_and_each_is_kicked_once() {
    let (mut guest, mut slot) = (Guest::new(), Slot::new());
    guest.start();
    slot.start();
    let card = {
        set_cursors(&guest.device);
        let new = guest.elsewhere(&guest.saved()).unwrap();
        assert_eq!(new.device.held(), guest.device.held());
        new
    };
    set_cursors(&slot.device);
    let mmio = slot.elsewhere(&slot.saved()).unwrap();
    assert_eq!(mmio.device.held(), slot.device.held());
    for device in [&card.device, &mmio.device] {
        assert_eq!(device.held().unwrap().1[1].3, (17, 13));
        let kicks = device.plugged(|plugged| {
            plugged.queues.iter().map(|queue| queue.kick.read().ok()).collect::<Vec<_>>()
        });
        assert_eq!(kicks.unwrap(), [Some(1); SIZES.len()]);
    }
    // From now on it is as any other.
    Device::stop(&*mmio.card);
    Device::start(&*mmio.card);
    let kicks = mmio.device.plugged(|plugged| plugged.queues[0].kick.read().is_ok());
    assert_eq!(kicks, Some(false));
}

#[test]
fn interrupts_and_kicks_work_at_once() {
    let mut guest = Guest::new();
    guest.start();
    let new = guest.elsewhere(&guest.saved()).unwrap();
    new.device.plugged(|plugged| {
        plugged.queues.iter().for_each(|queue| drop(queue.kick.read()));
        plugged.queues[1].irq.as_ref().unwrap().fire();
    });
    assert_eq!(new.vectors().test_vector(2).delivered(), 1);
    let at = new.notify.at + 2 * new.notify_multiplier;
    assert!(new.machine.kicks.kick(at), "the kernel tells of kicks");
    let kicked = new.device.plugged(|plugged| plugged.queues[2].kick.read().ok());
    assert_eq!(kicked, Some(Some(1)));
    new.device.plugged(|plugged| plugged.notice.config_changed());
    assert_eq!(new.config_interrupts(), 1);
}

#[test]
fn a_device_at_work_cannot_be_saved() {
    let mut guest = Guest::new();
    guest.start();
    let error = Device::save(&*guest.card).unwrap_err().to_string();
    assert_eq!(error, "test is at work; pause the machine first");
}

#[test]
fn a_device_is_loaded_once() {
    let mut guest = Guest::new();
    guest.start();
    let [_, card] = guest.saved();
    let new = guest.elsewhere(&guest.saved()).unwrap();
    assert!(Device::load(&*new.card, &serde_json::from_str(&card).unwrap()).is_err());
}

#[test]
fn the_state_of_one_bus_is_not_that_of_the_other() {
    let (guest, slot) = (Guest::new(), Slot::new());
    let [bus, card] = guest.saved();
    let error = guest.elsewhere(&[bus, slot.saved()]).err().unwrap().to_string();
    assert_eq!(error, "the state is that of a virtio-mmio, not of a virtio-pci");
    let error = slot.elsewhere(&card).err().unwrap().to_string();
    assert_eq!(error, "the state is that of a virtio-pci, not of a virtio-mmio");
}

/// What is said of a running device's state after `edit`.
fn refusal(edit: impl Fn(&mut Value)) -> String {
    let mut guest = Guest::new();
    guest.start();
    let [bus, card] = guest.saved();
    let mut card: Value = serde_json::from_str(&card).unwrap();
    edit(&mut card["state"]);
    let error = guest.elsewhere(&[bus, card.to_string()]).err().expect("refused");
    error.to_string()
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let set_queue = |field: &'static str, value: Value| {
        refusal(move |state| state["registers"]["queues"][1][field] = value.clone())
    };
    for (field, value, why) in [
        ("size", json!(0), "queue 1: size 0 is no power of two from 1 to 256"),
        ("size", json!(100), "queue 1: size 100 is no power of two from 1 to 256"),
        ("size", json!(512), "queue 1: size 512 is no power of two from 1 to 256"),
        ("descriptors", json!(8), "queue 1: the descriptor table at 0x8 is not aligned"),
        ("used", json!(0x10_0000), "queue 1: the used ring of 2054 bytes at 0x100000 is not"),
        ("available", json!(u64::MAX - 1), "queue 1: the available ring of 518 bytes at"),
    ] {
        let error = set_queue(field, value);
        assert!(error.starts_with(&format!("live of the virtio-pci cannot be: {why}")), "{error}");
    }
    let vector = set_queue("vector", json!(4));
    assert_eq!(
        vector,
        "queues of the virtio-pci cannot be: queue 1 has a vector that is not there"
    );
    for (edit, why) in [
        (
            &|state: &mut Value| state["live"][1]["next_avail"] = json!(257),
            "queue 1: 257 chains of 256",
        ),
        (&|state: &mut Value| state["live"][1]["index"] = json!(0), "the queues are not in order"),
        (&|state: &mut Value| state["live"][2]["index"] = json!(3), "queue 3 was not set up"),
        (
            &|state: &mut Value| state["live"] = Value::Null,
            "the driver believes that the device runs",
        ),
        (&|state: &mut Value| state["registers"]["status"] = json!(11), "the driver has not let"),
        (&|state: &mut Value| state["registers"]["status"] = json!(0x8f), "the driver has not let"),
    ] as [(&dyn Fn(&mut Value), &str); 6]
    {
        let error = refusal(edit);
        assert!(error.starts_with(&format!("live of the virtio-pci cannot be: {why}")), "{error}");
    }
    for (field, value, why) in [
        ("status", json!(4), "status of the virtio-pci cannot be: no driver can set it to 0x4"),
        ("status", json!(0x4f), "status of the virtio-pci cannot be: no driver can set it to 0x4f"),
        ("driver_features", json!(1u64 << 32 | 1), "driver_features of the virtio-pci cannot be"),
        ("driver_features", json!(0), "driver_features of the virtio-pci cannot be: 0x0; this"),
        ("acked_beyond", json!(true), "driver_features of the virtio-pci cannot be"),
        ("queues", json!([]), "queues of the virtio-pci cannot be: there are 0; this device has 3"),
    ] {
        let error = refusal(|state| state["registers"][field] = value.clone());
        assert!(error.starts_with(why), "{error}");
    }
    for interrupts in [
        json!({ "vectors": { "config": 4, "isr": 0 } }),
        json!({ "vectors": { "config": 0, "isr": 1 } }),
        json!({ "line": { "status": 0 } }),
    ] {
        let error = refusal(|state| state["interrupts"] = interrupts.clone());
        assert!(error.starts_with("interrupts of the virtio-pci cannot be"), "{error}");
    }
    let device = refusal(|state| state["device"]["kind"] = json!("other"));
    assert_eq!(device, "the state is that of a other, not of a test");
}

/// The device checks what it is given.
#[test]
fn no_wrong_state_harms() {
    let (mut guest, mut slot) = (Guest::new(), Slot::new());
    guest.start_with(Rings { size: 16, ..rings(0) });
    slot.start();
    let [bus, card] = guest.saved();
    let mut loaded = 0;
    for mutant in mutants(&serde_json::from_str(&card).unwrap()) {
        if serde_json::from_value::<device_core::snapshot::Saved>(mutant.clone()).is_err() {
            continue;
        }
        let Ok(mut new) = guest.elsewhere(&[bus.clone(), mutant.to_string()]) else { continue };
        loaded += 1;
        new.status();
        new.start();
        assert!(new.device.is_plugged(), "a reset always brings the card back");
    }
    for mutant in mutants(&serde_json::from_str(&slot.saved()).unwrap()) {
        if serde_json::from_value::<device_core::snapshot::Saved>(mutant.clone()).is_err() {
            continue;
        }
        let Ok(mut new) = slot.elsewhere(&mutant.to_string()) else { continue };
        loaded += 1;
        new.start();
        assert!(new.device.is_plugged(), "a reset always brings the device back");
    }
    assert!(loaded > 100, "{loaded}");
}
