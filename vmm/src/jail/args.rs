//! The flags: Firecracker's jailer's, and a few more.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Parser;

use super::taps::TapSpec;

const NOTES: &str = "\
The program runs with the root DIR/NAME/ID/root, where NAME is that of its file, under the name /NAME and
with --id ID before the arguments that follow --, which may begin with restore or receive as those of vmm do.
What it needs is put there before, and is named there as the program sees it.

Exit codes: those of the program, which takes this one's place; 1 if there is no jail, 2 for wrong
arguments; with --daemonize or --new-pid-ns 0 once the program runs.";

/// What the program is called by those who know Firecracker's.
pub const NAME: &str = "jailer";

/// Starts a program, by default this VMM, in a jail of its own.
#[derive(Debug, Parser)]
#[allow(rustdoc::broken_intra_doc_links)] // brackets of the help text
#[command(name = NAME, version = env!("VMM_VERSION"), after_help = NOTES)]
pub struct Args {
    /// Name of the machine: letters, digits and hyphens, 64 at most
    #[arg(long, value_name = "ID")]
    pub id: String,

    /// The program. If not given: this one
    #[arg(long, value_name = "FILE")]
    pub exec_file: Option<PathBuf>,

    /// User that it runs as
    #[arg(long, value_name = "N", required_unless_present_any = ["clean", "rootless"])]
    pub uid: Option<u32>,

    /// Group that it runs as; it has no other
    #[arg(long, value_name = "N", required_unless_present_any = ["clean", "rootless"])]
    pub gid: Option<u32>,

    /// Build the jail in a user namespace, as somebody else than root who may open /dev/kvm. The program runs as that
    /// user, and in a PID namespace; who starts the jail stays until it has ended, unless --new-pid-ns or --daemonize
    /// says otherwise
    #[arg(long)]
    pub rootless: bool,

    /// Folder of all jails
    #[arg(long, value_name = "DIR", default_value = "/srv/jailer")]
    pub chroot_base_dir: PathBuf,

    /// Network namespace, by its handle, such as /run/netns/NAME
    #[arg(long, value_name = "FILE")]
    pub netns: Option<PathBuf>,

    /// A network namespace of its own, in which nothing is
    #[arg(long, conflicts_with = "netns")]
    pub new_net_ns: bool,

    /// TAP to make in the network namespace of its own, for the program's user: NAME[,queues=N][,mtu=N]; once for each
    #[arg(long, value_name = "SPEC", requires = "new_net_ns")]
    pub tap: Vec<TapSpec>,

    /// Bring /dev/vhost-net into the jail, for cards with backend=vhost
    #[arg(long)]
    pub vhost_net: bool,

    /// Descriptor that the program is handed, such as an open TAP; once for each. All others are closed, but the
    /// standard ones
    #[arg(long, value_name = "N")]
    pub fd: Vec<RawFd>,

    /// Descriptor that the program is handed to say by that it is ready, by --ready-fd, which it must know; so is
    /// the socket $NOTIFY_SOCKET, if the program is this VMM
    #[arg(long, value_name = "N")]
    pub ready_fd: Vec<RawFd>,

    /// Go into the background: a session of its own, /dev/null for its standard descriptors
    #[arg(long)]
    pub daemonize: bool,

    /// A PID namespace of its own; the PID as the host knows it is in /NAME.pid
    #[arg(long)]
    pub new_pid_ns: bool,

    /// Value of a control group, such as cpu.weight=50; once for each
    #[arg(long, value_name = "FILE=VALUE")]
    pub cgroup: Vec<String>,

    /// Version of control groups, 1 or 2. If not given: that of the host's in which the controllers are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub cgroup_version: Option<u8>,

    /// Put threads apart, in control groups below the machine's (version 2): vcpus for those of vCPUs, lanes for those of
    /// devices. The program must be this VMM
    #[arg(long)]
    pub thread_cgroups: bool,

    /// Value of the group of vCPUs' threads, such as cpu.weight=50; once for each
    #[arg(long, value_name = "FILE=VALUE", requires = "thread_cgroups")]
    pub vcpu_cgroup: Vec<String>,

    /// Value of the group of devices' threads; once for each
    #[arg(long, value_name = "FILE=VALUE", requires = "thread_cgroups")]
    pub lane_cgroup: Vec<String>,

    /// Control group under which the machine's is made. If not given: the program's name; with --rootless the one that
    /// it is started in, which has to be delegated
    #[arg(long, value_name = "PATH")]
    pub parent_cgroup: Option<String>,

    /// Limit of the process: fsize=BYTES, or no-file=N, by default 2048; once for each
    #[arg(long, value_name = "NAME=VALUE")]
    pub resource_limit: Vec<String>,

    /// Let no other program's threads run on a core while one of this program's does
    #[arg(long)]
    pub core_scheduling: bool,

    /// Remove the jail and the control groups of a machine that has ended
    #[arg(long)]
    pub clean: bool,

    /// Arguments of the program
    #[arg(last = true, value_name = "ARGUMENT")]
    pub extra: Vec<OsString>,
}
