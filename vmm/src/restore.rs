//! `vmm restore`: a machine that goes on from a snapshot.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Parser};
use devices::legacy::ConsoleSpec;
use tracing_subscriber::filter::LevelFilter;

use crate::action::Action;
use crate::cli::{self, LEVELS, instance_id, level};
use crate::migration::address::Reach;
use crate::migration::tls::credentials::Credentials;
use crate::migration::tls::files::TlsFiles;
use crate::observe::logger::LogSpec;
use crate::orders::Orders;
use crate::shield::Mode;
use crate::snapshot::card::CardChange;
use crate::snapshot::show;
use crate::snapshot::spec::{LoadSpec, OtherImage, PagerSpec};
use crate::starter::Starter;
use crate::vm::config::Config;

/// Makes a machine from a snapshot, and lets it go on.
#[derive(Debug, Parser)]
#[command(name = "vmm restore", bin_name = "vmm restore", version = env!("VMM_VERSION"))]
pub struct Args {
    /// A folder that `vmm ctl` has written a snapshot to, or the file with the state
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,

    /// The file with the memory; that called `memory` beside the state if not given
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,

    /// Who brings pages of the memory as they are touched: the kernel, own (a thread of this process), or the socket
    /// of a process that does
    #[arg(long, value_name = "kernel|own|SOCKET", default_value = "kernel")]
    pager: PathBuf,

    /// Write down which pages are used first, beside the memory: they are fetched ahead from then on
    #[arg(long)]
    record: bool,

    /// Whether the guest's clocks go on with the time that passed, advance, or from where they were, freeze
    #[arg(long, value_name = "HOW", default_value = "advance", action = ArgAction::Set,
        value_parser = PossibleValuesParser::new(["advance", "freeze"]).map(|how| how == "advance"))]
    clock: bool,

    #[command(flatten)]
    common: Common,
}

/// What can be said of a machine that goes on from wherever.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Another TAP for a network card, once for each; identity=rewrite, mac=, ip= and guest-ip= behind it give it other
    /// addresses on the wire, link=flap has its link go down for a while, and driver=reset has the driver of an ENA card
    /// reset it
    #[arg(long, value_name = "ID=TAP")]
    net: Vec<CardChange>,

    /// Another image for a disk, once for each; behind it ,base=FILE... of one that is an overlay, which is made if it is
    /// not there
    #[arg(long, value_name = "ID=FILE", value_parser = other_image)]
    disk: Vec<OtherImage>,

    /// Another Unix socket for the vsock
    #[arg(long, value_name = "FILE")]
    vsock: Option<PathBuf>,

    /// Track the pages that the guest writes to, so that snapshots of what has changed have no others
    #[arg(long)]
    track_dirty_pages: bool,

    /// Leave the machine paused
    #[arg(long, requires = "api_sock")]
    paused: bool,

    /// Serial console: stdio, none, file=PATH (overwritten) or socket=PATH
    #[arg(long, value_name = "WHERE", default_value = "stdio")]
    serial: ConsoleSpec,

    /// Seconds a guest may take to power off after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    grace: u64,

    /// What to log
    #[arg(long, value_name = "LEVEL", default_value = "warn", ignore_case = true,
        value_parser = PossibleValuesParser::new(LEVELS).map(level))]
    log_level: LevelFilter,

    /// Append the log to this file instead of writing it to stderr
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Serve the API on this Unix socket
    #[arg(long, value_name = "PATH")]
    api_sock: Option<PathBuf>,

    /// What becomes of a system call that the VMM never makes, as of `vmm`
    #[arg(long, value_name = "MODE", default_value = "kill",
        value_parser = PossibleValuesParser::new(Mode::NAMES).map(cli::seccomp))]
    seccomp: Mode,

    /// Let the machine have no children, which PUT /fork starts
    #[arg(long)]
    no_fork: bool,

    /// Folder with all beneath it, or one file, that files named while the guest runs may be opened in, as of `vmm`; if
    /// not given, the snapshot's folders besides
    #[arg(long, value_name = "PATH")]
    allow_path: Vec<PathBuf>,

    /// Name of the machine: letters, digits and '-'
    #[arg(long, value_name = "NAME", default_value = "anonymous-instance", value_parser = instance_id)]
    id: String,

    /// Append a JSON line of metrics to this file each minute, on demand, and at the end
    #[arg(long, value_name = "FILE")]
    metrics_path: Option<PathBuf>,

    /// Where the machine may be migrated to by TCP, as of `vmm`
    #[arg(long, value_name = "ADDRESS:PORT")]
    allow_tcp: Vec<Reach>,

    #[command(flatten)]
    tls: TlsFiles,

    #[command(flatten)]
    starter: Starter,
}

/// What a disk is to have in place of its image: its id, `=`, the image, and `,base=` before each of those below.
fn other_image(text: &str) -> Result<OtherImage, &'static str> {
    let wrong =
        "write the id that it has in the snapshot, =, and the image that is to take its place";
    let (id, images) = text.split_once('=').ok_or(wrong)?;
    let mut images = images.split(",base=");
    let path = images.next().filter(|path| !path.is_empty() && !id.is_empty()).ok_or(wrong)?;
    let bases: Vec<PathBuf> = images.map(PathBuf::from).collect();
    match bases.iter().any(|base| base.as_os_str().is_empty()) {
        true => Err("write the image that the overlay is on behind base="),
        false => Ok(OtherImage { id: id.to_string(), path: path.into(), bases }),
    }
}

