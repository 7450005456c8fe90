//! Snapshots in the benchmark: machines that go on from one, alone or many at once, and one that is written.
//!
//! A guest has been to each of its pages when the snapshot is taken, and goes from page to page again when it goes on:
//! one page for each frame that it sends ([`witness`](crate::native::witness)).

mod files;
mod spent;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::json;

use self::files::{Files, forget};
use self::spent::{Faults, cpu_ms};
use crate::api::Api;
use crate::bench::figures::Figures;
use crate::cargo;
use crate::frames::Link;
use crate::host::eventually;
use crate::native::job::{Job, Restore, Task};
use crate::native::line::TAP;
use crate::native::peer::{Kind, MAC, Peer};
use crate::native::table::{Measure, Results};
use crate::native::wire::Wire;
use crate::native::witness::Listener;
use crate::process::{Owned, stdout_of};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pages that the guest goes to in turn, and so frames of a round.
const ROUND: usize = 1024;
/// Restores one after the other, in each run.
const REPEATS: usize = 10;
/// What a figure is of, besides the hypervisor.
type Told = (&'static str, Measure, f64);

/// Whoever brings memory, with a record of what is used first.
const RECORDED: [(&str, &[&str]); 2] =
    [(", recorded", &[]), (", own pager, recorded", &["--pager", "own"])];

/// The name of the floor in tables.
const FLOOR: &str = "bare process and mapping";

/// Where snapshots are, and what each run has in common.
pub struct Snapshots<'a> {
    disk_folder: &'a Path,
    kernel: &'a Path,
    /// For logs.
    folder: &'a Path,
    floor: PathBuf,
}

/// Where one is to be loaded.
struct Place<'a> {
    peer: &'a Peer,
    files: &'a Files,
    tap: String,
    /// More of vmm's command line.
    words: &'a [&'a str],
    /// Of the API's socket.
    socket: PathBuf,
}

/// What a machine was like that went on.
struct WentOn {
    first_frame: f64,
    /// Only of one that was alone.
    round: Option<(f64, Faults)>,
}

impl<'a> Snapshots<'a> {
    /// Snapshots of guests that run `kernel` go to `disk_folder`, logs to `folder`.
    pub fn new(disk_folder: &'a Path, kernel: &'a Path, folder: &'a Path) -> Result<Self> {
        let floor = cargo::example("device-core", "bare-map")?;
        Ok(Self { disk_folder, kernel, folder, floor })
    }

    /// Measures a hypervisor.
    pub fn measure(&self, job: Job, peer: &Peer, results: &mut Results) -> Result<()> {
        let mut figures = Vec::new();
        // The machines' lines are in a network that this thread is not to stay in.
        let done = thread::scope(|scope| {
            let measured = scope.spawn(|| match job.task {
                Task::Restore(restore) => self.restores(peer, restore, &mut figures),
                Task::Save(mib) => self.save(peer, mib, &mut figures),
                _ => bail!("that is no job of a snapshot"),
            });
            measured.join().map_err(|_| anyhow!("a thread panicked"))?
        });
        for (how, measure, figure) in figures {
            results.add(&job.name(), &format!("{}{how}", peer.name), measure, figure);
        }
        // What was measured before it failed is true all the same.
        done
    }

    /// Measures a process that does no more than to map a file, and to write to the pages that a guest writes to.
    pub fn measure_floor(&self, job: Job, results: &mut Results) -> Result<()> {
        let Task::Restore(Restore { mib, at_once: 1, is_cold }) = job.task else { return Ok(()) };
        let folder = tempfile::tempdir_in(self.disk_folder)?;
        let file = folder.path().join("memory");
        files::fill(&file, u64::from(mib) << 20, ROUND)?;
        let (mut cpu, mut clock) = (Figures::default(), Figures::default());
        for _ in 0..REPEATS {
            if is_cold {
                forget(&file)?;
            }
            let begun = Instant::now();
            let mut command = Command::new(&self.floor);
            let said = stdout_of(command.arg(&file).arg(ROUND.to_string()))?;
            clock.add(begun.elapsed().as_secs_f64() * 1e3);
            cpu.add(said.trim().parse().with_context(|| format!("the floor said {said:?}"))?);
        }
        let mut add = |measure, figure| results.add(&job.name(), FLOOR, measure, figure);
        add(Measure::LoadCpu, cpu.median());
        add(Measure::LoadP50, clock.median());
        add(Measure::LoadP99, clock.max());
        Ok(())
    }

