//! What a disk image boots: its partitions, the file systems in them, and in those what the boot loader
//! would start.
//!
//! ```text
//! disk ─► partitions ─► volumes ─► grub.cfg | loader/entries | *.efi | vmlinuz ─► DiskBoot
//!         GPT, MBR      ext4, FAT   (first that is there)                         kernel, initrd, words
//! ```
//! A boot loader in the image is not run: its configuration is read and understood. The image may be
//! hostile; it can make this fail, but neither make it go on for ever nor make it look outside.

mod bls;
mod choice;
mod error;
mod ext4;
mod fat;
mod files;
mod grub;
mod guess;
mod partition;
#[cfg(test)]
mod samples;
mod source;
mod uki;
mod version;
mod volume;
mod walk;

use std::io::{self, Write};

pub use error::DiskError;
pub use source::ReadAt;

use choice::Choice;
use files::{FileSystem, Run};
use grub::GrubError;
use partition::partitions;
use source::{Budget, ReadError, Region};
use uki::Unified;
use volume::{Contents, Volume};

/// What a disk boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskBoot {
    /// The kernel, not yet looked into.
    pub kernel: DiskFile,
    /// What becomes the initrd, one behind the other; may be empty.
    pub initrds: Vec<DiskFile>,
    /// The kernel's command line, with the serial port among its consoles.
    pub cmdline: String,
    /// What was taken from where, and by whose word, as a sentence without its end.
    pub origin: String,
}

/// A file of a disk, by where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// Its path and partition, for messages.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Places on the disk.
    runs: Vec<Run>,
}

/// Largest kernel that is taken, in bytes.
const MOST_KERNEL: u64 = 512 << 20;
/// Most that an initrd has, in bytes, in all of its parts.
const MOST_INITRD: u64 = 1 << 30;
/// Most parts that make an initrd.
const MOST_INITRDS: usize = 16;
/// Bytes that are copied at once.
const CHUNK: u64 = 1 << 20;
/// What makes a kernel write to the first serial port.
const SERIAL_CONSOLE: &str = "console=ttyS0";

/// Where configurations of GRUB are, from the root of their file system.
const GRUB_FOLDERS: [&str; 4] = ["/boot/grub", "/boot/grub2", "/grub", "/grub2"];
const GRUB_FILE: &str = "grub.cfg";
/// Where boot loaders have their folders on an EFI system partition.
const EFI_FOLDER: &str = "/EFI";

impl DiskBoot {
    /// Finds out what `disk` boots; `name` is for messages. Fails if the host cannot read it, if it is no
    /// raw image, or if there is no kernel where its boot loader, or anybody else, would look for one.
    pub fn find(disk: &dyn ReadAt, name: &str) -> Result<Self, DiskError> {
        let host = |source| DiskError::Host { name: name.to_owned(), source };
        let len = disk.size().map_err(host)?;
        let budget = Budget::default();
        let whole = Region::whole(disk, len, &budget);
        if let Some(guess) = guess_format(&whole) {
            return Err(DiskError::NotRaw { name: name.to_owned(), guess });
        }
        let table = partitions(&whole).map_err(|error| DiskError::of(name, error))?;
        let parts = table.list.into_iter();
        let parts = parts.filter_map(|part| Some((whole.part(part.start, part.len)?, Some(part))));
        let mut volumes: Vec<_> = parts.map(|(region, part)| Volume::open(region, part)).collect();
        if volumes.is_empty() {
            volumes.push(Volume::open(whole, None));
        }
        let boot = match choose(&volumes, name)? {
            Chosen::Files(choice) => Self::of(&volumes, choice, name)?,
            Chosen::Unified(image) => Self::unified(&volumes, image, name)?,
        };
        match table.from_backup {
            true => Ok(Self {
                origin: format!(
                    "{}; its partition table is damaged, the copy was taken",
                    boot.origin
                ),
                ..boot
            }),
            false => Ok(boot),
        }
    }

