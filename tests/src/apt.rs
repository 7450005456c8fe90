//! Debian packages by apt: looked up, downloaded, unpacked, installed. Lists that are stale, partial
//! or missing are refreshed once; no file is used unless its SHA-256 is apt's.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::process::{is_disk_full, quiet, reason, says};

/// One version of a package, as apt's signed lists describe it.
#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    pub version: String,
    sha256: String,
    depends: Vec<String>,
}

impl Package {
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

    fn with_version(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

/// No mirror could be asked for packages that the machine does not know or have.
#[derive(Debug)]
pub struct Unreachable {
    pub packages: Vec<String>,
    /// What apt says of its mirrors.
    pub why: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no mirror can be asked for {}: {}", self.packages.join(" "), self.why)
    }
}

impl std::error::Error for Unreachable {}

/// What fetching the lists came to.
#[derive(Debug, Clone)]
pub(crate) enum Refreshed {
    /// At least one mirror answered; what others say stands here.
    Yes { failed: Option<String> },
    /// None did.
    No { why: String },
}

/// Time that another apt gets to end, such as the one which a fresh machine runs as it starts.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// Packages that are named as they are fetched.
const MOST_TOLD: usize = 10;

/// An apt with its lists and mirrors.
pub struct Apt {
    /// A file of settings instead of the machine's, as `$APT_CONFIG` names it.
    config: Option<PathBuf>,
    /// Where the lists go that this user cannot put where apt has them.
    own_state: Option<PathBuf>,
    uses_own_state: OnceLock<()>,
    refreshed: Mutex<Option<Refreshed>>,
}

impl Apt {
    /// This machine's.
    pub fn of_host() -> &'static Self {
        static HOST: LazyLock<Apt> = LazyLock::new(|| {
            let is_root = nix::unistd::geteuid().is_root();
            let own_state = if is_root { None } else { cache::folder().ok() };
            Apt::new(None, own_state.map(|cache| cache.join("apt")))
        });
        &HOST
    }

    /// One with settings of its own, such as other folders.
    pub fn with_config(file: &Path) -> Self {
        Self::new(Some(file.to_owned()), None)
    }

