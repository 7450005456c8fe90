//! Tests of credit, both ways.

use proptest::prelude::*;

use super::*;

#[test]
fn a_fresh_connection_may_send_what_the_guest_can_hold() {
    let mut credit = ToGuest::default();
    assert_eq!(credit.free(), 0);
    credit.heard(1000, 0);
    credit.sent(400);
    assert_eq!(credit.free(), 600);
    credit.heard(300, 0);
    assert_eq!(credit.free(), 0, "a guest may take room back");
    credit.heard(300, 400);
    assert_eq!(credit.free(), 300);
}

#[test]
fn a_guest_that_passed_on_what_it_never_had_gets_nothing() {
    let mut credit = ToGuest::default();
    credit.heard(1000, 1);
    assert_eq!(credit.free(), 0);
    credit.heard(u32::MAX, 1);
    assert_eq!(credit.free(), 0);
}

#[test]
fn what_is_over_the_window_is_refused_and_not_counted() {
    let mut credit = FromGuest::new(100);
    assert_eq!(credit.received(101), Err(Overrun));
    assert_eq!(credit.received(100), Ok(()));
    assert_eq!(credit.received(1), Err(Overrun));
    credit.passed_on(1);
    assert_eq!(credit.received(1), Ok(()));
    assert_eq!(credit.received(u32::MAX), Err(Overrun));
}

/// One side that sends, and one that receives and passes on.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(u32),
    PassOn(u32),
    Tell,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..5000u32).prop_map(Step::Send),
        (0..5000u32).prop_map(Step::PassOn),
        Just(Step::Tell),
    ]
}

proptest! {
    /// Both halves against each other, and a plain sum of what is under way.
    #[test]
    fn who_sends_what_is_free_never_overruns_and_what_is_told_frees_all(
        window in 1..4096u32,
        start in any::<u32>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut from = FromGuest { window, received: start, passed_on: start, told: start };
        let mut to = ToGuest { sent: start, room: window, passed_on: start };
        let mut held = 0;
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    let bytes = bytes.min(to.free());
                    prop_assert_eq!(from.received(bytes), Ok(()));
                    to.sent(bytes);
                    held += bytes;
                }
                Step::PassOn(bytes) => {
                    let bytes = bytes.min(held);
                    from.passed_on(bytes);
                    held -= bytes;
                }
                Step::Tell => {
                    let (room, passed_on) = from.tell();
                    to.heard(room, passed_on);
                    prop_assert_eq!(to.free(), window - held);
                    prop_assert!(window < 2 || !from.is_news());
                }
            }
            prop_assert!(held <= window);
            prop_assert!(to.free() <= window - held);
            // Once all is passed on, either there is news or there is room without it.
            prop_assert!(held > 0 || from.is_news() || to.free() > 0);
        }
    }

    /// A guest that says anything gets no more than it says it can hold.
    #[test]
    fn whatever_a_guest_says_it_is_sent_no_more_than_its_room(
        said in prop::collection::vec((any::<u32>(), any::<u32>()), 1..50),
    ) {
        let mut to = ToGuest::default();
        for (room, passed_on) in said {
            to.heard(room, passed_on);
            prop_assert!(to.free() <= room);
            to.sent(to.free());
            prop_assert_eq!(to.free(), 0);
        }
    }
}
