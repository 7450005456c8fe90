//! What shuts threads in, tried by an intruder in each kind of them: a build of the vmm that does on a thread what a
//! guest would that had taken it over. Needs KVM, and root for a TAP and an interface.
#![forbid(unsafe_code)]

#[path = "shield/plugging.rs"]
mod plugging;
#[path = "shield/requests.rs"]
mod requests;
#[path = "outputs/scene.rs"]
#[expect(dead_code, reason = "other tests have terminals and pipes")]
mod scene;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::cargo;
use tests::net::Network;
use tests::process::Owned;

use scene::{Scene, end, send, wait_until};

/// Kinds of threads, and one of each.
const THREADS: [(&str, &str); 12] = [
    ("main", "main"),
    ("api", "api"),
    ("builder", "builder"),
    ("vcpu", "vcpu0"),
    ("io", "io-0"),
    ("capture", "capture"),
    ("tap-lane", "net-eth0-0"),
    ("packet-lane", "net-eth1-0"),
    ("disk-lane", "disk-disk0-0"),
    ("disk-helper", "disk-disk1-w"),
    ("vsock", "vsock-0"),
    ("pmem", "pmem0-0"),
];

/// What is answered as by a kernel that has no such call.
const ABSENT: [&str; 3] =
    ["intruder: clone3: error 38", "intruder: io-uring: error 38", "intruder: bpf: error 38"];

static INTRUDER: LazyLock<PathBuf> = LazyLock::new(|| cargo::intruder().unwrap());

/// A place for machines that have a thread of each kind.
struct House {
    scene: Scene,
    network: Network,
}

impl House {
    fn new() -> House {
        let scene = Scene::new();
        let mut network = Network::new().unwrap();
        network.tap(1, 1500).unwrap();
        network.ip(&["link", "add", "veth0", "type", "veth", "peer", "name", "veth1"]).unwrap();
        for end in ["veth0", "veth1"] {
            network.ip(&["link", "set", end, "up"]).unwrap();
        }
        for image in ["image0", "image1", "memory"] {
            File::create(scene.path(image)).unwrap().set_len(2 << 20).unwrap();
        }
        House { scene, network }
    }

    /// A machine with an intruder that does `deed` on the threads of `kind`.
    fn start(&self, kind: &str, deed: &str, more: &[&str]) -> Owned {
        self.start_by(self.network.command(&*INTRUDER), kind, deed, more)
    }

    /// The same, by a command of which these are the last arguments.
    fn start_by(&self, mut command: Command, kind: &str, deed: &str, more: &[&str]) -> Owned {
        command.args(["--kernel", "idle", "--mem", "64M", "--serial", "none", "--grace", "0"]);
        command.args(["--api-sock", "api", "--net", "tap=tap0", "--net", "dev=veth0"]);
        command.args(["--disk", "image0,engine=uring", "--disk", "image1,engine=threads"]);
        command.args(["--pmem", "memory", "--vsock", "cid=3,path=vsock", "--balloon", "0"]);
        command.args(["--entropy", "bw=1M"]);
        command.args(more).env("VMM_INTRUDE", format!("{kind}:{deed}"));
        command.current_dir(self.scene.0.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.scene.path("errors")).unwrap());
        Owned::spawn(&mut command).unwrap()
    }

    /// What became of one that is to end at once; and that it left no socket.
    fn ended(&self, kind: &str, deed: &str) -> (ExitStatus, String) {
        let status = end(self.start(kind, deed, &[]));
        assert!(!self.scene.path("api").exists(), "{kind} {deed} leaves its socket");
        (status, self.scene.read("errors"))
    }

    /// What was said when the deed was done, and the machine goes on.
    fn goes_on(&self, kind: &str, deed: &str, more: &[&str]) -> String {
        let mut process = self.start(kind, deed, more);
        let over = format!("intruder: {deed}: over");
        wait_until(&format!("{kind} {deed}"), || {
            let said = self.scene.read("errors");
            let ended = process.wait(Duration::ZERO).unwrap();
            assert_eq!(ended, None, "{kind} {deed}: {said}");
            said.contains(&over)
        });
        drop(self.scene.running());
        send(&process, Signal::SIGINT);
        assert_eq!(end(process).code(), Some(130), "{kind} {deed}: {}", self.scene.read("errors"));
        self.scene.read("errors")
    }
}

