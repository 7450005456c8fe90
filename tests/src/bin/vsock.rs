//! `vsock`: the guest's ends of vsock tests.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::socket::{Shutdown, shutdown};
use tests::exchange::exchange;
use tests::guest_vsock::{accepted, listener, to_host};

/// Connect by vsock, or listen.
#[derive(Parser)]
enum Arguments {
    /// Accept connections, and exchange streams on each; prints how many went well
    Listen {
        port: u32,
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        bytes: u64,
    },
    /// Connect to the host, some at once, and exchange streams on each; prints how many went well
    Connect {
        port: u32,
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        bytes: u64,
        #[arg(long, default_value_t = 10)]
        at_once: u32,
    },
    /// Accept connections until killed, and say back on each what comes
    Echo { port: u32 },
    /// Connect to the host and send without end, again and again, for so long or until killed
    Storm {
        port: u32,
        #[arg(long)]
        seconds: u64,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse() {
        Arguments::Listen { port, connections, bytes } => serve(port, connections, bytes),
        Arguments::Connect { port, connections, bytes, at_once } => {
            call(port, connections, bytes, at_once)
        }
        Arguments::Echo { port } => echo(port),
        Arguments::Storm { port, seconds } => {
            storm(port, Duration::from_secs(seconds));
            Ok(())
        }
    }
}

fn listening(port: u32) -> io::Result<OwnedFd> {
    let listener = listener(port)?;
    println!("listening");
    Ok(listener)
}

fn both_ways(stream: &File, seed: u64, bytes: u64) -> io::Result<()> {
    let shut = || Ok(shutdown(stream.as_raw_fd(), Shutdown::Write)?);
    exchange(stream, stream, shut, seed, bytes)
}

/// Prints what went wrong, or counts what did not.
fn count(result: io::Result<()>, well: &AtomicU32) {
    match result {
        Ok(()) => drop(well.fetch_add(1, Ordering::Relaxed)),
        Err(error) => println!("{error}"),
    }
}

fn serve(port: u32, connections: u32, bytes: u64) -> io::Result<()> {
    let (listener, well) = (listening(port)?, AtomicU32::new(0));
    thread::scope(|scope| -> io::Result<()> {
        for seed in 0..connections {
            let (stream, well) = (accepted(&listener)?, &well);
            scope.spawn(move || count(both_ways(&stream, seed.into(), bytes), well));
        }
        Ok(())
    })?;
    println!("{} went well", well.into_inner());
    Ok(())
}

fn call(port: u32, connections: u32, bytes: u64, at_once: u32) -> io::Result<()> {
    let (next, well) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= connections {
                        return;
                    }
                    let done = to_host(port).and_then(|s| both_ways(&s, seed.into(), bytes));
                    count(done, &well);
                }
            });
        }
    });
    println!("{} went well", well.into_inner());
    Ok(())
}

fn echo(port: u32) -> io::Result<()> {
    let listener = listening(port)?;
    loop {
        let mut stream = accepted(&listener)?;
        thread::spawn(move || {
            let mut piece = [0; 4096];
            // Whoever calls may be gone at any time.
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                if stream.write_all(&piece[..count]).is_err() {
                    break;
                }
            }
        });
    }
}

fn storm(port: u32, time: Duration) {
    let (deadline, piece) = (Instant::now() + time, [0x5a; 4096]);
    while Instant::now() < deadline {
        // The host ends it whenever it likes.
        if let Ok(mut stream) = to_host(port) {
            while Instant::now() < deadline && stream.write_all(&piece).is_ok() {}
        }
    }
}
