//! Tests of the attendant of a card.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

#[derive(Default)]
struct Card {
    visits: AtomicU32,
    wants_more: bool,
}

impl Attended for Card {
    fn attend(&self, now: Instant) -> Option<Instant> {
        self.visits.fetch_add(1, Ordering::Relaxed);
        self.wants_more.then(|| now + Duration::from_secs(3600))
    }
}

#[test]
fn a_bell_calls_the_attendant_as_long_as_there_is_a_card() {
    let thread = IoThread::by_hand().unwrap();
    let (card, bell) = (Arc::new(Card::default()), Arc::new(Bell::new().unwrap()));
    let attendant = Attendant::start(&card, bell.clone(), &thread).unwrap();
    attendant.settle();
    let before = card.visits.load(Ordering::Relaxed);
    bell.ring();
    attendant.settle();
    assert!(card.visits.load(Ordering::Relaxed) > before);

    let weak = Arc::downgrade(&card);
    drop(card);
    assert!(weak.upgrade().is_none(), "it keeps its card alive");
    bell.ring();
    attendant.settle();
    drop(attendant);
    assert_eq!(Arc::strong_count(&bell), 1, "the worker is gone");
}

#[test]
fn it_comes_again_when_the_card_says_so() {
    let card = Arc::new(Card { wants_more: true, ..Card::default() });
    let mut rounds = Rounds { card: Arc::downgrade(&card), bell: Arc::new(Bell::new().unwrap()) };
    let now = Instant::now();
    let thread = IoThread::by_hand().unwrap();
    let post = thread.host(Nobody).unwrap();
    let again = post.ask(move |_, interest| rounds.run(now, interest));
    assert_eq!(again, Again::At(now + Duration::from_secs(3600)));
}

/// Lends its interest.
struct Nobody;

impl Worker for Nobody {
    fn begin(&mut self, _: &mut Interest<'_>) -> io::Result<()> {
        Ok(())
    }

    fn ready(&mut self, _: Source, _: EventSet) {}

    fn run(&mut self, _: Instant, _: &mut Interest<'_>) -> Again {
        Again::WhenReady
    }
}
