//! Tests of the stack, frame by frame: who is answered, how, and how much of it there can be.

use std::net::Ipv6Addr;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::*;
use crate::service::guard::Guard;
use crate::service::metadata::{IPV4_ADDRESS, Settings};
use crate::service::testing::{Client, GUEST_IPV4, GUEST_MAC, Heard, frames, get, metadata};

struct Fixture {
    stack: Stack,
    guard: Guard,
    counters: Arc<ServiceCounters>,
    start: Instant,
    ms: u64,
}

const CONTENT: &str = r#"{"a":"b","c":{"d":"e"}}"#;

impl Fixture {
    fn with(settings: Settings, content: &str) -> Fixture {
        let metadata = metadata(settings, content);
        let (guard, start) = (metadata.guard(), Instant::now());
        let counters = Arc::<ServiceCounters>::default();
        let stack = Stack::new(metadata, counters.clone(), start);
        Fixture { stack, guard, counters, start, ms: 0 }
    }

    fn new() -> Fixture {
        Fixture::with(Settings::default(), CONTENT)
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// The guest sends a frame; what it gets back.
    fn send(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (concern, now) = (self.guard.sent(frame), self.now());
        assert_ne!(concern, Concern::None);
        self.stack.take(frame, concern, now);
        self.received()
    }

    fn received(&mut self) -> Vec<Vec<u8>> {
        let now = self.now();
        frames(|room, frame| self.stack.recv(room, frame, now))
    }

    fn open(&mut self, client: &mut Client) -> Heard {
        let heard = self.say(client, Client::syn);
        assert!(heard.len() == 1 && heard[0].syn, "{heard:?}");
        let ack = client.ack();
        assert!(self.send(&ack).is_empty());
        heard.into_iter().next().unwrap()
    }

    fn say(
        &mut self,
        client: &mut Client,
        what: impl FnOnce(&mut Client) -> Vec<u8>,
    ) -> Vec<Heard> {
        let frame = what(client);
        self.send(&frame).iter().map(|frame| client.hear(frame)).collect()
    }

    /// Sends `bytes` and acknowledges until nothing more comes; all that came, and whether that was the
    /// end of it.
    fn ask(&mut self, client: &mut Client, bytes: &[u8]) -> (String, bool) {
        let mut heard = self.say(client, |client| client.send(bytes));
        let mut text = Vec::new();
        let mut ends = false;
        while !heard.is_empty() {
            for one in &heard {
                text.extend_from_slice(&one.payload);
                ends |= one.fin || one.rst;
            }
            heard = self.say(client, |client| client.ack());
        }
        (String::from_utf8(text).unwrap(), ends)
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.values().find(|(known, _)| *known == name).unwrap().1
    }
}

#[test]
fn a_guest_reads_a_value_by_either_address() {
    for v6 in [false, true] {
        let mut it = Fixture::new();
        let mut client = Client { v6, ..Client::new(40_000) };
        let heard = it.open(&mut client);
        assert_eq!((heard.to, heard.ttl), (GUEST_MAC, 1));
        let (text, ends) = it.ask(&mut client, &get("/a"));
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nb"), "{text}");
        assert!(!ends);
        // The connection is kept for the next.
        let (text, _) = it.ask(&mut client, &get("/c/d"));
        assert!(text.ends_with("\r\n\r\ne"), "{text}");
        let heard = it.say(&mut client, Client::fin);
        assert!(heard.iter().any(|one| one.fin), "{heard:?}");
        it.say(&mut client, |client| client.ack());
        assert_eq!((it.count("connections_created"), it.count("connections_destroyed")), (1, 1));
        assert_eq!(
            (it.count("rx_count"), it.count("tx_count"), it.count("rx_no_token")),
            (2, 2, 2)
        );
        assert_eq!(it.stack.deadline(), None, "nothing is left to do");
    }
}

#[test]
fn answers_pass_as_many_routers_as_they_may() {
    let mut it = Fixture::with(Settings { hop_limit: 2, ..Settings::default() }, CONTENT);
    let heard = it.open(&mut Client::new(1));
    assert_eq!(heard.ttl, 2);
}

#[test]
fn a_request_may_come_in_any_pieces_and_several_at_once() {
    let mut it = Fixture::new();
    let mut client = Client::new(40_000);
    it.open(&mut client);
    let request = get("/a");
    for byte in &request[..request.len() - 1] {
        let (text, _) = it.ask(&mut client, &[*byte]);
        assert_eq!(text, "");
    }
    let rest = [&request[request.len() - 1..], &get("/c/d"), &get("/x")].concat();
    let (text, _) = it.ask(&mut client, &rest);
    let bodies: Vec<_> =
        text.split("HTTP/1.1 ").map(|one| one.rsplit("\r\n\r\n").next().unwrap()).collect();
    assert_eq!(bodies, ["", "b", "e", "Resource not found: /x."]);
}

#[test]
fn a_long_answer_goes_as_the_guest_takes_it() {
    let long: String = (0..45_000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let mut it = Fixture::with(Settings::default(), &format!(r#"{{"a":"{long}"}}"#));
    let mut client = Client { window: 3000, ..Client::new(40_000) };
    it.open(&mut client);
    let (text, _) = it.ask(&mut client, &get("/a"));
    assert!(text.ends_with(&long), "{}", text.len());
}

#[test]
fn what_cannot_be_read_is_told_so_and_ends_the_connection() {
    for bad in [
        "\u{1}\r\n\r\n".to_string(),
        "GET / HTTP/9.9\r\n\r\n".into(),
        "a".repeat(MOST_HEAD_FOR_TEST),
    ] {
        let mut it = Fixture::new();
        let mut client = Client::new(40_000);
        it.open(&mut client);
        let (mut text, mut ends) = (String::new(), false);
        for piece in bad.as_bytes().chunks(1000) {
            let (more, end) = it.ask(&mut client, piece);
            text += &more;
            ends |= end;
        }
        assert!(text.starts_with("HTTP/1.1 400") || text.starts_with("HTTP/1.1 501"), "{text}");
        assert!(text.contains("Connection: close") && ends, "{text}");
    }
}

const MOST_HEAD_FOR_TEST: usize = crate::service::request::MOST_HEAD;

#[test]
fn a_client_that_leaves_half_a_request_is_let_go() {
    let mut it = Fixture::new();
    let mut client = Client::new(40_000);
    it.open(&mut client);
    it.ask(&mut client, b"GET / HT");
    let heard = it.say(&mut client, Client::fin);
    assert!(heard.iter().any(|one| one.fin), "{heard:?}");
    it.say(&mut client, |client| client.ack());
    assert_eq!(it.count("connections_destroyed"), 1);
}

#[test]
fn other_ports_are_closed() {
    let mut it = Fixture::new();
    let mut client = Client { server_port: 22, ..Client::new(40_000) };
    let heard = it.say(&mut client, Client::syn);
    assert!(heard.len() == 1 && heard[0].rst, "{heard:?}");
}

#[test]
fn connections_beyond_the_limit_are_refused_until_one_has_been_idle() {
    let mut it = Fixture::new();
    let mut clients: Vec<_> =
        (0..MOST_CONNECTIONS as u16).map(|at| Client::new(1000 + at)).collect();
    for client in &mut clients {
        it.open(client);
    }
    it.ms = 9000;
    // The first one lives.
    let (text, _) = it.ask(&mut clients[0], &get("/a"));
    assert!(text.ends_with("b"));
    let mut late = Client::new(5000);
    let heard = it.say(&mut late, Client::syn);
    assert!(heard.len() == 1 && heard[0].rst, "{heard:?}");
    it.ms = 10_500;
    let mut late = Client::new(5001);
    it.open(&mut late);
    let (text, _) = it.ask(&mut late, &get("/a"));
    assert!(text.ends_with("b"));
    // One of those that had been idle has made way, and the first has not.
    let heard = it.say(&mut clients[1], |client| client.send(&get("/a")));
    assert!(heard.iter().any(|one| one.rst), "{heard:?}");
    let (text, _) = it.ask(&mut clients[0], &get("/a"));
    assert!(text.ends_with("b"));
    assert_eq!(it.stack.connections.len(), MOST_CONNECTIONS);
}

#[test]
fn connections_that_the_service_ends_leave_their_place_at_once() {
    let mut it = Fixture::new();
    for port in 0..200 {
        let mut client = Client::new(1000 + port);
        it.open(&mut client);
        let (text, ends) = it.ask(&mut client, b"GET /a HTTP/1.0\r\n\r\n");
        assert!(text.ends_with("b") && ends);
        it.say(&mut client, Client::fin);
    }
    assert_eq!(it.count("connections_destroyed"), 200);
    assert!(it.stack.connections.len() <= 2, "{}", it.stack.connections.len());
}

#[test]
fn what_is_lost_is_sent_again_until_the_guest_is_given_up() {
    let mut it = Fixture::new();
    let mut client = Client::new(40_000);
    it.open(&mut client);
    let request = client.send(&get("/a"));
    assert!(!it.send(&request).is_empty());
    let mut again = 0;
    let mut resets = 0;
    while let Some(due) = it.stack.deadline() {
        it.ms = u64::try_from((due - it.start).as_millis()).unwrap() + 1;
        assert!(it.ms < 120_000, "it ends");
        let now = it.now();
        it.stack.poll(now);
        for frame in it.received() {
            let heard = client.hear(&frame);
            again += u32::from(!heard.payload.is_empty());
            resets += u32::from(heard.rst);
        }
    }
    assert!(again > 2, "{again}");
    assert_eq!(resets, 1);
    assert_eq!(it.count("connections_destroyed"), 1);
}

#[test]
fn a_guest_that_takes_no_frames_is_not_heard() {
    let mut it = Fixture::new();
    for port in 0..1000 {
        let frame = Client { server_port: 81, ..Client::new(port) }.syn();
        let now = it.now();
        it.stack.take(&frame, Concern::Packet(14), now);
    }
    assert_eq!(it.count("tx_frames"), MOST_FRAMES as u64);
    assert_eq!(it.stack.deadline(), None, "until it takes some there is nothing to do");
    assert_eq!(it.received().len(), MOST_FRAMES);
    let mut client = Client::new(40_000);
    it.open(&mut client);
}

#[test]
fn arp_and_neighbour_discovery_are_answered() {
    let mut it = Fixture::new();
    let mut request = [[0xff; 6], GUEST_MAC].concat();
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(GUEST_MAC);
    request.extend(GUEST_IPV4.octets());
    request.extend([0; 6]);
    request.extend(IPV4_ADDRESS.octets());
    request.resize(60, 0);
    let heard = it.send(&request);
    let mut reply = [GUEST_MAC, super::super::cable::MAC.0].concat();
    reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply.extend(super::super::cable::MAC.0);
    reply.extend(IPV4_ADDRESS.octets());
    reply.extend(GUEST_MAC);
    reply.extend(GUEST_IPV4.octets());
    assert_eq!(heard, [reply]);
    // A reply is none to answer.
    request[21] = 2;
    assert!(it.send(&request).is_empty());

    let guest = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
    let mut ask = |source: Ipv6Addr, hops: u8| {
        let mut solicitation = Vec::new();
        let mut payload = vec![0, 0, 0, 0];
        payload.extend(IPV6_ADDRESS.octets());
        PacketBuilder::ethernet2(GUEST_MAC, [0x33, 0x33, 0xff, 0, 2, 0x54])
            .ipv6(source.octets(), [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 2, 0x54], hops)
            .icmpv6_raw(135, 0, [0; 4])
            .write(&mut solicitation, &payload[4..])
            .unwrap();
        it.send(&solicitation)
    };
    for (source, to) in [(guest, guest), (Ipv6Addr::UNSPECIFIED, "ff02::1".parse().unwrap())] {
        let heard = ask(source, 255);
        assert_eq!(heard.len(), 1);
        let packet = SlicedPacket::from_ethernet(&heard[0]).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("no IPv6") };
        assert_eq!(ip.header().destination_addr(), to);
        assert_eq!((ip.header().source_addr(), ip.header().hop_limit()), (IPV6_ADDRESS, 255));
        let Some(TransportSlice::Icmpv6(message)) = &packet.transport else { panic!("no ICMPv6") };
        let (source, to) = (ip.header().source(), ip.header().destination());
        assert!(message.is_checksum_valid(source, to));
        assert_eq!(message.slice()[0], 136);
        let target = &message.slice()[8..24];
        assert_eq!(target, IPV6_ADDRESS.octets());
        assert_eq!(message.slice()[24..], [&[2, 1], &super::super::cable::MAC.0[..]].concat());
    }
    assert!(ask(guest, 64).is_empty(), "from beyond the link");
}

#[test]
fn it_answers_pings_and_takes_no_other_protocol() {
    let mut it = Fixture::new();
    let link = || PacketBuilder::ethernet2(GUEST_MAC, [2, 0, 0, 0, 0, 1]);
    let ip = || link().ipv4(GUEST_IPV4.octets(), IPV4_ADDRESS.octets(), 64);
    let mut ping = Vec::new();
    ip().icmpv4_echo_request(1, 2).write(&mut ping, b"hello").unwrap();
    let heard = it.send(&ping);
    assert_eq!(heard.len(), 1);
    let packet = SlicedPacket::from_ethernet(&heard[0]).unwrap();
    let Some(TransportSlice::Icmpv4(echo)) = packet.transport else { panic!("no ICMP") };
    assert_eq!(echo.payload(), b"hello");
    let mut udp = Vec::new();
    ip().udp(53, 53).write(&mut udp, b"x").unwrap();
    for frame in it.send(&udp) {
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        assert!(matches!(packet.transport, Some(TransportSlice::Icmpv4(_))), "a refusal at most");
    }
}

#[test]
fn frames_of_no_sense_are_swallowed() {
    let mut it = Fixture::new();
    let good = Client::new(1).syn();
    // From a group, from nobody, cut off anywhere, and of nobody's address.
    let mut group = good.clone();
    group[6] |= 1;
    assert!(it.send(&group).is_empty());
    assert_eq!(it.count("rx_bad_eth"), 1);
    for len in 34..good.len() {
        it.send(&good[..len]);
    }
    let mut nobody = good.clone();
    nobody[26..30].fill(0);
    assert!(it.send(&nobody).is_empty());
    it.stack.take(&good, Concern::Refused, it.start);
    assert!(it.received().is_empty());
    assert!(it.count("rx_accepted_err") > 1);
    it.open(&mut Client::new(2));
}
