//! `load`: the server of network benchmarks, in the guest; and a client, to try it by hand.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::Parser;
use tests::bench::load::{self, Job, Server};

/// Load a network, or be loaded.
#[derive(Parser)]
enum Arguments {
    /// Serve clients for ever
    Serve {
        at: SocketAddr,
        /// And those that come by vsock
        #[arg(long)]
        vsock: bool,
    },
    /// Measure bulk TCP both ways (bytes/s), round trips and small datagrams both ways (1/s)
    Measure {
        server: SocketAddr,
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse() {
        Arguments::Serve { at, vsock } => {
            if vsock {
                thread::spawn(|| {
                    load::serve_vsock().inspect_err(|error| eprintln!("load: {error}"))
                });
            }
            load::serve(at)
        }
        Arguments::Measure { server, seconds } => {
            let server = Server { at: server, vsock: None };
            for job in Job::ALL.into_iter().filter(|job| !job.is_by_vsock()) {
                let figure = load::measure(&server, job, Duration::from_secs(seconds))?;
                println!("{job:?} {figure:.0}");
            }
            Ok(())
        }
    }
}
