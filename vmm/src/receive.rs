//! `vmm receive`: a machine that comes from another process, and goes on here.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli;
use crate::migration::address::Address;
use crate::migration::error::ReceiveError;
use crate::migration::spec::ReceiveSpec;
use crate::orders::Orders;
use crate::restore::Common;

/// Waits for a machine that vmm ctl SOCKET migrate sends, and lets it go on here as soon as it is nowhere else.
#[derive(Debug, Parser)]
#[command(name = "vmm receive", bin_name = "vmm receive", version = env!("VMM_VERSION"))]
pub struct Args {
    /// Where to wait for it: unix:PATH, a socket that is made there, tls:ADDRESS:PORT or tcp:ADDRESS:PORT
    #[arg(value_name = "WHERE")]
    address: Address,

    /// Take it over a network where everybody can read its memory, change it, or send another machine
    #[arg(long)]
    insecure: bool,

    #[command(flatten)]
    common: Common,
}

/// The command, for help, manuals and completions.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Reads a command line, of which the first word is the program's name. Fails with the code to exit with, once the
/// user has been told why.
pub fn orders(words: Vec<OsString>) -> Result<Orders, ExitCode> {
    let args = Args::try_parse_from(words).map_err(|error| cli::report(&error))?;
    let credentials = args.common.credentials(command)?;
    let why = match args.address {
        Address::Tcp(_) if !args.insecure => Some(ReceiveError::Insecure(args.address.clone())),
        Address::Tls(_) if credentials.is_none() => {
            Some(ReceiveError::Unnamed(args.address.clone()))
        }
        _ => None,
    };
    if let Some(why) = why {
        let conflict = clap::error::ErrorKind::ArgumentConflict;
        return Err(cli::report(&command().error(conflict, why.to_string())));
    }
    let (mut orders, others) = args.common.into_orders();
    orders.credentials = credentials;
    orders.receive = Some(ReceiveSpec { address: args.address, others });
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Orders, ExitCode> {
        orders([&["vmm receive"], words].concat().into_iter().map(Into::into).collect())
    }

    #[test]
    fn a_machine_is_awaited_with_what_is_to_differ() {
        let orders =
            of(&["unix:/s", "--net", "eth0=tap3", "--paused", "--api-sock", "/a"]).unwrap();
        let spec = orders.receive.unwrap();
        assert_eq!(spec.address, Address::Unix("/s".into()));
        assert_eq!(spec.others.taps, [("eth0".to_string(), "tap3".to_string())]);
        assert!(!spec.others.resume && orders.actions.is_empty());
    }

    #[test]
    fn over_a_network_it_is_awaited_only_if_somebody_says_that_it_may() {
        assert!(of(&["tcp:127.0.0.1:7000"]).is_err());
        assert!(of(&["tcp:127.0.0.1:7000", "--insecure"]).unwrap().receive.is_some());
        assert!(of(&["127.0.0.1:7000", "--insecure"]).is_err());
        assert!(of(&["tls:127.0.0.1:7000"]).is_err());
        assert!(of(&["tls:127.0.0.1:7000", "--insecure"]).is_err());
        assert!(of(&["tls:127.0.0.1:7000", "--tls-cert", "/none"]).is_err());
    }
}
