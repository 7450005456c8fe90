//! The command line.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use arch::smbios::Identity;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use devices::balloon::BalloonSpec;
use devices::block::spec::DiskSpec;
use devices::entropy;
use devices::legacy::ConsoleSpec;
use devices::memory::HotMemorySpec;
use devices::net::service::store::USUAL_LIMIT;
use devices::net::spec::NicSpec;
use devices::vsock::VsockSpec;
use tracing_subscriber::filter::LevelFilter;

use crate::action::Action;
use crate::dialect;
use crate::memory::{Pages, Size};
use crate::migration::address::Reach;
use crate::migration::tls::credentials::Credentials;
use crate::migration::tls::files::TlsFiles;
use crate::observe::logger::LogSpec;
use crate::observe::stderr;
use crate::orders::Orders;
use crate::shield::Mode;
use crate::starter::Starter;
use crate::vm::config::{Config, EntropyWish};
use crate::vm::identity::IdentitySpec;
use crate::vm::imds::ImdsSpec;
use crate::vm::kernels::KernelCache;
use crate::vm::pmem::PmemArgument;
use crate::vm::seed::SeedSpec;
use crate::vm::spec::{BootFrom, BootSpec, DeviceBus, MachineSpec, SettingError};
use crate::words;

const EXAMPLES: &str = "\
Examples:
  Boot a kernel on this terminal (Ctrl-A X quits):
    vmm --kernel bzImage --initrd initramfs.cpio --mem 512M

  Two CPUs, and a network card with two queue pairs on the TAP `tap0`:
    vmm --kernel vmlinux --mem 2G --cpus 2 --net tap=tap0,queues=2,mac=06:00:00:00:00:01

  A disk with the root file system, and one that is never written:
    vmm --kernel vmlinux --mem 2G --disk root.raw,root --disk data.raw,ro,id=data

  A disk of its own that shares an image with others: what is written goes to own.cow, which is made:
    vmm --kernel vmlinux --mem 2G --disk own.cow,base=debian.raw,root

  What is installed on a disk, as its own boot loader would boot it, and what cloud-init is to do there:
    vmm --disk debian.raw --mem 1G --cloud-init user-data=user.yaml

  A TAP that the caller opened (one descriptor per queue), and the console in a file:
    vmm --kernel bzImage --mem 128M --net fd=3:4 --serial file=console.log

  A card on one end of a veth pair:
    vmm --kernel vmlinux --mem 2G --net dev=veth0

  No machine yet: it is configured, started and watched over HTTP on a Unix socket, by
  Firecracker's requests or by vmm ctl:
    vmm --api-sock vm.sock
    vmm ctl vm.sock --help

  As launchers of Firecracker start it; a link to vmm that is called firecracker does the same:
    vmm firecracker --help

Exit codes:
  0 the guest powered off, or the user quit    1 the VMM or the host failed
  2 wrong arguments or input files             3 the guest reset itself
  4 triple fault of the guest                  5 KVM internal error
  6 the VMM was stopped (--seccomp): a bug, or a guest that broke in
  7 a snapshot was not loaded
  8 who brought the memory of the guest does so no more
  9 the machine was handed over to another process, which has not said that it runs
  130, 143 stopped by SIGINT, SIGTERM after the guest's grace";

/// Boots a Linux kernel in a virtual machine.
#[derive(Debug, Parser)]
#[allow(rustdoc::broken_intra_doc_links)] // brackets of the help text
#[command(name = "vmm", version = env!("VMM_VERSION"), after_help = EXAMPLES)]
pub struct Args {
    /// Kernel to boot: a bzImage, or an ELF vmlinux. If not given, what is on the disk that is the root, or
    /// on the first, is booted as its own boot loader would
    #[arg(long, value_name = "FILE", required_unless_present_any = ["api_sock", "config_file", "disk"])]
    kernel: Option<PathBuf>,

    /// Memory of the guest, such as 512M or 2G
    #[arg(long, value_name = "SIZE", required_unless_present_any = ["api_sock", "config_file"])]
    mem: Option<Size>,

    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,

    /// Command line of the kernel. If not given: `console=ttyS0 reboot=k panic=-1`, or that of the disk that is
    /// booted, behind which goes what is given
    #[arg(long, value_name = "STRING")]
    cmdline: Option<String>,

