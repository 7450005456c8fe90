//! Programs for guests and for tests, with the shared libraries they need: from the host, else from
//! Debian packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use elf::ElfBytes;
use elf::abi::{DT_NEEDED, PT_INTERP};
use elf::endian::LittleEndian;

use crate::initramfs::Archive;
use crate::process::quiet;
use crate::{apt, cache, host};

/// What the dynamic linker will look for.
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

fn needs(program: &[u8]) -> Result<Needs> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(program)?;
    let mut interpreter = None;
    for segment in file.segments().context("no segments")? {
        if segment.p_type == PT_INTERP {
            let path = file.segment_data(&segment)?;
            interpreter = Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned());
        }
    }
    let mut libraries = Vec::new();
    if let (Some(dynamic), Some((_, names))) = (file.dynamic()?, file.dynamic_symbol_table()?) {
        for entry in dynamic.iter().filter(|entry| entry.d_tag == DT_NEEDED) {
            libraries.push(names.get(usize::try_from(entry.d_val())?)?.to_owned());
        }
    }
    Ok(Needs { interpreter, libraries })
}

/// Shared libraries by the name they are asked for.
type Libraries = BTreeMap<String, PathBuf>;

/// Adds what `program` needs and `found` lacks; returns the name of a library that is nowhere.
fn collect(program: &[u8], folders: &[PathBuf], found: &mut Libraries) -> Result<Option<String>> {
    for name in needs(program)?.libraries {
        if found.contains_key(&name) {
            continue;
        }
        let Some(path) =
            folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file())
        else {
            return Ok(Some(name));
        };
        let library = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        found.insert(name, path);
        if let Some(missing) = collect(&library, folders, found)? {
            return Ok(Some(missing));
        }
    }
    Ok(None)
}

fn host_folders() -> Vec<PathBuf> {
    host::library_folders().map(Path::to_owned).to_vec()
}

/// Adds a program of this host, its interpreter and its libraries to an archive.
pub fn add_from_host(archive: &mut Archive, program: &Path, name: &str) -> Result<()> {
    // Debug information is ten times the program; a guest has no use for it.
    let stripped = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    quiet(Command::new("strip").arg("-o").arg(stripped.path()).arg(program))?;
    let bytes = fs::read(stripped.path())?;
    let mut libraries = Libraries::new();
    if let Some(missing) = collect(&bytes, &host_folders(), &mut libraries)? {
        bail!("this host has no library {missing}, which {} needs", program.display());
    }
    let files = libraries
        .into_iter()
        .map(|(name, path)| Ok((name, fs::read(path)?)))
        .collect::<Result<_>>()?;
    add(archive, name, &bytes, files)
}

/// The program of a Debian package and the libraries it needs, in the cache.
pub struct Program {
    name: String,
    set: cache::Set,
}

impl Program {
    /// Opens a program, fetching it first if the cache lacks it.
    pub fn open(package: &str, name: &str) -> Result<Self> {
        let recipe = format!("1 {name}");
        let set = cache::Set::open(&format!("program-{package}"), &recipe, |folder| {
            fill(package, name, folder)
        })?;
        Ok(Self { name: name.to_owned(), set })
    }

    /// A command that runs the program here, where it is not installed.
    pub fn command(&self) -> Result<Command> {
        let program = self.set.path("program")?;
        let interpreter = needs(&fs::read(&program)?)?.interpreter;
        let interpreter = interpreter.with_context(|| format!("{} has no linker", self.name))?;
        // The host's own libraries fit its linker, whatever the cache has.
        let mut folders = host_folders();
        for name in String::from_utf8(self.set.read("libraries")?)?.lines() {
            if !folders.iter().any(|folder| folder.join(name).is_file()) {
                let library = self.set.path(&format!("lib/{name}"))?;
                folders.extend(library.parent().map(Path::to_owned));
            }
        }
        let mut command = Command::new(interpreter);
        command.arg("--library-path").arg(std::env::join_paths(folders)?);
        command.args(["--argv0", &self.name]).arg(program);
        Ok(command)
    }

    pub fn add_to(&self, archive: &mut Archive) -> Result<()> {
        let mut files = BTreeMap::new();
        for name in String::from_utf8(self.set.read("libraries")?)?.lines() {
            files.insert(name.to_owned(), self.set.read(&format!("lib/{name}"))?);
        }
        add(archive, &self.name, &self.set.read("program")?, files)
    }
}

fn add(
    archive: &mut Archive,
    name: &str,
    program: &[u8],
    libraries: BTreeMap<String, Vec<u8>>,
) -> Result<()> {
    archive.file(&format!("bin/{name}"), 0o755, program)?;
    if let Some(interpreter) = needs(program)?.interpreter {
        let bytes = fs::read(&interpreter).with_context(|| format!("cannot read {interpreter}"))?;
        archive.file(interpreter.trim_start_matches('/'), 0o755, &bytes)?;
    }
    for (name, bytes) in libraries {
        archive.file(&format!("lib/{name}"), 0o755, &bytes)?;
    }
    Ok(())
}

/// Unpacks a program and, package by package, the libraries that the host lacks.
fn fill(package: &str, program: &str, folder: &Path) -> Result<String> {
    let unpacked = tempfile::tempdir().context("cannot make a temporary folder")?;
    let root = unpacked.path();
    let main = apt::Package::newest(package)?;
    main.unpack(root)?;
    let places = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|place| root.join(place).join(program));
    let file = places
        .iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{package} has no program {program}"))?;
    let bytes = fs::read(file)?;

    let folders: Vec<_> = host_folders()
        .into_iter()
        .chain(
            host::library_folders()
                .map(|folder| root.join(folder.strip_prefix("/").unwrap_or(folder))),
        )
        .collect();
    let mut asked = BTreeSet::new();
    let mut waiting = main.depends().to_vec();
    let mut libraries = Libraries::new();
    while let Some(missing) = collect(&bytes, &folders, &mut libraries)? {
        libraries.clear();
        let next = loop {
            let Some(name) = waiting.pop() else {
                bail!("no package that {package} depends on has library {missing}")
            };
            if name.starts_with("lib") && asked.insert(name.clone()) {
                break apt::Package::newest(&name)?;
            }
        };
        next.unpack(root)?;
        waiting.extend(next.depends().iter().cloned());
    }

    fs::write(folder.join("program"), bytes)?;
    fs::create_dir(folder.join("lib"))?;
    let mut list = String::new();
    for (name, path) in libraries {
        fs::copy(path, folder.join("lib").join(&name))?;
        list += &format!("{name}\n");
    }
    fs::write(folder.join("libraries"), list)?;
    Ok(format!("{} {}", main.name, main.version))
}

#[cfg(test)]
#[path = "libraries_test.rs"]
mod tests;
