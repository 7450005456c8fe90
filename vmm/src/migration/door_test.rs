//! Tests of who is let in, and of what is said then, from a line to a carrier.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use ::tests::authority::{Authority, Valid};
use proptest::prelude::*;

use super::super::carrier::Carrier;
use super::super::error::MigrateError;
use super::super::line::Line;
use super::super::tls::testing::{credentials, name};
use super::super::words::{self, Kind};
use super::*;

fn listening() -> (Listening, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (Listening::Tcp(listener), address)
}

/// A source's end, which has said nothing yet.
fn line(to: SocketAddr, credentials: &Credentials) -> Line {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nonblocking(true).unwrap();
    let session = credentials.to_target(name("127.0.0.1")).unwrap();
    Line::new(OwnedFd::from(stream), Some(session))
}

fn shake(line: &mut Line) -> Result<(), MigrateError> {
    while !line.shake(Instant::now())? {}
    Ok(())
}

/// Both ends, which know each other.
fn joined() -> (Line, Carrier) {
    let authority = Authority::new().unwrap();
    let both = credentials(&authority, &authority, &["127.0.0.1"], Valid::Now);
    let (listening, address) = listening();
    let mut line = line(address, &both);
    let (socket, session) = std::thread::scope(|threads| {
        let meets = threads.spawn(|| meet(&listening, &both).unwrap());
        shake(&mut line).unwrap();
        meets.join().unwrap()
    });
    (line, Carrier::new(socket, Some(session), Duration::from_secs(60)).unwrap())
}

#[test]
fn who_says_nothing_or_nonsense_keeps_nobody_out() {
    let (ours, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let target = credentials(&ours, &ours, &["127.0.0.1"], Valid::Now);
    let stranger = credentials(&other, &ours, &["127.0.0.1"], Valid::Now);
    let (listening, address) = listening();
    // More of them than are heard at once.
    let silent: Vec<_> = (0..MOST + 3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut nonsense = TcpStream::connect(address).unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let (mut strange, mut good) = (line(address, &stranger), line(address, &target));
    let why = std::thread::scope(|threads| {
        let meets = threads.spawn(|| meet(&listening, &target).unwrap());
        // It hears only behind its own half whether it is believed.
        let met = shake(&mut strange);
        let why = met.and_then(|()| strange.await_kind(Kind::Welcome, "that it may come"));
        shake(&mut good).unwrap();
        let (socket, session) = meets.join().unwrap();
        let mut carrier = Carrier::new(socket, Some(session), Duration::from_secs(60)).unwrap();
        good.put_bytes(&words::greeting()).unwrap();
        good.send_all().unwrap();
        words::read_greeting(&mut carrier).unwrap();
        one_line(None, &why.unwrap_err())
    });
    assert!(why.contains("its --tls-ca"), "{why}");
    drop(silent);
}

#[test]
fn a_machine_is_handed_over_by_one_record_and_nothing_follows_it() {
    let (mut line, mut carrier) = joined();
    line.put(Kind::Prepare, 0, &[]).unwrap();
    line.commit(Kind::LetGo).unwrap();
    line.stay("too late");
    drop(line);
    let mut body = Vec::new();
    let mut kinds = || words::read(&mut carrier, &mut body).map(|head| head.kind);
    assert_eq!((kinds().unwrap(), kinds().unwrap()), (Kind::Prepare, Kind::LetGo));
    assert!(matches!(kinds(), Err(WireError::Ended)));
}

#[test]
fn a_target_waits_for_no_longer_than_it_is_to() {
    let (mut line, mut carrier) = joined();
    carrier.set_deadline(Some(Instant::now()));
    assert!(matches!(words::read_greeting(&mut carrier), Err(WireError::Silent)));
    carrier.set_deadline(Some(Instant::now() + Duration::from_secs(60)));
    line.put_bytes(&words::greeting()).unwrap();
    line.send_all().unwrap();
    words::read_greeting(&mut carrier).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn records_arrive_as_they_were_sent_and_answers_too(
        bodies in proptest::collection::vec((1usize..=words::MOST_PAGES, any::<u8>()), 1..12),
    ) {
        let (mut line, mut carrier) = joined();
        let bodies: Vec<_> = bodies.iter().map(|(pages, byte)| vec![*byte; pages * 4096]).collect();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for (number, body) in (0..).zip(&bodies) {
                    line.put(Kind::Pages, number, body).unwrap();
                    line.send(Instant::now()).unwrap();
                }
                line.send_all().unwrap();
                line.await_kind(Kind::Prepared, "an answer").unwrap();
            });
            let mut found = Vec::new();
            for (number, body) in (0..).zip(&bodies) {
                let head = words::read(&mut carrier, &mut found).unwrap();
                assert_eq!((head.kind, head.number), (Kind::Pages, number));
                assert!(found == *body);
            }
            let mut answer = Vec::new();
            words::put(&mut answer, Kind::Prepared, 0, &[]);
            carrier.write_all(&answer).unwrap();
        });
    }
}
