//! `cargo bench -p vmm --bench jail`, as root: what a jail adds to a start.
//!
//! A start is `vmm --version`, by itself and in a jail: all that is between the two is the jail's, its own exec with what that loads
//! included. The machine that would run then is the same in both.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::bench::figures::{Figures, Target, row, rule};

const VMM: &str = env!("CARGO_BIN_EXE_vmm");
const RUNS: u32 = 100;
/// CPU time that a jail may add to a start, in milliseconds.
const MOST: f64 = 3.0;

/// Ways to build a jail, and their flags.
const WAYS: [(&str, &[&str]); 3] = [
    ("a jail", &[]),
    ("with a PID and a network namespace", &["--new-pid-ns", "--new-net-ns"]),
    ("with a control group besides", &["--new-pid-ns", "--new-net-ns", "--cgroup", "pids.max=99"]),
];

fn main() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "jails of other users are built by root only");
    let base = tempfile::tempdir()?;
    println!("{RUNS} starts of each, in turn; CPU time of all processes, ms\n");
    let head = ["", "min", "median", "max", "target"];
    println!("{}\n{}", row(&head), rule(head.len()));
    let mut plain = Figures::default();
    let mut added = WAYS.map(|_| Figures::default());
    for run in 0..=RUNS {
        let own = start(Command::new(VMM).arg("--version"))?;
        let jailed = WAYS.iter().map(|(_, flags)| start(&mut jail(base.path(), flags)));
        let jailed = jailed.collect::<Result<Vec<_>>>()?;
        // The first fills the page cache.
        if run > 0 {
            plain.add(own);
            added.iter_mut().zip(jailed).for_each(|(figures, cpu)| figures.add(cpu - own));
        }
    }
    show("vmm by itself", &plain, None);
    for ((name, _), figures) in WAYS.iter().zip(&added) {
        show(&format!("added by {name}"), figures, Some(MOST));
    }
    println!("\nbytes in the jail's tree: {}", bytes(base.path())?);
    let cleaned = Command::new(VMM)
        .args(["jail", "--clean", "--id", "bench", "--chroot-base-dir"])
        .arg(base.path())
        .status()?;
    ensure!(cleaned.success(), "the jail was not cleaned");
    Ok(())
}

fn show(what: &str, figures: &Figures, most: Option<f64>) {
    let number = |figure: f64| format!("{figure:.2}");
    let judged = most.map(|limit| Target::AtMost(limit).judge(figures.median()));
    let figures = [figures.min(), figures.median(), figures.max()].map(number);
    let [min, median, max] = figures;
    println!("{}", row(&[what.to_owned(), min, median, max, judged.unwrap_or_default()]));
}

fn jail(base: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(VMM);
    command.args(["jail", "--id", "bench", "--uid", "4711", "--gid", "4712", "--chroot-base-dir"]);
    command.arg(base).args(flags).args(["--", "--version"]);
    command
}

/// Milliseconds of CPU time of a command, and of all that it has waited for.
fn start(command: &mut Command) -> Result<f64> {
    let before = of_children()?;
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    // Until nobody has its output any more: one in a PID namespace goes on when its starter has ended.
    let output = output.spawn()?.wait_with_output()?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "{command:?}: {}", output.status);
    Ok(of_children()? - before)
}

/// Milliseconds of CPU time of children that have ended. One whose parent has ended is ours as well.
fn of_children() -> Result<f64> {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    // SAFETY: nothing is written; nobody else waits for children meanwhile.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it is valid when zeroed, and the kernel writes it.
    let (done, usage) = unsafe {
        let done = libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        (done, usage.assume_init())
    };
    ensure!(done == 0, "getrusage: {}", io::Error::last_os_error());
    let millis = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    Ok(millis(usage.ru_utime) + millis(usage.ru_stime))
}

/// What files in a folder take of its file system; mounts of others are not in it any more.
fn bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let facts = entry.metadata()?;
        sum += match facts.is_dir() {
            true => bytes(&entry.path())?,
            false => facts.blocks() * 512,
        };
    }
    Ok(sum)
}