    fn of(volumes: &[Volume], choice: Choice, name: &str) -> Result<Self, DiskError> {
        let Choice { volume, kernel, initrds, options, by } = choice;
        let find = |at: usize, path: &str, most| {
            let place = volumes.get(at).map(Volume::name).unwrap_or_default();
            let file = format!("{path} of {place}");
            let reason = match volumes.get(at).map(|volume| locate(volume, path, most)) {
                Some(Ok(Some((size, runs)))) => return Ok(DiskFile { name: file, size, runs }),
                Some(Err(ReadError::Host(source))) => {
                    return Err(DiskError::Host { name: name.to_owned(), source });
                }
                Some(Err(error)) => error.to_string(),
                Some(Ok(None)) | None => "it is not there".to_owned(),
            };
            Err(DiskError::File { name: name.to_owned(), by: by.clone(), file, reason })
        };
        let kernel_file = find(volume, &kernel, MOST_KERNEL)?;
        if volumes.get(volume).is_some_and(|volume| is_for_aarch64(volume, &kernel)) {
            let (name, file) = (name.to_owned(), kernel_file.name);
            return Err(DiskError::OtherProcessor { name, file });
        }
        let mut left = MOST_INITRD;
        let initrds = initrds.iter().take(MOST_INITRDS).map(|(at, path)| {
            let file = find(*at, path, left)?;
            left = left.saturating_sub(file.size);
            Ok(file)
        });
        let initrds = initrds.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = initrds.iter().map(|file| file.name.as_str()).collect();
        let with = match names.as_slice() {
            [] => "no initrd".to_owned(),
            names => format!("initrd {}", names.join(" and ")),
        };
        let origin = format!("kernel {} with {with}, by {by}", kernel_file.name);
        Ok(Self { kernel: kernel_file, initrds, cmdline: with_console(&options), origin })
    }

    fn unified(volumes: &[Volume], image: Unified, name: &str) -> Result<Self, DiskError> {
        let volume = volumes.get(image.volume);
        let place = volume.map(Volume::name).unwrap_or_default();
        let file = |section: &str, mut runs: Vec<Run>, most| {
            let size = uki::length(&runs);
            if size == 0 || size > most {
                let by = format!("{} of {place}", image.path);
                let reason = format!("it has {size} bytes, 1 to {most} are taken");
                return Err(DiskError::File {
                    name: name.into(),
                    by,
                    file: section.into(),
                    reason,
                });
            }
            if let Some(files) = volume.and_then(Volume::files) {
                on_disk(files, &mut runs).map_err(|error| DiskError::of(name, error))?;
            }
            let name = format!("{section} in {} of {place}", image.path);
            Ok(DiskFile { name, size, runs })
        };
        let kernel = file(".linux", image.kernel, MOST_KERNEL)?;
        let initrds = image.initrds.into_iter().map(|runs| file(".initrd", runs, MOST_INITRD));
        let initrds = initrds.take(MOST_INITRDS).collect::<Result<_, _>>()?;
        let origin = format!("the unified kernel image {} of {place}", image.path);
        Ok(Self { kernel, initrds, cmdline: with_console(&image.options), origin })
    }
}

impl DiskFile {
    /// Writes its bytes to `out`, in order. Fails if `disk` cannot be read or `out` not be written.
    pub fn copy(&self, disk: &dyn ReadAt, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::new();
        for run in &self.runs {
            let mut done = 0u64;
            while done < run.len {
                let len = run.len.saturating_sub(done).min(CHUNK);
                buffer.clear();
                buffer.resize(len as usize, 0);
                if let Some(at) = run.at {
                    disk.read_at(at.saturating_add(done), &mut buffer)?;
                }
                out.write_all(&buffer)?;
                done = done.saturating_add(len);
            }
        }
        Ok(())
    }
}

