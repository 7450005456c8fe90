//! Debian packages by apt: metadata, download, unpacking; no file is used unless its SHA-256 is apt's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

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
        let found = Self::newest_of(&[name])?.pop();
        found.with_context(|| format!("apt knows no package {name}"))
    }

    /// The newest versions of packages, by one question.
    pub fn newest_of(names: &[&str]) -> Result<Vec<Self>> {
        update_if_empty()?;
        let mut show = Command::new("apt-cache");
        let text = stdout_of(show.args(["show", "--no-all-versions"]).args(names))
            .with_context(|| format!("apt knows not all of {}", names.join(" ")))?;
        let entries = text.split("\n\n").map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(|entry| Self::parse(entry).context("apt's entry of a package")).collect()
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
        Self::unpack_all(std::slice::from_ref(self), root)
    }

    /// Unpacks packages into `root`.
    pub fn unpack_all(packages: &[Self], root: &Path) -> Result<()> {
        let wanted: Vec<_> = packages.iter().map(Self::with_version).collect();
        eprintln!("fetching {}", wanted.join(" "));
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let debs = match Self::download(packages, folder.path()) {
            Ok(debs) => debs,
            Err(_) => {
                // A mirror drops old versions: the lists name a file that is gone.
                update()?;
                let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
                Self::download(&Self::newest_of(&names)?, folder.path())?
            }
        };
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        debs.iter().try_for_each(|deb| {
            quiet(Command::new("dpkg-deb").arg("-x").arg(deb).arg(root)).map(drop)
        })
    }

    fn with_version(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    fn download(packages: &[Self], folder: &Path) -> Result<Vec<PathBuf>> {
        let wanted: Vec<_> = packages.iter().map(Self::with_version).collect();
        quiet(Command::new("apt-get").args(["download", "-qq"]).args(&wanted).current_dir(folder))
            .with_context(|| format!("cannot download {}", wanted.join(" ")))?;
        let mut debs = BTreeMap::new();
        for entry in fs::read_dir(folder)?.flatten() {
            debs.insert(cache::sha256(&fs::read(entry.path())?), entry.path());
        }
        let debs = packages.iter().map(|package| {
            let deb = debs.remove(&package.sha256);
            deb.with_context(|| {
                let Self { name, sha256, .. } = package;
                format!("apt-get left no file of package {name} with SHA-256 {sha256}")
            })
        });
        debs.collect()
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
