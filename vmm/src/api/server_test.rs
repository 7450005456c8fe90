//! Tests of the server on a real socket, with a main thread that only knows its name.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;
use crate::action::{Action, Instance, Reply};
use crate::face::OURS;
use crate::shield::Shield;
use crate::vm::state::State;

const LONG: Duration = Duration::from_secs(20);

/// Limits that tests can wait for.
const SHORT: Limits = Limits {
    clients: 4,
    followers: 1,
    head_time: Duration::from_millis(300),
    body_time: Duration::from_millis(300),
    write_time: Duration::from_millis(300),
    beat_time: Duration::from_millis(400),
    ..LIMITS
};

struct Served {
    api: Option<Api>,
    mailbox: Arc<Mailbox>,
    events: Arc<Events>,
    folder: tempfile::TempDir,
    over: Arc<AtomicBool>,
    main: Option<JoinHandle<()>>,
}

impl Served {
    fn within(limits: Limits) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let socket = ApiSocket::bind(&folder.path().join("api")).unwrap();
        let (mailbox, events) = (Mailbox::new().unwrap(), Arc::new(Events::default()));
        let service = Service { manner: OURS.api, requests: Arc::default(), max_body: None };
        let (calls, told) = (mailbox.clone(), events.clone());
        let api = Api::start_within(limits, socket, calls, told, service, || Ok(())).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (calls, stop) = (mailbox.clone(), over.clone());
        let main = std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                for call in calls.take() {
                    (call.reply)(answer(&call.action));
                }
                std::thread::yield_now();
            }
        });
        Served { api: Some(api), mailbox, events, folder, over, main: Some(main) }
    }

    fn client(&self) -> Client {
        let client = Client::connect(self.folder.path().join("api")).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// What is answered to `request` until the server closes.
    fn ask(&self, request: &str) -> String {
        let mut client = self.client();
        // One who is turned away may come too late to speak.
        let _ = client.write_all(request.as_bytes());
        rest(&mut client)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.mailbox.close();
        self.events.close();
        drop(self.api.take());
        self.over.store(true, Ordering::Release);
        if let Some(main) = self.main.take() {
            main.join().unwrap();
        }
    }
}

fn answer(action: &Action) -> Outcome {
    match action {
        Action::Describe => {
            let state = State::Configuring;
            let shield = Shield::none().state();
            Ok(Reply::Instance(Instance { id: "test".into(), state, shield }))
        }
        Action::Kill => Ok(Reply::Done),
        _ => Err(ActionError::NoKernel),
    }
}

/// All that comes until the server closes.
fn rest(client: &mut Client) -> String {
    let mut text = String::new();
    // A server that closes with bytes unread resets the connection.
    let _ = client.read_to_string(&mut text);
    text
}

