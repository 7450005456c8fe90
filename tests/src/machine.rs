//! A virtual machine of ours, or of a peer to compare with, as a process that never outlives its owner.

pub mod kept;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::api::Api;
use crate::console::Console;
use crate::disk_image::{Contents, without_partitions};
use crate::guest::{Shell, Tool, initramfs};
use crate::host;
use crate::kernel::{Format, Kernel, Release};
use crate::net::{Network, Tap};
use crate::process::Owned;

/// Who runs the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hypervisor {
    Vmm(PathBuf),
    /// QEMU with KVM, the peer of comparisons: q35, virtio-net without vhost.
    Qemu(PathBuf),
}

impl Hypervisor {
    /// The vmm binary named by `$VMM_BIN`, else the one built beside this program.
    pub fn ours() -> Result<Self> {
        if let Some(path) = std::env::var_os("VMM_BIN") {
            return Ok(Self::Vmm(path.into()));
        }
        let me = std::env::current_exe()?;
        let target = me.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
        let target = target.with_context(|| format!("{} is in no target folder", me.display()))?;
        ["release/vmm", "debug/vmm"]
            .map(|name| target.join(name))
            .into_iter()
            .find(|path| path.is_file())
            .map(Self::Vmm)
            .context("there is no vmm binary; build it with cargo build --release -p vmm, or set VMM_BIN")
    }
}

/// Memory of guests that do not care.
pub const USUAL_MEMORY_MIB: u32 = 256;

/// Time a guest gets to user space when the host emulates its CPU and others run too.
pub const BOOT: Duration = Duration::from_secs(180);

/// Guests that this process has booted.
static BOOTED: AtomicU32 = AtomicU32::new(0);

/// What a card is to its guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    #[default]
    Virtio,
    Ena,
}

/// What a disk is to its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskModel {
    Virtio,
    Nvme,
}

impl DiskModel {
    /// What vmm calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
        }
    }
}

/// Where kernel, initial file system and command line come from.
#[derive(Debug, Clone)]
enum Source {
    /// Files of the host.
    Files,
    /// The same, put on a disk.
    OnDisk,
    /// A disk that somebody else made.
    Disk(PathBuf, DiskModel),
}

/// A card to give a machine.
#[derive(Debug, Clone)]
struct Card {
    tap: Tap,
    model: Model,
    /// More words of vmm's `--net`, each after a comma.
    options: String,
}

/// A machine to start.
#[derive(Debug, Clone)]
pub struct Machine {
    hypervisor: Hypervisor,
    release: Release,
    format: Format,
    cpus: u8,
    memory_mib: u32,
    parameters: Vec<String>,
    cards: Vec<Card>,
    tools: Vec<Tool>,
    arguments: Vec<OsString>,
    source: Source,
    /// Whether there is an API.
    has_api: bool,
    /// The guest's number, if it has a vsock.
    vsock: Option<u32>,
    disks: Vec<Disk>,
    /// Arguments that say nothing of what the machine is, and that `vmm restore` has too.
    manners: Vec<OsString>,
}

/// A disk to give a machine, on an image of zeroes in the machine's folder.
#[derive(Debug, Clone)]
struct Disk {
    id: &'static str,
    bytes: u64,
    /// More words of vmm's `--disk`.
    options: &'static str,
}

impl Machine {
    /// One CPU, 256 MiB, no card, a bzImage.
    pub fn new(hypervisor: Hypervisor, release: Release) -> Self {
        Self {
            hypervisor,
            release,
            format: Format::BzImage,
            cpus: 1,
            memory_mib: USUAL_MEMORY_MIB,
            parameters: Vec::new(),
            cards: Vec::new(),
            tools: Vec::new(),
            arguments: Vec::new(),
            source: Source::Files,
            has_api: false,
            vsock: None,
            disks: Vec::new(),
            manners: Vec::new(),
        }
    }

