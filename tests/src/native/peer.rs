//! Hypervisors that are compared, and how each is started with the native guest on a TAP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use crate::process::Owned;

/// Memory of each guest.
pub const MEMORY_MIB: u32 = 256;
/// Address of each guest's card; frames to receive go there.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Whose command line it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Vmm,
    VmmEna,
    Firecracker,
    CloudHypervisor,
    Qemu,
}

/// A hypervisor to be measured.
#[derive(Debug, Clone)]
pub struct Peer {
    pub name: String,
    pub path: PathBuf,
    pub kind: Kind,
}

/// What a machine gets.
#[derive(Debug, Clone, Copy)]
pub struct Board<'a> {
    /// The TAP of its network card.
    pub tap: &'a str,
    /// Queue pairs of the card.
    pub queues: u16,
}

impl FromStr for Peer {
    type Err = Error;

    /// `NAME=PATH`; the name's begin says what it is.
    fn from_str(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').context("a peer is given as NAME=PATH")?;
        let kind = match name {
            _ if name.starts_with("vmm-ena") => Kind::VmmEna,
            _ if name.starts_with("vmm") => Kind::Vmm,
            _ if name.starts_with("firecracker") => Kind::Firecracker,
            _ if name.starts_with("cloud-hypervisor") => Kind::CloudHypervisor,
            _ if name.starts_with("qemu") => Kind::Qemu,
            _ => bail!(
                "a peer's name begins with vmm, vmm-ena, firecracker, cloud-hypervisor or qemu, not {name}"
            ),
        };
        Ok(Self { name: name.to_owned(), path: path.into(), kind })
    }
}

impl Peer {
    /// Whether it is some vmm, and not somebody else's.
    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Vmm | Kind::VmmEna)
    }

    /// Why it cannot have so many queue pairs, if it cannot.
    pub fn lacks_queues(&self, queues: u16) -> Option<&'static str> {
        (self.kind == Kind::Firecracker && queues > 1).then_some("its card has a single queue pair")
    }

    /// Starts it with the guest `kernel` and a command line for it. What it says goes to a file in `folder`, from
    /// which [`Self::said`] has it.
    pub fn start(&self, kernel: &Path, line: &str, board: Board, folder: &Path) -> Result<Owned> {
        let mut command = self.command(kernel, line, board, folder)?;
        let log = fs::File::create(self.log(folder)).context("cannot make a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Owned::spawn(&mut command)
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
        let Board { tap, queues } = board;
        let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
        let mut command = Command::new(&self.path);
        match self.kind {
            Kind::Vmm | Kind::VmmEna => {
                let model = if self.kind == Kind::VmmEna { ",model=ena" } else { "" };
                command
                    .arg("--kernel")
                    .arg(kernel)
                    .args(["--mem", &format!("{MEMORY_MIB}M"), "--cmdline", line])
                    .args(["--serial", "none"])
                    .args(["--net", &format!("tap={tap},mac={mac},queues={queues}{model}")]);
            }
            Kind::Firecracker => {
                let file = folder.join("firecracker.json");
                let config = serde_json::json!({
                    "boot-source": { "kernel_image_path": kernel, "boot_args": line },
                    "drives": [],
                    "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY_MIB },
                    "network-interfaces": [
                        { "iface_id": "eth0", "guest_mac": mac, "host_dev_name": tap }
                    ],
                });
                fs::write(&file, config.to_string()).context("cannot write a configuration")?;
                command.args(["--no-api", "--enable-pci", "--config-file"]).arg(file);
            }
            Kind::CloudHypervisor => {
                command
                    .arg("--kernel")
                    .arg(kernel)
                    .args(["--cmdline", line, "--memory", &format!("size={MEMORY_MIB}M")])
                    // It has no more queue pairs than CPUs; the guest leaves all but the first alone.
                    .args(["--cpus", &format!("boot={queues}")])
                    .args(["--serial", "off", "--console", "off"])
                    .args(["--net", &format!("tap={tap},mac={mac},num_queues={}", 2 * queues)]);
            }
            Kind::Qemu => {
                command
                    .args([
                        "-machine",
                        "q35",
                        "-accel",
                        "kvm",
                        "-cpu",
                        "host,-arch-capabilities",
                        "-nodefaults",
                    ])
                    .args(["-name", "native,debug-threads=on", "-m", &MEMORY_MIB.to_string()])
                    .args(["-display", "none", "-no-reboot", "-append", line, "-kernel"])
                    .arg(kernel)
                    .args(["-netdev", &qemu_netdev(tap, queues)])
                    .args(["-device", &qemu_nic(&mac, queues)]);
            }
        }
        Ok(command)
    }
}

fn qemu_netdev(tap: &str, queues: u16) -> String {
    let mq = if queues > 1 { format!(",queues={queues}") } else { String::new() };
    format!("tap,id=n,ifname={tap},script=no,downscript=no{mq}")
}

fn qemu_nic(mac: &str, queues: u16) -> String {
    // A vector for each queue, and for changes of configuration and the control queue.
    let mq = if queues > 1 { format!(",mq=on,vectors={}", 2 * queues + 2) } else { String::new() };
    format!("virtio-net-pci,netdev=n,mac={mac},disable-legacy=on{mq}")
}
