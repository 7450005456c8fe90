//! Tests of TLS between two ends, however its bytes come.

use ::tests::authority::{Authority, Valid};
use proptest::prelude::*;

use super::super::credentials::Credentials;
use super::super::testing::{credentials as of, name};
use super::super::trouble;
use super::*;

/// An end, and what is on the wire to it.
struct End {
    session: Session,
    wire: Vec<u8>,
}

/// Lets `to` take what is on its wire in parts of these sizes, in turn.
fn deliver(to: &mut End, parts: &[usize]) -> io::Result<()> {
    let wire = std::mem::take(&mut to.wire);
    let (mut rest, mut sizes) = (&wire[..], parts.iter().cycle());
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        let (mut part, later) = rest.split_at(size);
        while !part.is_empty() {
            to.session.take(&mut part)?;
        }
        rest = later;
    }
    Ok(())
}

/// Lets both meet; what is wrong with the other for the source and for the target.
fn meet(source: &mut End, target: &mut End, parts: &[usize]) -> [Option<String>; 2] {
    let mut wrong = [None, None];
    for _ in 0..8 {
        source.session.add_own(&mut target.wire).unwrap();
        if let Err(error) = deliver(target, parts) {
            wrong[1].get_or_insert(told(&error));
        }
        target.session.add_own(&mut source.wire).unwrap();
        if let Err(error) = deliver(source, parts) {
            wrong[0].get_or_insert(told(&error));
        }
    }
    wrong
}

fn told(error: &io::Error) -> String {
    trouble::told(error.get_ref().unwrap().downcast_ref().unwrap())
}

fn ends(source: &Credentials, target: &Credentials, named: &str) -> [End; 2] {
    let end = |session| End { session, wire: Vec::new() };
    [end(source.to_target(name(named)).unwrap()), end(target.to_source().unwrap())]
}

fn heard(end: &mut End, parts: &[usize]) -> io::Result<Vec<u8>> {
    let wire = std::mem::take(&mut end.wire);
    let (mut rest, mut sizes, mut all) = (&wire[..], parts.iter().cycle(), Vec::new());
    let mut part = [0; 1000];
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        let (mut now, later) = rest.split_at(size);
        while !now.is_empty() {
            end.session.take(&mut now)?;
            while let Ok(count @ 1..) = end.session.open(&mut part) {
                all.extend(&part[..count]);
            }
        }
        rest = later;
    }
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_said_is_heard_in_whatever_parts_it_comes(
        parts in proptest::collection::vec(1usize..6000, 1..8),
        said in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..4),
        changed: proptest::sample::Index,
    ) {
        let authority = Authority::new().unwrap();
        let of = |names: &[&str]| of(&authority, &authority, names, Valid::Now);
        let [mut source, mut target] = ends(&of(&["a"]), &of(&["b.example"]), "b.example");
        prop_assert!(source.session.seal(b"early", &mut Vec::new()).is_err());
        prop_assert_eq!(meet(&mut source, &mut target, &parts), [None, None]);
        prop_assert!(source.session.is_known() && target.session.is_known());
        for text in &said {
            source.session.seal(text, &mut target.wire).unwrap();
            target.session.seal(text, &mut source.wire).unwrap();
        }
        let all: Vec<u8> = said.concat();
        prop_assert!(heard(&mut target, &parts).unwrap() == all);
        prop_assert!(heard(&mut source, &parts).unwrap() == all);

        // Nothing is heard that was changed.
        source.session.seal(b"more", &mut target.wire).unwrap();
        let at = changed.index(target.wire.len());
        target.wire[at] ^= 1;
        let heard = heard(&mut target, &parts).unwrap_or_default();
        // A record's outer type and version are what nobody looks at: those that count are sealed with it.
        prop_assert!(heard.is_empty() || heard == b"more" && at <= 2, "{} at {}", heard.len(), at);
    }

    #[test]
    fn whatever_somebody_says_first_is_an_error_or_waits_for_more(
        bytes in proptest::collection::vec(any::<u8>(), 1..600), handshake: bool,
    ) {
        let authority = Authority::new().unwrap();
        let target = of(&authority, &authority, &["b"], Valid::Now);
        let mut target = End { session: target.to_source().unwrap(), wire: Vec::new() };
        if handshake {
            target.wire.extend([22, 3, 1, 2, 0]);
        }
        target.wire.extend(bytes);
        let _ = deliver(&mut target, &[600]);
        prop_assert!(!target.session.is_known());
    }
}

#[test]
fn who_is_not_known_is_told_so_and_why() {
    let (ours, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let parts = [4096];
    let check = |source: &Credentials, target: &Credentials, named: &str, whys: [&str; 2]| {
        let [mut source, mut target] = ends(source, target, named);
        let wrong = meet(&mut source, &mut target, &parts);
        for (wrong, why) in wrong.iter().zip(whys) {
            assert!(wrong.as_ref().unwrap().contains(why), "{why}: {wrong:?}");
        }
        assert!(!target.session.is_known());
    };
    let good = of(&ours, &ours, &["b.example", "192.0.2.7"], Valid::Now);
    let stranger = of(&other, &ours, &["b.example"], Valid::Now);
    check(&good, &stranger, "b.example", ["no authority of --tls-ca", "its --tls-ca has signed"]);
    check(&stranger, &good, "b.example", ["its --tls-ca has signed", "no authority of --tls-ca"]);
    check(
        &good,
        &good,
        "c.example",
        ["for b.example, 192.0.2.7, and not for c.example", "refuses"],
    );
    check(&good, &good, "192.0.2.8", ["and not for 192.0.2.8", "refuses"]);
    let old = of(&ours, &ours, &["b.example"], Valid::Past);
    check(&good, &old, "b.example", ["expired", "expired"]);
    check(&old, &good, "b.example", ["expired", "expired"]);
    let [mut source, mut target] = ends(&good, &good, "192.0.2.7");
    assert_eq!(meet(&mut source, &mut target, &parts), [None, None]);
}

#[test]
fn no_session_is_resumed_and_nothing_is_kept_for_that() {
    let authority = Authority::new().unwrap();
    let both = of(&authority, &authority, &["b"], Valid::Now);
    for _ in 0..2 {
        let [mut source, mut target] = ends(&both, &both, "b");
        assert_eq!(meet(&mut source, &mut target, &[4096]), [None, None]);
        let full = Some(rustls::HandshakeKind::Full);
        assert_eq!(
            (source.session.0.handshake_kind(), target.session.0.handshake_kind()),
            (full, full)
        );
        let Connection::Client(client) = &source.session.0 else { panic!() };
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}
