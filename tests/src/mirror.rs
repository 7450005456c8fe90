//! Debian mirrors of tiny packages in a folder, and an apt that knows no other: tests of fetching
//! need no network and no root.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use crate::apt::Apt;
use crate::cache::sha256;
use crate::process::quiet;

/// Two mirrors, as Debian has one for releases and one for security updates.
pub struct Mirrors {
    folder: TempDir,
    published: AtomicU64,
}

pub const MAIN: &str = "main";
pub const SECURITY: &str = "security";

/// Name, version, and the one package it depends on, if any.
pub type Published<'a> = (&'a str, &'a str, &'a str);

impl Mirrors {
    /// Mirrors of nothing, and an apt without lists.
    pub fn new() -> Self {
        let mirrors = Self { folder: tempfile::tempdir().unwrap(), published: AtomicU64::new(1) };
        for folder in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(mirrors.path(folder)).unwrap();
        }
        let at = |name: &str| mirrors.path(name).display().to_string();
        let sources = [MAIN, SECURITY].map(|m| format!("deb [trusted=yes] copy:{} ./\n", at(m)));
        fs::write(mirrors.path("sources.list"), sources.concat()).unwrap();
        fs::write(mirrors.path("status"), "").unwrap();
        let config = [
            ("Dir::Etc::parts", at("parts")),
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", at("parts")),
            ("Dir::State", at("")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("cache")),
            ("APT::Sandbox::User", "root".to_owned()),
        ];
        let config = config.map(|(name, value)| format!("{name} \"{value}\";\n"));
        fs::write(mirrors.path("apt.conf"), config.concat()).unwrap();
        mirrors.publish(MAIN, &[]);
        mirrors.publish(SECURITY, &[]);
        mirrors
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An apt as a new process has it, with the lists that the last one left.
    pub fn apt(&self) -> Apt {
        Apt::with_config(&self.path("apt.conf"))
    }

    /// Fetches the lists.
    pub fn update(&self) {
        self.apt().refresh().unwrap();
    }

    /// What a mirror has from now on. Package `p` has one file, `usr/share/p`, with its version.
    pub fn publish(&self, mirror: &str, packages: &[Published]) {
        let folder = self.path(mirror);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir(&folder).unwrap();
        let mut list = String::new();
        for (name, version, depends) in packages {
            let tree = tempfile::tempdir().unwrap();
            for place in ["DEBIAN", "usr/share"] {
                fs::create_dir_all(tree.path().join(place)).unwrap();
            }
            fs::write(tree.path().join("usr/share").join(name), version).unwrap();
            let depends = match *depends {
                "" => String::new(),
                other => format!("Depends: {other}\n"),
            };
            let control = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\n{depends}\
                 Maintainer: nobody\nDescription: nothing\n"
            );
            fs::write(tree.path().join("DEBIAN/control"), &control).unwrap();
            let file = format!("{name}_{version}.deb");
            let deb = folder.join(&file);
            let mut build = Command::new("dpkg-deb");
            build.args(["--root-owner-group", "-Znone", "--build"]).arg(tree.path()).arg(&deb);
            quiet(&mut build).unwrap();
            let bytes = fs::read(&deb).unwrap();
            let (size, sum) = (bytes.len(), sha256(&bytes));
            list += &format!("{control}Filename: ./{file}\nSize: {size}\nSHA256: {sum}\n\n");
        }
        let packages = folder.join("Packages");
        fs::write(&packages, list).unwrap();
        // By this apt knows whether a list is another one.
        let minutes = self.published.fetch_add(1, Ordering::Relaxed);
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000 + 60 * minutes);
        File::options().append(true).open(&packages).unwrap().set_modified(time).unwrap();
    }

    /// Makes a mirror one that nobody reaches.
    pub fn cut_off(&self, mirror: &str) {
        fs::rename(self.path(mirror), self.path(&format!("{mirror}-away"))).unwrap();
    }
}
