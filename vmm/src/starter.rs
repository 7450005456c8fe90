//! What who starts this process says of that, whichever machine it is to run: `vmm jail` says it to what runs in a jail.

use std::os::fd::RawFd;

use crate::observe::metrics::StartTimes;
use crate::shield::groups::Handed;

/// Flags of it, each with a value. A jailer puts these before the words of its own caller.
pub const FLAGS: [&str; 6] = [
    "--id",
    "--start-time-us",
    "--start-time-cpu-us",
    "--parent-cpu-time-us",
    "--ready-fd",
    "--thread-groups",
];

/// All of it but the machine's name, of which each command line has its own words.
#[derive(Debug, Default, clap::Args)]
pub struct Starter {
    /// Descriptor, once for each, to write `READY=1` and a newline to once the machine runs, or the API listens;
    /// the socket $NOTIFY_SOCKET is told as well
    #[arg(long, value_name = "N")]
    pub ready_fd: Vec<RawFd>,

    /// Descriptors of two files cgroup.threads, of threaded control groups below the process's own: threads of vCPUs go
    /// into the first group, and those of devices into the second; vmm jail hands them over
    #[arg(long, value_name = "VCPUS,LANES")]
    pub thread_groups: Option<Handed>,

    #[command(flatten)]
    began: Began,
}

/// When the start began, for metrics.
#[derive(Debug, Default, clap::Args)]
pub struct Began {
    /// When who starts this process began to, in microseconds of the monotonic clock; for metrics
    #[arg(long, value_name = "US")]
    start_time_us: Option<u64>,

    /// CPU time of this process when who starts it began to, in microseconds; for metrics
    #[arg(long, value_name = "US")]
    start_time_cpu_us: Option<u64>,

    /// CPU time that who starts this process has used in others before, in microseconds; for metrics
    #[arg(long, value_name = "US")]
    parent_cpu_time_us: Option<u64>,
}

impl Began {
    /// What the start took so far.
    pub fn times(&self) -> StartTimes {
        StartTimes::since(self.start_time_us, self.start_time_cpu_us).after(self.parent_cpu_time_us)
    }
}

impl Starter {
    /// What the start took so far.
    pub fn times(&self) -> StartTimes {
        self.began.times()
    }
}
