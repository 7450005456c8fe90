//! Tests of the mailbox.

use std::sync::mpsc;

use super::*;
use crate::vm::build::BootError;

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

/// The same failure of the host is the same kind of error, whatever was being opened.
#[test]
fn what_a_host_is_out_of_is_its_own_failure_wherever_it_strikes() {
    use std::io;
    let failed = |errno| {
        let source = io::Error::from_raw_os_error(errno);
        let file = arch::boot::FileError::Io { role: "kernel", name: "k".into(), source };
        ActionError::Boot(BootError::Kernel(file.into())).kind()
    };
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO, libc::ENOSPC] {
        assert_eq!(failed(errno), ErrorKind::Host, "{errno}");
    }
    for errno in [libc::ENOENT, libc::EACCES, libc::EISDIR, libc::EROFS, libc::ELOOP] {
        assert_eq!(failed(errno), ErrorKind::Invalid, "{errno}");
    }
    let console = |errno| {
        let source = io::Error::from_raw_os_error(errno);
        let console = devices::legacy::OpenConsoleError::File { path: "c".into(), source };
        ActionError::Build(Box::new(console.into())).kind()
    };
    assert_eq!(console(libc::EMFILE), ErrorKind::Host);
    assert_eq!(console(libc::ENOENT), ErrorKind::Invalid);
}
