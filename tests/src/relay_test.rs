//! Tests of the relay: bytes, ends, and servers that are lost.

use std::io::{Read, Write};

use anyhow::bail;

use super::*;

#[test]
fn what_is_said_goes_both_ways_and_so_do_ends() {
    let (mut server, client) = UnixStream::pair().unwrap();
    let mut ends = vec![client];
    let relay = Relay::start(move || ends.pop().context("only one is expected")).unwrap();
    let mut client = TcpStream::connect(relay.address()).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "question");
    server.write_all(b"answer").unwrap();
    drop(server);
    heard.clear();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
    relay.finish().unwrap();
}

#[test]
fn a_server_that_is_lost_is_told_at_the_end() {
    let relay = Relay::start(|| bail!("it has crashed")).unwrap();
    let mut client = TcpStream::connect(relay.address()).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(relay.finish().unwrap_err().to_string(), "it has crashed");
}
