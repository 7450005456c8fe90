//! Tests of a network card that goes on in another process.

use device_core::bus::Width;
use device_core::testing::mutants;
use net::backend::NetQueue;
use net::backend::script::stage;
use net::port::{NetPort, PortControl};
use proptest::prelude::*;

use super::*;
use crate::device::VirtioDevice;
use crate::testing::nic::{
    ABLE, CTRL, GUEST_OFFLOADS, HASH_REPORT, MAC, MQ, MRG_RXBUF, Nic, RSS, RX_OFFLOADS,
};

const LANES: u16 = 2;
const FEATURES: u64 = CTRL | MQ | RSS | HASH_REPORT | MRG_RXBUF | GUEST_OFFLOADS | RX_OFFLOADS;
const OK: Option<u8> = Some(0);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn started(features: u64) -> Nic {
    let mut nic = Nic::with(LANES, ABLE, true);
    nic.start(features);
    nic
}

/// A card such as that of `nic`, before any driver, in the same memory.
fn fresh(nic: &mut Nic) -> std::sync::Arc<Net> {
    let (backend, queues, stages) = stage(LANES, ABLE).unwrap();
    let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>);
    let kit = nic.machine.kit();
    let port = NetPort::with_backend("test", Box::new(backend), queues.collect(), &kit).unwrap();
    nic.stages = stages;
    Net::on_port("test", MAC, port, &kit)
}

/// The driver goes on with its card in another process.
fn move_on(nic: &mut Nic, features: u64) {
    let queues = nic.net.unplug();
    let saved = serde_json::to_string(&VirtioDevice::save(&*nic.net).unwrap()).unwrap();
    let new = fresh(nic);
    VirtioDevice::load(&*new, features, &serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&VirtioDevice::save(&*new).unwrap()).unwrap(), saved);
    nic.net = new;
    nic.net.plug(features, queues, nic.notice.clone()).unwrap();
    nic.settle();
}

#[test]
fn what_the_driver_said_holds_and_a_reset_forgets_it() {
    let mut nic = started(FEATURES);
    assert_eq!(nic.command(0, 0, &[0]), OK);
    assert_eq!(nic.command(1, 1, &OTHER.0), OK);
    assert_eq!(nic.command(5, 0, &(1u64 << 1).to_le_bytes()), OK);
    let rss = rss(&[1, 0], 2);
    assert_eq!(nic.command(4, 1, &rss), OK);
    let state = Snapshot::save(&*nic.net);
    assert_eq!((state.rss.as_slice(), state.offloads), (rss.as_slice(), Some(2)));
    let (steered, accepted) = {
        let scene = nic.stages[0].scene();
        (scene.steered.clone(), scene.accepted)
    };
    move_on(&mut nic, FEATURES);
    {
        let scene = nic.stages[0].scene();
        assert!(scene.steered.is_some() && scene.steered == steered && scene.accepted == accepted);
    }
    assert_eq!(nic.net.read_config(5, Width::B1), 9);
    assert_eq!(nic.notice.config_changes(), 0);
    drop(nic.net.unplug());
    nic.net.reset();
    assert_eq!(nic.net.read_config(5, Width::B1), 1);
}

#[test]
fn a_link_that_is_not_as_the_driver_saw_it_is_told_of() {
    let mut nic = started(FEATURES);
    nic.net.port().set_link(false);
    assert_eq!(nic.notice.config_changes(), 1);
    move_on(&mut nic, FEATURES);
    assert_eq!((nic.net.port().is_link_up(), nic.notice.config_changes()), (false, 1));
    let queues = nic.net.unplug();
    let state = NetState { pulled: false, ..Snapshot::save(&*nic.net) };
    let new = fresh(&mut nic);
    Snapshot::load(&*new, state).unwrap();
    new.plug(FEATURES, queues, nic.notice.clone()).unwrap();
    assert_eq!((new.port().is_link_up(), nic.notice.config_changes()), (true, 2));
}

