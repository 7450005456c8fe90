//! What a program that is not linked statically needs of the host: its loader and libraries, shown in the jail
//! where the loader looks for them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::mount_bind;

use super::error::{JailError, Step};
use super::plan::Plan;
use super::tree::Jail;

/// Of an ELF file of 64 bits, little-endian (System V ABI, chapters 4 and 5): the header's bytes, and where in it the
/// program headers' place and number are; an entry's bytes; and the type of the one that names the loader.
const HEADER: usize = 64;
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const PLACE: usize = 32;
const NUMBER: usize = 56;
const ENTRY: usize = 56;
const LOADER: u32 = 3;
/// Longest path.
const PATH_MAX: u64 = 4096;
/// Of folders on the way to them.
const FOLDER: u32 = 0o755;

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The path of the loader that `program` asks for, if it does.
fn loader(program: &File) -> io::Result<Option<PathBuf>> {
    let mut header = [0; HEADER];
    program.read_exact_at(&mut header, 0)?;
    if !header.starts_with(MAGIC) {
        return Err(io::Error::other("it is no ELF file of 64 bits"));
    }
    let begin = word(&header, PLACE).unwrap_or_default();
    let number = word(&header, NUMBER).unwrap_or_default() as u16;
    for index in 0..u64::from(number) {
        let mut entry = [0; ENTRY];
        program.read_exact_at(&mut entry, begin.saturating_add(index * ENTRY as u64))?;
        let kind = word(&entry, 0).unwrap_or_default() as u32;
        let (at, len) = (word(&entry, 8).unwrap_or_default(), word(&entry, 32).unwrap_or_default());
        if kind == LOADER {
            let mut path = vec![0; len.min(PATH_MAX) as usize];
            program.read_exact_at(&mut path, at)?;
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Some(OsStr::from_bytes(path).into()));
        }
    }
    Ok(None)
}

/// The files in what a loader says that a program needs: a line for each, a path before the address in brackets.
fn files(list: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (before, _) = line.rsplit_once(" (0x")?;
        let path = before.rsplit_once("=> ").map_or(before, |(_, path)| path).trim();
        path.starts_with('/').then(|| path.into())
    };
    list.lines().filter_map(path).collect()
}

/// What the program needs; nothing if it is linked statically. Fails if its loader does not find it.
pub fn of_program(plan: &Plan) -> Result<Vec<PathBuf>, JailError> {
    let what = || format!("--exec-file {}", plan.program.display());
    let program = File::open(&plan.program).step(what)?;
    let Some(loader) = loader(&program).step(what)? else { return Ok(Vec::new()) };
    let mut list = Command::new(&loader);
    list.arg("--list").arg(&plan.program).env_clear();
    let list = list.output().step(|| format!("{}: its loader {}", what(), loader.display()))?;
    if !list.status.success() {
        return Err(JailError::refused(format!(
            "{}: {}",
            what(),
            String::from_utf8_lossy(&list.stderr).trim()
        )));
    }
    let mut files = files(&String::from_utf8_lossy(&list.stdout));
    if !files.contains(&loader) {
        files.push(loader);
    }
    Ok(files)
}

/// Shows the host's files at the same paths in the jail, to whoever may read them here.
pub fn show(files: &[PathBuf], jail: &Jail) -> Result<(), JailError> {
    files.iter().try_for_each(|file| show_one(file, jail))
}

fn show_one(file: &Path, jail: &Jail) -> Result<(), JailError> {
    let what = || format!("cannot show {} in the jail", file.display());
    let (Some(above), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename)).step(what);
    };
    let mut folder = None;
    for part in above.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(part) => {
                folder = Some(folder.as_ref().unwrap_or(&jail.root).folder(part, FOLDER)?);
            }
            _ => return Err(io::Error::from(io::ErrorKind::InvalidFilename)).step(what),
        }
    }
    let folder = folder.as_ref().unwrap_or(&jail.root);
    match folder.create(name) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).step(what),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(folder, name, flags, Mode::empty()).step(what)?;
    mount_bind(file, format!("/proc/self/fd/{}", place.as_raw_fd())).step(what)
}

#[cfg(test)]
#[path = "libraries_test.rs"]
mod tests;
