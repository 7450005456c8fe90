//! `traffic`: the sending and receiving ends of network tests, on the host and in the guest.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use tests::frames::{self, Link};
use tests::imds::Client;
use tests::traffic;

/// Make network traffic, or take it.
#[derive(Parser)]
enum Arguments {
    /// Send a reproducible stream; prints its bytes and hash
    Send {
        to: SocketAddr,
        #[arg(long, required_unless_present = "until")]
        bytes: Option<u64>,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Until there is this file
        #[arg(long)]
        until: Option<PathBuf>,
        /// Milliseconds of rest after each 64 KiB
        #[arg(long, default_value_t = 0)]
        rest: u64,
    },
    /// Receive streams; prints the bytes and hash of each
    Receive {
        at: SocketAddr,
        #[arg(long, default_value_t = 1)]
        connections: u32,
    },
    /// Send datagrams as fast as possible; prints how many
    Flood {
        to: SocketAddr,
        #[arg(long, default_value_t = 1000)]
        size: usize,
        #[arg(long, default_value_t = 1)]
        flows: usize,
        #[arg(long, default_value_t = 1)]
        seconds: u64,
        /// Milliseconds of rest after one datagram of each flow
        #[arg(long, default_value_t = 0)]
        rest: u64,
    },
    /// Send small datagrams: so many from each of some ports, as in `10:20001,20002 20:20003`
    SendFrom {
        to: SocketAddr,
        #[arg(required = true, value_parser = flows, value_name = "COUNT:PORT,...")]
        flows: Vec<Flows>,
    },
    /// Send frames as they are, in hexadecimal digits; `/N` after one fills it up to N bytes
    Frames { link: String, frames: Vec<String> },
    /// Ask a metadata service; prints status and body, and of several requests how many were answered alike
    /// in a second
    Ask {
        at: SocketAddr,
        path: String,
        /// Show a token, which is asked for first
        #[arg(long)]
        token: bool,
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// A connection for each
        #[arg(long)]
        fresh: bool,
    },
    /// Print so many frames from this station, in hexadecimal digits, and what follows at once
    Hear {
        link: String,
        #[arg(long)]
        from: String,
        #[arg(long)]
        count: usize,
        /// Seconds to wait for each
        #[arg(long)]
        seconds: u64,
    },
}

/// Ports, and how many datagrams go from each.
#[derive(Clone)]
struct Flows {
    each: u32,
    ports: Vec<u16>,
}

fn flows(text: &str) -> Result<Flows, String> {
    let (each, ports) = text.split_once(':').ok_or("there is no colon in it")?;
    let number = |error: std::num::ParseIntError| error.to_string();
    let ports = ports.split(',').map(|port| port.parse().map_err(number)).collect::<Result<_, _>>();
    Ok(Flows { each: each.parse().map_err(number)?, ports: ports? })
}

fn main() -> io::Result<()> {
    match Arguments::parse() {
        Arguments::Send { to, bytes, seed, until, rest } => {
            let is_over = || until.as_ref().is_some_and(|file| file.exists());
            let left = |sent| if is_over() { 0 } else { bytes.map_or(u64::MAX, |all| all - sent) };
            println!("{}", traffic::send_while(to, seed, Duration::from_millis(rest), left)?);
        }
        Arguments::Receive { at, connections } => {
            traffic::receive(at, connections, |sum| println!("{sum}"))?
        }
        Arguments::Flood { to, size, flows, seconds, rest } => {
            let (time, rest) = (Duration::from_secs(seconds), Duration::from_millis(rest));
            println!("{}", traffic::flood(to, size, flows, time, rest)?);
        }
        Arguments::Frames { link, frames } => {
            let link = Link::open(&link)?;
            for frame in frames {
                link.send(&frames::bytes(&frame)?)?;
            }
        }
        Arguments::Hear { link, from, count, seconds } => {
            let (from, limit) = (frames::bytes(&from)?, Duration::from_secs(seconds));
            let heard = Link::open(&link)?.hear(&from, count, limit)?;
            for frame in heard {
                println!("{}", frames::digits(&frame));
            }
        }
        Arguments::Ask { at, path, token, count, fresh } => {
            let mut client = Client::connect(at)?;
            let token = if token { Some(client.token()?) } else { None };
            let begun = Instant::now();
            let first = client.get(&path, token.as_deref())?;
            for _ in 1..count {
                if fresh {
                    client = Client::connect(at)?;
                }
                if client.get(&path, token.as_deref())? != first {
                    return Err(io::Error::other("one was answered otherwise"));
                }
            }
            println!("{} {}", first.status, first.body);
            if count > 1 {
                println!("{:.0}", f64::from(count) / begun.elapsed().as_secs_f64());
            }
        }
        Arguments::SendFrom { to, flows } => {
            for Flows { each, ports } in flows {
                traffic::send_from(&ports, to, each)?;
            }
        }
    }
    Ok(())
}