/// VIRTIO_NET_F_GUEST_ANNOUNCE, and its bit of the status, which is at 6 (virtio 1.2, 5.1.3 and 5.1.4).
const ANNOUNCE: u64 = 1 << 21;
const LINK_UP: u64 = 1;
const ANNOUNCE_STATUS: u64 = 2;

#[test]
fn a_driver_that_can_is_asked_to_announce_itself_until_it_says_that_it_has() {
    let mut nic = started(FEATURES | ANNOUNCE);
    let status = |nic: &Nic| nic.net.read_config(6, Width::B2);
    assert_eq!(status(&nic), LINK_UP);
    move_on(&mut nic, FEATURES | ANNOUNCE);
    assert_eq!((status(&nic), nic.notice.config_changes()), (LINK_UP | ANNOUNCE_STATUS, 1));
    // Not yet done, at the next place too.
    assert_ne!(nic.command(3, 1, &[]), OK);
    assert_eq!(status(&nic), LINK_UP | ANNOUNCE_STATUS);
    assert_eq!(nic.command(3, 0, &[]), OK);
    assert_eq!(status(&nic), LINK_UP);

    let mut other = started(FEATURES);
    move_on(&mut other, FEATURES);
    assert_eq!((status(&other), other.notice.config_changes()), (LINK_UP, 0));
    assert_ne!(other.command(3, 0, &[]), OK);
}

#[test]
fn the_addresses_of_a_guest_come_along_and_are_announced() {
    let mut nic = started(FEATURES);
    let own = Neighbour { mac: MAC, ip: [10, 0, 0, 1].into() };
    nic.net.port().remember(&[own]);
    move_on(&mut nic, FEATURES);
    assert_eq!(nic.net.port().neighbours(), [own]);
    nic.net.port().announce();
    nic.settle();
    let sent = nic.stages[0].take_sent();
    assert_eq!(
        (sent.len(), &sent[0].bytes[6..12], &sent[0].bytes[28..32]),
        (1, &MAC.0[..], &[10, 0, 0, 1][..])
    );
}

#[test]
fn an_address_that_nobody_chose_is_that_of_the_card_which_comes_back() {
    let mut nic = Nic::with(LANES, ABLE, true);
    let state = NetState { mac: OTHER, own: OTHER, ..Snapshot::save(&*nic.net) };
    let new = fresh(&mut nic);
    let error = Snapshot::load(&*new, state.clone()).unwrap_err().to_string();
    let why =
        "it is 02:00:00:00:00:09, and this card's is 02:00:00:00:00:01; give the card that one";
    assert_eq!(error, format!("mac of the virtio-net cannot be: {why}"));
    new.address().is_given = false;
    Snapshot::load(&*new, state).unwrap();
    new.reset();
    assert_eq!(new.mac(), OTHER);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut nic = Nic::with(LANES, ABLE, true);
    let state = Snapshot::save(&*nic.net);
    let mut refused = |state: NetState, features| {
        let saved = Saved::new(Net::KIND, Net::VERSION, &state).unwrap();
        let new = fresh(&mut nic);
        VirtioDevice::load(&*new, features, &saved).unwrap_err().to_string()
    };
    let group = MacAddr([1, 0, 0, 0, 0, 0]);
    let hash = [&[0; 12][..], &[0]].concat();
    let one = Neighbour { mac: MAC, ip: [10, 0, 0, 1].into() };
    let nobody = Neighbour { mac: group, ..one };
    for (state, features, field) in [
        (NetState { own: group, ..state.clone() }, FEATURES, "own"),
        (NetState { unicast: Some(vec![OTHER; 65]), ..state.clone() }, FEATURES, "unicast"),
        (NetState { multicast: Some(vec![group; 65]), ..state.clone() }, FEATURES, "multicast"),
        (NetState { pairs: 0, ..state.clone() }, FEATURES, "pairs"),
        (NetState { pairs: 3, ..state.clone() }, FEATURES, "pairs"),
        (NetState { pairs: 2, ..state.clone() }, CTRL, "pairs"),
        (NetState { offloads: Some(1 << 1), ..state.clone() }, CTRL, "offloads"),
        (NetState { offloads: Some(1), ..state.clone() }, u64::MAX, "offloads"),
        (NetState { rss: rss(&[0, 1], 2), pairs: 2, ..state.clone() }, CTRL | MQ, "rss"),
        (NetState { rss: rss(&[0, 1], 2), ..state.clone() }, FEATURES, "pairs"),
        (NetState { rss: rss(&[0, 2], 2), pairs: 2, ..state.clone() }, FEATURES, "rss"),
        (NetState { rss: vec![0; 3], ..state.clone() }, FEATURES, "rss"),
        (NetState { announce: true, ..state.clone() }, FEATURES, "announce"),
        (NetState { neighbours: vec![nobody], ..state.clone() }, FEATURES, "neighbours"),
        (NetState { neighbours: vec![one; 17], ..state.clone() }, FEATURES, "neighbours"),
        (NetState { hash: hash.clone(), ..state.clone() }, CTRL, "hash"),
        (NetState { hash: vec![0xff; 13], ..state.clone() }, FEATURES, "hash"),
    ] {
        let error = refused(state, features);
        assert!(error.starts_with(&format!("{field} of the virtio-net cannot be")), "{error}");
    }
}

