//! Tests of memory on its way, from one end to the other.

use std::os::unix::net::UnixStream;

use device_core::GuestRam;
use proptest::prelude::*;

use super::super::incoming::memory_until;
use super::super::spec::Limits;
use super::*;
use crate::memory::{Pages, map, release};

const PAGES: u64 = 200;

fn ram() -> GuestRam {
    map(PAGES * PAGE as u64, Pages::Small).unwrap()
}

fn outgoing() -> (Outgoing, UnixStream) {
    let (ours, its) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let spec = MigrateSpec {
        destination: "unix:nowhere".parse().unwrap(),
        target_name: None,
        is_insecure: false,
        limits: Limits::default(),
    };
    (Outgoing::new(spec, Line::new(ours.into(), None)), its)
}

fn all_of(ram: &Ram) -> Vec<u8> {
    let mut bytes = vec![0; PAGES as usize * PAGE];
    whole::read(ram, 0, &mut bytes).unwrap();
    bytes
}

/// What a guest writes in each round: a page, and a byte all over it.
fn rounds() -> impl Strategy<Value = Vec<Vec<(u64, u8)>>> {
    proptest::collection::vec(proptest::collection::vec((0..PAGES, 0u8..3), 0..60), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn memory_is_the_same_there_after_the_last_round(rounds in rounds()) {
        let (here, there) = (ram(), ram());
        let (mut outgoing, mut its) = outgoing();
        let target = there.clone();
        let receives = std::thread::spawn(move || {
            let head = memory_until(&mut its, &target, &mut Vec::new()).unwrap();
            head.kind
        });
        let count = rounds.len() as u32;
        for writes in rounds {
            let mut pages = PageSet::none(PAGES * PAGE as u64);
            for (page, byte) in writes {
                whole::write(&here, page * PAGE as u64, &[byte; PAGE]).unwrap();
                pages.add(page, 1);
            }
            outgoing.begin_round(&pages);
            while !outgoing.send_pages(&here, Instant::now()).unwrap() {}
        }
        outgoing.line.put(Kind::Prepare, 0, &[]).unwrap();
        outgoing.line.send_all().unwrap();
        prop_assert_eq!(receives.join().unwrap(), Kind::Prepare);
        let told = outgoing.told(0.0);
        prop_assert_eq!(told.rounds, count);
        prop_assert!(told.bytes >= told.pages * PAGE as u64);
        let same = all_of(&here) == all_of(&there);
        [here, there].into_iter().for_each(release);
        prop_assert!(same);
    }
}

#[test]
fn pages_that_are_zero_are_not_sent_as_pages() {
    let ram = ram();
    let (mut outgoing, its) = outgoing();
    whole::write(&ram, 3 * PAGE as u64, &[1; PAGE]).unwrap();
    let mut all = PageSet::none(PAGES * PAGE as u64);
    all.add(0, PAGES);
    for _ in 0..2 {
        outgoing.begin_round(&all);
        assert!(
            outgoing.send_pages(&ram, Instant::now() + std::time::Duration::from_secs(60)).unwrap()
        );
    }
    let told = outgoing.told(0.0);
    assert_eq!((told.pages, told.zero_pages), (2, 2 * (PAGES - 1)));
    assert!(told.bytes < 3 * PAGE as u64, "{} bytes", told.bytes);
    drop(its);
    release(ram);
}
