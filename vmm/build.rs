//! Tells the program its version: the package's, and the commit that it is built from. And has it carry its unwinder.
//!
//! The commit is `$VMM_COMMIT`, for those who build from an archive, or else what is checked out. Whether
//! files have been changed since is not told: that would be right only if each build looked anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// So many digits of a commit are shown: enough to tell it from millions.
const SHOWN: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VMM_COMMIT");
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let commit = match env::var("VMM_COMMIT").unwrap_or_default() {
        none if none.is_empty() => checked_out(&Path::new(&package).join("..")),
        given if is_word(&given) => Some(given),
        given => {
            println!("cargo::error=VMM_COMMIT={given:?} is no name of a commit");
            return;
        }
    };
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=VMM_VERSION={version}{commit}");
    if let Err(error) = carry_unwinder() {
        println!("cargo::warning=the unwinder stays a library of its own: {error}");
    }
}

/// Links the unwinder from the compiler's archive, where it has one. As the library that Rust asks for with glibc it is one more
/// file that each start opens, maps and relocates: 0.2 ms of the processor's time, a thirtieth of what a restore takes.
fn carry_unwinder() -> io::Result<()> {
    if env::var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("gnu") {
        return Ok(());
    }
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let found = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output()?;
    // What it does not have it calls by its bare name.
    if !Path::new(String::from_utf8_lossy(&found.stdout).trim()).is_absolute() {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo::rustc-link-search=native={}", out.display());
    Ok(())
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

/// The commit of the checkout at `root`, if it is one: read without git, which may not be installed or
/// not trust the folder's owner (gitrepository-layout(5)).
fn checked_out(root: &Path) -> Option<String> {
    let dot_git = root.join(".git");
    // A worktree has a file there, and what all worktrees share elsewhere.
    let own = match fs::read_to_string(&dot_git) {
        Ok(text) => root.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => dot_git,
    };
    let shared = match fs::read_to_string(own.join("commondir")) {
        Ok(text) => own.join(text.trim()),
        Err(_) => own.clone(),
    };
    if !own.is_dir() {
        return None;
    }
    let head = read(own.join("HEAD"))?;
    let commit = match head.strip_prefix("ref:").map(str::trim) {
        None => head,
        Some(branch) => read(shared.join(branch)).or_else(|| {
            let packed = read(shared.join("packed-refs"))?;
            let mut lines = packed.lines();
            lines.find_map(|line| line.strip_suffix(branch)?.strip_suffix(' ')).map(str::to_owned)
        })?,
    };
    let is_hash = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    commit.get(..SHOWN).filter(|_| is_hash).map(str::to_owned)
}

/// The file's text without its line end, and a look at it before each build from now on.
fn read(path: PathBuf) -> Option<String> {
    // Cargo takes a file that is missing for one that changed each time; its folder shows when it is made.
    let watched = path.ancestors().find(|path| path.exists())?;
    println!("cargo::rerun-if-changed={}", watched.display());
    Some(fs::read_to_string(&path).ok()?.trim_end().to_owned())
}
