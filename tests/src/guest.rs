//! The guest of tests and of the demo: its initial file system, and its shell on the serial line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::console::{Console, find, plain};
use crate::host::PATIENCE;
use crate::initramfs::Archive;
use crate::kernel::{Kernel, Release};
use crate::modules::Module;
use crate::{dpdk, libraries};

const INIT: &str = include_str!("../../resources/guest/init");

/// The guest's init prints this first.
pub const INIT_RUNS: &str = "guest: init runs";

/// The guest's init prints this when the network is up and the shell starts.
pub const USER_SPACE_REACHED: &str = "guest: user space reached";

/// What a guest carries besides busybox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Ethtool,
    Iperf3,
    Iproute2,
    Tcpdump,
    /// DPDK's `dpdk-testpmd` with its driver of ENA cards and the kernel's half of that.
    Testpmd,
    /// The kernel's drivers of disks and of a file system on them, loaded at the start.
    Disks,
    /// The kernel's drivers of entropy, balloon, persistent memory and memory that is plugged, and of a file system,
    /// loaded at the start.
    Memory,
    /// The kernel's XFS, likewise.
    Xfs,
    Fio,
    Nvme,
    /// Our own `records` program.
    Records,
    /// The kernel's driver of a vsock, loaded at the start, and our own `vsock` program.
    Vsock,
    /// Our own `push-buffer` program.
    PushBuffer,
    /// Our own `traffic` program.
    Traffic,
    /// Our own `load` program.
    Load,
}

/// What fio could load besides a kernel's disks, and brings a hundred libraries along for.
const NOT_OF_FIO: &[&str] = &[
    "libgfapi.so.0",
    "libibverbs.so.1",
    "libnbd.so.0",
    "libpmem.so.1",
    "libpmemblk.so.1",
    "librados.so.2",
    "librbd.so.1",
    "librdmacm.so.1",
];

/// nvme's way to what is managed from beside the machine, by D-Bus.
const NOT_OF_NVME: &[&str] = &["libnvme-mi.so.1"];

impl Tool {
    /// Debian's package and the program in it, if that is all; none for our own.
    fn debian_package(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ethtool => Some(("ethtool", "ethtool")),
            Self::Iperf3 => Some(("iperf3", "iperf3")),
            // Stands before busybox's `ip`, which makes no link over an existing file.
            Self::Iproute2 => Some(("iproute2", "ip")),
            Self::Tcpdump => Some(("tcpdump", "tcpdump")),
            Self::Fio => Some(("fio", "fio")),
            Self::Nvme => Some(("nvme-cli", "nvme")),
            Self::Testpmd | Self::Disks | Self::Memory | Self::Xfs | Self::Vsock => None,
            Self::Records | Self::PushBuffer | Self::Traffic | Self::Load => None,
        }
    }

    /// Debian's program, if that is all, fetched if the cache lacks it.
    pub fn debian(self) -> Option<Result<libraries::Program>> {
        let (package, program) = self.debian_package()?;
        Some(match self {
            Self::Fio => libraries::Program::open_without(package, program, NOT_OF_FIO),
            Self::Nvme => libraries::Program::open_without(package, program, NOT_OF_NVME),
            _ => libraries::Program::open(package, program),
        })
    }

    /// Name in the guest.
    fn name(self) -> &'static str {
        match self {
            Self::Testpmd => "dpdk-testpmd",
            Self::Disks => "disks",
            Self::Memory => "memory",
            Self::Xfs => "xfs",
            Self::Records => "records",
            Self::Vsock => "vsock",
            Self::PushBuffer => "push-buffer",
            Self::Traffic => "traffic",
            Self::Load => "load",
            debian => debian.debian_package().map_or("", |(_, program)| program),
        }
    }
}

/// The initial file system for a kernel, made once per process.
pub fn initramfs(release: Release, tools: &[Tool]) -> Result<Arc<[u8]>> {
    type Made = BTreeMap<(Release, Vec<Tool>), Arc<[u8]>>;
    static MADE: Mutex<Made> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (release, tools.to_vec());
    if let Some(bytes) = made.get(&key) {
        return Ok(bytes.clone());
    }
    let kernel = Kernel::open(release)?;
    let mut modules = kernel.modules()?;
    if tools.contains(&Tool::Disks) {
        modules.extend(kernel.modules_of_disks()?);
    }
    type List = fn(&Kernel) -> Result<Vec<Module>>;
    let lists: [(Tool, List); 3] = [
        (Tool::Memory, Kernel::modules_of_memory),
        (Tool::Xfs, Kernel::modules_of_xfs),
        (Tool::Vsock, Kernel::modules_of_vsock),
    ];
    for (tool, list) in lists {
        if tools.contains(&tool) {
            let loaded: BTreeSet<_> = modules.iter().map(|module| module.name.clone()).collect();
            modules
                .extend(list(&kernel)?.into_iter().filter(|module| !loaded.contains(&module.name)));
        }
    }
    let mut archive = Archive::new(INIT, &modules)?;
    for tool in tools {
        match (tool, tool.debian()) {
            (_, Some(program)) => program?.add_to(&mut archive)?,
            (Tool::Disks | Tool::Memory | Tool::Xfs, None) => {}
            (Tool::Testpmd, None) => dpdk::add_to(&mut archive, release)?,
            (_, None) => {
                libraries::add_from_host(&mut archive, &our_tool(tool.name())?, tool.name())?
            }
        }
    }
    let bytes: Arc<[u8]> = archive.finish()?.into();
    made.insert(key, bytes.clone());
    Ok(bytes)
}

