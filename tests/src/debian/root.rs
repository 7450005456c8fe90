//! A root file system of Debian's packages: unpacked, and set up where their scripts would have done so.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{as_root, quiet, stdout_of};

/// What root logs in by at a console.
pub const PASSWORD: &str = "vmm";
/// The same, as `crypt(5)` keeps it.
const CRYPTED: &str =
    "$6$vmm$f61Sqn/llt9F88UTNbulee.FHk7NNYEv3ffatL6Q4FCCM9WJT/YnlOmOQRT9CPjqFtLGy8sT3FLN5684VDFLN0";

/// Folders of `/usr` that packages still have beside it.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What nobody reads in so small a machine.
const TRIMMED: [&str; 7] = [
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/lib/udev/hwdb.d",
    "usr/lib/x86_64-linux-gnu/gconv",
];

/// Folders that scripts of packages make.
const MADE: [&str; 2] = ["etc/dropbear", "mnt"];

/// Files that they make, or an administrator.
const FILES: &[(&str, u32, &str)] = &[
    ("etc/hostname", 0o644, "debian\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost debian\n::1 localhost\n"),
    // Empty, it is filled as the system starts.
    ("etc/machine-id", 0o644, ""),
    ("etc/pam.d/common-account", 0o644, "account required pam_unix.so\n"),
    ("etc/pam.d/common-auth", 0o644, "auth required pam_unix.so\n"),
    ("etc/pam.d/common-password", 0o644, "password required pam_unix.so\n"),
    ("etc/pam.d/common-session", 0o644, "session required pam_unix.so\n"),
    ("etc/pam.d/common-session-noninteractive", 0o644, "session required pam_unix.so\n"),
    // Who has another shell is not let in by ssh.
    ("etc/shells", 0o644, "/bin/sh\n/bin/bash\n/usr/bin/bash\n"),
    ("etc/systemd/system/dropbear.service", 0o644, DROPBEAR),
];

const DROPBEAR: &str = "\
[Unit]
Description=Lightweight SSH server
After=network.target

[Service]
ExecStart=/usr/sbin/dropbear -F -E -R
KillMode=process

[Install]
WantedBy=multi-user.target
";

/// What is started besides what units want by themselves.
const ENABLED: [&str; 2] = ["dropbear.service", "systemd-networkd.service"];

/// What has nothing to do: there are no virtual consoles.
const MASKED: [&str; 1] = ["getty-static.service"];

/// What packages were unpacked into.
pub struct Root<'a>(pub &'a Path);

impl Root<'_> {
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Sets up what was unpacked. `mounts` is what goes into `/etc/fstab`.
    pub fn set_up(&self, mounts: &str) -> Result<()> {
        for folder in MERGED {
            self.merge(folder).with_context(|| format!("cannot move {folder} below /usr"))?;
        }
        for path in TRIMMED {
            let path = self.at(path);
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
        }
        for folder in MADE {
            fs::create_dir_all(self.at(folder))?;
        }
        self.users()?;
        self.write("etc/fstab", 0o644, mounts)?;
        for (path, mode, text) in FILES {
            self.write(path, *mode, text)?;
        }
        self.run(&["ldconfig"])?;
        self.run(&["depmod", "--all", &self.kernel()?])?;
        self.run(&["systemd-sysusers"])?;
        self.run(&["systemctl", "set-default", "multi-user.target"])?;
        self.run(&[&["systemctl", "mask"], MASKED.as_slice()].concat())?;
        self.enable(&ENABLED)
    }

    /// Has units started with the system.
    pub fn enable(&self, units: &[&str]) -> Result<()> {
        self.run(&[&["systemctl", "enable"], units].concat())
    }

    /// Writes a file, and makes the folders above it.
    pub fn write(&self, path: &str, mode: u32, text: &str) -> Result<()> {
        let path = self.at(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
    }

    /// Lets the owner of a new key log in as root by ssh. The key is put where `key` says, in dropbear's format.
    pub fn let_in(&self, key: &Path) -> Result<()> {
        const MADE: &str = "root/key";
        let mut make = self.inside(&["dropbearkey", "-t", "ed25519", "-f", MADE]);
        let said = stdout_of(&mut make)?;
        let public = said.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let public = public.context("dropbearkey told no public key")?;
        fs::create_dir_all(self.at("root/.ssh"))?;
        fs::set_permissions(self.at("root/.ssh"), Permissions::from_mode(0o700))?;
        self.write("root/.ssh/authorized_keys", 0o600, &format!("{public}\n"))?;
        let made = self.at(MADE);
        fs::copy(&made, key)?;
        Ok(fs::remove_file(made)?)
    }

    /// Version of the kernel that was unpacked.
    pub fn kernel(&self) -> Result<String> {
        let folder = self.at("usr/lib/modules");
        let entry = fs::read_dir(&folder)?.next().context("no kernel was unpacked")??;
        Ok(entry.file_name().to_string_lossy().into_owned())
    }

    /// Moves what is in a folder to the one below `/usr`, and leads from here to there.
    fn merge(&self, folder: &str) -> Result<()> {
        let (from, to) = (self.at(folder), self.at(&format!("usr/{folder}")));
        fs::create_dir_all(&to)?;
        if from.is_symlink() {
            return Ok(());
        }
        if from.is_dir() {
            move_all(&from, &to)?;
        }
        Ok(symlink(format!("usr/{folder}"), from)?)
    }

    /// The users that every Debian has, of whom root can log in.
    fn users(&self) -> Result<()> {
        let masters = "usr/share/base-passwd";
        let master = |name: &str| fs::read_to_string(self.at(&format!("{masters}/{name}.master")));
        self.write("etc/group", 0o644, &master("group")?)?;
        let text = master("passwd")?;
        let (mut users, mut secrets) = (String::new(), String::new());
        for line in text.lines() {
            let mut fields: Vec<_> = line.split(':').collect();
            let name = *fields.first().context("a user without a name")?;
            let secret = if name == "root" { CRYPTED } else { "*" };
            secrets += &format!("{name}:{secret}:19000:0:99999:7:::\n");
            if let Some(field) = fields.get_mut(1) {
                *field = "x";
            }
            users += &format!("{}\n", fields.join(":"));
        }
        self.write("etc/passwd", 0o644, &users)?;
        self.write("etc/shadow", 0o600, &secrets)
    }

    /// A command that takes this for the root of all files.
    fn inside(&self, command: &[&str]) -> Command {
        let mut chroot = as_root("chroot");
        chroot.arg(self.0).args(command);
        chroot.env("PATH", "/usr/sbin:/usr/bin").env("LC_ALL", "C");
        // Nobody reads scripts of SysV's init, and what keeps order among them is not there.
        chroot.env("SYSTEMCTL_SKIP_SYSV", "1");
        chroot
    }

    fn run(&self, command: &[&str]) -> Result<()> {
        quiet(&mut self.inside(command)).map(drop)
    }
}

/// Moves what is in `from` to `to`, and removes `from`. Of a file and a link of one name, which leads to it,
/// the file is kept.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        let is_file = target.symlink_metadata().is_ok_and(|found| found.is_file());
        if kind.is_dir() && target.is_dir() {
            move_all(&entry.path(), &target)?;
        } else if kind.is_symlink() && is_file {
            fs::remove_file(entry.path())?;
        } else {
            fs::rename(entry.path(), target)?;
        }
    }
    Ok(fs::remove_dir(from)?)
}

#[cfg(test)]
#[path = "root_test.rs"]
mod tests;
