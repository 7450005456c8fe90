//! The testbed: runs a command on a Linux host with working KVM, made by QEMU out of this machine.
//!
//! ```text
//!  this machine ── QEMU (KVM nested, or TCG with AMD SVM) ── L1: Debian kernel ── CMD in a chroot
//!      /  ───────── 9p, read-only ────────────────────────► below a layer in memory
//!   share ───────── 9p ───────────────────────────────────► /share
//! ```

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::initramfs::Archive;
use crate::kernel::{Format, Kernel, Release};
use crate::needs::Needs;
use crate::process::{Owned, heard_while, mortal};
use crate::{host, programs};

const INIT: &str = include_str!("../../resources/guest/testbed-init");
const COMMAND: &str = ".testbed-command";
const STATUS: &str = ".testbed-status";
/// Written by the testbed every few seconds.
const ALIVE: &str = ".testbed-alive";

/// Time without a sign of life after which a testbed has hung: an emulated one does now and then. There is one every five
/// seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// The CPU that QEMU emulates, without what costs an emulator more than a CPU: a fifth level of page tables
/// to walk at each miss, and strings that are moved a byte at a time; guests boot in half the time. And
/// without XSAVE: QEMU does not intercept XSETBV, so that the hypervisor on that CPU does not learn what its
/// guests set, and some of them die. What needs XSAVE goes with it: kernels' ciphers take AVX for granted where
/// it is told. And without AES, so that nobody emulates a guest's driver for it.
const EMULATED_CPU: &str = "max,+svm,+npt,-la57,-erms,-xsave,-avx,-avx2,-f16c,-fma,-aes,-pclmulqdq";

/// Environment that means something to tests and tools, and so comes along.
const ENVIRONMENT: [&str; 10] = [
    "PATH",
    "HOME",
    "TERM",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "VMM_CACHE",
    "XDG_CACHE_HOME",
    "VMM_BIN",
    "VMM_LONG",
    "QEMU_BIN",
];

/// The machine to make.
pub struct Testbed {
    pub cpus: u8,
    pub memory_mib: u32,
    /// The command is killed with the machine when it takes longer; where its output is heard, when
    /// one line of it does.
    pub timeout: Duration,
    /// Folder seen read-write as `/share`; a temporary one if none is named.
    pub share: Option<PathBuf>,
    /// Whether the command reads our standard input.
    pub interactive: bool,
    /// What the command finds in its environment besides some of our own.
    pub environment: Vec<(&'static str, OsString)>,
    /// What the command needs: it has no network to fetch it by.
    pub needs: Needs,
}

impl Default for Testbed {
    fn default() -> Self {
        // QEMU's threads for emulated CPUs disturb each other under SVM: with two of them one guest
        // in fifteen dies or hangs as its kernel starts, and the testbed itself within minutes.
        let cpus = if host::no_hardware_kvm().is_some() { 1 } else { 2 };
        Self {
            cpus,
            memory_mib: 8192,
            timeout: Duration::from_secs(600),
            share: None,
            interactive: false,
            environment: Vec::new(),
            needs: Needs::default(),
        }
    }
}

impl Testbed {
    /// What a testbed is made of.
    pub fn own_needs() -> Needs {
        Needs {
            programs: vec![programs::QEMU, programs::IP],
            kernels: vec![Release::Testbed],
            ..Needs::default()
        }
    }

    /// Says in one sentence what `run` will make.
    pub fn describe(&self) -> String {
        match host::no_hardware_kvm() {
            None => "testbed: QEMU with nested hardware KVM".to_owned(),
            Some(why) => format!("testbed: QEMU emulating an AMD CPU with SVM ({why})"),
        }
    }

    /// Runs a command as root in the testbed with its output on ours; returns its exit status.
    pub fn run(&self, command: &[OsString]) -> Result<i32> {
        self.run_by(command, |qemu, patience| {
            Ok(Owned::spawn(qemu)?.wait_while(|| patience.lasts())?.is_some())
        })
    }

    /// The same with each line of output handed to `hear`.
    pub fn run_heard(&self, command: &[OsString], mut hear: impl FnMut(&str)) -> Result<i32> {
        self.run_by(command, |qemu, patience| {
            let patience = RefCell::new(patience);
            let hear = |line: &str| {
                patience.borrow_mut().begin_anew();
                hear(line);
            };
            Ok(heard_while(qemu, || patience.borrow_mut().lasts(), hear)?.is_some())
        })
    }

    /// Runs a command by a QEMU that `start` sees to its end, unless its patience does not last.
    fn run_by(
        &self,
        command: &[OsString],
        start: impl FnOnce(&mut Command, &mut Patience) -> Result<bool>,
    ) -> Result<i32> {
        self.needs.clone().and(Self::own_needs()).fetch()?;
        let kernel = Kernel::open(Release::Testbed)?;
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let initramfs = scratch.path().join("initramfs");
        fs::write(&initramfs, Archive::new(INIT, &kernel.modules()?)?.finish()?)?;

        let share = match &self.share {
            Some(folder) => fs::canonicalize(folder)
                .with_context(|| format!("no folder {}", folder.display()))?,
            None => {
                let folder = scratch.path().join("share");
                fs::create_dir(&folder)?;
                folder
            }
        };
        fs::write(share.join(COMMAND), script(command, &self.environment)?)?;
        let (status, alive) = (share.join(STATUS), share.join(ALIVE));
        for old in [&status, &alive] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }

