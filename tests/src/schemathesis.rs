//! Schemathesis, which tries an API against its OpenAPI description: from PyPI, in exact versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Set, Work, sha256};
use crate::process::{brief, once_more, quiet, stdout_of};
use crate::{cargo, programs};

/// All packages it needs, with the sums of their files.
const REQUIREMENTS: &str = include_str!("../schemathesis/requirements.txt");
/// Where the packages are in the set.
const SITE: &str = "site";

/// The program, in the cache.
pub struct Schemathesis {
    packages: PathBuf,
}

impl Schemathesis {
    /// Opens it, fetching it first if the cache lacks it.
    pub fn open() -> Result<Self> {
        let python = python_version()?;
        // Some packages are compiled, for one version of Python.
        let recipe = format!("1 python {python} {}", sha256(REQUIREMENTS.as_bytes()));
        let set = Set::open("schemathesis", &recipe, fill)?;
        Ok(Self { packages: set.folder()?.join(SITE) })
    }

    /// The program with its own configuration, to be given arguments. What it leaves behind goes
    /// to `folder`.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("python3");
        // No other packages of this machine, which might even change ours as they start.
        command.args(["-S", "-m", "schemathesis.cli", "--config-file"]);
        command.arg(cargo::workspace().join("tests/schemathesis/schemathesis.toml"));
        command.env("PYTHONPATH", &self.packages).current_dir(folder);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// The version of python3 with its pip, which are installed if they are missing.
fn python_version() -> Result<String> {
    if quiet(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        programs::ensure(&[programs::PYTHON, programs::PIP])?;
        quiet(Command::new("python3").args(["-m", "pip", "--version"]))
            .context("python3 has no pip; install it with: apt-get install python3-pip")?;
    }
    let says = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = stdout_of(Command::new("python3").args(["-c", says]))?.trim().to_owned();
    let minor = version.strip_prefix("3.").and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(11..) => Ok(version),
        _ => bail!("schemathesis needs Python 3.11 or later, and python3 is {version}"),
    }
}

fn fill(work: &Work) -> Result<String> {
    eprintln!("fetching schemathesis with pip");
    let (requirements, site) = (work.files().join("requirements.txt"), work.files().join(SITE));
    std::fs::create_dir_all(work.scratch())?;
    std::fs::write(&requirements, REQUIREMENTS)?;
    once_more(|anew| {
        if site.exists() {
            std::fs::remove_dir_all(&site)?;
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        // Nothing is run that is not in the list.
        pip.args(["--require-hashes", "--only-binary", ":all:", "--root-user-action", "ignore"]);
        pip.arg("--target").arg(&site).arg("--requirement").arg(&requirements);
        // What an earlier pip kept may be stale or half.
        pip.args(anew.then_some("--no-cache-dir"));
        pip.env("TMPDIR", work.scratch()).env("LC_ALL", "C.UTF-8");
        brief(&mut pip)
    })
    .context("pip cannot fetch it; with a network run: cargo test -p tests --test schemathesis")?;
    let version = REQUIREMENTS.lines().find(|line| line.starts_with("schemathesis=="));
    let version = version.context("the requirements have no schemathesis")?;
    Ok(version.trim_end_matches(" \\").to_owned())
}