    fn restores(&self, peer: &Peer, restore: Restore, told: &mut Vec<Told>) -> Result<()> {
        let Restore { mib, at_once, is_cold } = restore;
        let wire = Wire::new()?;
        let files = self.saved(peer, mib)?;
        let place = |tap: String| {
            let socket = self.folder.join(format!("{tap}.sock"));
            Place { peer, files: &files, tap, words: &[], socket }
        };
        let ready = || if is_cold { files.forget() } else { Ok(()) };
        if at_once == 1 {
            let mut place = place(TAP.to_owned());
            let figures = place.alone(&ready)?;
            told.extend(figures.map(|(measure, figure)| ("", measure, figure)));
            if peer.is_ours() {
                place.words = &["--pager", "own"];
                let figures = place.alone(&ready)?;
                told.extend(figures.map(|(measure, figure)| (", own pager", measure, figure)));
                place.record()?;
                for (how, words) in RECORDED {
                    place.words = words;
                    let figures = place.alone(&ready)?;
                    told.extend(figures.map(|(measure, figure)| (how, measure, figure)));
                }
            }
            return Ok(());
        }
        ensure!(peer.is_ours(), "many at once are measured of vmm alone");
        let taps: Vec<_> = (0..at_once).map(|n| format!("many{n}")).collect();
        for tap in &taps {
            let words = ["tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr"];
            wire.network().ip(&words)?;
            wire.network().ip(&["link", "set", tap, "up"])?;
        }
        ready()?;
        let mut first = Figures::default();
        thread::scope(|scope| {
            let places = taps.into_iter().map(place);
            let threads: Vec<_> =
                places.map(|place| scope.spawn(move || place.go_on(false))).collect();
            for thread in threads {
                let went_on = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
                first.add(went_on.first_frame);
            }
            anyhow::Ok(())
        })?;
        told.push(("", Measure::FrameP50, first.median()));
        told.push(("", Measure::FrameP99, first.max()));
        Ok(())
    }