/// What images in other formats begin with, and what to do about it.
fn guess_format(disk: &Region) -> Option<&'static str> {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"QFI\xFB", "it is a qcow2 image; convert it: qemu-img convert -O raw IMAGE disk.raw"),
        (b"KDMV", "it is a VMDK image; convert it: qemu-img convert -O raw IMAGE disk.raw"),
        (b"# Disk Descr", "it is a VMDK image; convert it: qemu-img convert -O raw IMAGE disk.raw"),
        (b"vhdxfile", "it is a VHDX image; convert it: qemu-img convert -O raw IMAGE disk.raw"),
        (b"conectix", "it is a VHD image; convert it: qemu-img convert -O raw IMAGE disk.raw"),
        (b"\x1F\x8B", "it is compressed by gzip; unpack it first"),
        (b"\xFD7zXZ", "it is compressed by xz; unpack it first"),
        (b"\x28\xB5\x2F\xFD", "it is compressed by zstd; unpack it first"),
        (b"BZh", "it is compressed by bzip2; unpack it first"),
    ];
    KNOWN.iter().find(|(magic, _)| disk.has(0, magic)).map(|(_, guess)| *guess)
}

/// What is booted.
enum Chosen {
    Files(Choice),
    Unified(Unified),
}

/// What the first boot loader that leads to a kernel boots, else the newest kernel.
fn choose(volumes: &[Volume], name: &str) -> Result<Chosen, DiskError> {
    let mut failures: Vec<String> = Vec::new();
    let host = |error| DiskError::of(name, error);
    for (at, folder) in grub_configurations(volumes) {
        match grub::boot(volumes, at, &folder, GRUB_FILE) {
            Ok(choice) => return Ok(Chosen::Files(with_initrd(volumes, choice))),
            Err(GrubError::Read(error @ ReadError::Host(_))) => return Err(host(error)),
            Err(error) => {
                let place = volumes.get(at).map(Volume::name).unwrap_or_default();
                failures.push(format!("{folder}/{GRUB_FILE} on {place}: {error}"));
            }
        }
    }
    for (at, volume) in volumes.iter().enumerate() {
        match bls::boot(at, volume) {
            Ok(Some(choice)) => return Ok(Chosen::Files(choice)),
            Ok(None) => {}
            Err(error @ ReadError::Host(_)) => return Err(host(error)),
            Err(error) => failures.push(format!("{}: {error}", volume.name())),
        }
    }
    for (at, volume) in volumes.iter().enumerate() {
        match uki::boot(at, volume) {
            Ok(Some(image)) => return Ok(Chosen::Unified(image)),
            Ok(None) => {}
            Err(error @ ReadError::Host(_)) => return Err(host(error)),
            Err(error) => failures.push(format!("{}: {error}", volume.name())),
        }
    }
    // A boot loader that leads nowhere is told, and not passed over by a guess.
    if failures.is_empty() {
        match guess::guess(volumes) {
            Ok(Some(choice)) => return Ok(Chosen::Files(choice)),
            Ok(None) => {}
            Err(error @ ReadError::Host(_)) => return Err(host(error)),
            Err(error) => failures.push(error.to_string()),
        }
    }
    let parts = volumes.iter().filter_map(|volume| match &volume.contents {
        Contents::Closed(kind) => {
            Some(format!("{} is {kind}, which cannot be read here", volume.name()))
        }
        Contents::Damaged(kind, error) => Some(format!("{} is {kind}, but {error}", volume.name())),
        Contents::Files { kind, .. } if failures.is_empty() => {
            Some(format!("{} ({kind}) has none", volume.name()))
        }
        _ => None,
    });
    let mut reasons: Vec<_> = parts.chain(failures.iter().cloned()).collect();
    // Who looks for other things fails alike.
    reasons.dedup();
    let reason = match reasons.as_slice() {
        [] => "there is neither a partition nor a file system that is known here".to_owned(),
        reasons => reasons.join(", "),
    };
    Err(DiskError::NoKernel { name: name.to_owned(), reason })
}

