//! Tests of a balloon that goes on in another process.

use std::sync::Arc;

use device_core::bus::Width;
use device_core::device::Kit;
use device_core::reclaim::Reclaim;
use device_core::snapshot::Saved;
use device_core::testing::{TestReclaim, mutants};
use proptest::prelude::*;

use super::*;
use crate::balloon::BalloonSpec;
use crate::device::VirtioDevice;
use crate::testing::balloon::{
    ALL, DEFLATE, HINT, INFLATE, REPORT, STATS, TestBalloon, everything,
};
use crate::testing::guest::{GAP, SEAM};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// The driver goes on with its balloon in another process; what was saved.
fn move_on(test: &mut TestBalloon) -> BalloonState {
    let queues = test.balloon.unplug();
    let state = Snapshot::save(&*test.balloon);
    let saved = serde_json::to_string(&VirtioDevice::save(&*test.balloon).unwrap()).unwrap();
    let new = Balloon::build(&everything(), &test.guest.machine.kit());
    VirtioDevice::load(&*new, ALL, &serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(Snapshot::save(&*new), state);
    test.balloon = new;
    test.balloon.plug(ALL, queues, test.guest.notice.clone()).unwrap();
    test.balloon.settle();
    state
}

#[test]
fn a_run_of_hints_goes_on_and_so_does_what_the_owner_wants() {
    let mut test = TestBalloon::new();
    test.balloon.set_target(700);
    test.balloon.write_config(4, Width::B4, 300);
    test.balloon.set_interval(7).unwrap();
    test.balloon.start_hinting(false).unwrap();
    test.say(2);
    let told = test.guest.notice.config_changes();
    move_on(&mut test);
    assert_eq!(
        (test.balloon.target(), test.balloon.actual(), test.balloon.interval_s()),
        (700, 300, 7)
    );
    assert_eq!(test.guest.notice.config_changes(), told, "there is no news for the driver");
    test.send_free(HINT, &[(2 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [(2 * MIB, PAGE)]);
    test.balloon.stop_hinting().unwrap();
    test.send_free(HINT, &[(2 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), []);
}

#[test]
fn a_report_that_is_kept_is_asked_for_again() {
    let mut test = TestBalloon::new();
    let report = test.guest.readable(&[&4u16.to_le_bytes()[..], &9u64.to_le_bytes()].concat());
    test.guest.queues[STATS].offer(&[report]);
    test.run(STATS);
    let state = move_on(&mut test);
    assert_eq!(state.statistics.get("free_memory"), Some(&9));
    assert_eq!(test.balloon.statistics().unwrap().iter().collect::<Vec<_>>(), [("free_memory", 9)]);
    test.run(STATS);
    assert!(test.guest.queues[STATS].take().is_none(), "it is kept");
}

#[test]
fn pages_of_a_larger_one_are_remembered() {
    let mut test = TestBalloon::new();
    let reclaim = Arc::new(TestReclaim::new(&test.guest.memory, 4 * PAGE));
    let object: Arc<dyn Reclaim> = reclaim.clone();
    let build = |test: &TestBalloon| {
        Balloon::build(&everything(), &Kit { reclaim: &object, ..test.guest.machine.kit() })
    };
    drop(test.balloon.unplug());
    test.guest.new_rings(5, false);
    test.balloon = build(&test);
    test.start(ALL);
    let first = (SEAM / PAGE) as u32 - 4;
    test.send_pages(INFLATE, &[first, first + 1, first + 3]);
    let queues = test.balloon.unplug();
    let state = Snapshot::save(&*test.balloon);
    assert_eq!(state.blocks.len(), 1);
    assert_eq!((state.blocks[0].first, state.blocks[0].held[0]), (first, 0b1011));
    let new = build(&test);
    Snapshot::load(&*new, state.clone()).unwrap();
    assert_eq!(Snapshot::save(&*new), state);
    test.balloon = new;
    test.balloon.plug(ALL, queues, test.guest.notice.clone()).unwrap();
    assert_eq!(reclaim.take(), []);
    test.send_pages(INFLATE, &[first + 2]);
    assert_eq!(reclaim.take(), [(SEAM - 4 * PAGE, 4 * PAGE)], "the last makes it whole");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let test = TestBalloon::new();
    let state = Snapshot::save(&*test.balloon);
    let refusal = |state: BalloonState, spec: &BalloonSpec| {
        let new = Balloon::build(spec, &test.guest.machine.kit());
        Snapshot::load(&*new, state).unwrap_err().to_string()
    };
    let with = |host_cmd, last| HintingState { host_cmd, last, ..state.hinting };
    let names = [("nothing".to_owned(), 1)].into();
    let outside = BlockState { first: (GAP / PAGE) as u32, held: vec![1] };
    let far = BlockState { first: u32::MAX, held: vec![0, 1] };
    for (state, field) in [
        (BalloonState { interval_s: 0, ..state.clone() }, "interval_s"),
        (BalloonState { statistics: names, ..state.clone() }, "statistics"),
        (BalloonState { hinting: with(0, 2), ..state.clone() }, "hinting"),
        (BalloonState { hinting: with(1, 0), ..state.clone() }, "hinting"),
        (BalloonState { hinting: with(3, 2), ..state.clone() }, "hinting"),
        (BalloonState { blocks: vec![outside], ..state.clone() }, "blocks"),
        (BalloonState { blocks: vec![far], ..state.clone() }, "blocks"),
    ] {
        let error = refusal(state, &everything());
        assert!(error.starts_with(&format!("{field} of the virtio-balloon cannot be")), "{error}");
    }
    let error = refusal(state, &BalloonSpec::default());
    assert_eq!(error, "interval_s of the virtio-balloon cannot be: this balloon has none");
}

#[test]
fn no_wrong_state_harms() {
    let mut test = TestBalloon::new();
    test.balloon.start_hinting(true).unwrap();
    let mut queues = test.balloon.unplug();
    let mut state = Snapshot::save(&*test.balloon);
    state.blocks = vec![BlockState { first: 700, held: vec![0x5a, 1] }];
    let saved = serde_json::to_value(Saved::new(Balloon::KIND, 1, &state).unwrap()).unwrap();
    for mutant in mutants(&saved) {
        let Ok(saved) = serde_json::from_value::<Saved>(mutant) else { continue };
        let new = Balloon::build(&everything(), &test.guest.machine.kit());
        if VirtioDevice::load(&*new, ALL, &saved).is_ok() {
            test.balloon = new;
            test.balloon.plug(ALL, queues, test.guest.notice.clone()).unwrap();
            test.send_pages(INFLATE, &[700]);
            test.say(2);
            queues = test.balloon.unplug();
            test.guest.queues.iter_mut().for_each(|queue| drop(queue.take_all()));
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Pages(usize, Vec<u32>),
    Free(usize, u64),
    Say(u32),
    Hint(bool),
    Stop,
    Target(u32),
    Config(u64, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let page = prop_oneof![9 => 512u32..1024, 1 => any::<u32>()];
    prop_oneof![
        (prop_oneof![Just(INFLATE), Just(DEFLATE)], prop::collection::vec(page, 1..4))
            .prop_map(|(queue, pages)| Op::Pages(queue, pages)),
        (prop_oneof![Just(HINT), Just(REPORT)], 2u64..8)
            .prop_map(|(queue, at)| Op::Free(queue, at * MIB / 2)),
        (0u32..5).prop_map(Op::Say),
        any::<bool>().prop_map(Op::Hint),
        Just(Op::Stop),
        any::<u32>().prop_map(Op::Target),
        (prop_oneof![Just(4u64), Just(12), 0u64..20], 0u32..3)
            .prop_map(|(at, value)| Op::Config(at, value)),
    ]
}

/// Does it; all that the driver and the host see.
fn run(test: &mut TestBalloon, op: &Op) -> impl PartialEq + std::fmt::Debug + use<> {
    match op {
        Op::Pages(queue, pages) => test.send_pages(*queue, pages),
        Op::Free(queue, at) => test.send_free(*queue, &[(*at, 0x3000)]),
        Op::Say(command) => test.say(*command),
        Op::Hint(acknowledges) => test.balloon.start_hinting(*acknowledges).unwrap(),
        Op::Stop => test.balloon.stop_hinting().unwrap(),
        Op::Target(pages) => test.balloon.set_target(*pages),
        Op::Config(at, value) => test.balloon.write_config(*at, Width::B4, (*value).into()),
    }
    let used: Vec<_> = test.guest.queues.iter_mut().map(|queue| queue.take_all()).collect();
    let config: Vec<_> = (0..4).map(|word| test.balloon.read_config(word * 4, Width::B4)).collect();
    (used, config, test.given_back(), test.guest.notice.config_changes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_balloon_goes_on_as_it_would_have(
        before in prop::collection::vec(op(), 0..12),
        after in prop::collection::vec(op(), 0..12),
    ) {
        let (mut old, mut new) = (TestBalloon::new(), TestBalloon::new());
        for op in &before {
            prop_assert_eq!(run(&mut old, op), run(&mut new, op));
        }
        move_on(&mut new);
        for op in &after {
            prop_assert_eq!(run(&mut old, op), run(&mut new, op), "{:?}", op);
        }
        prop_assert_eq!((old.guest.notice.resets_asked(), new.guest.notice.resets_asked()), (0, 0));
    }
}