    /// Folder where a bzImage is kept unpacked for the next start, or `off`: the guest unpacks it each
    /// time. If not given: vmm/kernels in $XDG_CACHE_HOME, else in ~/.cache
    #[arg(long, value_name = "DIR")]
    kernel_cache: Option<OsString>,

    /// Back the memory with 2 MiB pages of the host's pool
    #[arg(long)]
    huge_pages: bool,

    /// Track the pages that the guest writes to, so that snapshots of what has changed have no others
    #[arg(long)]
    track_dirty_pages: bool,

    /// What SMBIOS says that the machine is:
    /// [vendor=TEXT][,product=TEXT][,version=TEXT][,serial=TEXT][,uuid=UUID][,asset-tag=TEXT];
    /// a comma of TEXT is written twice
    #[arg(long, value_name = "SPEC")]
    smbios: Option<IdentitySpec>,

    /// Number of vCPUs, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    cpus: u8,

    /// Disk, once for each: [path=]FILE, a raw image or a block device, or with [,base=FILE]... an overlay on
    /// another image, which is made if it is not there; then [,ro] and [,root],
    /// [,partuuid=UUID] of the partition that is the root, [,id=ID][,serial=TEXT][,queues=N],
    /// [,model=virtio|nvme|nvme-instance], [,cache=writeback|writethrough|unsafe][,direct=on|off],
    /// [,engine=auto|uring|threads], limits, such as [,bw=125M] in byte/s and [,iops=3k],
    /// and faults [,fault=swallow|error|slow|vanish|fatal]...; a comma of FILE is written twice
    #[arg(long, value_name = "SPEC")]
    disk: Vec<DiskSpec>,

    /// Tell cloud-init what to do, by a disk in memory:
    /// user-data=FILE[,meta-data=FILE][,network-config=FILE]; a comma of FILE is written twice
    #[arg(long, value_name = "SPEC")]
    cloud_init: Option<SeedSpec>,

    /// Network card, once for each:
    /// tap=NAME, dev=NAME or fd=N[:N...], then [,model=virtio|ena][,mac=MAC][,queues=N][,mtu=N][,id=ID],
    /// [,backend=vmm|vhost]: who moves the frames, and limits, such as [,bw-in=2.5G][,bw-out=500M] in bit/s, [,pps=100k], [,conntrack=65536].
    /// With model=ena also [,llq=off] for no low-latency queues, and rehearsals [,fault=KIND[@SECONDS]]...
    /// after the driver brought the card up: stop-keep-alive, no-answer, swallow-tx[:FRAMES], wrong-tx-id, request-reset, fatal.
    /// A TAP that does not exist is made, if the caller may; dev is an Ethernet interface that exists
    #[arg(long, value_name = "SPEC")]
    net: Vec<NicSpec>,

    /// Sockets between the guest and the host: cid=N,path=FILE. Who connects to the Unix socket FILE, and says
    /// `CONNECT PORT`, reaches the guest; the guest's connections to port N of the host go to FILE_N
    #[arg(long, value_name = "SPEC")]
    vsock: Option<VsockSpec>,

    /// Let the guest be told what it is by metadata in EC2's shape, at 169.254.169.254 and fd00:ec2::254, by every
    /// card: [user-data=FILE][,instance-id=ID][,hostname=NAME][,instance-type=TYPE][,image-id=ID]
    /// [,region=NAME][,zone=NAME][,tokens=required|optional]; a comma of FILE is written twice
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    imds: Option<ImdsSpec>,

    /// Be like an instance of a cloud: ec2 is --imds, and an SMBIOS that says so where --smbios says nothing
    #[arg(long, value_name = "NAME", value_parser = ["ec2"])]
    profile: Option<String>,

    /// JSON file that the guest is told by metadata, as by PUT /mmds
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Most bytes of metadata, as compact JSON
    #[arg(long, value_name = "BYTES", default_value_t = USUAL_LIMIT)]
    mmds_size_limit: usize,

    /// Persistent memory, once for each: [path=]FILE, then [,ro] and [,root], [,id=ID], and limits of flushes,
    /// such as [,bw=125M] in byte/s and [,iops=10]; a comma of FILE is written twice
    #[arg(long, value_name = "SPEC")]
    pmem: Vec<PmemArgument>,