    /// The same of vmm, but of what is on a disk, which is written; words of the command line go behind its own.
    pub fn of_disk(vmm: PathBuf, disk: &Path, model: DiskModel) -> Self {
        let source = Source::Disk(disk.to_owned(), model);
        Self { source, ..Self::new(Hypervisor::Vmm(vmm), Release::Guest6_12) }
    }

    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    pub fn cpus(mut self, cpus: u8) -> Self {
        self.cpus = cpus;
        self
    }

    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Adds a virtio-net card on a TAP, with as many queue pairs as the TAP has queues.
    pub fn card(self, tap: &Tap) -> Self {
        self.card_of(Model::Virtio, tap)
    }

    /// Adds a card on a TAP, with as many queue pairs as the TAP has queues.
    pub fn card_of(mut self, model: Model, tap: &Tap) -> Self {
        self.parameters.push(tap.parameter(self.cards.len()));
        self.cards.push(Card { tap: tap.clone(), model, options: String::new() });
        self
    }

    /// Adds `key=value` to what vmm is told of the card added last.
    pub fn card_option(mut self, option: &str) -> Self {
        if let Some(card) = self.cards.last_mut() {
            card.options += &format!(",{option}");
        }
        self
    }

    /// Adds programs to the guest.
    pub fn tools(mut self, tools: &[Tool]) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Adds a word to the kernel command line.
    pub fn parameter(mut self, word: &str) -> Self {
        self.parameters.push(word.to_owned());
        self
    }

    /// Puts kernel, initial file system and command line on a disk, for vmm to find them there.
    pub fn on_disk(mut self) -> Self {
        self.source = Source::OnDisk;
        self
    }

    /// Adds an argument of the hypervisor.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Serves the API on `api` in the machine's folder.
    pub fn api(mut self) -> Self {
        self.has_api = true;
        self
    }

    /// Adds a vsock, with its socket as `v.sock` in the machine's folder.
    pub fn vsock(mut self, guest: u32) -> Self {
        self.vsock = Some(guest);
        self
    }

    /// Adds a disk of zeroes, whose image is `ID.raw` in the machine's folder; more words of `--disk` say what it is.
    pub fn disk(mut self, id: &'static str, bytes: u64, options: &'static str) -> Self {
        self.disks.push(Disk { id, bytes, options });
        self
    }

    /// Adds an argument of vmm that says nothing of what the machine is, and may differ from one life of it to the
    /// next: one that `vmm restore` has too.
    pub fn manner(mut self, words: &[&str]) -> Self {
        self.manners.extend(words.iter().map(OsString::from));
        self
    }

    /// The command that starts the machine, and the folder that must live as long as it.
    pub fn command(&self, network: Option<&Network>) -> Result<(Command, tempfile::TempDir)> {
        let mut command = self.program(network);
        let folder = if let Source::Disk(disk, model) = &self.source {
            let disk = disk.display().to_string().replace(',', ",,");
            command.args(["--disk", &format!("path={disk},model={}", model.name())]);
            command.args(["--cmdline", &self.parameters.join(" ")]);
            self.vmm_arguments(&mut command);
            tempfile::tempdir().context("cannot make a temporary folder")?
        } else {
            let (folder, image, initrd) = self.files()?;
            match &self.hypervisor {
                Hypervisor::Vmm(_) => {
                    self.vmm_boot_arguments(&mut command, &image, &initrd)?;
                    self.vmm_arguments(&mut command);
                }
                Hypervisor::Qemu(_) => self.qemu_arguments(&mut command, &image, &initrd),
            }
            folder
        };
        command.args(&self.arguments);
        self.make_disks(folder.path())?;
        for Disk { id, options, .. } in &self.disks {
            let image = folder.path().join(format!("{id}.raw"));
            let words = format!("path={},id={id},{options}", image.display());
            command.args(["--disk", words.trim_end_matches(',')]);
        }
        if let Some(guest) = self.vsock {
            let socket = folder.path().join("v.sock");
            command.args(["--vsock", &format!("cid={guest},path={}", socket.display())]);
        }
        self.manner_arguments(&mut command, folder.path());
        Ok((command, folder))
    }

