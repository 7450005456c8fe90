//! Tests of the device that goes on in another process.

use device_core::snapshot::Saved;
use device_core::testing::mutants;
use proptest::prelude::*;

use super::*;
use crate::device::VirtioDevice;
use crate::memory::UNPLUGGED_INACCESSIBLE;
use crate::testing::memory::{ACK, BLOCKS, PLUG, STATE, TestHotMemory, UNPLUG, UNPLUG_ALL};
use device_core::bus::Width;

/// A device that has begun anew with what another had.
fn loaded(saved: &Saved) -> Result<TestHotMemory, LoadError> {
    let test = TestHotMemory::without_driver(0);
    VirtioDevice::load(&*test.device, UNPLUGGED_INACCESSIBLE, saved)?;
    Ok(test)
}

#[test]
fn blocks_are_those_that_were_there() {
    let mut old = TestHotMemory::new(64);
    old.ask(PLUG, 3, 5);
    old.ask(PLUG, 20, 1);
    old.device.unplug();
    let saved = VirtioDevice::save(&*old.device).unwrap();
    let mut new = loaded(&saved).unwrap();
    assert_eq!(VirtioDevice::save(&*new.device).unwrap(), saved);
    assert_eq!(new.runs(), [(3, 5), (20, 1)]);
    new.start();
    assert_eq!(new.ask(UNPLUG, 3, 5), (ACK, 0));
    assert_eq!(new.ask(PLUG, 0, 1), (ACK, 0));
}

#[test]
fn another_region_is_refused_by_name() {
    let test = TestHotMemory::new(64);
    let state = Snapshot::save(&*test.device);
    let refusal = |state: HotMemoryState| {
        Snapshot::load(&*TestHotMemory::without_driver(0).device, state).unwrap_err().to_string()
    };
    for (name, wrong) in [
        ("address", HotMemoryState { address: 1 << 40, ..state.clone() }),
        ("size", HotMemoryState { size: 1 << 40, ..state.clone() }),
        ("block_size", HotMemoryState { block_size: 1 << 22, ..state.clone() }),
        ("requested", HotMemoryState { requested: 1 << 20, ..state.clone() }),
        ("requested", HotMemoryState { requested: 1 << 40, usable: 1 << 40, ..state.clone() }),
        ("requested", HotMemoryState { requested: 200 << 20, ..state.clone() }),
        ("usable", HotMemoryState { usable: 1 << 40, ..state.clone() }),
        ("plugged", HotMemoryState { plugged: vec![0; 15], ..state.clone() }),
        ("plugged", HotMemoryState { plugged: vec![0xff; 16], ..state.clone() }),
    ] {
        let said = refusal(wrong);
        assert!(said.starts_with(&format!("{name} of the virtio-mem cannot be")), "{said}");
    }
}

#[test]
fn a_host_without_so_much_memory_is_named() {
    let mut old = TestHotMemory::new(64);
    old.ask(PLUG, 0, 32);
    let saved = VirtioDevice::save(&*old.device).unwrap();
    let new = TestHotMemory::without_driver(0);
    new.region().set_room(0);
    let error = VirtioDevice::load(&*new.device, 2, &saved).unwrap_err().to_string();
    assert!(error.contains("32 blocks from number 0 on"), "{error}");
}

#[test]
fn no_wrong_state_ends_the_process_or_gives_more_than_there_is() {
    let mut old = TestHotMemory::new(64);
    old.ask(PLUG, 3, 5);
    let saved = serde_json::to_value(VirtioDevice::save(&*old.device).unwrap()).unwrap();
    for mutant in mutants(&saved) {
        let Ok(mutant) = serde_json::from_value::<Saved>(mutant) else { continue };
        let Ok(new) = loaded(&mutant) else { continue };
        let state = Snapshot::save(&*new.device);
        assert!(state.requested <= state.usable && state.usable <= state.size, "{mutant:?}");
        assert!(new.runs().iter().all(|(first, count)| first + count <= BLOCKS), "{mutant:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Of two that do the same, one goes on in another process time and again.
    #[test]
    fn twins_answer_alike(
        requests in prop::collection::vec((0u16..4, 0u64..BLOCKS + 1, 0u16..70, 0u32..129, any::<bool>()), 1..20),
    ) {
        let (mut stays, mut moves) = (TestHotMemory::new(8), TestHotMemory::new(8));
        for (kind, block, count, wanted, moved) in requests {
            // Seldom all of it.
            let kind = if kind == UNPLUG_ALL && count > 8 { STATE } else { kind };
            if wanted % 8 == 0 {
                stays.device.request(wanted * 2).unwrap();
                moves.device.request(wanted * 2).unwrap();
            }
            if moved {
                moves.device.unplug();
                let saved = VirtioDevice::save(&*moves.device).unwrap();
                moves = loaded(&saved).unwrap();
                moves.start();
            }
            prop_assert_eq!(stays.ask(kind, block, count), moves.ask(kind, block, count));
            prop_assert_eq!(stays.runs(), moves.runs());
            for at in (0..56).step_by(8) {
                let both = [&stays, &moves].map(|test| test.device.read_config(at, Width::B8));
                prop_assert_eq!(both[0], both[1], "{}", at);
            }
        }
    }
}