        let console = scratch.path().join("console");
        let pulse = scratch.path().join("pulse");
        let mut qemu = mortal("qemu-system-x86_64");
        qemu.args(self.machine())
            .args(["-kernel".as_ref(), kernel.image(Format::BzImage)?.as_os_str()])
            .args(["-initrd".as_ref(), initramfs.as_os_str()])
            .args([
                "-append",
                "console=ttyS0 loglevel=5 panic=-1 mitigations=off cryptomgr.notests norandmaps",
            ])
            .args(["-serial".to_owned(), format!("file:{}", console.display())])
            .args(["-serial".to_owned(), format!("unix:{},server=on,wait=off", pulse.display())])
            .args(["-device", "virtio-serial-pci"])
            .args(["-chardev", "stdio,id=out,signal=off", "-device", "virtconsole,chardev=out"])
            .args(nine_p("host", Path::new("/"), ",readonly=on,multidevs=remap"))
            .args(nine_p("share", &share, ""));
        if !self.interactive {
            qemu.stdin(Stdio::null());
        }
        let mut patience = Patience::new(alive.clone(), self.timeout);
        let sign = alive.clone();
        std::thread::spawn(move || keep_pulse(&pulse, &sign));
        let ended = start(&mut qemu, &mut patience);
        let told = fs::read_to_string(&status).unwrap_or_default();
        let _ = fs::remove_file(share.join(COMMAND));
        let _ = fs::remove_file(&status);
        let _ = fs::remove_file(&alive);
        if !ended? {
            show_end_of(&console);
            if patience.is_over() {
                bail!(
                    "the command said nothing, or did not end, within {} s",
                    self.timeout.as_secs()
                );
            }
            bail!("the testbed hung: no sign of life for {} s", SILENCE.as_secs());
        }
        match told.trim().parse() {
            Ok(status) => Ok(status),
            Err(_) => {
                show_end_of(&console);
                bail!("the testbed stopped before the command ended");
            }
        }
    }

    fn machine(&self) -> Vec<String> {
        let accel: &[&str] = match host::no_hardware_kvm() {
            None => &["-accel", "kvm", "-cpu", "host"],
            Some(_) => &["-accel", "tcg,thread=multi", "-cpu", EMULATED_CPU],
        };
        let fixed = ["-machine", "q35", "-nodefaults", "-display", "none", "-no-reboot"];
        let size = [
            "-smp".to_owned(),
            self.cpus.to_string(),
            "-m".to_owned(),
            self.memory_mib.to_string(),
        ];
        fixed.iter().chain(accel).map(|&argument| argument.to_owned()).chain(size).collect()
    }
}

/// Gives a testbed an interrupt now and then, from its second serial port, as long as it runs.
///
/// QEMU's emulated CPU loses an interrupt now and then as it leaves a guest. If that was its timer's,
/// nothing ever wakes it up; another interrupt brings the lost one along.
///
/// It begins with the first sign of life: what comes in before the port's echo is off is sent back, and
/// `stty` would wait for ever until it is out.
fn keep_pulse(socket: &Path, alive: &Path) {
    const PERIOD: Duration = Duration::from_millis(50);
    let begun = Instant::now();
    while !alive.exists() {
        if begun.elapsed() > SILENCE {
            return;
        }
        std::thread::sleep(PERIOD);
    }
    let Ok(mut line) = UnixStream::connect(socket) else { return };
    while line.write_all(b"\n").is_ok() {
        std::thread::sleep(PERIOD);
    }
}

/// How long to wait for a testbed: until its time is over, or it gives no sign of life.
struct Patience {
    limit: Duration,
    begun: Instant,
    alive: PathBuf,
    last_sign: Option<SystemTime>,
    heard_at: Instant,
}

impl Patience {
    fn new(alive: PathBuf, limit: Duration) -> Self {
        let now = Instant::now();
        Self { limit, begun: now, alive, last_sign: None, heard_at: now }
    }

    /// Gives it the whole time once more.
    fn begin_anew(&mut self) {
        self.begun = Instant::now();
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.limit
    }

    fn lasts(&mut self) -> bool {
        let sign = fs::metadata(&self.alive).and_then(|file| file.modified()).ok();
        if sign != self.last_sign {
            self.last_sign = sign;
            self.heard_at = Instant::now();
        }
        !self.is_over() && self.heard_at.elapsed() < SILENCE
    }
}

/// The arguments that show a host folder to the testbed.
fn nine_p(tag: &str, path: &Path, options: &str) -> [String; 4] {
    [
        "-fsdev".to_owned(),
        format!("local,id={tag},path={},security_model=none{options}", path.display()),
        "-device".to_owned(),
        format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]
}

/// The shell script that the testbed's init starts.
fn script(command: &[OsString], environment: &[(&str, OsString)]) -> Result<Vec<u8>> {
    let mut script = format!("export {}=1\n", host::IN_TESTBED).into_bytes();
    let ours = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    for (name, value) in ours.chain(environment.iter().cloned()) {
        script.extend(format!("export {name}=").bytes());
        script.extend(quoted(value.as_bytes()));
        script.push(b'\n');
    }
    script.extend(b"cd ");
    script.extend(quoted(std::env::current_dir()?.as_os_str().as_bytes()));
    script.extend(b" || exit 125\nexec");
    for word in command {
        script.push(b' ');
        script.extend(quoted(word.as_bytes()));
    }
    script.push(b'\n');
    Ok(script)
}

/// A word that the shell takes as it is.
fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in word {
        match byte {
            b'\'' => out.extend(b"'\\''"),
            other => out.push(other),
        }
    }
    out.push(b'\'');
    out
}

/// The testbed's last words, for the reader of a failure.
fn show_end_of(console: &Path) {
    let Ok(text) = fs::read(console) else { return };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    eprintln!("---- end of the testbed's console");
    for line in &lines[lines.len().saturating_sub(40)..] {
        eprintln!("{line}");
    }
    eprintln!("----");
}

#[cfg(test)]
#[path = "testbed_test.rs"]
mod tests;