    /// A snapshot of a guest that has been to each of its pages.
    fn saved(&self, peer: &Peer, mib: u32) -> Result<Files> {
        let files = Files::new(tempfile::tempdir_in(self.disk_folder)?);
        let socket = self.folder.join("saved.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(&peer.path);
        let line = "load=witness rest=20000";
        let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
        match peer.kind {
            Kind::CloudHypervisor => {
                let net = format!("tap={TAP},mac={mac}");
                command.args(["--cpus", "boot=1", "--serial", "off", "--console", "off"]);
                command.args([
                    "--memory",
                    &format!("size={mib}M"),
                    "--cmdline",
                    line,
                    "--net",
                    &net,
                ]);
                command.arg("--kernel").arg(self.kernel).arg("--api-socket").arg(&socket);
            }
            Kind::Firecracker => {
                let config = json!({
                    "boot-source": { "kernel_image_path": self.kernel, "boot_args": line },
                    "drives": [],
                    "machine-config": { "vcpu_count": 1, "mem_size_mib": mib },
                    "network-interfaces":
                        [{ "iface_id": "eth0", "guest_mac": mac, "host_dev_name": TAP }],
                });
                let file = self.folder.join("saved.json");
                std::fs::write(&file, config.to_string())?;
                command.args(["--enable-pci", "--config-file"]).arg(file);
                command.arg("--api-sock").arg(&socket);
            }
            _ => {
                let model = if peer.kind == Kind::VmmEna { ",model=ena" } else { "" };
                command.args(["--mem", &format!("{mib}M"), "--cmdline", line, "--serial", "none"]);
                command.args(["--net", &format!("tap={TAP},mac={mac}{model}")]);
                command.arg("--kernel").arg(self.kernel).arg("--api-sock").arg(&socket);
                command.arg("--allow-path").arg(files.folder());
            }
        }
        let mut listener = Listener::new(Link::open(TAP)?)?;
        let _machine = self.spawn(peer, &mut command)?;
        listener.hear_many(ROUND * 2, PATIENCE)?;
        let mut api = Api::wait(&socket, PATIENCE)?;
        if peer.kind == Kind::CloudHypervisor {
            pass(&mut api, "/api/v1/vm.pause", "")?;
            let to = json!({ "destination_url": format!("file://{}", files.folder().display()) });
            pass(&mut api, "/api/v1/vm.snapshot", &to.to_string())?;
        } else {
            api.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
            let body = json!({ "snapshot_path": files.state(), "mem_file_path": files.memory() });
            api.done("PUT", "/snapshot/create", &body)?;
        }
        Ok(files)
    }

    /// Starts it with its log where [`Peer::said`] finds it.
    fn spawn(&self, peer: &Peer, command: &mut Command) -> Result<Owned> {
        let log = std::fs::File::create(self.folder.join(format!("{}.log", peer.name)))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Owned::spawn(command)
    }

    /// How fast a snapshot is written to memory, of a guest that has written `mib` of its own.
    fn save(&self, peer: &Peer, mib: u32, told: &mut Vec<Told>) -> Result<()> {
        ensure!(peer.kind == Kind::Vmm, "that guest is for vmm alone");
        let files = Files::new(tempfile::tempdir_in("/dev/shm")?);
        let socket = self.folder.join("saved.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(&peer.path);
        command.args(["--bus", "mmio", "--entropy", "bw=1G", "--balloon", "0", "--serial", "none"]);
        command.args(["--mem", &format!("{}M", mib + 256), "--cmdline"]);
        command.arg(format!("balloon={}", mib << 8)).arg("--kernel").arg(self.kernel);
        command.arg("--allow-path").arg(files.folder());
        let _machine = self.spawn(peer, command.arg("--api-sock").arg(&socket))?;
        let mut api = Api::wait(&socket, PATIENCE)?;
        // It says so when it has written all.
        eventually("a guest that has written its memory", PATIENCE, || {
            Ok(api.get("/memory")?.pointer("/balloon/actual") == Some(&json!(4096)))
        })?;
        api.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
        let body = json!({ "snapshot_path": files.state(), "mem_file_path": files.memory() });
        let begun = Instant::now();
        api.done("PUT", "/snapshot/create", &body)?;
        let took = begun.elapsed().as_secs_f64();
        told.push(("", Measure::Saved, files.data_bytes()? as f64 / took / 1e6));
        Ok(())
    }
}

/// A request of Cloud Hypervisor's API.
fn pass(api: &mut Api, path: &str, body: &str) -> Result<()> {
    let answer = api.ask("PUT", path, body)?;
    ensure!((200..300).contains(&answer.status), "{path}: {answer:?}");
    Ok(())
}

impl Place<'_> {
    /// One after the other, each once by the API and once by the command line.
    fn alone(&self, ready: &dyn Fn() -> Result<()>) -> Result<[(Measure, f64); 8]> {
        let (mut cpu, mut clock) = (Figures::default(), Figures::default());
        let (mut first, mut round) = (Figures::default(), Figures::default());
        let (mut faults, mut major) = (Figures::default(), Figures::default());
        for _ in 0..REPEATS {
            ready()?;
            let (spent, took) = self.load()?;
            cpu.add(spent);
            clock.add(took);
            ready()?;
            let went_on = self.go_on(true)?;
            first.add(went_on.first_frame);
            let (took, seen) = went_on.round.context("no round")?;
            round.add(took);
            faults.add(seen.all as f64);
            major.add(seen.from_disk as f64);
        }
        Ok([
            (Measure::LoadCpu, cpu.median()),
            (Measure::LoadP50, clock.median()),
            // Of so few the worst.
            (Measure::LoadP99, clock.max()),
            (Measure::FrameP50, first.median()),
            (Measure::FrameP99, first.max()),
            (Measure::WorkDone, round.median()),
            (Measure::Faults, faults.median()),
            (Measure::MajorFaults, major.median()),
        ])
    }

    /// Has it written down which pages are used first.
    fn record(&self) -> Result<()> {
        let mut listener = Listener::new(Link::open(&self.tap)?)?;
        let mut command = self.command();
        command.arg("restore").arg(self.files.folder()).args(["--record", "--serial", "none"]);
        let _machine = Owned::spawn(&mut command)?;
        listener.hear_many(ROUND, PATIENCE)?;
        // That takes a few seconds.
        let record = self.files.folder().join("memory.used");
        eventually("a record", PATIENCE, || {
            Ok(std::fs::metadata(&record).is_ok_and(|file| file.len() > 0))
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.peer.path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Of the run before.
        let _ = std::fs::remove_file(&self.socket);
        command
    }

    /// The API, as soon as it is there.
    fn api(&self, process: &mut Owned) -> Result<Api> {
        loop {
            if let Ok(api) = Api::connect(&self.socket) {
                return Ok(api);
            }
            ensure!(process.child().try_wait()?.is_none(), "it has ended");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Loads by the API, and leaves the machine paused: CPU time and time until that is answered, in milliseconds.
    fn load(&self) -> Result<(f64, f64)> {
        let mut command = self.command();
        let socket = match self.peer.kind {
            Kind::CloudHypervisor => "--api-socket",
            _ => "--api-sock",
        };
        command.arg(socket).arg(&self.socket);
        let begun = Instant::now();
        let mut process = Owned::spawn(&mut command)?;
        let mut api = self.api(&mut process)?;
        match self.peer.kind {
            Kind::CloudHypervisor => {
                let from = format!("file://{}", self.files.folder().display());
                let body = json!({ "source_url": from }).to_string();
                pass(&mut api, "/api/v1/vm.restore", &body)?;
            }
            _ => api.done("PUT", "/snapshot/load", &self.body(false))?,
        }
        let took = begun.elapsed().as_secs_f64() * 1e3;
        Ok((cpu_ms(process.pid())?, took))
    }

    /// Firecracker's, and ours.
    fn body(&self, resume: bool) -> serde_json::Value {
        let backend = if self.words.contains(&"own") { "Own" } else { "File" };
        json!({
            "snapshot_path": self.files.state(),
            "mem_backend": { "backend_type": backend, "backend_path": self.files.memory() },
            "resume_vm": resume,
            "network_overrides": [{ "iface_id": "eth0", "host_dev_name": self.tap }],
        })
    }

    /// Lets it go on to its first frame, and through a `round` of its pages if that is asked for.
    fn go_on(&self, round: bool) -> Result<WentOn> {
        let link = Link::open(&self.tap)?;
        let mut command = self.command();
        match self.peer.kind {
            Kind::CloudHypervisor => {
                let from = format!("source_url=file://{}", self.files.folder().display());
                command.args(["--restore", &format!("{from},resume=true")]);
            }
            Kind::Firecracker => {
                command.arg("--api-sock").arg(&self.socket);
            }
            _ => {
                command.arg("restore").arg(self.files.folder());
                command.args(["--serial", "none", "--net", &format!("eth0={}", self.tap)]);
                command.args(self.words);
            }
        }
        let begun = Instant::now();
        let mut process = Owned::spawn(&mut command)?;
        if self.peer.kind == Kind::Firecracker {
            let mut api = self.api(&mut process)?;
            api.done("PUT", "/snapshot/load", &self.body(true))?;
        }
        let mut listener = Listener::new(link)?;
        let ended = |process: &mut Owned| format!("it ended: {:?}", process.wait(Duration::ZERO));
        listener.hear(PATIENCE).with_context(|| ended(&mut process))?;
        let first_frame = begun.elapsed().as_secs_f64() * 1e3;
        if !round {
            return Ok(WentOn { first_frame, round: None });
        }
        listener.hear_many(ROUND, PATIENCE).with_context(|| ended(&mut process))?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        Ok(WentOn { first_frame, round: Some((took, Faults::of(process.pid())?)) })
    }
}
