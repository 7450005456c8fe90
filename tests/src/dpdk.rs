//! DPDK for guests: its `testpmd`, its driver of ENA cards, and `igb_uio`, which hands a card and its interrupt to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::apt::Apt;
use crate::cache::{self, Work};
use crate::initramfs::Archive;
use crate::kernel::{Kernel, Release};
use crate::libraries::{Plugin, Program};
use crate::process::quiet;
use crate::{modules, programs};

/// The driver of ENA cards, by the name to give `dpdk-testpmd`.
pub const DRIVER: &str = "librte_net_ena.so.23";

/// What its packet buffers are kept in, by the name to give it.
pub const MEMPOOL: &str = "librte_mempool_ring.so.23";

/// Before a program, makes it tell each line at once, though no terminal reads it.
pub const BY_LINES: &str = "LD_PRELOAD=/lib/libstdbuf.so _STDBUF_O=L";

/// What does that; every Debian has it.
const STDBUF: &str = "/usr/libexec/coreutils/libstdbuf.so";

/// `testpmd` is linked to a card's driver that needs a library of a package not named `lib`.
const PLUGINS: &[Plugin] = &[
    Plugin { package: "librte-net-ena23", library: DRIVER },
    Plugin { package: "librte-mempool-ring23", library: MEMPOOL },
    Plugin { package: "ibverbs-providers", library: "libmlx5.so.1" },
];

/// The kernel whose guests can have it.
pub const KERNEL: Release = Release::Guest6_1;

/// In loading order.
const MODULES: [&str; 2] = ["uio", "igb_uio"];

/// Fetches and builds all of it.
pub fn fetch() -> Result<()> {
    testpmd()?;
    modules(KERNEL).map(drop)
}

/// Adds the program, its libraries, and the modules, which nobody loads.
pub fn add_to(archive: &mut Archive, release: Release) -> Result<()> {
    testpmd()?.add_to(archive)?;
    let stdbuf = fs::read(STDBUF).with_context(|| format!("cannot read {STDBUF}"))?;
    archive.file("lib/libstdbuf.so", 0o755, &stdbuf)?;
    let set = modules(release)?;
    for name in MODULES.map(|name| format!("{name}.ko")) {
        archive.file(&format!("lib/modules/{name}"), 0o644, &set.read(&name)?)?;
    }
    Ok(())
}

fn testpmd() -> Result<Program> {
    Program::open_with("dpdk-dev", "dpdk-testpmd", PLUGINS)
}

fn modules(release: Release) -> Result<cache::Set> {
    let kernel = Kernel::open(release)?;
    let recipe = format!("1 {}", kernel.origin());
    cache::Set::open(&format!("dpdk-modules-{}", release.name()), &recipe, |work| {
        fill(kernel.origin(), work).with_context(|| {
            format!(
                "{} needs its headers; where mirrors have dropped them, remove kernel-{} from the \
                 cache to fetch a newer one",
                kernel.origin(),
                release.name()
            )
        })
    })
}

/// Takes the kernel's own module from its package and builds the other, which Debian has as source only.
fn fill(kernel: &str, work: &Work) -> Result<String> {
    programs::ensure(&[programs::MAKE, programs::GCC, programs::STRIP])?;
    let (apt, root, folder) = (Apt::of_host(), work.scratch(), work.files());
    let version = version_of(kernel)?;
    apt.unpack(&[&format!("linux-image-{version}")], &root)?;
    let own = modules::in_load_order(&root.join("lib/modules").join(version), &["uio"])?;
    let uio = own.last().context("uio is no module")?;
    fs::write(folder.join("uio.ko"), &uio.bytes)?;

    let headers = format!("linux-headers-{version}");
    let [sources, headers] = apt
        .unpack(&["dpdk-kmods-dkms", &headers], &root)?
        .try_into()
        .map_err(|_| anyhow!("apt unpacked something else"))?;
    let needed =
        |name: &&str| ["linux-headers-", "linux-kbuild-"].iter().any(|n| name.starts_with(n));
    let needed: Vec<_> = headers.depends().iter().map(String::as_str).filter(needed).collect();
    apt.unpack(&needed, &root)?;
    let places = root.join("usr/src");
    let (tree, source) = (places.join(&headers.name), holding(&places, "igb_uio.c")?);
    // Debian's Makefile expects the packages to be installed.
    let makefile = fs::read_to_string(tree.join("Makefile"))?;
    let moved = makefile.replace("/usr/src", &places.to_string_lossy());
    fs::write(tree.join("Makefile"), moved)?;
    let mut make = Command::new("make");
    make.arg("-C").arg(&tree).arg(format!("M={}", source.display())).args(["CC=gcc", "modules"]);
    quiet(&mut make).context("cannot build igb_uio")?;
    let [from, to] = [&source, &folder].map(|folder| folder.join("igb_uio.ko"));
    quiet(Command::new("strip").args(["--strip-debug", "-o"]).arg(to).arg(from))?;
    Ok(format!("{} {}", sources.name, sources.version))
}

/// The folder that has a file.
fn holding(places: &Path, file: &str) -> Result<PathBuf> {
    let folders = fs::read_dir(places)?.flatten().map(|entry| entry.path());
    let found = folders.into_iter().find(|folder| folder.join(file).is_file());
    found.with_context(|| format!("no package has {file}"))
}

/// The version in the name of a kernel's package.
fn version_of(kernel: &str) -> Result<&str> {
    let name = kernel.split(' ').next().and_then(|name| name.strip_prefix("linux-image-"));
    name.with_context(|| format!("{kernel} is no kernel"))
}

/// A received packet that has a hash, as `set verbose 1` makes `testpmd` tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hashed {
    pub hash: u32,
    pub queue: u16,
    /// The card found both the IP header's and the payload's checksum good, or has only the latter to look at.
    pub is_good: bool,
}

/// All such packets that `testpmd` told of, but for one that it has not told all of yet.
pub fn hashed(said: &str) -> Vec<Hashed> {
    let number = |line: &str, name: &str| {
        let digits = line.split_once(name)?.1;
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        u32::from_str_radix(&digits[..end], 16).ok()
    };
    let packet = |(line, flags): (&str, &str)| {
        let hash = number(line, "RSS hash=0x")?;
        let queue = number(line, "RSS queue=0x")?.try_into().ok()?;
        let flags = flags.split_once("ol_flags:")?.1;
        let is_good = flags.contains("RX_L4_CKSUM_GOOD")
            && (flags.contains("RX_IP_CKSUM_GOOD") || line.contains("type=0x86dd"));
        Some(Hashed { hash, queue, is_good })
    };
    said.lines().zip(said.lines().skip(1)).filter_map(packet).collect()
}

#[cfg(test)]
#[path = "dpdk_test.rs"]
mod tests;
