//! Vsocks under real KVM, with a guest that polls from user mode: at native speed on any host, where no Linux could be
//! booted.

#[path = "native_vsock/storm.rs"]
mod storm;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use tests::api::Api;
use tests::bench::resident;
use tests::host::{self, eventually};
use tests::native::guest;
use tests::native::peer::MEMORY_MIB;
use tests::native::trial;
use tests::native::vsock_bench::{DISCARD, ECHO, SOURCE};
use tests::process::Owned;
use tests::vsock::{call_and_go, drop_calls, host_side, listener, to_guest};

/// Far longer than anything takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the guest takes orders to call the host, and where it never reads.
const ORDERS: u32 = 1000;
const STALL: u32 = 1001;

/// Connections in each direction, some of them at one time, and bytes of each that go each way.
const CONNECTIONS: u32 = 100;
const AT_ONCE: usize = 10;
const BYTES: u64 = 1 << 20;

/// How the machine has its devices, and words for the guest.
const WAYS: [(&str, &str); 3] = [("pci", ""), ("pci", "event-idx=0"), ("mmio", "")];

type Test = fn(&Scene) -> Result<()>;

fn main() {
    let mut arguments = Arguments::from_args();
    // Each has three busy threads already.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for (bus, words) in WAYS {
        let tests: [(&str, Test); 4] = [
            ("streams_arrive_each_way_whoever_began_them", streams),
            ("who_does_not_read_stalls_nobody_else", stalls),
            ("peers_come_and_go_and_leave_nothing", peers),
            ("a_storm_harms_nobody_but_the_guest", storm::storm),
        ];
        // How a guest asks for kicks is no matter of who connects.
        let is_asked =
            |name: &str| words.is_empty() || !name.contains("stalls") && !name.contains("peers");
        for (name, test) in tests.into_iter().filter(|(name, _)| is_asked(name)) {
            let name = format!("{name} [{bus} {words}]").replace(" ]", "]");
            trials.push(Trial::ignorable_test(name, move || run(bus, words, test)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(bus: &'static str, words: &'static str, test: Test) -> Result<Completion, Failed> {
    if let Err(error) = host::kvm() {
        return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
    }
    let run = || {
        let scene = Scene::new(bus, words)?;
        test(&scene).with_context(|| format!("vmm said {:?}", scene.said()))
    };
    let done: Result<()> = run();
    done.map(|()| Completion::Completed).map_err(|error| Failed::from(format!("{error:#}")))
}

/// Where a machine is started.
struct Scene {
    bus: &'static str,
    words: &'static str,
    folder: tempfile::TempDir,
    vsock: PathBuf,
}

/// A machine, and its API.
struct Machine {
    process: Owned,
    api: Api,
}

impl Scene {
    fn new(bus: &'static str, words: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let vsock = folder.path().join("v.sock");
        Ok(Self { bus, words, folder, vsock })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Starts a machine whose guest does `task` with its vsock.
    fn start(&self, task: &str) -> Result<Machine> {
        let socket = self.folder.path().join("api");
        let log = std::fs::File::create(self.log()).context("cannot make a log")?;
        let mut command = Command::new(trial::vmm()?);
        command.arg("--kernel").arg(guest::build()?).args(["--mem", &format!("{MEMORY_MIB}M")]);
        command.args(["--cmdline", &format!("{task} {}", self.words), "--bus", self.bus]);
        command.arg("--vsock").arg(format!("cid=3,path={}", self.vsock.display()));
        command.args(["--serial", "none", "--api-sock"]).arg(&socket);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Owned::spawn(&mut command)?;
        Ok(Machine { process, api: Api::wait(&socket, LIMIT)? })
    }

    /// Has the guest call the host's port.
    fn order(&self, port: u32, calls: u32, restless: bool) -> Result<UnixStream> {
        let mut orders = to_guest(&self.vsock, ORDERS)?;
        let order = [port, calls, restless.into()].map(u32::to_le_bytes).concat();
        orders.write_all(&order)?;
        Ok(orders)
    }
}

impl Machine {
    fn vsock(&mut self) -> Result<Value> {
        self.api.get("/vsock")
    }

    /// No connection is left, and all that there were kept the rules.
    fn is_clean(&mut self) -> Result<()> {
        self.has_none_but(STALL, 0)
    }

    /// The same, but for so many with this port of the guest's.
    fn has_none_but(&mut self, port: u32, count: usize) -> Result<()> {
        let mut last = Value::Null;
        let gone = eventually("all connections are gone", LIMIT, || {
            last = self.vsock()?;
            let left = last["connections"].as_array().context("no connections")?;
            Ok(left.len() == count && left.iter().all(|it| it["guest_port"] == port))
        });
        gone.with_context(|| format!("left are {}", last["connections"]))?;
        for none in ["overruns", "malformed_packets", "foreign_packets"] {
            ensure!(last["counters"][none] == 0, "{none} in {}", last["counters"]);
        }
        Ok(())
    }

    fn beside(&self) -> Result<u64> {
        resident::beside(self.process.pid(), MEMORY_MIB)
    }
}

/// Runs it on some threads; fails if one does.
fn at_once(threads: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().try_for_each(joined)
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread has panicked"))
}

/// Sends a stream on each of so many connections, and has it back.
fn echoes(connections: u32, next: impl Fn() -> Result<UnixStream> + Sync) -> Result<()> {
    let count = AtomicU32::new(0);
    at_once(AT_ONCE, || {
        loop {
            let seed = count.fetch_add(1, Ordering::Relaxed);
            if seed >= connections {
                return Ok(());
            }
            host_side(&next()?, seed, BYTES).with_context(|| format!("connection {seed}"))?;
        }
    })
}

fn streams(scene: &Scene) -> Result<()> {
    let mut machine = scene.start("vsock=serve")?;
    echoes(CONNECTIONS, || to_guest(&scene.vsock, ECHO))?;
    machine.is_clean()?;

    let listener = listener(&scene.vsock, 2000)?;
    let orders = scene.order(2000, CONNECTIONS, false)?;
    echoes(CONNECTIONS, || Ok(listener.accept().context("no call")?.0))?;
    drop(orders);
    machine.is_clean()?;
    // Nothing was amiss.
    ensure!(scene.said().is_empty(), "it said {:?}", scene.said());
    Ok(())
}

/// Connections whose reader stalls; what is held for each at most, by the manual, in KiB; and what a machine may take
/// besides.
const STALLED: usize = 50;
const HELD: u64 = 256;
const BESIDE: u64 = 2048;

fn stalls(scene: &Scene) -> Result<()> {
    let mut machine = scene.start("vsock=serve")?;
    echoes(1, || to_guest(&scene.vsock, ECHO))?;
    let before = machine.beside()?;
    // Nothing that the guest is sent is read there.
    let there = (0..STALLED).map(|_| fill(to_guest(&scene.vsock, STALL)?));
    let there: Vec<_> = there.collect::<Result<_>>()?;
    // What is held once is not lost for the next time.
    for round in 0..2 {
        stalled_here(scene, &mut machine, before).with_context(|| format!("round {round}"))?;
    }
    drop(there);
    // What a client has sent is the guest's to read, whenever that is.
    machine.has_none_but(STALL, STALLED)
}

/// Nobody reads what the guest sends, but later.
fn stalled_here(scene: &Scene, machine: &mut Machine, before: u64) -> Result<()> {
    let here = (0..STALLED).map(|_| to_guest(&scene.vsock, SOURCE));
    let mut here: Vec<_> = here.collect::<Result<_>>()?;
    let mut waiting = 0;
    eventually("all are stalled", LIMIT, || {
        let view = machine.vsock()?;
        let connections = view["connections"].as_array().context("no connections")?;
        let waits = connections.iter().filter_map(|it| it["waiting"].as_u64());
        let waits: Vec<_> = waits.filter(|bytes| *bytes > 0).collect();
        ensure!(waits.iter().all(|bytes| *bytes <= HELD << 10), "{view}");
        waiting = waits.len();
        Ok(waiting == STALLED)
    })
    .with_context(|| format!("{waiting} are"))?;

    echoes(CONNECTIONS / 4, || to_guest(&scene.vsock, ECHO))?;
    let held = machine.beside()?.saturating_sub(before);
    ensure!(held < STALLED as u64 * HELD + BESIDE, "{held} KiB are held");

    // Who reads again has all that was sent, and more.
    let mut bytes = vec![0; 2 << 20];
    for stream in &mut here {
        stream.read_exact(&mut bytes)?;
    }
    drop(here);
    machine.has_none_but(STALL, STALLED)
}

/// Writes until there is no room any more.
fn fill(mut stream: UnixStream) -> Result<UnixStream> {
    stream.set_write_timeout(Some(Duration::from_millis(50)))?;
    let (chunk, mut sent) = ([0x5a; 16 << 10], 0);
    loop {
        match stream.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
        ensure!(sent < 16 << 20, "{sent} bytes went");
    }
    Ok(stream)
}

/// Calls of the guest that end at any time.
const CALLS: u32 = 200;

fn peers(scene: &Scene) -> Result<()> {
    let mut machine = scene.start("vsock=serve")?;
    let listener = listener(&scene.vsock, 3000)?;
    let mut first = None;
    for round in 0..3 {
        let (over, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| -> Result<()> {
            let taker = scope.spawn(|| drop_calls(&listener, &over, &taken));
            let (vsock, over) = (&scene.vsock, &over);
            let callers = [ECHO, SOURCE, DISCARD, STALL];
            let callers = callers.map(|port| scope.spawn(move || call_and_go(vsock, port, over)));
            let orders = scene.order(3000, CALLS, true);
            let opened = eventually("the guest's calls", LIMIT, || {
                let counters = machine.vsock()?["counters"].clone();
                let count = |name: &str| counters[name].as_u64().unwrap_or(0);
                let wanted = u64::from(CALLS) * (round + 1);
                let all = count("connections_opened") + count("connections_refused");
                Ok(all >= 4 * wanted && taken.load(Ordering::Relaxed) > 0)
            });
            over.store(true, Ordering::Relaxed);
            joined(taker)?;
            ensure!(taken.load(Ordering::Relaxed) > 0, "nobody called");
            for caller in callers {
                ensure!(joined(caller)? > 0, "nobody was accepted");
            }
            drop(orders?);
            opened
        })?;
        machine.is_clean()?;
        echoes(AT_ONCE as u32, || to_guest(&scene.vsock, ECHO))?;
        machine.is_clean()?;
        let beside = machine.beside()?;
        let before = *first.get_or_insert(beside);
        ensure!(beside < before + BESIDE, "round {round}: from {before} to {beside} KiB");
    }
    Ok(())
}