    /// Balloon: how much memory the guest is to give up, such as 256M, or 0 at first, then [,oom] to let it take
    /// some back before it runs out, [,reporting] to have its free pages all the time, [,hinting] to have
    /// them on demand, [,stats=SECONDS] to have it report about its memory
    #[arg(long, value_name = "SPEC")]
    balloon: Option<BalloonSpec>,

    /// Source of entropy: off, or its limits, such as [bw=1M] in byte/s and [,iops=100]. If not given: there is
    /// one without limits
    #[arg(long, value_name = "SPEC", value_parser = entropy_wish)]
    entropy: Option<EntropyWish>,

    /// Memory that the guest gets, and gives up, while it runs: all that there can be, such as 4G, then [,plugged=SIZE]
    /// of it at first, [,block=SIZE] that it comes and goes in, of 2M if not given, and [,slot=SIZE] that the guest
    /// cannot reach if it has nothing of it, of 128M if not given
    #[arg(long, value_name = "SPEC")]
    memory_hotplug: Option<HotMemorySpec>,

    /// What devices are attached to: pci, or mmio for kernels without PCI (virtio devices only).
    /// If not given: pci, unless the kernel's command line has pci=off
    #[arg(long, value_name = "BUS", value_parser = PossibleValuesParser::new(BUSES).map(bus))]
    bus: Option<DeviceBus>,

    /// Serial console: stdio, none, file=PATH (overwritten) or socket=PATH
    #[arg(long, value_name = "WHERE", default_value = "stdio")]
    serial: ConsoleSpec,

    /// Seconds a guest may take to power off after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    grace: u64,

    /// What to log
    #[arg(long, alias = "level", value_name = "LEVEL", default_value = "warn", ignore_case = true,
        value_parser = PossibleValuesParser::new(LEVELS).map(level))]
    log_level: LevelFilter,

    /// Append the log to this file instead of writing it to stderr
    #[arg(long, alias = "log-path", value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Serve the API on this Unix socket; without a kernel, a disk or a configuration file, wait there for them
    #[arg(long, value_name = "PATH")]
    api_sock: Option<PathBuf>,

    /// Serve no API, whatever else is said
    #[arg(long)]
    no_api: bool,

    /// Take the machine from this JSON file, in Firecracker's layout, and start it
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["kernel", "mem", "initrd", "cmdline", "cpus", "disk", "net", "vsock", "pmem", "balloon", "entropy", "memory_hotplug", "huge_pages", "track_dirty_pages", "kernel_cache", "smbios", "profile", "cloud_init"])]
    config_file: Option<PathBuf>,

    /// Name of the machine: letters, digits and '-'
    #[arg(long, value_name = "NAME", default_value = "anonymous-instance", value_parser = instance_id)]
    id: String,

    /// Append a JSON line of metrics to this file each minute, on demand, and at the end
    #[arg(long, value_name = "FILE")]
    metrics_path: Option<PathBuf>,

    /// Folder with all beneath it, or one file, that files named while the guest runs may be opened in, as often as
    /// there are some: images that take a disk's place, captures, snapshots. If not given: folders of the disks' images
    /// and of the process's sockets
    #[arg(long, value_name = "PATH")]
    allow_path: Vec<PathBuf>,

    /// Where the machine may be migrated to by TCP, as often as there are such places: an address by number, or *, and a
    /// port; if not given, only to Unix sockets in the folders of --allow-path
    #[arg(long, value_name = "ADDRESS:PORT")]
    allow_tcp: Vec<Reach>,

    #[command(flatten)]
    tls: TlsFiles,

    /// What becomes of a system call that the VMM never makes: kill ends it (exit code 6) before the call is made,
    /// log lets it pass into the kernel's log, off does without filters
    #[arg(long, value_name = "MODE", default_value = "kill",
        value_parser = PossibleValuesParser::new(Mode::NAMES).map(seccomp))]
    seccomp: Mode,

    /// Let the machine have no children, which PUT /fork starts: there is no process that could
    #[arg(long)]
    no_fork: bool,

    /// Log how long the guest took until it wrote 123 to the boot timer's port, 0x3f0
    #[arg(long)]
    boot_timer: bool,

    #[command(flatten)]
    starter: Starter,
}

