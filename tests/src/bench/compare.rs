//! Comparison of hypervisors on one host: the same guest under each in turn, again and again.
//!
//! Figures of an emulated host say little by themselves, so what counts is the ratio of medians
//! of runs that alternate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::exits::Counters;
use crate::bench::figures::{Figures, Target, row, rule};
use crate::bench::load::{self, Job, Server};
use crate::bench::resident::Resident;
use crate::guest::{INIT_RUNS, Shell, Tool, USER_SPACE_REACHED};
use crate::kernel::{Format, Kernel, Release};
use crate::machine::{BOOT, Hypervisor, Machine, Model, Running};
use crate::net::{Network, Tap};

/// Memory of the guests.
const MEMORY_MIB: u32 = 512;
/// Where the guest's server of load listens.
const PORT: u16 = 5001;
/// How long a guest is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(3);
/// Time of a load.
const SLICE: Duration = Duration::from_secs(1);
/// Load before the first that is measured, so that all memory has been touched.
const WARM_UP: Duration = Duration::from_secs(1);

/// How often a guest is started that does not come up.
const TRIES: u32 = 3;

/// Somebody who is compared.
#[derive(Debug, Clone)]
pub struct Contestant {
    pub name: String,
    pub hypervisor: Hypervisor,
    pub model: Model,
    /// The host's kernel moves its frames.
    pub vhost: bool,
}

impl Contestant {
    /// A peer by its path: QEMU if its name says so, which has virtio only; else something with
    /// vmm's command line and this card.
    pub fn at(path: &Path, model: Model) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let (hypervisor, model) = if file.starts_with("qemu") {
            (Hypervisor::Qemu(path.to_owned()), Model::Virtio)
        } else {
            (Hypervisor::Vmm(path.to_owned()), model)
        };
        Self { name: file.into_owned(), hypervisor, model, vhost: false }
    }
}

/// What is measured of each contestant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Measure {
    /// Seconds from exec to the first line of init, with a bzImage or with the ELF file in it.
    Init(Format),
    /// Seconds from exec to the end of init, with the drivers loaded and the network up.
    Shell(Format),
    /// MB/s, or 1/s.
    Load(Job),
    /// MiB resident outside guest memory, before any load and after all.
    Idle,
    Loaded,
}

/// A line of the table.
struct Line {
    what: &'static str,
    ours: Measure,
    /// What of the peers it is held against.
    theirs: Measure,
    goal: Goal,
}

/// What the first peer's ratio, or our own figure, is meant to be.
enum Goal {
    None,
    Ratio(Target),
    Figure(Target),
    /// Our ratio to something else of our own.
    Own(Measure, Target),
}

const LINES: [Line; 15] = {
    use Format::{BzImage, Vmlinux};
    use Goal::{Figure, None, Own, Ratio};
    use Measure::{Idle, Init, Load, Loaded, Shell};
    use Target::{AtLeast, AtMost};
    const fn line(what: &'static str, ours: Measure, theirs: Measure, goal: Goal) -> Line {
        Line { what, ours, theirs, goal }
    }
    const fn load(what: &'static str, job: Job) -> Line {
        line(what, Load(job), Load(job), Ratio(AtLeast(1.0)))
    }
    const fn by_vsock(what: &'static str, job: Job, tcp: Job, target: Target) -> Line {
        line(what, Load(job), Load(job), Own(Load(tcp), target))
    }
    let (bz, elf) = (Init(BzImage), Init(Vmlinux));
    [
        line("exec to user space, bzImage, s", bz, bz, Ratio(AtMost(0.75))),
        line("exec to user space, vmlinux against bzImage, s", elf, bz, Ratio(AtMost(0.65))),
        line("exec to user space, vmlinux, s", elf, elf, None),
        line("exec to network up, bzImage, s", Shell(BzImage), Shell(BzImage), None),
        line("exec to network up, vmlinux, s", Shell(Vmlinux), Shell(Vmlinux), None),
        load("TCP host to guest, MB/s", Job::Push),
        load("TCP guest to host, MB/s", Job::Pull),
        load("TCP round trips of 1 byte, 1/s", Job::PingPong),
        load("UDP frames of 64 bytes host to guest, 1/s", Job::Flood),
        load("UDP frames of 64 bytes guest to host, 1/s", Job::Flooded),
        by_vsock("vsock host to guest, MB/s", Job::VsockPush, Job::Push, AtLeast(0.8)),
        by_vsock("vsock guest to host, MB/s", Job::VsockPull, Job::Pull, AtLeast(0.8)),
        // In 0.8 of the time.
        by_vsock("vsock round trips, 1/s", Job::VsockPingPong, Job::PingPong, AtLeast(1.25)),
        line("resident outside guest memory, idle, MiB", Idle, Idle, Figure(AtMost(5.0))),
        line("resident outside guest memory, after load, MiB", Loaded, Loaded, None),
    ]
};

