//! Hypervisors that are compared, and how each is started with the native guest and a card or a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};
use serde_json::{Value, json};

use crate::native::job::{Medium, Task};
use crate::native::line::Line;
use crate::process::{Owned, mortal};

/// Memory of each guest.
pub const MEMORY_MIB: u32 = 256;
/// Address of each guest's card; frames to receive go there.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Address of each guest's vsock.
const CID: u32 = 3;

/// Whose command line it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Vmm,
    VmmEna,
    VmmNvme,
    Firecracker,
    /// Its disk by io_uring.
    FirecrackerAsync,
    CloudHypervisor,
    Qemu,
    /// Its disk by io_uring.
    QemuUring,
    QemuNvme,
}

/// A hypervisor to be measured.
#[derive(Debug, Clone)]
pub struct Peer {
    pub name: String,
    pub path: PathBuf,
    pub kind: Kind,
    /// What its card stands on.
    pub line: Line,
}

/// What a machine gets.
#[derive(Debug, Clone, Copy)]
pub enum Board<'a> {
    /// A network card on this interface, of the kind that the hypervisor's line has, and its queue pairs.
    Card { interface: &'a str, queues: u16 },
    /// A disk on this image, and its queues; more options of `--disk`, for vmm alone.
    Disk { path: &'a Path, queues: u16, options: &'a str },
    /// A network card on this interface, of vmm's, which brings metadata; there is an API.
    Served { interface: &'a str },
    /// A vsock with its socket there.
    Vsock { path: &'a Path },
}

/// In the name of a vmm: it is measured without filters of system calls.
const UNFILTERED: &str = "seccomp-off";

/// The beginnings of names, the longer before the shorter.
const NAMES: [(&str, Kind); 9] = [
    ("vmm-ena", Kind::VmmEna),
    ("vmm-nvme", Kind::VmmNvme),
    ("vmm", Kind::Vmm),
    ("firecracker-async", Kind::FirecrackerAsync),
    ("firecracker", Kind::Firecracker),
    ("cloud-hypervisor", Kind::CloudHypervisor),
    ("qemu-uring", Kind::QemuUring),
    ("qemu-nvme", Kind::QemuNvme),
    ("qemu", Kind::Qemu),
];

impl FromStr for Peer {
    type Err = Error;

    /// `NAME=PATH`; the name's begin says what it is, and `veth` or `bridge` in it what its card stands on, if not
    /// a TAP; a vmm with `seccomp-off` in it has no filters.
    fn from_str(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').context("a peer is given as NAME=PATH")?;
        let known = NAMES.iter().find(|(begin, _)| name.starts_with(begin));
        let Some((_, kind)) = known else {
            let names = NAMES.map(|(begin, _)| begin).join(", ");
            bail!("a peer's name begins with one of {names}, not {name}");
        };
        let line = Line::of_name(name);
        let peer = Self { name: name.to_owned(), path: path.into(), kind: *kind, line };
        ensure!(
            peer.is_ours() || line != Line::Veth,
            "only a vmm can have its card on a veth pair, not {name}"
        );
        ensure!(
            peer.takes_part(Task::Start) || line == Line::Tap,
            "{name} is measured with a disk, which stands on no line"
        );
        Ok(peer)
    }
}

impl Peer {
    /// Whether it is some vmm, and not somebody else's.
    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Vmm | Kind::VmmEna | Kind::VmmNvme)
    }

    /// Whether it is there to be measured with this task. Lines are of cards alone.
    pub fn takes_part(&self, task: Task) -> bool {
        let with_disk = task.is_of_disk();
        match (task, self.kind) {
            _ if self.line != Line::Tap && !task.is_of_card() => false,
            (Task::Metadata(..), _) if self.line != Line::Tap => false,
            // The host's side of theirs is a socket.
            (Task::Vsock(..), kind) => {
                matches!(kind, Kind::Vmm | Kind::Firecracker | Kind::CloudHypervisor)
            }
            (Task::Metadata(..), kind) => matches!(kind, Kind::Vmm | Kind::VmmEna),
            // Their own are of formats that say what is below.
            (Task::Disk(_, Medium::Overlay), kind) => matches!(kind, Kind::Vmm | Kind::VmmNvme),
            // The guest's memory is written by way of a balloon.
            (Task::Save(_), kind) => kind == Kind::Vmm,
            (Task::Restore(restore), Kind::Firecracker | Kind::CloudHypervisor) => {
                restore.at_once == 1
            }
            (Task::Restore(_), kind) => matches!(kind, Kind::Vmm | Kind::VmmEna),
            (_, Kind::VmmEna) => !with_disk,
            (_, Kind::VmmNvme | Kind::FirecrackerAsync | Kind::QemuUring | Kind::QemuNvme) => {
                with_disk
            }
            (_, Kind::Vmm | Kind::Firecracker | Kind::CloudHypervisor | Kind::Qemu) => true,
        }
    }

    /// Why it cannot have so many queues, if it cannot.
    pub fn lacks_queues(&self, queues: u16) -> Option<&'static str> {
        let single = matches!(self.kind, Kind::Firecracker | Kind::FirecrackerAsync);
        (single && queues > 1).then_some("its devices have a single queue")
    }

    /// Starts it with the guest `kernel` and a command line for it. What it says goes to a file in `folder`, from
    /// which [`Self::said`] has it.
    pub fn start(&self, kernel: &Path, line: &str, board: Board, folder: &Path) -> Result<Owned> {
        let mut command = self.command(kernel, line, board, folder)?;
        let log = fs::File::create(self.log(folder)).context("cannot make a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Owned::spawn(&mut command)
    }

    /// Where its API is, if it has one: that of a vmm on one end of a pair.
    pub fn api(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.sock", self.name))
    }

    /// The end of what it said since it was started last.
    pub fn said(&self, folder: &Path) -> String {
        let text = fs::read(self.log(folder)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }

    /// How many lines that is.
    pub fn lines(&self, folder: &Path) -> usize {
        fs::read(self.log(folder)).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
    }

    fn log(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.log", self.name))
    }

    fn command(&self, kernel: &Path, line: &str, board: Board, folder: &Path) -> Result<Command> {
        let mut command = mortal(&self.path);
        match self.kind {
            Kind::Vmm | Kind::VmmEna | Kind::VmmNvme => {
                command
                    .arg("--kernel")
                    .arg(kernel)
                    .args(["--mem", &format!("{MEMORY_MIB}M"), "--cmdline", line])
                    .args(["--serial", "none"])
                    .args(self.ours(board));
                if self.name.contains(UNFILTERED) {
                    command.args(["--seccomp", "off"]);
                }
                if self.line == Line::Veth || matches!(board, Board::Served { .. }) {
                    let api = self.api(folder);
                    // Of the run before.
                    let _ = fs::remove_file(&api);
                    command.arg("--api-sock").arg(api);
                }
            }
            Kind::Firecracker | Kind::FirecrackerAsync => {
                let file = folder.join("firecracker.json");
                let config = self.firecracker(kernel, line, board);
                fs::write(&file, config.to_string()).context("cannot write a configuration")?;
                command.args(["--no-api", "--enable-pci", "--config-file"]).arg(file);
            }
            Kind::CloudHypervisor => {
                let queues = match board {
                    Board::Card { queues, .. } | Board::Disk { queues, .. } => queues,
                    Board::Served { .. } | Board::Vsock { .. } => 1,
                };
                command
                    .arg("--kernel")
                    .arg(kernel)
                    .args(["--cmdline", line, "--memory", &format!("size={MEMORY_MIB}M")])
                    // It has no more queues than CPUs; the guest leaves all but the first alone.
                    .args(["--cpus", &format!("boot={queues}")])
                    .args(["--serial", "off", "--console", "off"])
                    .args(cloud_hypervisor(board));
            }
            Kind::Qemu | Kind::QemuUring | Kind::QemuNvme => {
                command
                    .args(["-machine", "q35", "-accel", "kvm", "-nodefaults"])
                    .args(["-cpu", "host,-arch-capabilities"])
                    .args(["-name", "native,debug-threads=on", "-m", &MEMORY_MIB.to_string()])
                    .args(["-display", "none", "-no-reboot", "-append", line, "-kernel"])
                    .arg(kernel)
                    .args(self.qemu(board));
            }
        }
        Ok(command)
    }

    fn ours(&self, board: Board) -> Vec<String> {
        match board {
            Board::Card { interface, queues } => {
                let key = if self.line == Line::Veth { "dev" } else { "tap" };
                let model = if self.kind == Kind::VmmEna { ",model=ena" } else { "" };
                let mac = mac();
                vec![
                    "--net".to_owned(),
                    format!("{key}={interface},mac={mac},queues={queues}{model}"),
                ]
            }
            Board::Served { interface } => {
                let card = self.ours(Board::Card { interface, queues: 1 });
                card.into_iter().chain(["--imds=tokens=optional".to_owned()]).collect()
            }
            Board::Disk { path, queues, options } => {
                let model = if self.kind == Kind::VmmNvme { ",model=nvme" } else { "" };
                let comma = if options.is_empty() { "" } else { "," };
                let path = path.display();
                let disk = format!("path={path},queues={queues}{model}{comma}{options}");
                vec!["--disk".to_owned(), disk]
            }
            Board::Vsock { path } => {
                vec!["--vsock".to_owned(), format!("cid={CID},path={}", path.display())]
            }
        }
    }

    fn firecracker(&self, kernel: &Path, line: &str, board: Board) -> Value {
        let mut config = json!({
            "boot-source": { "kernel_image_path": kernel, "boot_args": line },
            "drives": [],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY_MIB },
        });
        match board {
            Board::Card { interface, .. } | Board::Served { interface } => {
                config["network-interfaces"] =
                    json!([{ "iface_id": "eth0", "guest_mac": mac(), "host_dev_name": interface }]);
            }
            Board::Disk { path, .. } => {
                let is_async = self.kind == Kind::FirecrackerAsync;
                config["drives"] = json!([{
                    "drive_id": "disk",
                    "path_on_host": path,
                    "is_root_device": false,
                    "is_read_only": false,
                    "cache_type": "Writeback",
                    "io_engine": if is_async { "Async" } else { "Sync" },
                }]);
            }
            Board::Vsock { path } => {
                config["vsock"] = json!({ "guest_cid": CID, "uds_path": path });
            }
        }
        config
    }

    fn qemu(&self, board: Board) -> Vec<String> {
        match board {
            Board::Card { interface, queues } => {
                // A vector for each queue, and for changes of configuration and the control queue.
                let (mq, vectors) = match queues {
                    1 => Default::default(),
                    _ => {
                        (format!(",queues={queues}"), format!(",mq=on,vectors={}", 2 * queues + 2))
                    }
                };
                let mac = mac();
                vec![
                    "-netdev".to_owned(),
                    format!("tap,id=n,ifname={interface},script=no,downscript=no{mq}"),
                    "-device".to_owned(),
                    format!("virtio-net-pci,netdev=n,mac={mac},disable-legacy=on{vectors}"),
                ]
            }
            Board::Disk { path, queues, .. } => {
                let aio = if self.kind == Kind::QemuUring { "io_uring" } else { "threads" };
                let path = path.display();
                let drive =
                    format!("file={path},id=d,if=none,format=raw,cache=writeback,aio={aio}");
                let device = match self.kind {
                    Kind::QemuNvme => format!("nvme,drive=d,serial=native,max_ioqpairs={queues}"),
                    _ => format!(
                        "virtio-blk-pci,drive=d,disable-legacy=on,iothread=io,num-queues={queues}"
                    ),
                };
                let thread = ["-object".to_owned(), "iothread,id=io".to_owned()];
                let disk = ["-drive".to_owned(), drive, "-device".to_owned(), device];
                thread.into_iter().chain(disk).collect()
            }
            // Its vsock is the kernel's, which has no socket at a path.
            Board::Served { .. } | Board::Vsock { .. } => Vec::new(),
        }
    }
}

fn cloud_hypervisor(board: Board) -> [String; 2] {
    match board {
        Board::Served { interface } => cloud_hypervisor(Board::Card { interface, queues: 1 }),
        Board::Card { interface, queues } => {
            let (mac, both) = (mac(), 2 * queues);
            ["--net".to_owned(), format!("tap={interface},mac={mac},num_queues={both}")]
        }
        Board::Disk { path, queues, .. } => {
            ["--disk".to_owned(), format!("path={},num_queues={queues}", path.display())]
        }
        Board::Vsock { path } => {
            ["--vsock".to_owned(), format!("cid={CID},socket={}", path.display())]
        }
    }
}

fn mac() -> String {
    MAC.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
#[path = "peer_test.rs"]
mod tests;
