//! Packages from PyPI, in exact versions, in the cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Set, Work, sha256};
use crate::process::{brief, once_more, quiet, stdout_of};
use crate::programs;

/// Where the packages are in a set.
const SITE: &str = "site";

/// The folder with the packages of a list that has the sums of all their files, fetched first if the cache lacks
/// them; `main` is the one that the others are for.
pub fn packages(main: &str, requirements: &'static str) -> Result<PathBuf> {
    let python = version()?;
    // Some packages are compiled, for one version of Python.
    let recipe = format!("1 python {python} {}", sha256(requirements.as_bytes()));
    let set = Set::open(main, &recipe, |work| fill(work, main, requirements))?;
    Ok(set.folder()?.join(SITE))
}

/// python3 without other packages of this machine, which might even change ours as they start.
pub fn command(packages: &std::path::Path) -> Command {
    let mut command = Command::new("python3");
    command.arg("-S").env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The version of python3 with its pip, which are installed if they are missing.
fn version() -> Result<String> {
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
        _ => bail!("Python 3.11 or later is needed, and python3 is {version}"),
    }
}

fn fill(work: &Work, main: &str, list: &str) -> Result<String> {
    eprintln!("fetching {main} with pip");
    let (requirements, site) = (work.files().join("requirements.txt"), work.files().join(SITE));
    std::fs::create_dir_all(work.scratch())?;
    std::fs::write(&requirements, list)?;
    once_more(|anew| {
        if site.exists() {
            std::fs::remove_dir_all(&site)?;
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        // Nothing is run that is not in the list, and nothing is there but that.
        pip.args(["--require-hashes", "--no-deps", "--only-binary", ":all:"]);
        pip.args(["--root-user-action", "ignore"]);
        pip.arg("--target").arg(&site).arg("--requirement").arg(&requirements);
        // What an earlier pip kept may be stale or half.
        pip.args(anew.then_some("--no-cache-dir"));
        pip.env("TMPDIR", work.scratch()).env("LC_ALL", "C.UTF-8");
        brief(&mut pip)
    })
    .context("pip cannot fetch it; this needs a network")?;
    let version = list.lines().find(|line| line.starts_with(&format!("{main}==")));
    let version = version.with_context(|| format!("the requirements have no {main}"))?;
    Ok(version.trim_end_matches(" \\").to_owned())
}