/// The command, for help, manuals and completions.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// Reads a command line, of which the first word is the program's name. Fails with the code to exit with, once the
/// user has been told why.
pub fn orders(words: Vec<OsString>) -> Result<Orders, ExitCode> {
    match Args::try_parse_from(words) {
        Ok(args) if args.record && !["kernel", "own"].map(Path::new).contains(&&*args.pager) => {
            let why = "--record: what another process brings is not written down here";
            Err(cli::report(&command().error(clap::error::ErrorKind::ArgumentConflict, why)))
        }
        Ok(args) => {
            let credentials = args.common.credentials(command)?;
            Ok(Orders { credentials, ..args.into_orders() })
        }
        Err(error) => Err(cli::report(&error)),
    }
}

impl Args {
    fn into_orders(self) -> Orders {
        let (state, memory) = show::files_of(&self.snapshot, self.memory.as_deref());
        let (pager, memory) = match self.pager.to_str() {
            // Only who brings each page sees it used.
            Some("kernel") if self.record => (PagerSpec::Own, memory),
            Some("kernel") => (PagerSpec::Kernel, memory),
            Some("own") => (PagerSpec::Own, memory),
            _ => (PagerSpec::External, self.pager),
        };
        let (mut orders, others) = self.common.into_orders();
        let (record, advance) = (self.record, Some(self.clock));
        let spec = LoadSpec { state, memory, pager, record, advance, ..others };
        orders.actions.push(Action::LoadSnapshot(Box::new(spec)));
        orders
    }
}

impl Common {
    /// Who the process is to others, by its files. Fails with the code to exit with, once the user has been told why.
    pub fn credentials(
        &self,
        command: fn() -> clap::Command,
    ) -> Result<Option<Credentials>, ExitCode> {
        cli::credentials(&self.tls, command)
    }

    /// What is asked of the process, but for the machine; and in which that differs from what it was.
    pub fn into_orders(self) -> (Orders, LoadSpec) {
        let taps = self.net.iter().filter_map(|card| Some((card.id.clone(), card.tap.clone()?)));
        let identities = self.net.iter().filter_map(|card| card.identity.clone());
        let others = LoadSpec {
            track: self.track_dirty_pages,
            resume: !self.paused,
            taps: taps.collect(),
            identities: identities.collect(),
            images: self.disk,
            vsock: self.vsock,
            ..LoadSpec::default()
        };
        let orders = Orders {
            id: self.id,
            log: LogSpec { path: self.log_file, level: Some(self.log_level), ..LogSpec::default() },
            config: Config {
                serial: self.serial,
                grace: Duration::from_secs(self.grace),
                ..Config::default()
            },
            start_times: self.starter.times(),
            api_socket: self.api_sock,
            max_body: None,
            seccomp: self.seccomp,
            forks: !self.no_fork,
            late_places: self.allow_path,
            reach: self.allow_tcp,
            credentials: None,
            receive: None,
            ready: self.starter.ready_fd,
            thread_groups: self.starter.thread_groups,
            actions: self.metrics_path.map(Action::SetMetrics).into_iter().collect(),
            metadata: None,
            config_file: None,
        };
        (orders, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(words: &[&str]) -> LoadSpec {
        let args = Args::try_parse_from([&["vmm restore"], words].concat()).unwrap();
        match args.into_orders().actions.pop() {
            Some(Action::LoadSnapshot(spec)) => *spec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_snapshot_is_a_folder_or_a_file_and_what_differs_has_an_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let of_folder = spec(&[path]);
        assert_eq!(of_folder.state, folder.path().join("state"));
        assert_eq!(of_folder.memory, folder.path().join("memory"));
        assert_eq!((of_folder.resume, of_folder.advance), (true, Some(true)));

        let words = ["a/s", "--memory", "m", "--net", "eth0=tap3", "--disk", "disk0=x=y"];
        let of_file = spec(&words);
        assert_eq!((of_file.state, of_file.memory), ("a/s".into(), "m".into()));
        assert_eq!(of_file.taps, [("eth0".to_string(), "tap3".to_string())]);
        assert_eq!(of_file.images, [other_image("disk0=x=y").unwrap()]);
        let OtherImage { id, path, bases } = &of_file.images[0];
        assert_eq!((id.as_str(), path.to_str(), bases.len()), ("disk0", Some("x=y"), 0));
        let above = other_image("d=a,b,base=c,base=d").unwrap();
        assert_eq!((above.path, above.bases), ("a,b".into(), vec!["c".into(), "d".into()]));
        for wrong in ["d", "=x", "d=", "d=x,base="] {
            assert!(other_image(wrong).is_err(), "{wrong}");
        }
        assert_eq!(spec(&["s", "--clock", "freeze"]).advance, Some(false));
        assert!(Args::try_parse_from(["vmm restore", "s", "--net", "tap3"]).is_err());

        assert_eq!((of_file.pager, of_file.record), (PagerSpec::Kernel, false));
        let recorded = spec(&["s", "--record"]);
        assert_eq!((recorded.pager, recorded.record), (PagerSpec::Own, true));
        let external = spec(&["s", "--pager", "/run/pager"]);
        assert_eq!((external.pager, external.memory), (PagerSpec::External, "/run/pager".into()));
    }
}
