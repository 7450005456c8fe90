//! Tests of the mailbox.

use std::sync::mpsc;

use super::*;

#[test]
fn calls_come_out_in_order_and_a_closed_mailbox_answers_them_all() {
    let mailbox = Mailbox::new().unwrap();
    let (told, heard) = mpsc::channel();
    let call = |action| {
        let told = told.clone();
        let reply = Box::new(move |outcome: Outcome| told.send(outcome.is_ok()).unwrap());
        Call { action, reply }
    };
    mailbox.put(call(Action::Pause));
    mailbox.put(call(Action::Resume));
    let taken = mailbox.take();
    mailbox.put(call(Action::Describe));
    let names: Vec<_> = taken.iter().map(|call| call.action.name()).collect();
    assert_eq!(names, ["pausing", "resuming"]);
    taken.into_iter().for_each(|call| (call.reply)(Ok(Reply::Done)));
    mailbox.close();
    mailbox.put(call(Action::Kill));
    assert!(mailbox.take().is_empty());
    drop(told);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [true, true, false, false]);
}