/// Volume and folder of each configuration of GRUB: those that firmware would come to first.
fn grub_configurations(volumes: &[Volume]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut look = |at: usize, volume: &Volume, folder: String| {
        if matches!(volume.file(&format!("{folder}/{GRUB_FILE}")), Ok(Some(_))) {
            found.push((at, folder));
        }
    };
    for (at, volume) in volumes.iter().enumerate().filter(|(_, volume)| volume.is_esp()) {
        for name in volume.names(EFI_FOLDER).unwrap_or_default() {
            look(at, volume, format!("{EFI_FOLDER}/{name}"));
        }
    }
    for (at, volume) in volumes.iter().enumerate() {
        for folder in GRUB_FOLDERS {
            look(at, volume, folder.to_owned());
        }
    }
    found
}

/// `choice`, with the initrd that lies beside the kernel if it has none: some boot loaders try first
/// without, which needs a kernel with all drivers.
fn with_initrd(volumes: &[Volume], mut choice: Choice) -> Choice {
    if let (true, Some(volume), Some((folder, name))) =
        (choice.initrds.is_empty(), volumes.get(choice.volume), choice.kernel.rsplit_once('/'))
    {
        let names = volume.names(folder).unwrap_or_default();
        let version = name.strip_prefix("vmlinuz").unwrap_or(name);
        if let Some(initrd) = guess::initrd_of(version, &names) {
            choice.initrds.push((choice.volume, format!("{folder}/{initrd}")));
        }
    }
    choice
}

/// Size and places of the file at `path`; `None` if there is none.
fn locate(volume: &Volume, path: &str, most: u64) -> Result<Option<(u64, Vec<Run>)>, ReadError> {
    let (Some(files), Some(node)) = (volume.files(), volume.file(path)?) else { return Ok(None) };
    if node.size == 0 {
        return Err(ReadError::Damaged("it is empty"));
    }
    let mut runs = files.runs(&node, most)?;
    on_disk(files, &mut runs)?;
    Ok(Some((node.size, runs)))
}

/// Makes places in a file system places on the disk. Fails if one is not within the file system.
fn on_disk(files: &dyn FileSystem, runs: &mut [Run]) -> Result<(), ReadError> {
    for run in runs {
        if let Some(at) = run.at {
            run.at = Some(files.disk().place(at, run.len)?);
        }
    }
    Ok(())
}

/// Whether a kernel is an arm64 `Image`, or an EFI program that packs one (Linux
/// `Documentation/arch/arm64/booting.rst`, `drivers/firmware/efi/libstub/zboot-header.S`).
fn is_for_aarch64(volume: &Volume, path: &str) -> bool {
    const START: usize = 64;
    let start = || {
        let files = volume.files()?;
        let node = volume.file(path).ok()??;
        let run = files.runs(&node, MOST_KERNEL).ok()?.first().copied()?;
        let len = usize::try_from(run.len).unwrap_or(START).min(START);
        files.disk().bytes(run.at?, len).ok()
    };
    let start = start().unwrap_or_default();
    let has = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|s| s.starts_with(magic));
    has(56, b"ARM\x64") || (has(0, b"MZ") && has(4, b"zimg"))
}

/// `options`, with the first serial port as the last console if it is none.
fn with_console(options: &str) -> String {
    let is_serial = |word: &str| {
        word.strip_prefix(SERIAL_CONSOLE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    };
    let options = options.trim();
    if options.split_ascii_whitespace().any(is_serial) {
        return options.to_owned();
    }
    // What is behind a double dash is for the first process.
    let (kernel, init) = match options.split_once(" -- ") {
        Some((kernel, init)) => (kernel, format!(" -- {init}")),
        None => (options, String::new()),
    };
    let space = if kernel.is_empty() { "" } else { " " };
    format!("{kernel}{space}{SERIAL_CONSOLE}{init}")
}

#[cfg(test)]
#[path = "disk_test.rs"]
mod tests;