/// Reads until `end` has come.
fn until(client: &mut Client, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        client.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn put(path: &str, body: &str) -> String {
    let length = body.len();
    format!("PUT {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn requests_follow_one_another_on_one_connection_and_may_come_at_once() {
    let served = Served::within(LIMITS);
    let mut client = served.client();
    for _ in 0..3 {
        client.write_all(GET.as_bytes()).unwrap();
        let answer = until(&mut client, "}");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(r#""id":"test","state":"Not started""#), "{answer}");
    }
    client.write_all(format!("{GET}{GET}{GET}{LAST}").as_bytes()).unwrap();
    assert_eq!(rest(&mut client).matches("HTTP/1.1 200 OK").count(), 4);
}

#[test]
fn done_is_204_and_what_is_refused_is_400_with_a_message() {
    let served = Served::within(LIMITS);
    let done = served.ask(&put("/actions", r#"{"action_type":"Kill"}"#));
    assert!(done.starts_with("HTTP/1.1 204 No Content\r\n"), "{done}");
    assert!(done.ends_with("\r\n\r\n"), "{done}");
    let refused = served.ask(&put("/actions", r#"{"action_type":"InstanceStart"}"#));
    assert!(refused.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{refused}");
    let (_, body) = refused.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"fault_message":"there is nothing to boot; say which kernel first"}"#);
}

#[test]
fn chunked_bodies_are_bodies_too() {
    let served = Served::within(LIMITS);
    let body = r#"{"action_type":"Kill"}"#;
    let head = "PUT /actions HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let done = served.ask(&chunked);
    assert!(done.starts_with("HTTP/1.1 204"), "{done}");
    // What has two lengths is no way to hide a request behind another.
    let smuggled = head.replacen("\r\n", "\r\nContent-Length: 4\r\n", 1);
    let answer = served.ask(&format!("{smuggled}0\r\n\r\n{LAST}"));
    assert!(answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
}

#[test]
fn what_is_too_large_is_refused() {
    let served = Served::within(LIMITS);
    let body = served.ask(&put("/actions", &" ".repeat(LIMITS.body + 1)));
    assert!(body.starts_with("HTTP/1.1 413 "), "{body}");
    assert!(body.contains("larger than 51200 bytes"), "{body}");
    let chunk = "x".repeat(1 << 16);
    let head = "PUT /actions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n";
    let chunked = served.ask(&format!("{head}{chunk}\r\n0\r\n\r\n"));
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(LIMITS.head));
    let head = served.ask(&head);
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    assert!(head.ends_with(r#"{"fault_message":"the request's head is too large"}"#), "{head}");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let many = served.ask(&many);
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
}

#[test]
fn a_client_without_a_machine_gets_answers_too() {
    let answers = super::super::by_hand::answer(format!("{GET}{GET}").as_bytes());
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.matches("the VMM is ending").count(), 2, "{answers}");
    assert!(super::super::by_hand::answer(b"").is_empty());
}

#[test]
fn what_is_no_http_is_refused() {
    let served = Served::within(LIMITS);
    for text in
        ["\0\0\0\0\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  HTTP/1.1\r\n\r\n"]
    {
        let answer = served.ask(text);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{text:?}: {answer}");
        assert!(answer.ends_with(
            r#"{"fault_message":"this is no request of HTTP/1.1, or its length is none"}"#
        ));
    }
}

#[test]
fn clients_that_are_slow_or_say_nothing_are_let_go_and_the_next_ones_are_served() {
    let served = Served::within(SHORT);
    let mut silent: Vec<_> = (1..SHORT.clients).map(|_| served.client()).collect();
    let mut slow = served.client();
    slow.write_all(b"GET / HT").unwrap();
    let begin = Instant::now();
    while !served.ask(LAST).starts_with("HTTP/1.1 200") {
        assert!(begin.elapsed() < LONG, "there is never room again");
    }
    for client in silent.iter_mut().chain([&mut slow]) {
        assert!(!rest(client).contains("200"));
    }
}

/// Limits under which nobody who is silent is let go.
const FULL: Limits = Limits { clients: 4, turned_away: 8, head_time: LONG, ..LIMITS };

#[test]
fn one_client_too_many_is_told_so_at_once_whether_he_speaks_or_not() {
    let served = Served::within(FULL);
    let mut inside: Vec<_> = (0..FULL.clients).map(|_| served.client()).collect();
    // Attended, not only connected.
    for client in &mut inside {
        client.write_all(GET.as_bytes()).unwrap();
        assert!(until(client, "}").starts_with("HTTP/1.1 200"));
    }
    let begin = Instant::now();
    let mut silent = served.client();
    for answer in [until(&mut silent, "}"), served.ask(GET), served.ask(&put("/actions", "{}"))] {
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body["fault_message"].as_str().unwrap().starts_with("4 clients are connected"));
    }
    assert!(begin.elapsed() < FULL.head_time / 2);
    // Those inside are served as before, and who goes makes room.
    inside[0].write_all(GET.as_bytes()).unwrap();
    assert!(until(&mut inside[0], "}").starts_with("HTTP/1.1 200"));
    drop(inside.pop());
    let begin = Instant::now();
    while !served.ask(LAST).starts_with("HTTP/1.1 200") {
        assert!(begin.elapsed() < LONG, "nobody is missed");
    }
}

#[test]
fn a_flood_of_clients_too_many_does_not_stop_those_inside() {
    let served = Served::within(FULL);
    let mut inside: Vec<_> = (0..FULL.clients).map(|_| served.client()).collect();
    for _ in 0..20 {
        // They come and say nothing, and stay as long as they may.
        let flood: Vec<_> = (0..100).map(|_| served.client()).collect();
        inside[0].write_all(GET.as_bytes()).unwrap();
        assert!(until(&mut inside[0], "}").starts_with("HTTP/1.1 200"));
        for mut client in flood {
            assert!(until(&mut client, "}").starts_with("HTTP/1.1 503"));
        }
    }
}

#[test]
fn a_body_announced_too_large_is_refused_before_it_comes() {
    let served = Served::within(Limits { body_time: LONG, ..LIMITS });
    let begin = Instant::now();
    let length = LIMITS.body + 1;
    for head in [
        format!("PUT /actions HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"),
        format!("PUT /actions HTTP/1.1\r\nContent-Length: {}\r\n\r\n", u64::MAX / 4),
        format!(
            "PUT /actions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ),
        // One that grows beyond it.
        format!(
            "PUT /actions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}",
            "x".repeat(length)
        ),
    ] {
        let mut client = served.client();
        client.write_all(head.as_bytes()).unwrap();
        let answer = until(&mut client, "}");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{head:.80}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with(r#"{"fault_message":"the body is larger than 51200 bytes"}"#));
        // Whoever sends it nevertheless is heard for a while, so that he may read the answer.
        client.write_all(&[b'x'; 4096]).unwrap();
    }
    assert!(begin.elapsed() < LONG / 2);
    // What fits is asked for.
    let mut client = served.client();
    let body = r#"{"action_type":"Kill"}"#;
    let head = format!(
        "PUT /actions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(until(&mut client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(body.as_bytes()).unwrap();
    assert!(until(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 204"));
}

#[test]
fn a_length_that_is_none_is_refused_at_once() {
    let served = Served::within(Limits { body_time: LONG, ..LIMITS });
    let begin = Instant::now();
    for lengths in [
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 1 1",
        "Content-Length: many",
        "Content-Length: 0x10",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1, 2",
    ] {
        let answer = served.ask(&format!("PUT /actions HTTP/1.1\r\n{lengths}\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lengths}: {answer}");
        assert!(answer.contains(r#"{"fault_message":"#), "{answer}");
    }
    // Also behind an answer that is on its way.
    let answers = served.ask(&format!("{GET}PUT /actions HTTP/1.1\r\nContent-Length: -1\r\n\r\n"));
    let (first, second) = answers.split_once("HTTP/1.1 400 ").unwrap();
    assert!(first.starts_with("HTTP/1.1 200") && first.ends_with('}'), "{answers}");
    let (head, body) = second.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answers}");
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{answers}");
    assert!(begin.elapsed() < LONG / 2);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let served = Served::within(SHORT);
    let answer = served.ask("PUT /actions HTTP/1.1\r\nContent-Length: 9\r\n\r\n{");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let served = Served::within(SHORT);
    let mut client = served.client();
    client.set_write_timeout(Some(LONG)).unwrap();
    let many = "GET /openapi.json HTTP/1.1\r\n\r\n".repeat(1000);
    let begin = Instant::now();
    // Fails once the server has closed.
    while client.write_all(many.as_bytes()).is_ok() {
        assert!(begin.elapsed() < LONG, "the server goes on answering nobody");
    }
}

#[test]
fn a_hundred_clients_are_served_at_once() {
    let served = Served::within(LIMITS);
    let mut clients: Vec<_> = (0..100).map(|_| served.client()).collect();
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| client.write_all(GET.as_bytes()).unwrap());
        for client in clients.iter_mut().rev() {
            assert!(until(client, "}").starts_with("HTTP/1.1 200"));
        }
    }
}

#[test]
fn events_are_followed_line_by_line_until_the_end() {
    let served = Served::within(SHORT);
    let mut client = served.client();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let hello = until(&mut client, "}\n");
    assert!(hello.contains(r#""event":"hello","state":"Not started"}"#), "{hello}");
    let refused = served.ask("GET /events HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    // Longer than any of the times that clients have for requests.
    assert!(until(&mut client, "}\n").contains(r#""event":"alive""#));
    served.events.tell(&Event::Started);
    assert!(until(&mut client, "}\n").contains(r#""event":"started""#));
    served.events.close();
    assert!(rest(&mut client).ends_with("0\r\n\r\n"));
}

#[test]
fn a_follower_who_goes_makes_room_for_another() {
    let served = Served::within(SHORT);
    let follow = |client: &mut Client| {
        client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        until(client, "}").contains("hello")
    };
    let mut first = served.client();
    assert!(follow(&mut first));
    drop(first);
    let begin = Instant::now();
    while !follow(&mut served.client()) {
        assert!(begin.elapsed() < LONG, "the first is never missed");
    }
}

#[test]
fn an_ending_server_sends_its_answers_and_removes_its_socket() {
    let mut served = Served::within(LIMITS);
    let (mut idle, mut asked) = (served.client(), served.client());
    asked.write_all(GET.as_bytes()).unwrap();
    until(&mut asked, "}");
    served.mailbox.close();
    asked.write_all(GET.as_bytes()).unwrap();
    assert!(until(&mut asked, "}").contains("the VMM is ending"));
    drop(served.api.take());
    assert_eq!(rest(&mut idle), "");
    assert_eq!(rest(&mut asked), "");
    assert!(!served.folder.path().join("api").exists());
}