/// The mode of a name that clap has found among the modes'.
pub fn seccomp(name: String) -> Mode {
    Mode::of_name(&name).unwrap_or_default()
}

const BUSES: [&str; 2] = ["pci", "mmio"];

fn bus(name: String) -> DeviceBus {
    if name == "mmio" { DeviceBus::Mmio } else { DeviceBus::Pci }
}

fn entropy_wish(text: &str) -> Result<EntropyWish, entropy::ParseSpecError> {
    match text {
        "off" => Ok(EntropyWish::Off),
        limits => limits.parse().map(EntropyWish::Given),
    }
}

/// Ours, and Firecracker's.
pub(crate) const LEVELS: [&str; 7] = ["off", "error", "warn", "warning", "info", "debug", "trace"];

/// The level of this name, which is among [`LEVELS`].
pub(crate) fn level(name: String) -> LevelFilter {
    dialect::watch::level(&name).unwrap_or(LevelFilter::WARN)
}

/// Longest name of a machine.
const MAX_INSTANCE_ID: usize = 64;

/// A machine's name. Fails if it cannot be one.
pub(crate) fn instance_id(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_INSTANCE_ID).contains(&text.len());
    match fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        true => Ok(text.to_string()),
        false => Err(format!("take 1 to {MAX_INSTANCE_ID} letters, digits and '-'")),
    }
}

/// Names those without a name by their place, and refuses two of one name.
fn name<'a>(ids: impl Iterator<Item = &'a mut String>, word: &str) -> Result<(), String> {
    let mut names = HashSet::new();
    for (nth, id) in ids.enumerate() {
        if id.is_empty() {
            *id = format!("{word}{nth}");
        }
        if !names.insert(id.clone()) {
            return Err(id.clone());
        }
    }
    Ok(())
}

