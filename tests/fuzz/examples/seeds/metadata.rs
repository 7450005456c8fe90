//! What guests send to the metadata service.

use fuzz::input::Output;
use fuzz::metadata::{ACK, FIN, RST, SYN, frame, receive, segment, time};

use crate::Seed;

/// Opens a connection.
fn open(out: &mut Output, connection: u8) {
    segment(out, connection, SYN, 0, b"");
    receive(out);
    segment(out, connection, ACK, 0, b"");
}

/// Opens a connection and asks.
fn ask(manners: u8, connection: u8, text: &str) -> Vec<u8> {
    let mut out = Output::default();
    out.u8(manners);
    open(&mut out, connection);
    segment(&mut out, connection, ACK, 0, text.as_bytes());
    receive(&mut out);
    segment(&mut out, connection, ACK | FIN, 0, b"");
    receive(&mut out);
    out.0
}

fn of(fill: impl FnOnce(&mut Output)) -> Vec<u8> {
    let mut out = Output::default();
    out.u8(0);
    fill(&mut out);
    out.0
}

pub fn all() -> Vec<Seed> {
    let token = "PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n";
    let many = "GET /a HTTP/1.1\r\n\r\n".repeat(20);
    let arp = [
        &[0xff; 6][..],
        &[2, 0, 0, 0, 0, 7],
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7],
        &[192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 169, 254, 169, 254],
    ];
    vec![
        ("get", ask(0, 0, "GET /latest/meta-data/x HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("get-ipv6", ask(0, 5, "GET /a HTTP/1.0\r\n\r\n")),
        ("json", ask(0, 0, "GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n")),
        (
            "compat",
            ask(2, 0, "GET /2021-03-23/meta-data HTTP/1.1\r\nAccept: application/json\r\n\r\n"),
        ),
        ("token", ask(1, 0, token)),
        ("no-token", ask(1, 0, "GET / HTTP/1.1\r\nX-aws-ec2-metadata-token: AAAA\r\n\r\n")),
        ("many", ask(0, 0, &many)),
        ("body", ask(0, 0, "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")),
        ("head-alone", b"GET http://x/a~1b//0 HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
        ("arp", of(|out| frame(out, &arp.concat()))),
        (
            "pieces",
            of(|out| {
                open(out, 1);
                for piece in ["GET /a HT", "TP/1.1\r", "\n\r", "\n"] {
                    segment(out, 1, ACK, 0, piece.as_bytes());
                    receive(out);
                }
            }),
        ),
        (
            "lost",
            of(|out| {
                segment(out, 2, SYN, 0, b"");
                for _ in 0..8 {
                    time(out, 3000);
                    receive(out);
                }
            }),
        ),
        (
            "out-of-order",
            of(|out| {
                open(out, 0);
                segment(out, 0, ACK, 9, b"HTTP/1.1\r\n\r\n");
                segment(out, 0, ACK, -12, b"GET /a HT");
                segment(out, 0, RST, 0, b"");
            }),
        ),
        (
            "crowd",
            of(|out| {
                for connection in 0..8 {
                    open(out, connection);
                }
                time(out, 20_000);
                open(out, 0);
            }),
        ),
    ]
}
