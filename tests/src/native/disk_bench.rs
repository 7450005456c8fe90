//! Disks in the benchmark: one hypervisor under one load, and the floor of that.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::cargo;
use crate::native::disk::Image;
use crate::native::job::{Job, Medium, Task};
use crate::native::peer::{Board, Peer};
use crate::native::sample::Look;
use crate::native::table::{Measure, Results};
use crate::process::{mortal, quiet, stdout_of};

/// Bytes of an image: more than any cache of a CPU, and less than the page cache has room for.
const IMAGE: u64 = 512 << 20;
/// How long a guest may take until it has begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// A file system of memory.
const MEMORY: &str = "/dev/shm";

/// Ways to do without a hypervisor, and what tables call them.
const FLOORS: [(&str, &str); 2] = [("calls", "bare pread and pwrite"), ("uring", "bare io_uring")];

/// An image on each medium, the program that has the floor's loops, and what each run has in common.
pub struct Disks<'a> {
    memory: Image,
    file: Image,
    floor: PathBuf,
    _folders: [TempDir; 2],
    kernel: &'a Path,
    folder: &'a Path,
    words: &'a str,
    options: &'a str,
    slice: Duration,
}

impl<'a> Disks<'a> {
    /// Makes and fills the images, that of [`Medium::File`] in `disk_folder`. Guests run `kernel`, have more `words` on
    /// their command line, and are measured for a `slice`; vmm's disks have more `options`. Logs go to `folder`.
    pub fn new(
        disk_folder: &Path,
        kernel: &'a Path,
        folder: &'a Path,
        (words, options): (&'a str, &'a str),
        slice: Duration,
    ) -> Result<Self> {
        let make = |parent: &Path| -> Result<_> {
            let folder = tempfile::tempdir_in(parent)
                .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
            Ok((Image::filled(folder.path().join("native-bench.img"), IMAGE)?, folder))
        };
        let ((memory, one), (file, other)) = (make(Path::new(MEMORY))?, make(disk_folder)?);
        let floor = cargo::example("block", "bare-disk")?;
        Ok(Self {
            memory,
            file,
            floor,
            _folders: [one, other],
            kernel,
            folder,
            words,
            options,
            slice,
        })
    }

    fn image(&self, medium: Medium) -> &Image {
        match medium {
            Medium::Memory | Medium::Overlay => &self.memory,
            Medium::File => &self.file,
        }
    }

    /// A new overlay in memory on what is there, and the options of a disk that has it.
    fn overlay(&self, peer: &Peer) -> Result<(Image, String)> {
        let base = self.memory.path();
        let path = base.with_extension("cow");
        // Of the run before.
        let _ = fs::remove_file(&path);
        let mut command = mortal(&peer.path);
        quiet(command.args(["disk", "create"]).arg(&path).arg("--base").arg(base))?;
        let options = format!("base={},{}", base.display(), self.options);
        Ok((Image::overlay(path)?, options.trim_end_matches(',').to_owned()))
    }

    /// Measures a hypervisor.
    pub fn measure(&self, job: Job, peer: &Peer, results: &mut Results) -> Result<()> {
        let Task::Disk(load, medium) = job.task else { bail!("that is no job of a disk") };
        let above = match medium {
            Medium::Overlay => Some(self.overlay(peer)?),
            Medium::Memory | Medium::File => None,
        };
        let (image, options) = match &above {
            Some((image, options)) => (image, options.as_str()),
            None => (self.image(medium), self.options),
        };
        // A new overlay has no report.
        if above.is_none() {
            image.forget()?;
        }
        let ticks = (self.slice.as_secs_f64() * ticks_per_second()?) as u64;
        let line = format!(
            "disk={} order={} block={} in-flight={} queues={} ticks={ticks} {}",
            load.way(),
            load.order(),
            load.bytes(),
            load.in_flight,
            job.queues,
            self.words
        );
        let board = Board::Disk { path: image.path(), queues: job.queues, options };
        let mut vmm = peer.start(self.kernel, line.trim_end(), board, self.folder)?;
        image.wait_for(&mut vmm, 1, PATIENCE)?;
        let before = Look::at(vmm.pid())?;
        let report = image.wait_for(&mut vmm, 2, self.slice * 3 + PATIENCE)?;
        let sample = Look::at(vmm.pid())?.since(&before, report.requests);
        ensure!(report.requests > 0 && report.refused == 0, "requests failed: {report:?}");
        // Ticks are told in time by what passed here between two reports: the measurement, and the last requests of it.
        let us = |ticks: u64| ticks as f64 * sample.seconds / report.ticks as f64 * 1e6;
        let mut add = |measure, figure| results.add(&job.name(), &peer.name, measure, figure);
        add(Measure::Requests, sample.rate / 1e3);
        add(Measure::Megabytes, report.bytes as f64 / sample.seconds / 1e6);
        add(Measure::RequestCpu, sample.cpu);
        add(Measure::P50, us(report.p50));
        add(Measure::P99, us(report.p99));
        if let Some([exits, _]) = sample.machine {
            add(Measure::RequestExits, exits);
        }
        add(Measure::Lane, sample.lane * 100.0);
        Ok(())
    }

    /// Measures the floor of a job, by each of its ways. It knows one queue.
    pub fn measure_floor(&self, job: Job, results: &mut Results) -> Result<()> {
        let Task::Disk(load, medium) = job.task else { return Ok(()) };
        // It is that of the image below.
        if medium == Medium::Overlay {
            return Ok(());
        }
        for (way, name) in FLOORS {
            let mut command = mortal(&self.floor);
            command.arg(self.image(medium).path()).args([load.way(), load.order()]);
            command.args([load.bytes().to_string(), load.in_flight.to_string()]);
            let text = stdout_of(command.args([&self.slice.as_secs_f64().to_string(), way]))?;
            let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
            let [rate, cpu, p50, p99]: [f64; 4] =
                numbers.try_into().ok().with_context(|| format!("the floor said {text:?}"))?;
            let mut add = |measure, figure| results.add(&job.name(), name, measure, figure);
            add(Measure::Requests, rate / 1e3);
            add(Measure::Megabytes, rate * f64::from(load.bytes()) / 1e6);
            add(Measure::RequestCpu, cpu);
            add(Measure::P50, p50);
            add(Measure::P99, p99);
        }
        Ok(())
    }
}

/// About how fast the CPU's clock is; how long is measured depends on it, and no figure.
pub fn ticks_per_second() -> Result<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").context("no /proc/cpuinfo")?;
    let mhz = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(':'));
    let mhz = mhz.and_then(|(_, mhz)| mhz.trim().parse::<f64>().ok());
    Ok(mhz.context("no CPU's speed in /proc/cpuinfo")? * 1e6)
}