/// A program of this crate, beside the one that runs.
pub fn our_tool(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("cannot find this program's folder")?;
    // Test programs live one folder deeper.
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|folder: &Path| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("no program {name} beside {}; build it with cargo build -p tests", me.display())
        })
}

/// Ends a command's output: a control character that no tool prints, around the status.
const MARK: u8 = 0x1e;

/// One line in, its output and a mark with its status out. Kernel messages would fall in between.
const SERVE: &str = r#"dmesg -n 1; stty -echo; m='\036%d\036\n'; printf $m 0; while IFS= read -r l; do eval "$l"; printf $m $?; done"#;

/// What a command in the guest did.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub output: String,
}

/// The root shell of a guest.
pub struct Shell {
    console: Console,
    input: Box<dyn Write + Send>,
    heard: usize,
}

impl Shell {
    /// Takes over the shell once the guest has reached user space.
    pub fn start(
        console: Console,
        mut input: Box<dyn Write + Send>,
        limit: Duration,
    ) -> Result<Self> {
        let heard = console.wait_for(0, USER_SPACE_REACHED, limit)?;
        writeln!(input, "{SERVE}").context("cannot write to the guest's console")?;
        let mut shell = Self { console, input, heard };
        shell.answer("the shell", limit)?;
        Ok(shell)
    }

    /// Logs in where a getty asks for it, and takes over the shell that comes.
    pub fn log_in(
        console: Console,
        mut input: Box<dyn Write + Send>,
        (user, password): (&str, &str),
        limit: Duration,
    ) -> Result<Self> {
        let mut heard = 0;
        for (asked, answer) in [("login: ", user), ("Password: ", password), ("# ", SERVE)] {
            heard = console.wait_for(heard, asked, limit)?;
            writeln!(input, "{answer}").context("cannot write to the guest's console")?;
        }
        let mut shell = Self { console, input, heard };
        shell.answer("the shell", limit)?;
        Ok(shell)
    }

    /// Takes over a shell that served another line before; what that line heard may be heard again.
    pub fn resume(console: Console, input: Box<dyn Write + Send>, limit: Duration) -> Result<Self> {
        let mut shell = Self { console, input, heard: 0 };
        shell.send("echo resumed")?;
        while shell.answer("echo resumed", limit)?.output != "resumed" {}
        Ok(shell)
    }

    /// Runs one line of shell; fails only if no answer comes in time.
    pub fn run(&mut self, line: &str, limit: Duration) -> Result<Ran> {
        self.send(line)?;
        self.answer(line, limit)
    }

    /// The answer to a line that was sent.
    pub fn answer(&mut self, line: &str, limit: Duration) -> Result<Ran> {
        let from = self.heard;
        let (ran, length) =
            self.console.wait(from, limit, &format!("the end of `{line}`"), |bytes| {
                let start = find(bytes, &[MARK])?;
                let length = find(&bytes[start + 1..], &[MARK])?;
                let status = std::str::from_utf8(&bytes[start + 1..start + 1 + length])
                    .ok()?
                    .parse()
                    .ok()?;
                let ran = Ran { status, output: plain(&bytes[..start]).trim().to_owned() };
                Some((ran, start + length + 2))
            })?;
        self.heard = from + length;
        Ok(ran)
    }

    /// Sends a line without waiting for its end, as one does with `poweroff`.
    pub fn send(&mut self, line: &str) -> Result<()> {
        assert!(
            line.len() < 4000 && !line.contains('\n'),
            "the terminal takes lines of up to 4095 bytes"
        );
        writeln!(self.input, "{line}")
            .and_then(|()| self.input.flush())
            .context("cannot write to the guest's console")
    }

    /// Output of a line that must succeed.
    pub fn sh(&mut self, line: &str) -> Result<String> {
        self.sh_within(line, PATIENCE)
    }

    /// Output of a line that must succeed, and may take its time.
    pub fn sh_within(&mut self, line: &str, limit: Duration) -> Result<String> {
        let ran = self.run(line, limit)?;
        if ran.status != 0 {
            bail!("`{line}` in the guest ended with status {}:\n{}", ran.status, ran.output);
        }
        Ok(ran.output)
    }
}
