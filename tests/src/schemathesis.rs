//! Schemathesis, which tries an API against its OpenAPI description: from PyPI, in exact versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{cargo, python};

/// All packages it needs, with the sums of their files.
const REQUIREMENTS: &str = include_str!("../schemathesis/requirements.txt");

/// The program, in the cache.
pub struct Schemathesis {
    packages: PathBuf,
}

impl Schemathesis {
    /// Opens it, fetching it first if the cache lacks it.
    pub fn open() -> Result<Self> {
        Ok(Self { packages: python::packages("schemathesis", REQUIREMENTS)? })
    }

    /// The program with its own configuration, to be given arguments. What it leaves behind goes
    /// to `folder`.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = python::command(&self.packages);
        command.args(["-m", "schemathesis.cli", "--config-file"]);
        command.arg(cargo::workspace().join("tests/schemathesis/schemathesis.toml"));
        command.current_dir(folder);
        command
    }
}