#[test]
fn no_wrong_state_harms() {
    let mut nic = started(FEATURES);
    nic.command(4, 1, &rss(&[1, 0], 2));
    nic.command(1, 0, &[&[1, 0, 0, 0], &OTHER.0[..], &[0; 4]].concat());
    let mut queues = nic.net.unplug();
    let saved = serde_json::to_value(VirtioDevice::save(&*nic.net).unwrap()).unwrap();
    let mut loaded = 0;
    for mutant in mutants(&saved) {
        let Ok(saved) = serde_json::from_value::<Saved>(mutant) else { continue };
        let new = fresh(&mut nic);
        if VirtioDevice::load(&*new, FEATURES, &saved).is_err() {
            continue;
        }
        loaded += 1;
        nic.net = new;
        nic.net.plug(FEATURES, queues, nic.notice.clone()).unwrap();
        nic.stages[0].bring(vec![0xff; 60]);
        nic.settle();
        queues = nic.net.unplug();
    }
    assert!(loaded > 10, "{loaded}");
}

/// An RSS configuration of all hash types.
fn rss(table: &[u16], pairs: u16) -> Vec<u8> {
    let mut bytes = 0x3fu32.to_le_bytes().to_vec();
    bytes.extend((table.len() as u16 - 1).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
    bytes.extend(pairs.to_le_bytes());
    bytes.extend([40; 41]);
    bytes
}

#[derive(Clone, Debug)]
enum Op {
    Command(u8, u8, Vec<u8>),
    Send(usize, usize),
    Receive(usize, MacAddr),
    Post(usize, usize, u32),
    Link(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let lane = 0..usize::from(LANES);
    let mac = prop_oneof![
        Just(MAC),
        Just(OTHER),
        Just(MacAddr([1, 0, 0, 0, 0, 1])),
        Just(MacAddr::BROADCAST)
    ];
    let table = prop::collection::vec(mac.clone(), 0..3).prop_map(|table| {
        let mut bytes = (table.len() as u32).to_le_bytes().to_vec();
        bytes.extend(table.iter().flat_map(|mac| mac.0));
        bytes
    });
    prop_oneof![
        (0u8..7, any::<bool>()).prop_map(|(mode, on)| Op::Command(0, mode, vec![on.into()])),
        (table.clone(), table).prop_map(|(one, two)| Op::Command(1, 0, [one, two].concat())),
        mac.clone().prop_map(|mac| Op::Command(1, 1, mac.0.to_vec())),
        (0u16..4).prop_map(|pairs| Op::Command(4, 0, pairs.to_le_bytes().to_vec())),
        (any::<bool>(), prop::collection::vec(0u16..3, 1..=4), 1u16..3).prop_map(
            |(whole, table, pairs)| {
                let table = if table.len() == 3 { table[..2].to_vec() } else { table };
                let mut bytes = rss(&table, pairs);
                bytes.truncate(if whole { bytes.len() } else { 5 });
                Op::Command(4, 1, bytes)
            }
        ),
        Just(Op::Command(4, 2, [&[0x3f][..], &[0; 11], &[4, 1, 2, 3, 4]].concat())),
        any::<u8>().prop_map(|bits| Op::Command(5, 0, u64::from(bits & !1).to_le_bytes().to_vec())),
        (lane.clone(), 60usize..200).prop_map(|(lane, len)| Op::Send(lane, len)),
        (lane.clone(), mac).prop_map(|(lane, mac)| Op::Receive(lane, mac)),
        // A frame takes two of 64 bytes. Never is there but one: what is held for a second is the old process's, as what
        // waits in a TAP.
        (lane, 1usize..4, prop_oneof![Just((2, 64u32)), Just((1, 2048))])
            .prop_map(|(lane, count, (each, len))| Op::Post(lane, count * each, len)),
        any::<bool>().prop_map(Op::Link),
    ]
}

/// Does it; all that a driver or the host sees of it.
fn run(nic: &mut Nic, op: &Op) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut status = None;
    match op.clone() {
        Op::Command(class, command, data) => status = nic.command(class, command, &data),
        Op::Send(lane, len) => {
            if nic.pairs[lane].tx.free() > 0 {
                nic.offer_frame(lane, &[0; 12], &vec![lane as u8; len]);
                nic.pairs[lane].tx.kick();
            }
        }
        Op::Receive(lane, to) => nic.stages[lane].bring([&to.0[..], &[lane as u8; 54]].concat()),
        Op::Post(lane, count, len) => {
            if nic.pairs[lane].rx.free() >= count {
                nic.post(lane, count, len);
            }
        }
        Op::Link(up) => nic.net.port().set_link(up),
    }
    nic.settle();
    let sent: Vec<Vec<Vec<u8>>> = nic
        .stages
        .iter()
        .map(|stage| stage.take_sent().into_iter().map(|frame| frame.bytes).collect())
        .collect();
    let used: Vec<_> =
        nic.pairs.iter_mut().map(|pair| (pair.rx.take_all(), pair.tx.take_all())).collect();
    let config: Vec<_> = (0..24).map(|at| nic.net.read_config(at, Width::B1)).collect();
    let scene = nic.stages[0].scene();
    (status, sent, used, config, scene.steered.clone(), scene.accepted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_card_goes_on_as_it_would_have(
        before in prop::collection::vec(op(), 0..20),
        after in prop::collection::vec(op(), 0..20),
    ) {
        let (mut old, mut new) = (started(FEATURES), started(FEATURES));
        for op in &before {
            prop_assert_eq!(run(&mut old, op), run(&mut new, op));
        }
        // What waits in a TAP is the old process's.
        let waiting: Vec<_> = new.stages.iter().map(|stage| stage.scene().incoming.clone()).collect();
        move_on(&mut new, FEATURES);
        for (stage, waiting) in new.stages.iter().zip(waiting) {
            waiting.into_iter().for_each(|frame| stage.bring(frame));
        }
        new.settle();
        for op in &after {
            prop_assert_eq!(run(&mut old, op), run(&mut new, op), "{:?}", op);
        }
        prop_assert_eq!(old.notice.config_changes(), new.notice.config_changes());
        prop_assert_eq!((old.notice.resets_asked(), new.notice.resets_asked()), (0, 0));
    }
}
