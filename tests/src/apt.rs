//! Debian packages by apt: metadata, download, unpacking; no file is used unless its SHA-256 is apt's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::process::{quiet, stdout_of};

/// One version of a package, as apt's signed lists describe it.
pub struct Package {
    pub name: String,
    pub version: String,
    sha256: String,
    depends: Vec<String>,
}

/// Fetches the package lists if the machine has none.
pub fn update_if_empty() -> Result<()> {
    let known = Command::new("apt-cache").args(["show", "--no-all-versions", "libc6"]).output();
    match known {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let lists = fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
            // libc6 is also known from dpkg's status file: look for a list from a mirror.
            if lists
                .into_iter()
                .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
            {
                return Ok(());
            }
            update()
        }
        Ok(_) => update(),
        Err(error) => {
            Err(error).context("cannot run apt-cache; the testbed needs a Debian machine")
        }
    }
}

/// Fetches the package lists.
pub fn update() -> Result<()> {
    eprintln!("updating the package lists with apt-get");
    quiet(Command::new("apt-get").args(["update", "-qq"]))
        .context("cannot update the package lists")
        .map(drop)
}

impl Package {
    /// The newest version of a package that apt would install.
    pub fn newest(name: &str) -> Result<Self> {
        update_if_empty()?;
        let text = stdout_of(Command::new("apt-cache").args(["show", "--no-all-versions", name]))
            .with_context(|| format!("apt knows no package {name}"))?;
        Self::parse(&text).with_context(|| format!("apt's entry of package {name}"))
    }

    /// Reads the first paragraph of `apt-cache show`.
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            text.lines()
                .take_while(|line| !line.is_empty())
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("no field {name}"))
        };
        // Of alternatives the first is the usual one; versions were settled by apt.
        let depends = field("Depends").unwrap_or_default();
        let depends = depends
            .split(',')
            .filter_map(|d| d.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            name: field("Package")?,
            version: field("Version")?,
            sha256: field("SHA256")?,
            depends,
        })
    }

    /// Names of the packages this one needs, first alternatives only.
    pub fn depends(&self) -> &[String] {
        &self.depends
    }

    /// Unpacks the package into `root`.
    pub fn unpack(&self, root: &Path) -> Result<()> {
        eprintln!("fetching {} {}", self.name, self.version);
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let deb = match self.download(folder.path()) {
            Ok(deb) => deb,
            Err(_) => {
                // A mirror drops old versions: the lists name a file that is gone.
                update()?;
                Self::newest(&self.name)?.download(folder.path())?
            }
        };
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        quiet(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(root)).map(drop)
    }

    fn download(&self, folder: &Path) -> Result<PathBuf> {
        let wanted = format!("{}={}", self.name, self.version);
        quiet(Command::new("apt-get").args(["download", "-qq", &wanted]).current_dir(folder))
            .with_context(|| format!("cannot download package {wanted}"))?;
        let deb = fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .with_context(|| format!("apt-get left no file for package {wanted}"))?;
        let found = cache::sha256(&fs::read(&deb)?);
        ensure!(
            found == self.sha256,
            "package {wanted} has SHA-256 {found}, apt's lists say {}",
            self.sha256
        );
        Ok(deb)
    }
}

/// The package a meta package stands for, such as the kernel behind `linux-image-cloud-amd64`.
pub fn behind(meta: &str) -> Result<Package> {
    let package = Package::newest(meta)?;
    match package.depends() {
        [first, ..] => Package::newest(first),
        [] => bail!("package {meta} depends on nothing"),
    }
}

#[cfg(test)]
#[path = "apt_test.rs"]
mod tests;