impl Args {
    /// Parses `args`, of which the first is the program's name. Fails with what is to be printed: what
    /// is wrong with them, or the help that was asked for.
    pub fn parse_from_args(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Args, clap::Error> {
        let mut args = Args::try_parse_from(args)?;
        // Before they go into lists by their ids.
        let named = name(args.disk.iter_mut().map(|disk| &mut disk.id), "disk")
            .map_err(SettingError::DiskIdTwice)
            .and_then(|()| {
                let cards = args.net.iter_mut().map(|card| &mut card.id);
                name(cards, "eth").map_err(SettingError::IdTwice)
            });
        let named = named.and_then(|()| {
            let pmems = args.pmem.iter_mut().map(|pmem| &mut pmem.0.id);
            name(pmems, "pmem").map_err(SettingError::PmemIdTwice)
        });
        named.map_err(|error| {
            let line = words::one_line(Some(error.setting().option()), &error);
            clap::Error::raw(ErrorKind::ValueValidation, format!("{line}\n"))
        })?;
        Ok(args)
    }

    /// What the machine says of itself by metadata, if it does.
    fn imds(&self) -> Option<ImdsSpec> {
        self.imds.clone().or_else(|| self.profile.as_ref().map(|_| ImdsSpec::default()))
    }

    /// What the machine's SMBIOS says.
    fn identity(&self) -> Identity {
        let said = self.smbios.clone().unwrap_or_default().0;
        match self.imds().filter(|_| self.profile.is_some()) {
            Some(imds) => imds.identity(&self.id, said),
            None => said,
        }
    }

    /// What there is before anything is asked of the machine.
    fn config(&self) -> Config {
        Config {
            machine: MachineSpec { bus: self.bus, ..MachineSpec::default() },
            bus: self.bus,
            serial: self.serial.clone(),
            imds: self.imds(),
            metadata_limit: self.mmds_size_limit,
            boot_timer: self.boot_timer,
            grace: Duration::from_secs(self.grace),
            ..Config::default()
        }
    }

    /// All that is asked for.
    pub(crate) fn into_orders(mut self) -> Orders {
        let log = LogSpec {
            path: self.log_file.take(),
            level: Some(self.log_level),
            ..LogSpec::default()
        };
        Orders {
            id: self.id.clone(),
            log,
            config: self.config(),
            start_times: self.starter.times(),
            api_socket: self.api_sock.take().filter(|_| !self.no_api),
            max_body: None,
            ready: std::mem::take(&mut self.starter.ready_fd),
            thread_groups: self.starter.thread_groups,
            seccomp: self.seccomp,
            forks: !self.no_fork,
            late_places: std::mem::take(&mut self.allow_path),
            reach: std::mem::take(&mut self.allow_tcp),
            credentials: None,
            receive: None,
            metadata: self.metadata.take(),
            config_file: self.config_file.clone(),
            actions: self.into_actions(),
        }
    }

    /// What to do first.
    fn into_actions(self) -> Vec<Action> {
        let identity = self.identity();
        let mut actions = Vec::new();
        actions.extend(self.metrics_path.map(Action::SetMetrics));
        if self.config_file.is_some() {
            return actions;
        }
        actions.push(Action::SetMachine(MachineSpec {
            cpus: self.cpus,
            memory: self.mem.unwrap_or(MachineSpec::default().memory),
            pages: if self.huge_pages { Pages::Huge } else { Pages::Small },
            bus: self.bus,
            track_dirty_pages: self.track_dirty_pages,
            identity,
            ..MachineSpec::default()
        }));
        let root = self.disk.iter().find(|disk| disk.root.is_some()).or(self.disk.first());
        let on_disk = root.map(BootFrom::disk);
        actions.extend(self.disk.into_iter().map(|disk| Action::SetDisk(Box::new(disk))));
        actions.extend(self.cloud_init.map(Action::SetSeed));
        let pmems = self.pmem.into_iter().map(|pmem| Action::SetPmem(Box::new(pmem.0)));
        actions.extend(pmems);
        // Before the balloon, which may have some of it.
        actions.extend(self.memory_hotplug.map(Action::SetHotMemory));
        actions.extend(self.balloon.map(Action::SetBalloon));
        actions.extend(self.entropy.map(Action::SetEntropy));
        actions.extend(self.net.into_iter().map(|nic| Action::SetNic(Box::new(nic))));
        actions.extend(self.vsock.map(Action::SetVsock));
        if let Some(kernel) = self.kernel.map(BootFrom::Kernel).or(on_disk) {
            let kernel_cache = self.kernel_cache.as_deref().map(KernelCache::from);
            let boot = BootSpec {
                cmdline: self.cmdline,
                kernel,
                initrd: self.initrd,
                kernel_cache: kernel_cache.unwrap_or_default(),
            };
            actions.extend([Action::SetBoot(boot), Action::Start]);
        }
        actions
    }
}

/// Reads a command line, of which the first word is the program's name. Fails with the code to exit with,
/// once the user has been told why.
pub(crate) fn orders(words: Vec<OsString>) -> Result<Orders, ExitCode> {
    match Args::parse_from_args(words) {
        Ok(args) => {
            let credentials = credentials(&args.tls, <Args as clap::CommandFactory>::command)?;
            Ok(Orders { credentials, ..args.into_orders() })
        }
        Err(error) => Err(report(&error)),
    }
}

/// Who the process is to others, by files that a command line names. Fails with the code to exit with, once the user has
/// been told why.
pub(crate) fn credentials(
    files: &TlsFiles,
    command: fn() -> clap::Command,
) -> Result<Option<Credentials>, ExitCode> {
    files.load().map_err(|error| {
        let why = words::one_line(None, &error);
        report(&command().error(ErrorKind::ValueValidation, why))
    })
}

/// Prints help or version, or the error as one line; returns the exit code.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return printed("vmm", error.print());
    }
    stderr::say(&format!("vmm: error: {}; see vmm --help", first_line(error)));
    ExitCode::from(crate::BAD_USAGE)
}

/// The exit code of `program`, which has printed what its user asked for.
pub(crate) fn printed(program: &str, outcome: io::Result<()>) -> ExitCode {
    match outcome {
        // A closed stdout is the reader's choice.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            stderr::say(&format!("{program}: error: cannot write to standard output: {error}"));
            ExitCode::from(crate::FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What is wrong with a command line, on one line.
pub(crate) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    // The first paragraph is the error; usage and hints follow.
    let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
#[path = "cli_test.rs"]
mod tests;