    fn new(config: Option<PathBuf>, own_state: Option<PathBuf>) -> Self {
        let (uses_own_state, refreshed) = (OnceLock::new(), Mutex::new(None));
        Self { config, own_state, uses_own_state, refreshed }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.envs(self.config.iter().map(|file| ("APT_CONFIG", file)));
        if let (Some(state), Some(())) = (&self.own_state, self.uses_own_state.get()) {
            for (name, folder) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
                command.arg("-o").arg(format!("{name}={}", state.join(folder).display()));
            }
        }
        command
    }

    /// Does something with apt; if that fails, refreshes the lists, once per process, and does it
    /// once more. `attempt` is told whether the lists are as new as can be.
    fn fresh<T>(&self, packages: &[&str], attempt: impl Fn(bool) -> Result<T>) -> Result<T> {
        let first = match attempt(false) {
            Ok(done) => return Ok(done),
            // No list helps there.
            Err(error) if is_disk_full(&error) => return Err(error),
            Err(error) => error,
        };
        match self.refresh()? {
            Refreshed::Yes { failed: None } => attempt(true),
            Refreshed::Yes { failed: Some(why) } => {
                attempt(true).with_context(|| format!("not all mirrors answered ({why})"))
            }
            Refreshed::No { why } => {
                let packages = match first.downcast_ref::<Unknown>() {
                    Some(Unknown(names)) => names.clone(),
                    None => packages.iter().map(|&name| name.to_owned()).collect(),
                };
                Err(Unreachable { packages, why }.into())
            }
        }
    }

    /// Fetches the lists, if this process did not yet.
    pub(crate) fn refresh(&self) -> Result<Refreshed> {
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refreshed) = &*refreshed {
            return Ok(refreshed.clone());
        }
        eprintln!("updating the package lists with apt-get");
        if let Some(state) = &self.own_state {
            for folder in ["lists/partial", "cache/archives/partial"] {
                let folder = state.join(folder);
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            let _ = self.uses_own_state.set(());
        }
        let output = self.unlocked(|| {
            let mut update = self.command("apt-get");
            // One word of each mirror is enough.
            update.args(["update", "-q", "-o", "Acquire::Retries=1"]);
            update
        })?;
        let answered = String::from_utf8_lossy(&output.stdout)
            .lines()
            .any(|line| line.starts_with("Get:") || line.starts_with("Hit:"));
        let said = says(&output, &["E: Failed to fetch ", "W: Failed to fetch ", "E: "]);
        let told = match (answered, said.into_iter().next()) {
            (true, failed) => Refreshed::Yes { failed },
            (false, Some(why)) => Refreshed::No { why },
            (false, None) => Refreshed::No { why: "apt has no mirror".to_owned() },
        };
        *refreshed = Some(told.clone());
        Ok(told)
    }

    /// Runs a command that needs one of apt's locks, again while another program holds it.
    fn unlocked(&self, command: impl Fn() -> Command) -> Result<Output> {
        let start = Instant::now();
        loop {
            let output = command().output().context(NO_DEBIAN)?;
            let said = String::from_utf8_lossy(&output.stderr);
            let is_locked = !output.status.success() && said.contains("Could not get lock");
            if !is_locked || start.elapsed() > LOCK_PATIENCE {
                return Ok(output);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// The newest version of a package that apt would install, as the lists are.
    pub fn newest(&self, name: &str) -> Result<Package> {
        let found = self.newest_of(&[name])?.pop();
        found.with_context(|| Unknown(vec![name.to_owned()]))
    }

    /// The newest versions of packages, by one question, as the lists are.
    pub fn newest_of(&self, names: &[&str]) -> Result<Vec<Package>> {
        let mut found = self.show(&["--no-all-versions"], names)?;
        let unknown = |found: &BTreeMap<String, Package>| -> Vec<_> {
            names.iter().copied().filter(|&name| !found.contains_key(name)).collect()
        };
        let others = unknown(&found);
        if !others.is_empty() {
            // What is installed may have a version that no mirror has, besides one that one has.
            found.append(&mut self.show(&[], &others)?);
        }
        let unknown = unknown(&found);
        if !unknown.is_empty() {
            bail!(Unknown(unknown.into_iter().map(str::to_owned).collect()));
        }
        Ok(names.iter().filter_map(|&name| found.remove(name)).collect())
    }

    /// Of each package the first version that a list has.
    fn show(&self, options: &[&str], names: &[&str]) -> Result<BTreeMap<String, Package>> {
        let mut show = self.command("apt-cache");
        let output = show.arg("show").args(options).args(names).output().context(NO_DEBIAN)?;
        let said = reason(&output);
        if !output.status.success() && said != "No packages found" {
            bail!("cannot look up {}: {said}", names.join(" "));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut found = BTreeMap::new();
        // An entry without a sum is dpkg's own, of what is installed.
        for package in text.split("\n\n").filter_map(|entry| Package::parse(entry.trim()).ok()) {
            found.entry(package.name.clone()).or_insert(package);
        }
        Ok(found)
    }

    /// All names of packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let output =
            self.command("apt-cache").args(["pkgnames", prefix]).output().context(NO_DEBIAN)?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Unpacks the newest versions of packages into `root`; returns them.
    pub fn unpack(&self, names: &[&str], root: &Path) -> Result<Vec<Package>> {
        self.unpack_chosen(names, root, |_| self.newest_of(names))
    }

    /// Unpacks what `choose` returns into `root`; it is told whether the lists are as new as can be.
    /// `names` are what to ask a machine with a network for.
    pub fn unpack_chosen(
        &self,
        names: &[&str],
        root: &Path,
        choose: impl Fn(bool) -> Result<Vec<Package>>,
    ) -> Result<Vec<Package>> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        // On the same disk, where it goes with the rest if it is left behind.
        let folder = tempfile::tempdir_in(root).context("cannot make a temporary folder")?;
        let (packages, debs) = self.fresh(names, |is_new| {
            let packages = choose(is_new)?;
            let debs = self.download(&packages, folder.path())?;
            Ok((packages, debs))
        })?;
        for deb in debs {
            quiet(Command::new("dpkg-deb").env("LC_ALL", "C").arg("-x").arg(deb).arg(root))?;
        }
        Ok(packages)
    }

    fn download(&self, packages: &[Package], folder: &Path) -> Result<Vec<PathBuf>> {
        let wanted: Vec<_> = packages.iter().map(Package::with_version).collect();
        match wanted.split_at_checked(MOST_TOLD) {
            Some((told, others)) if !others.is_empty() => {
                eprintln!("fetching {} and {} more", told.join(" "), others.len());
            }
            _ => eprintln!("fetching {}", wanted.join(" ")),
        }
        let mut get = self.command("apt-get");
        get.args(["download", "-qq"]).args(&wanted).current_dir(folder);
        let output = get.output().context(NO_DEBIAN)?;
        if !output.status.success() {
            bail!("cannot download {}: {}", wanted.join(" "), reason(&output));
        }
        let mut debs = BTreeMap::new();
        for entry in fs::read_dir(folder)?.flatten() {
            debs.insert(cache::sha256(&fs::read(entry.path())?), entry.path());
        }
        let debs = packages.iter().map(|package| {
            let deb = debs.remove(&package.sha256);
            deb.with_context(|| {
                let Package { name, sha256, .. } = package;
                format!("apt-get left no file of package {name} with SHA-256 {sha256}")
            })
        });
        debs.collect()
    }

    /// Installs packages on this machine, as root.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        self.fresh(packages, |_| {
            let output = self.unlocked(|| {
                let mut install = self.command("apt-get");
                install.args(["install", "--yes", "-qq", "--no-install-recommends"]);
                install.args(packages);
                install
            })?;
            if !output.status.success() {
                bail!("cannot install {}: {}", packages.join(" "), reason(&output));
            }
            Ok(())
        })
    }

    /// Names of the packages that apt would install where there is nothing yet, for `wanted` to work: these
    /// and all that they depend on, without what is only recommended, as the lists are.
    pub fn with_all_needed(&self, wanted: &[&str]) -> Result<Vec<String>> {
        let mut install = self.command("apt-get");
        install.args(["install", "--simulate", "--no-install-recommends"]);
        install.args(["-o", "Dir::State::status=/dev/null"]).args(wanted);
        let output = install.output().context(NO_DEBIAN)?;
        if !output.status.success() {
            let said = reason(&output);
            let unlocated = |name: &&&str| {
                let end = format!(" package {name}");
                said.split("; ").any(|line| line.ends_with(&end))
            };
            let unknown = wanted.iter().filter(unlocated).map(|&name| name.to_owned());
            let unknown: Vec<_> = unknown.collect();
            if !unknown.is_empty() {
                bail!(Unknown(unknown));
            }
            bail!("cannot tell what {} need: {said}", wanted.join(" "));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let names = said.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// The package that a meta package stands for, such as the kernel behind
    /// `linux-image-cloud-amd64`, as the lists are.
    pub fn behind(&self, meta: &str) -> Result<Package> {
        match self.newest(meta)?.depends() {
            [first, ..] => self.newest(first),
            [] => bail!("package {meta} depends on nothing"),
        }
    }
}

const NO_DEBIAN: &str = "cannot run apt; what is missing can only be fetched on a Debian machine";

/// Packages that no list has.
#[derive(Debug)]
pub struct Unknown(pub Vec<String>);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apt knows no package {}", self.0.join(" "))
    }
}

impl std::error::Error for Unknown {}

#[cfg(test)]
#[path = "apt_test.rs"]
mod tests;