/// What was asked for.
pub struct Plan {
    /// The first is held against the others.
    pub contestants: Vec<Contestant>,
    pub release: Release,
    /// Boots of each kind by each contestant.
    pub boots: u32,
    /// Guests of each contestant that take load.
    pub rounds: u32,
    /// Times that each guest gets each load.
    pub slices: u32,
    pub loads: Vec<Job>,
    /// Of cards and TAPs, in bytes.
    pub mtu: u16,
    /// Whether to tell what each load cost, by the kernel's counters.
    pub costs: bool,
}

/// Figures by contestant and measure.
#[derive(Default)]
struct Results(BTreeMap<(usize, Measure), Figures>);

impl Results {
    fn add(&mut self, contestant: usize, measure: Measure, figure: f64) {
        self.0.entry((contestant, measure)).or_default().add(figure);
    }

    fn get(&self, contestant: usize, measure: Measure) -> Option<&Figures> {
        self.0.get(&(contestant, measure))
    }
}

impl Plan {
    /// Runs everything; tells each run when it is over, and the table at the end.
    pub fn run(&self) -> Result<()> {
        let mut network = Network::new().context("a TAP is needed; run this as root")?;
        network.enter()?;
        let taps = self.contestants.iter().map(|_| network.tap(1, self.mtu));
        let taps = taps.collect::<Result<Vec<_>>>()?;
        let mut results = Results::default();
        // The first boots fill caches, and do not count.
        for run in 0..if self.boots > 0 { self.boots + 1 } else { 0 } {
            for format in [Format::BzImage, Format::Vmlinux] {
                for (index, contestant) in self.contestants.iter().enumerate() {
                    let (init, shell) =
                        insist(contestant, || self.boot(contestant, format, &taps[index]))?;
                    println!(
                        "{} {format:?}: init {init:.3} s, shell {shell:.3} s",
                        contestant.name
                    );
                    if run > 0 {
                        results.add(index, Measure::Init(format), init);
                        results.add(index, Measure::Shell(format), shell);
                    }
                }
            }
        }
        for _ in 0..self.rounds {
            self.load_all(&taps, &mut results)?;
        }
        self.tell(&results)
    }

    fn machine(&self, contestant: &Contestant, tap: &Tap) -> Machine {
        let machine = Machine::new(contestant.hypervisor.clone(), self.release)
            .memory(MEMORY_MIB)
            .card_of(contestant.model, tap)
            .tools(&[Tool::Load, Tool::Vsock]);
        if contestant.vhost { machine.card_option("backend=vhost") } else { machine }
    }

    /// Seconds from exec to the first line of init and to its last.
    fn boot(&self, contestant: &Contestant, format: Format, tap: &Tap) -> Result<(f64, f64)> {
        let running = self.machine(contestant, tap).format(format).start(None)?;
        let reached = |text: &str| {
            let heard = running.console.wait_for(0, text, BOOT);
            let age = running.begun.elapsed().as_secs_f64();
            heard.map(|_| age).with_context(|| running.errors.text())
        };
        Ok((reached(INIT_RUNS)?, reached(USER_SPACE_REACHED)?))
    }

    /// Boots a guest of each contestant and loads them in turn, a slice at a time, so that what else
    /// the machine does hits all of them alike.
    fn load_all(&self, taps: &[Tap], results: &mut Results) -> Result<()> {
        let (mut guests, folder) = (Vec::new(), tempfile::tempdir()?);
        for (index, (contestant, tap)) in self.contestants.iter().zip(taps).enumerate() {
            let vsock = socket(contestant, index, folder.path());
            let (running, mut shell) = insist(contestant, || {
                let machine = self.machine(contestant, tap);
                with_vsock(machine, vsock.as_deref()).boot(None)
            })?;
            sleep(SETTLE);
            results.add(index, Measure::Idle, outside(&running)?);
            shell.sh(&format!("ip link set eth0 mtu {}", self.mtu))?;
            let server = serve(&mut shell, tap, vsock)?;
            load::measure(&server, Job::Push, WARM_UP)?;
            guests.push((running, server));
        }
        for &job in &self.loads {
            for _ in 0..self.slices {
                for (index, (running, server)) in guests.iter().enumerate() {
                    if job.is_by_vsock() && server.vsock.is_none() {
                        continue;
                    }
                    let name = &self.contestants[index].name;
                    let before = self.counters(running, &taps[index])?;
                    let figure = load::measure(server, job, SLICE)
                        .with_context(|| format!("{name} under {job:?}"))?;
                    let figure = if job.is_bulk() { figure / 1e6 } else { figure };
                    println!("{name} {job:?}: {figure:.2}");
                    if let (Some(before), Some(after)) =
                        (before, self.counters(running, &taps[index])?)
                    {
                        let costs = after.since(&before);
                        costs.iter().for_each(|(name, change)| println!("    {name}: {change}"));
                    }
                    results.add(index, Measure::Load(job), figure);
                }
            }
        }
        for (index, (running, _)) in guests.iter().enumerate() {
            results.add(index, Measure::Loaded, outside(running)?);
        }
        Ok(())
    }

