//! The manual as its checks see it: README.md, the pages of resources/manual, and what may stand in them.
//!
//! A fence says what its block is:
//! ```text
//! console            commands after `$ ` and what they print; run by the test of the manual
//! console testbed    the same, as the testbed showed it, where it takes a stock kernel; the words before it say so
//! sh                 commands of cargo and git, as one types them in a clone
//! json               a JSON value
//! text testbed       other output of the testbed; the words before it say so
//! text tree          files of this repository, each after its folder
//! ```
//! In what a command prints, `...` stands for anything: alone for lines, else for a part of one.

pub mod facts;
pub mod page;
pub mod rules;
pub mod session;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use page::Page;

/// Where all pages but the first are, from the workspace.
pub const FOLDER: &str = "resources/manual";
/// The page everybody sees first.
pub const FRONT: &str = "README.md";

/// All pages, the front first, the others by name.
pub fn pages(workspace: &Path) -> Result<Vec<Page>> {
    let folder = workspace.join(FOLDER);
    let mut paths = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        paths.push(format!("{FOLDER}/{}", entry?.file_name().to_string_lossy()));
    }
    paths.sort();
    ensure!(paths.len() > 1, "there is no manual in {}", folder.display());
    paths.insert(0, FRONT.to_owned());
    let read = |path: String| {
        let text = fs::read_to_string(workspace.join(&path))
            .with_context(|| format!("cannot read {path}"))?;
        Ok(Page::new(path, &text))
    };
    paths.into_iter().map(read).collect()
}

#[cfg(test)]
#[path = "manual_test.rs"]
mod tests;