    /// Images of the disks, in the machine's folder.
    fn make_disks(&self, folder: &Path) -> Result<()> {
        for Disk { id, bytes, .. } in &self.disks {
            File::create(folder.join(format!("{id}.raw")))?.set_len(*bytes)?;
        }
        Ok(())
    }

    fn manner_arguments(&self, command: &mut Command, folder: &Path) {
        if self.has_api {
            command.arg("--api-sock").arg(folder.join("api"));
        }
        command.args(&self.manners);
    }

    /// The kernel, and the initial file system in a folder that goes with its owner.
    fn files(&self) -> Result<(tempfile::TempDir, PathBuf, PathBuf)> {
        let kernel = Kernel::open(self.release)?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let initrd = self.write_initramfs(folder.path())?;
        Ok((folder, kernel.image(self.format)?, initrd))
    }

    fn write_initramfs(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("initramfs.cpio");
        fs::write(&path, initramfs(self.release, &self.tools)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Puts the machine's files into a folder, which is made if it is missing, for people who start it by hand: the
    /// kernel under its usual name, such as `vmlinux`, and `initramfs.cpio`. Returns their paths.
    pub fn write_files(&self, folder: &Path) -> Result<(PathBuf, PathBuf)> {
        let image = Kernel::open(self.release)?.image(self.format)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let kernel = folder.join(image.file_name().unwrap_or_default());
        fs::copy(&image, &kernel).with_context(|| format!("cannot write {}", kernel.display()))?;
        Ok((kernel, self.write_initramfs(folder)?))
    }

    fn program(&self, network: Option<&Network>) -> Command {
        let program = match &self.hypervisor {
            Hypervisor::Vmm(path) | Hypervisor::Qemu(path) => path.clone(),
        };
        match network {
            Some(network) => network.command(program),
            None => Command::new(program),
        }
    }

    /// The machine as vmm's configuration file says it.
    fn configuration(&self, image: &Path, initrd: &Path) -> Value {
        let nic = |(at, card): (usize, &Card)| {
            let Card { tap, model, .. } = card;
            json!({
                "iface_id": format!("eth{at}"),
                "host_dev_name": tap.name,
                "guest_mac": tap.mac,
                "mtu": tap.mtu,
                "queues": tap.queues,
                "model": match model { Model::Virtio => "virtio", Model::Ena => "ena" },
            })
        };
        json!({
            "boot-source": {
                "kernel_image_path": image,
                "initrd_path": initrd,
                "boot_args": self.cmdline(),
            },
            "machine-config": { "vcpu_count": self.cpus, "mem_size_mib": self.memory_mib },
            "network-interfaces": self.cards.iter().enumerate().map(nic).collect::<Vec<_>>(),
        })
    }

    /// Starts vmm with nothing but an API, and the machine by requests to it.
    pub fn start_by_api(&self, network: Option<&Network>) -> Result<(Running, PathBuf)> {
        let (folder, image, initrd) = self.files()?;
        let socket = folder.path().join("api");
        let mut command = self.program(network);
        command.arg("--api-sock").arg(&socket).args(&self.arguments).args(&self.manners);
        let running = Running::booting(command, folder)?;
        let mut api = Api::wait(&socket, BOOT)?;
        let asked = self.configuration(&image, &initrd);
        for resource in ["boot-source", "machine-config"] {
            api.done("PUT", &format!("/{resource}"), &asked[resource])?;
        }
        for nic in asked["network-interfaces"].as_array().into_iter().flatten() {
            let id = nic["iface_id"].as_str().unwrap_or_default();
            api.done("PUT", &format!("/network-interfaces/{id}"), nic)?;
        }
        api.act("InstanceStart")?;
        Ok((running, socket))
    }

    /// Starts the machine by a configuration file, with an API besides.
    pub fn start_by_file(&self, network: Option<&Network>) -> Result<(Running, PathBuf)> {
        let (folder, image, initrd) = self.files()?;
        let (socket, file) = (folder.path().join("api"), folder.path().join("vm.json"));
        fs::write(&file, self.configuration(&image, &initrd).to_string())?;
        let mut command = self.program(network);
        command.arg("--api-sock").arg(&socket).arg("--config-file").arg(&file);
        command.args(&self.arguments).args(&self.manners);
        Ok((Running::booting(command, folder)?, socket))
    }

    fn cmdline(&self) -> String {
        let usual = ["console=ttyS0", "reboot=k", "panic=-1"];
        let parameters = self.parameters.iter().map(String::as_str);
        let words: Vec<_> = usual.into_iter().chain(parameters).collect();
        words.join(" ")
    }

    fn vmm_boot_arguments(&self, command: &mut Command, image: &Path, initrd: &Path) -> Result<()> {
        match self.source {
            Source::OnDisk => command.arg("--disk").arg(self.write_disk(image, initrd)?),
            Source::Files | Source::Disk(..) => {
                command.arg("--kernel").arg(image).arg("--initrd").arg(initrd);
                command.args(["--cmdline", &self.cmdline()])
            }
        };
        Ok(())
    }

    fn vmm_arguments(&self, command: &mut Command) {
        command.args(["--cpus", &self.cpus.to_string(), "--mem", &format!("{}M", self.memory_mib)]);
        for Card { tap, model, options } in &self.cards {
            let model = match model {
                Model::Virtio => "",
                Model::Ena => ",model=ena",
            };
            let queues =
                if tap.queues > 1 { format!(",queues={}", tap.queues) } else { String::new() };
            let mtu = if tap.mtu != 1500 { format!(",mtu={}", tap.mtu) } else { String::new() };
            let (name, mac) = (&tap.name, &tap.mac);
            command.args(["--net", &format!("tap={name}{model},mac={mac}{queues}{mtu}{options}")]);
        }
    }

    /// An ext4 without partitions beside the initial file system, with both and GRUB's menu.
    fn write_disk(&self, image: &Path, initrd: &Path) -> Result<PathBuf> {
        let folder = initrd.parent().context("the initial file system is in no folder")?;
        let (boot, disk) = (folder.join("root/boot"), folder.join("disk.raw"));
        fs::create_dir_all(boot.join("grub"))?;
        fs::copy(image, boot.join("vmlinuz"))?;
        fs::copy(initrd, boot.join("initrd.img"))?;
        let menu = format!(
            "menuentry 'Guest' {{\n linux /boot/vmlinuz {}\n initrd /boot/initrd.img\n}}\n",
            self.cmdline()
        );
        fs::write(boot.join("grub/grub.cfg"), menu)?;
        let contents = Contents::Ext4 {
            uuid: "random".into(),
            label: "guest".into(),
            folder: folder.join("root"),
        };
        without_partitions(&disk, 256, &contents)?;
        Ok(disk)
    }

    fn qemu_arguments(&self, command: &mut Command, image: &Path, initrd: &Path) {
        command.args([
            "-machine",
            "q35",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-nodefaults",
            "-no-reboot",
        ]);
        command.args([
            "-display",
            "none",
            "-chardev",
            "stdio,id=com1,signal=off",
            "-serial",
            "chardev:com1",
        ]);
        command.args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()]);
        command
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", &self.cmdline()]);
        for (n, Card { tap, .. }) in self.cards.iter().enumerate() {
            let (name, mac, mtu, queues) = (&tap.name, &tap.mac, tap.mtu, tap.queues);
            let many = if queues > 1 { format!(",queues={queues}") } else { String::new() };
            let vectors = if queues > 1 {
                format!(",mq=on,vectors={}", 2 * queues + 2)
            } else {
                String::new()
            };
            command.args([
                "-netdev",
                &format!("tap,id=n{n},ifname={name},script=no,downscript=no,vhost=off{many}"),
            ]);
            command.args([
                "-device",
                &format!("virtio-net-pci,netdev=n{n},mac={mac},host_mtu={mtu}{vectors}"),
            ]);
        }
    }

