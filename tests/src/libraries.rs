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

use crate::apt::{Apt, Package};
use crate::cache::{self, Work};
use crate::host;
use crate::initramfs::Archive;
use crate::process::quiet;
use crate::stand_in;

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

/// What was looked for.
#[derive(Default)]
struct Search {
    found: Libraries,
    nowhere: BTreeSet<String>,
}

impl Search {
    /// Looks for libraries and for all that these need.
    fn collect(&mut self, wanted: Vec<String>, folders: &[PathBuf]) -> Result<()> {
        for name in wanted {
            if self.found.contains_key(&name) || self.nowhere.contains(&name) {
                continue;
            }
            let path = folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file());
            let Some(path) = path else {
                self.nowhere.insert(name);
                continue;
            };
            let library =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            self.found.insert(name, path);
            self.collect(needs(&library)?.libraries, folders)?;
        }
        Ok(())
    }

    fn of(wanted: Vec<String>, folders: &[PathBuf]) -> Result<Self> {
        let mut search = Self::default();
        search.collect(wanted, folders)?;
        Ok(search)
    }
}

/// The package that has a library, if it is named as Debian's policy says.
fn package_of(library: &str) -> Option<String> {
    let (name, version) = library.split_once(".so.")?;
    let name = name.replace('_', "-").to_lowercase();
    let between = if name.ends_with(|last: char| last.is_ascii_digit()) { "-" } else { "" };
    Some(format!("{name}{between}{version}"))
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
    let search = Search::of(needs(&bytes)?.libraries, &host_folders())?;
    if let Some(missing) = search.nowhere.first() {
        bail!("this host has no library {missing}, which {} needs", program.display());
    }
    let files = search
        .found
        .into_iter()
        .map(|(name, path)| Ok((name, fs::read(path)?)))
        .collect::<Result<_>>()?;
    add(archive, name, &bytes, files)
}

/// A library that a program opens by name, or that its package's dependencies do not lead to.
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    pub package: &'static str,
    pub library: &'static str,
}

/// The program of a Debian package and the libraries it needs, in the cache.
pub struct Program {
    name: String,
    set: cache::Set,
}

impl Program {
    /// Opens a program, fetching it first if the cache lacks it.
    pub fn open(package: &str, name: &str) -> Result<Self> {
        Self::open_with(package, name, &[])
    }

    /// Opens a program with libraries that it does not name itself.
    pub fn open_with(package: &str, name: &str, plugins: &[Plugin]) -> Result<Self> {
        let libraries = plugins.iter().map(|plugin| format!(" {}", plugin.library));
        let recipe = format!("1 {name}{}", libraries.collect::<String>());
        Self::open_by(package, name, &recipe, |work| fill(package, name, plugins, &[], work))
    }

    /// Opens a program without libraries that it names and has no use for here: it gets stand-ins for them.
    pub fn open_without(package: &str, name: &str, absent: &[&str]) -> Result<Self> {
        let recipe = format!("1 {name} without {}", absent.join(" "));
        Self::open_by(package, name, &recipe, |work| fill(package, name, &[], absent, work))
    }

    fn open_by(
        package: &str,
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Work) -> Result<String>,
    ) -> Result<Self> {
        let set = cache::Set::open(&format!("program-{package}"), recipe, fill)?;
        Ok(Self { name: name.to_owned(), set })
    }

    /// Package and version.
    pub fn origin(&self) -> &str {
        self.set.origin()
    }

    /// Checks the sums of all of it.
    pub fn check(&self) -> Result<()> {
        self.set.folder().map(drop)
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

/// Unpacks a program and the libraries that the host lacks, as many packages at once as can be told; makes stand-ins for
/// what is to be absent.
fn fill(
    package: &str,
    program: &str,
    plugins: &[Plugin],
    absent: &[&str],
    work: &Work,
) -> Result<String> {
    let (apt, root, folder) = (Apt::of_host(), work.scratch(), work.files());
    let main = apt.unpack(&[package], &root)?.remove(0);
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
    let mut waiting: Vec<String> =
        main.depends().iter().filter(|name| name.starts_with("lib")).cloned().collect();
    waiting.extend(plugins.iter().map(|plugin| plugin.package.to_owned()));
    let mut wanted = needs(&bytes)?.libraries;
    wanted.extend(plugins.iter().map(|plugin| plugin.library.to_owned()));
    wanted.retain(|library| !absent.contains(&library.as_str()));
    let libraries = loop {
        let search = Search::of(wanted.clone(), &folders)?;
        let Some(missing) = search.nowhere.first() else { break search.found };
        // Most names tell the package.
        let package_of = |library: &String| {
            let plugin = plugins.iter().find(|plugin| plugin.library == library);
            plugin.map(|plugin| plugin.package.to_owned()).or_else(|| package_of(library))
        };
        let told: BTreeSet<_> = search.nowhere.iter().filter_map(package_of).collect();
        let mut next: BTreeSet<_> = waiting.extract_if(.., |name| told.contains(name)).collect();
        next.retain(|name| !asked.contains(name));
        let unpack = |names: &BTreeSet<String>| {
            apt.unpack(&names.iter().map(String::as_str).collect::<Vec<_>>(), &root)
        };
        waiting.retain(|name| !asked.contains(name));
        let all: BTreeSet<_> = waiting.iter().cloned().collect();
        let packages = match next.is_empty() {
            false => unpack(&next)?,
            true if all.is_empty() => {
                bail!("no package that {package} depends on has library {missing}")
            }
            // All at once, as a call of apt takes longer than most packages; unless one of them is not to be had.
            true => match unpack(&all) {
                Ok(packages) => {
                    waiting.clear();
                    next = all;
                    packages
                }
                Err(_) => {
                    next.extend(waiting.pop());
                    unpack(&next)?
                }
            },
        };
        let needed = packages.iter().flat_map(Package::depends);
        waiting.extend(needed.filter(|name| name.starts_with("lib")).cloned());
        asked.append(&mut next);
    };

    let lib = folder.join("lib");
    fs::create_dir(&lib)?;
    let (mut names, mut present) = (Vec::new(), Vec::new());
    for (name, path) in libraries {
        let library = fs::read(path)?;
        fs::write(lib.join(&name), &library)?;
        present.push(library);
        names.push(name);
    }
    if !absent.is_empty() {
        stand_in::make(&bytes, &present, absent, &lib)?;
        names.extend(absent.iter().map(|name| (*name).to_owned()));
    }
    fs::write(folder.join("program"), bytes)?;
    fs::write(
        folder.join("libraries"),
        names.iter().map(|name| format!("{name}\n")).collect::<String>(),
    )?;
    Ok(format!("{} {}", main.name, main.version))
}

#[cfg(test)]
#[path = "libraries_test.rs"]
mod tests;
