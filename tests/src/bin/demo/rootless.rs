//! `cargo demo --rootless`: a stock Linux boots in a jail of somebody who is not root, with a network of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tests::guest::USER_SPACE_REACHED;
use tests::kernel::{Format, Kernel};
use tests::machine::{BOOT, Hypervisor, Machine, Running};
use tests::needs::Needs;
use tests::process::{quiet, stdout_of};
use tests::{host, initramfs, programs};

use crate::{RELEASE, say};

/// Who has the machine where root runs the demo: one without a name or anything else.
const NOBODYS: u32 = 4711;
const ADDRESSES: [&str; 2] = ["192.0.2.1/24", "192.0.2.2/24"];

/// What this demo uses, and nothing else.
pub fn needs() -> Needs {
    Needs {
        programs: vec![programs::IP, programs::SETPRIV, programs::NSENTER],
        kernels: vec![RELEASE],
        ..Needs::default()
    }
}

/// The user and what is his.
struct User {
    uid: u32,
    stage: tempfile::TempDir,
}

impl User {
    /// Whoever runs the demo; if that is root, somebody who may open what the group of /dev/kvm may.
    fn new() -> Result<User> {
        let stage = tempfile::tempdir().context("cannot make a temporary folder")?;
        fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o755))?;
        let uid = if geteuid().is_root() { NOBODYS } else { geteuid().as_raw() };
        if host::in_testbed() {
            // There nobody has given it to anybody.
            fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o660))?;
            chown("/dev/kvm", None, Some(NOBODYS))?;
            fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(0o666))?;
        }
        Ok(User { uid, stage })
    }

    fn command(&self, program: &Path) -> Result<Command> {
        if !geteuid().is_root() {
            return Ok(Command::new(program));
        }
        let group = fs::metadata("/dev/kvm").context("no /dev/kvm")?.gid().to_string();
        let uid = self.uid.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid, "--regid", &uid, "--groups", &group]).arg(program);
        Ok(command)
    }

    /// His own from now on, as far as it is not.
    fn give(&self, path: &Path) -> Result<()> {
        match geteuid().is_root() {
            true => Ok(chown(path, Some(self.uid), Some(self.uid))?),
            false => Ok(()),
        }
    }
}

/// A command in the machine's network namespace, by whoever may be root there.
fn inside(pid: &str, program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", pid, "-n"]);
    if !geteuid().is_root() {
        command.args(["-U", "--preserve-credentials"]);
    }
    command.arg(program.into());
    command
}

pub fn run(vmm: &Path) -> Result<()> {
    let user = User::new()?;
    // Where the user can read it, under the name that its jails have.
    let program = user.stage.path().join("vmm");
    fs::copy(vmm, &program).context("cannot copy vmm")?;
    let base = user.stage.path().join("jails");
    let root = base.join("vmm/demo/root");
    fs::create_dir_all(&root)?;
    let machine = Machine::new(Hypervisor::Vmm(program.clone()), RELEASE).format(Format::Vmlinux);
    let (kernel, initrd) = machine.write_files(&root)?;
    for path in [&base, &base.join("vmm"), &base.join("vmm/demo"), &root, &kernel, &initrd] {
        user.give(path)?;
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();

    let mut command = user.command(&program)?;
    command.args(["jail", "--rootless", "--id", "demo", "--chroot-base-dir"]).arg(&base);
    command.args(["--new-net-ns", "--tap", "tap0", "--", "--mem", "256M"]);
    command.arg("--kernel").arg(format!("/{}", name(&kernel)));
    command.arg("--initrd").arg(format!("/{}", name(&initrd)));
    command.args(["--net", "tap=tap0,mac=02:00:00:00:00:01"]);
    let parameters = format!("console=ttyS0 reboot=k panic=-1 guest.eth0={}", ADDRESSES[1]);
    command.args(["--cmdline", &parameters]);
    say(&format!(
        "user {} boots {} in a jail of his own",
        user.uid,
        Kernel::open(RELEASE)?.origin()
    ));
    let mut running = Running::spawn(command, tempfile::tempdir()?)?;
    running.console.wait_for(0, USER_SPACE_REACHED, BOOT).with_context(|| running.errors.text())?;
    say(&format!("user space after {:.1} s", running.begun.elapsed().as_secs_f64()));

    let pid = fs::read_to_string(root.join("vmm.pid")).context("the jail has no PID")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let shown = ["Uid", "NSpid", "CapEff", "CapBnd", "NoNewPrivs"];
    for line in status.lines().filter(|line| shown.iter().any(|name| line.starts_with(name))) {
        say(&line.replace('\t', " "));
    }
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ensure!(
        uids.split_whitespace().all(|uid| uid == user.uid.to_string()),
        "the machine runs as {uids}, not as {}",
        user.uid
    );
    let spaces = ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"];
    for space in spaces {
        let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{space}"));
        ensure!(of(&pid)? != of("self")?, "the machine has the host's {space} namespace");
    }
    say(&format!("namespaces of its own: {}", spaces.join(", ")));

    quiet(inside(&pid, "ip").args(["address", "add", ADDRESSES[0], "dev", "tap0"]))?;
    let guest = ADDRESSES[1].trim_end_matches("/24");
    let ping = stdout_of(inside(&pid, initramfs::busybox_file()?).args(["ping", "-c", "3", guest]))
        .with_context(|| format!("no answer to ping {guest}"))?;
    ping.lines().for_each(say);

    say("pressing the power button (SIGTERM to who started the jail)");
    running.signal(Signal::SIGTERM)?;
    running.expect_exit(0, Duration::from_secs(60))?;
    let mut clean = user.command(&program)?;
    quiet(clean.args(["jail", "--clean", "--id", "demo", "--chroot-base-dir"]).arg(&base))?;
    ensure!(!base.join("vmm/demo").exists(), "the jail is still there");
    say("powered off cleanly; of the jail nothing is left");
    Ok(())
}