    fn counters(&self, running: &Running, tap: &Tap) -> Result<Option<Counters>> {
        self.costs.then(|| Counters::of(running.pid(), &tap.name)).transpose()
    }

    fn tell(&self, results: &Results) -> Result<()> {
        let kernel = Kernel::open(self.release)?;
        let origin = kernel.origin();
        println!("\n{origin}, 1 vCPU, {MEMORY_MIB} MiB, MTU {};", self.mtu);
        println!(
            "{} boots; {} times a guest each, with {} s of each load in turn; median (least to greatest).\n",
            self.boots, self.rounds, self.slices
        );
        let names = || self.contestants.iter().map(|contestant| contestant.name.clone());
        let ratios = names().skip(1).map(|name| format!("to {name}"));
        let head: Vec<_> = [String::new()]
            .into_iter()
            .chain(names())
            .chain(ratios)
            .chain(["target".to_owned()])
            .collect();
        println!("{}\n{}", row(&head), rule(head.len()));
        for line in &LINES {
            if let Some(cells) = line.cells(results, self.contestants.len()) {
                println!("{}", row(&cells));
            }
        }
        Ok(())
    }
}

/// Tries again when a guest dies: emulated hosts let that happen now and then. Each time is told.
fn insist<T>(contestant: &Contestant, run: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match run() {
            Ok(done) => return Ok(done),
            Err(error) => println!("{0}: {error:#}\n{0}: once more", contestant.name),
        }
    }
    run()
}

/// MiB resident outside guest memory.
fn outside(running: &Running) -> Result<f64> {
    Ok(Resident::of(running.pid(), MEMORY_MIB)?.outside as f64 / 1024.0)
}

/// Where the host's socket of a contestant's vsock is, if it has one.
fn socket(contestant: &Contestant, index: usize, folder: &Path) -> Option<PathBuf> {
    let is_ours = matches!(contestant.hypervisor, Hypervisor::Vmm(_));
    is_ours.then(|| folder.join(format!("{index}.vsock")))
}

fn with_vsock(machine: Machine, socket: Option<&Path>) -> Machine {
    let Some(socket) = socket else { return machine };
    machine.argument("--vsock").argument(format!("cid=3,path={}", socket.display()))
}

/// Starts the guest's server of load.
fn serve(shell: &mut Shell, tap: &Tap, vsock: Option<PathBuf>) -> Result<Server> {
    let word = if vsock.is_some() { " --vsock" } else { "" };
    shell.sh(&format!("load serve 0.0.0.0:{PORT}{word} >/dev/null 2>&1 &"))?;
    shell.sh(&format!("until netstat -tln | grep -q :{PORT}; do usleep 100000; done"))?;
    Ok(Server { at: SocketAddr::new(tap.guest_ipv4.parse()?, PORT), vsock })
}

impl Line {
    /// What it is, everybody's figures, our ratio to each peer, and the verdict; `None` if it was not measured.
    fn cells(&self, results: &Results, contestants: usize) -> Option<Vec<String>> {
        let ours = results.get(0, self.ours)?;
        let peers: Vec<_> = (1..contestants).filter_map(|n| results.get(n, self.theirs)).collect();
        let ratios: Vec<_> = peers.iter().map(|peer| ours.median() / peer.median()).collect();
        let verdict = match self.goal {
            Goal::None => String::new(),
            Goal::Ratio(target) => ratios.first().map(|&r| target.judge(r)).unwrap_or_default(),
            Goal::Figure(target) => target.judge(ours.median()),
            Goal::Own(other, target) => {
                let ratio = ours.median() / results.get(0, other)?.median();
                let nobody = (1..contestants).flat_map(|_| ["–", "–"]).map(str::to_owned);
                let verdict = format!("{ratio:.2} of its TCP: {}", target.judge(ratio));
                let cells = [self.what.to_owned(), ours.to_string()].into_iter().chain(nobody);
                return Some(cells.chain([verdict]).collect());
            }
        };
        let cells = [self.what.to_owned(), ours.to_string()]
            .into_iter()
            .chain(peers.iter().map(|peer| peer.to_string()))
            .chain(ratios.iter().map(|ratio| format!("{ratio:.2}")))
            .chain([verdict]);
        Some(cells.collect())
    }
}

#[cfg(test)]
#[path = "compare_test.rs"]
mod tests;