#[test]
fn every_call_of_an_intruder_is_refused_on_every_thread() {
    let house = House::new();
    for (kind, _) in THREADS {
        let said = house.goes_on(kind, "calls", &[]);
        let deeds = said.lines().filter(|line| line.starts_with("intruder: "));
        let (refused, others): (Vec<_>, Vec<_>) = deeds
            .filter(|line| !line.ends_with(": over"))
            // It is the one to end by whatever signal.
            .filter(|line| kind != "main" || !line.starts_with("intruder: handler: "))
            // Threads that it starts shut themselves in to less; this one is none that the kernel takes.
            .filter(|line| kind != "builder" || !line.starts_with("intruder: filter: error "))
            // It is told that the kernel has none.
            .filter(|line| kind != "builder" || !ABSENT.iter().any(|said| line == said))
            .partition(|line| line.ends_with(": refused"));
        assert!(refused.len() > 40, "{kind}: {said}");
        assert!(others.is_empty(), "{kind}: {others:?}");
    }
}

#[test]
fn a_call_of_an_intruder_ends_the_vmm_with_a_line_and_a_code_of_its_own() {
    let house = House::new();
    for (kind, thread) in THREADS {
        let (status, said) = house.ended(kind, "exec");
        assert_eq!(status.code(), Some(6), "{kind}: {said}");
        let lines: Vec<_> = said.lines().collect();
        let [line] = lines[..] else { panic!("{kind}: {said}") };
        assert!(line.starts_with(&format!("vmm: thread {thread}")), "{kind}: {line}");
        assert!(line.contains("system call 59 (execve) at 0x"), "{kind}: {line}");
    }
}

#[test]
fn threads_that_fail_end_the_vmm_as_they_would_without_filters() {
    let house = House::new();
    for (kind, thread) in THREADS {
        for (deed, signal, word) in [
            ("panic", Signal::SIGABRT, "an intruder"),
            ("no-memory", Signal::SIGABRT, "memory allocation"),
            ("stack", Signal::SIGABRT, "overflowed its stack"),
            ("fault", Signal::SIGSEGV, ""),
        ] {
            let (status, said) = house.ended(kind, deed);
            assert_eq!(status.signal(), Some(signal as i32), "{kind} {deed}: {status} {said}");
            assert!(said.contains(word), "{kind} {deed}: {said}");
            assert!(deed != "panic" || said.contains(thread), "{kind} {deed}: {said}");
        }
    }
}

/// No signal that the first process of a namespace sends to itself ends it.
#[test]
fn a_vmm_that_is_first_in_its_namespace_ends_as_well() {
    let house = House::new();
    for kind in ["main", "api", "vcpu", "disk-lane"] {
        for (deed, code, word) in [
            ("panic", 134, "an intruder"),
            ("no-memory", 134, "memory allocation"),
            ("stack", 134, "overflowed its stack"),
            ("fault", 139, ""),
            ("exec", 6, "(execve)"),
        ] {
            let mut command = house.network.command("unshare");
            command.args(["--pid", "--fork", "--kill-child"]).arg(&*INTRUDER);
            let status = end(house.start_by(command, kind, deed, &[]));
            let said = house.scene.read("errors");
            let ended = status.code().or(status.signal().map(|signal| 128 + signal));
            assert_eq!(ended, Some(code), "{kind} {deed}: {status} {said}");
            assert!(said.contains(word), "{kind} {deed}: {said}");
            assert!(!house.scene.path("api").exists(), "{kind} {deed} leaves its socket");
        }
    }
}

