//! Tests of what a guest reads of its generation, by the offsets of Linux's header.

use device_core::snapshot::Snapshot;
use device_core::testing::ram;
use proptest::prelude::*;

use super::saved::GenerationState;
use super::*;
use crate::testing::TestLine;

const PLACES: Places = Places { id: 0x100, clock: 0x1000 };

struct Fixture {
    ram: GuestRam,
    line: Arc<TestLine>,
    generation: Generation,
}

fn fixture() -> Fixture {
    let (ram, line) = (ram(0x2000), Arc::new(TestLine::default()));
    let generation = Generation::new(&ram, PLACES, line.clone());
    Fixture { ram, line, generation }
}

impl Fixture {
    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        Span::new(self.ram.clone(), 0, 0x2000).read(at, &mut bytes).unwrap();
        bytes
    }

    fn id(&self) -> [u8; 16] {
        self.bytes(PLACES.id)
    }

    /// A field of the page.
    fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.bytes(PLACES.clock + at))
    }

    fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(PLACES.clock + at))
    }

    fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes(PLACES.clock + at))
    }

    /// Sequence count, disruption marker, generation count.
    fn counts(&self) -> (u32, u64, u64) {
        (self.u32(12), self.u64(16), self.u64(104))
    }
}

#[test]
fn a_machine_that_begins_has_an_id_and_a_page_that_tells_no_time() {
    let it = fixture();
    it.generation.begin(*b"0123456789abcdef").unwrap();
    assert_eq!(&it.id(), b"0123456789abcdef");
    assert_eq!((it.bytes::<4>(PLACES.clock), it.u32(4), it.u16(8)), (*b"VCLK", 0x1000, 1));
    assert_eq!(it.bytes::<2>(PLACES.clock + 10), [0xff, 0], "no counter, UTC");
    assert_eq!(it.u64(24), 0x300, "a generation count, and notifications");
    assert_eq!(it.bytes::<72>(PLACES.clock + 32), [0; 72], "the clock's status is unknown");
    assert_eq!(it.counts(), (2, 0, 0));
    assert_eq!(it.line.take(), 0, "nobody is there to be told");
}

#[test]
fn each_renewal_is_another_id_counts_and_one_pulse() {
    let it = fixture();
    it.generation.begin([1; 16]).unwrap();
    for round in 1..=3u8 {
        it.generation.renew([round; 16]).unwrap();
        assert_eq!(it.id(), [round; 16]);
        let counted = u64::from(round);
        assert_eq!(it.counts(), (2 + 2 * u32::from(round), counted, counted));
        assert_eq!(it.line.take(), 1);
    }
}

#[test]
fn a_machine_that_moves_keeps_its_id_and_counts_a_break_in_its_time_alone() {
    let it = fixture();
    it.generation.begin([7; 16]).unwrap();
    it.generation.renew([8; 16]).unwrap();
    assert_eq!(it.line.take(), 1);
    it.generation.move_on().unwrap();
    assert_eq!((it.id(), it.counts()), ([8; 16], (6, 2, 1)));
    assert_eq!(it.line.take(), 1, "programs that map the page are told");
}

#[test]
fn a_guest_that_writes_to_its_page_fools_itself_until_the_next_change() {
    let it = fixture();
    it.generation.begin([1; 16]).unwrap();
    let page = Span::new(it.ram.clone(), PLACES.clock, 0x1000);
    page.store(0, [u64::MAX; 14]).unwrap();
    assert_eq!(it.generation.save().sequence, 2);
    it.generation.renew([2; 16]).unwrap();
    assert_eq!((it.counts(), it.bytes::<4>(PLACES.clock)), ((4, 1, 1), *b"VCLK"));
    assert_eq!(it.bytes::<72>(PLACES.clock + 32), [0; 72]);
}

#[test]
fn memory_without_the_places_is_an_error() {
    let line = Arc::new(TestLine::default());
    let nowhere = Places { clock: 0x2000, ..PLACES };
    let generation = Generation::new(&ram(0x2000), nowhere, line.clone());
    assert_eq!(generation.begin([1; 16]), Err(NoRoom));
    assert_eq!(generation.renew([1; 16]), Err(NoRoom));
    assert_eq!(generation.move_on(), Err(NoRoom));
    assert_eq!(line.take(), 0);
}

#[test]
fn counts_go_on_in_another_process() {
    let old = fixture();
    old.generation.begin([1; 16]).unwrap();
    old.generation.renew([2; 16]).unwrap();
    let new = fixture();
    new.generation.load_saved(&old.generation.to_saved().unwrap()).unwrap();
    new.generation.renew([3; 16]).unwrap();
    assert_eq!(new.counts(), (6, 2, 2));
    assert_eq!(new.generation.save(), new.generation.save());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let state = fixture().generation.save();
    let refused = |state| fixture().generation.load(state).unwrap_err().to_string();
    let odd = refused(GenerationState { sequence: 3, ..state.clone() });
    assert!(odd.starts_with("sequence of the generation cannot be"), "{odd}");
    let elsewhere = Places { id: 0x108, ..PLACES };
    let moved = refused(GenerationState { places: elsewhere, ..state });
    assert!(moved.starts_with("places of the generation"), "{moved}");
}

proptest! {
    #[test]
    fn any_state_is_refused_or_counts_on(sequence: u32, disruptions: u64, generation: u64) {
        let it = fixture();
        let state = GenerationState { places: PLACES, sequence, disruptions, generation };
        let loaded = it.generation.load(state);
        prop_assert_eq!(loaded.is_ok(), sequence % 2 == 0);
        if loaded.is_ok() {
            it.generation.renew([9; 16]).unwrap();
            let (next, disruption, count) = it.counts();
            prop_assert_eq!(next, sequence.wrapping_add(2));
            prop_assert_eq!((disruption, count), (disruptions.wrapping_add(1), generation.wrapping_add(1)));
        }
    }
}
