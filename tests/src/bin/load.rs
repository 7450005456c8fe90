//! `load`: the server of network benchmarks, in the guest; and a client, to try it by hand.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use tests::bench::load::{self, Job};

/// Load a network, or be loaded.
#[derive(Parser)]
enum Arguments {
    /// Serve clients for ever
    Serve { at: SocketAddr },
    /// Measure bulk TCP both ways (bytes/s), round trips and small datagrams both ways (1/s)
    Measure {
        server: SocketAddr,
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse() {
        Arguments::Serve { at } => load::serve(at),
        Arguments::Measure { server, seconds } => {
            for job in Job::ALL {
                let figure = load::measure(server, job, Duration::from_secs(seconds))?;
                println!("{job:?} {figure:.0}");
            }
            Ok(())
        }
    }
}