/// As Firecracker's launchers know it, also from threads that have no call to exit by.
#[test]
fn the_face_of_firecracker_has_its_own_codes_for_the_same_ends() {
    let house = House::new();
    let machine = r#"{
        "boot-source": { "kernel_image_path": "idle" },
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 64 },
        "drives": []
    }"#;
    std::fs::write(house.scene.path("machine.json"), machine).unwrap();
    for (kind, thread) in [("main", "main"), ("api", "fc_api"), ("vcpu", "fc_vcpu 0")] {
        for (deed, code, words) in [
            ("exec", 148, format!("thread {thread} was stopped: it made system call 59 (execve)")),
            ("fault", 150, "killed by signal 11".to_string()),
        ] {
            let mut command = Command::new(&*INTRUDER);
            command.args(["firecracker", "--api-sock", "api", "--config-file", "machine.json"]);
            command.env("VMM_INTRUDE", format!("{kind}:{deed}"));
            command.current_dir(house.scene.0.path()).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(File::create(house.scene.path("errors")).unwrap());
            let status = end(Owned::spawn(&mut command).unwrap());
            let said = house.scene.read("errors");
            assert_eq!(status.code(), Some(code), "{kind} {deed}: {said}");
            assert!(said.contains(&words), "{kind} {deed}: {said}");
            assert!(!house.scene.path("api").exists(), "{kind} {deed} leaves its socket");
        }
    }
}

/// Nothing of the machine is forgotten, whatever it has.
#[test]
fn all_threads_are_under_a_filter_and_so_is_the_broker() {
    let house = House::new();
    let mut process = house.start("none", "none", &[]);
    drop(house.scene.running());
    let tasks = PathBuf::from(format!("/proc/{}/task", process.child().id()));
    let mut names = Vec::new();
    for task in std::fs::read_dir(&tasks).unwrap() {
        let task = task.unwrap().path();
        let children = std::fs::read_to_string(task.join("children")).unwrap_or_default();
        let children = children.split_whitespace().map(|pid| PathBuf::from("/proc").join(pid));
        for task in children.chain([task.clone()]) {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            let name = status.lines().next().unwrap().replace("Name:\t", "");
            assert!(status.contains("NoNewPrivs:\t1\n"), "{name}: {status}");
            assert!(status.contains("Seccomp:\t2\n"), "{name}: {status}");
            names.push(name);
        }
    }
    let all = THREADS.iter().map(|(_, name)| *name).filter(|name| *name != "main");
    for wanted in all.chain(["broker"]) {
        assert!(names.iter().any(|name| name.starts_with(wanted)), "{wanted}: {names:?}");
    }
}

#[test]
fn a_line_of_the_log_and_memory_trip_no_filter() {
    let house = House::new();
    for (kind, _) in THREADS {
        let said = house.goes_on(kind, "log", &["--log-level", "error"]);
        assert!(said.contains("a line of an intruder"), "{kind}: {said}");
        house.goes_on(kind, "memory", &[]);
    }
}

/// Where the kernel has it.
#[test]
fn without_filters_no_thread_but_main_has_a_path_either() {
    let house = House::new();
    let mut probe = house.start("none", "none", &[]);
    let landlock = house.scene.running().get("/").unwrap()["landlock"].clone();
    probe.child().kill().unwrap();
    drop(probe);
    if landlock.is_null() {
        return;
    }
    // Main opens and builds what comes later: there is no thread for it.
    let others = THREADS.into_iter().filter(|(kind, _)| !matches!(*kind, "main" | "builder"));
    for (kind, _) in others {
        for deed in ["open", "create"] {
            let said = house.goes_on(kind, deed, &["--seccomp", "off"]);
            let refused = format!("intruder: {deed}: error {}", nix::errno::Errno::EACCES as i32);
            assert!(said.contains(&refused), "{kind} {deed}: {said}");
        }
    }
}
