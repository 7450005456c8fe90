//! Traffic between host and guest: reproducible streams with hashes, floods of datagrams.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use crate::host::PATIENCE;

const CHUNK: usize = 64 << 10;

/// A pseudo-random stream that only its seed decides (splitmix64).
pub(crate) struct Stream(pub u64);

impl Stream {
    /// Its next bytes, of which only the last have no whole word.
    pub fn fill(&mut self, chunk: &mut [u8]) {
        for word in chunk.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..word.len()]);
        }
    }
}

/// How many bytes went over a connection, and their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    pub bytes: u64,
    pub hash: u64,
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:016x}", self.bytes, self.hash)
    }
}

/// Connects, trying again until `limit` has passed: the other side may still be starting.
fn connect(to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + limit;
    loop {
        match TcpStream::connect_timeout(&to, Duration::from_secs(5)) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Sends `bytes` of the stream `seed` to a receiver.
pub fn send(to: SocketAddr, bytes: u64, seed: u64) -> io::Result<Sum> {
    send_while(to, seed, Duration::ZERO, |sent| bytes - sent)
}

/// Sends the stream `seed` to a receiver, with a rest after each 64 KiB, until `left`, told how many bytes were sent, wants
/// no more.
pub fn send_while(
    to: SocketAddr,
    seed: u64,
    rest: Duration,
    mut left: impl FnMut(u64) -> u64,
) -> io::Result<Sum> {
    let mut connection = connect(to, PATIENCE)?;
    let (mut stream, mut hash, mut bytes) = (Stream(seed), Xxh3::new(), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = usize::try_from(left(bytes)).unwrap_or(CHUNK).min(CHUNK);
        if length == 0 {
            return Ok(Sum { bytes, hash: hash.digest() });
        }
        stream.fill(&mut chunk[..length]);
        hash.update(&chunk[..length]);
        connection.write_all(&chunk[..length])?;
        bytes += length as u64;
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
}

/// Receives `connections` one after the other; tells each one's sum when it ends.
pub fn receive(at: SocketAddr, connections: u32, mut each: impl FnMut(Sum)) -> io::Result<()> {
    let listener = TcpListener::bind(at)?;
    let mut chunk = vec![0; CHUNK];
    for _ in 0..connections {
        let (mut connection, _) = listener.accept()?;
        let (mut bytes, mut hash) = (0, Xxh3::new());
        loop {
            let length = connection.read(&mut chunk)?;
            if length == 0 {
                break;
            }
            hash.update(&chunk[..length]);
            bytes += length as u64;
        }
        each(Sum { bytes, hash: hash.digest() });
    }
    Ok(())
}

/// A socket for datagrams from a port of ours, any if it is 0.
fn datagrams(from: u16, to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, from))?;
    socket.connect(to)?;
    Ok(socket)
}

/// Sends datagrams from `flows` ports in turn for a time, and rests after each round; returns how many the
/// kernel took.
pub fn flood(
    to: SocketAddr,
    size: usize,
    flows: usize,
    time: Duration,
    rest: Duration,
) -> io::Result<u64> {
    let sockets = (0..flows).map(|_| datagrams(0, to)).collect::<io::Result<Vec<_>>>()?;
    let datagram = vec![0x5a; size];
    let deadline = Instant::now() + time;
    let mut sent = 0;
    while Instant::now() < deadline {
        for socket in &sockets {
            // Refusals (nobody listens) and full queues are part of a flood.
            sent += u64::from(socket.send(&datagram).is_ok());
        }
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
    Ok(sent)
}

/// Sends `each` small datagrams from each of these ports.
pub fn send_from(ports: &[u16], to: SocketAddr, each: u32) -> io::Result<()> {
    for &port in ports {
        let socket = datagrams(port, to)?;
        for _ in 0..each {
            // The first attempt may only tell of a refusal of what was sent before.
            socket.send(b"ping").or_else(|_| socket.send(b"ping"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "traffic_test.rs"]
mod tests;
