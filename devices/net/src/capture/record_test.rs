//! Tests of records, there and back.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn what_was_seen_is_what_is_read(
        (stamp, len, kept, out) in any::<(u64, u32, u32, bool)>(),
        hash in prop::option::of((any::<u32>(), 0..Protocol::COUNT)),
        csum in prop_oneof![
            Just(Csum::Unknown),
            Just(Csum::Valid),
            any::<(u16, u16)>().prop_map(|(start, offset)| Csum::Needed { start, offset }),
        ],
        gso in prop::option::of((0..3usize, any::<(bool, u16, u16)>())),
        bytes in prop::collection::vec(any::<u64>(), 0..4),
    ) {
        let hash = hash.map(|(value, at)| FlowHash { value, protocol: Protocol::ALL[at] });
        let gso = gso.map(|(at, (ecn, segment, headers))| {
            let kind = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp][at];
            Gso { kind, ecn, segment, headers }
        });
        let way = if out { Way::Out } else { Way::In };
        let seen = Seen { stamp, len, kept, way, meta: FrameMeta { csum, gso, hash } };
        let record = [&seen.encode()[..], &bytes].concat();
        prop_assert_eq!(Seen::decode(&record), Some((seen, &bytes[..])));
    }
}

#[test]
fn what_is_cut_off_is_nothing() {
    assert_eq!(Seen::decode(&[0; WORDS - 1]), None);
}