    /// Starts the machine with its serial line on pipes.
    pub fn start(&self, network: Option<&Network>) -> Result<Running> {
        let (command, folder) = self.command(network)?;
        Running::booting(command, folder)
    }

    /// Starts the machine and waits for its shell.
    pub fn boot(&self, network: Option<&Network>) -> Result<(Running, Shell)> {
        let running = self.start(network)?;
        // An emulated host has a CPU or two for all of the guest's.
        let shell = running.shell(BOOT * (1 + u32::from(self.cpus) / 16))?;
        Ok((running, shell))
    }
}

/// A started machine. Dropped, it is killed.
pub struct Running {
    /// Just before the hypervisor was started.
    pub begun: Instant,
    pub console: Console,
    pub errors: Console,
    input: Mutex<Option<Box<dyn Write + Send>>>,
    process: Owned,
    folder: tempfile::TempDir,
    /// Whether it goes on from a snapshot, and did not boot.
    pub is_restored: bool,
}

impl Running {
    /// Starts what runs a machine with its console as its standard input and output; the folder goes with it.
    pub fn spawn(mut command: Command, folder: tempfile::TempDir) -> Result<Running> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut process = Owned::spawn(&mut command)?;
        let child = process.child();
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("a pipe is missing")
        };
        Ok(Running {
            begun,
            console: Console::collect("the guest's console", output),
            errors: Console::collect("the hypervisor's standard error", errors),
            input: Mutex::new(Some(Box::new(input))),
            process,
            folder,
            is_restored: false,
        })
    }

    /// A file in the machine's folder, such as `api`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn booting(command: Command, folder: tempfile::TempDir) -> Result<Running> {
        BOOTED.fetch_add(1, Ordering::Relaxed);
        Running::spawn(command, folder)
    }

    /// Starts a machine by a command of ours, with its serial line on pipes.
    pub fn of(command: Command) -> Result<Running> {
        Running::spawn(command, tempfile::tempdir().context("cannot make a temporary folder")?)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The writing end of the serial line; it can be taken once.
    pub fn input(&self) -> Result<Box<dyn Write + Send>> {
        self.input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .context("the console has a writer already")
    }

    /// Logs in at the console and takes over the shell there.
    pub fn log_in(&self, who: (&str, &str), limit: Duration) -> Result<Shell> {
        let shell = Shell::log_in(self.console.clone(), self.input()?, who, limit);
        shell.with_context(|| format!("the hypervisor said: {:?}", self.errors.text()))
    }

    /// Waits for user space and takes over the shell there.
    pub fn shell(&self, limit: Duration) -> Result<Shell> {
        let shell = Shell::start(self.console.clone(), self.input()?, limit);
        shell.with_context(|| format!("the hypervisor said: {:?}", self.errors.text()))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?)
    }

    /// Waits for the process to end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.ended(limit).with_context(|| {
            let console = crate::console::last_lines(&self.console.text(), 30);
            format!("the hypervisor; end of the console:\n{console}")
        })
    }

    /// Waits for the end and checks the exit code.
    pub fn expect_exit(&mut self, code: i32, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        if status.code() == Some(code) {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(other), _) => format!("exit code {other}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".to_owned(),
        };
        let errors = self.errors.wait_for_end(host::PATIENCE)?;
        let console = crate::console::last_lines(&self.console.text(), 20);
        bail!(
            "ended with {how}, not {code}; standard error:\n{errors}\nend of the console:\n{console}"
        )
    }
}
