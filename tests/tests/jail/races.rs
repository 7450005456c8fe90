//! Races and leftovers: a jail is made and removed while its user renames and links in it, builders are killed at every
//! step, many are made at once; nothing outside is touched, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, setfsgid, setfsuid};
use tests::process::Owned;

use super::scene::{GID, PATIENCE, Scene, UID, proc, space, vmm, wait_until};

/// A program that ends at once.
const TRUE: &str = "/usr/bin/true";

/// In the long round as many as the third number, else as the second.
fn rounds(quick: u32, long: u32) -> u32 {
    if std::env::var_os("VMM_LONG").is_some_and(|value| value != "0") { long } else { quick }
}

/// What a jail has nothing to do with, and how it was left.
struct Outside {
    folder: tempfile::TempDir,
    before: Vec<Facts>,
}

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    path: PathBuf,
    owner: (u32, u32),
    mode: u32,
    text: Option<Vec<u8>>,
}

impl Outside {
    fn new() -> Outside {
        // Beside the jails, so that links between them can be made.
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("folder/secret"), "root's").unwrap();
        fs::write(folder.path().join("file"), "root's own").unwrap();
        let before = Outside::look(folder.path());
        Outside { folder, before }
    }

    fn look(folder: &Path) -> Vec<Facts> {
        let mut paths = vec![folder.to_owned()];
        let mut seen = Vec::new();
        while let Some(path) = paths.pop() {
            let facts = fs::symlink_metadata(&path).unwrap();
            if facts.is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let text = facts.is_file().then(|| fs::read(&path).unwrap());
            let (owner, mode) = ((facts.uid(), facts.gid()), facts.mode());
            seen.push(Facts { path, owner, mode, text });
        }
        seen.sort_by(|a, b| a.path.cmp(&b.path));
        seen
    }

    fn check(&self) {
        assert_eq!(Outside::look(self.folder.path()), self.before);
    }
}

/// Who renames, links and removes in a jail's tree as its user, and puts most of it back, without pause.
fn be_hostile(root: &Path, outside: &Path, me: u64, is_over: &AtomicBool, deeds: &AtomicU64) {
    // Of this thread alone; with the user go root's privileges over files.
    setfsgid(Gid::from_raw(GID));
    setfsuid(Uid::from_raw(UID));
    let names = [
        "dev",
        "run",
        "dev/net",
        "dev/kvm",
        "dev/net/tun",
        "dev/urandom",
        "lib",
        "lib64",
        "true.pid",
        "usr",
    ];
    let aside = root.join(format!("aside-{me}"));
    let mut state = me;
    // Marsaglia's xorshift, of 64 bits.
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below) as usize
    };
    while !is_over.load(Ordering::Relaxed) {
        let place = root.join(names[random(names.len() as u64)]);
        let moved = fs::rename(&place, &aside);
        let planted = match random(5) {
            0 => symlink(outside.join("folder"), &place),
            1 => symlink(outside.join("file"), &place),
            2 => fs::hard_link(outside.join("file"), &place),
            3 => fs::write(&place, "1"),
            _ => fs::create_dir(&place),
        };
        deeds.fetch_add(u64::from(moved.is_ok()) + u64::from(planted.is_ok()), Ordering::Relaxed);
        for _ in 0..random(64) {
            thread::yield_now();
        }
        if random(16) > 0 {
            let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir(&place));
            let _ = fs::rename(&aside, &place);
        }
        // As long as it takes to make a jail, now and then.
        let (begun, pause) = (Instant::now(), Duration::from_micros(random(2000) as u64));
        while begun.elapsed() < pause {
            thread::yield_now();
        }
    }
}

/// Says that it is over even if what is looked for has failed: else who waits for it would wait for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_renames_and_links_in_a_jail_leads_nobody_out_of_it() {
    let rounds = rounds(150, 10_000);
    let (scene, outside) = (Scene::new(), Outside::new());
    let root = scene.home_of(Path::new(TRUE)).join("root");
    let (is_over, deeds) = (AtomicBool::new(false), AtomicU64::new(0));
    let [tried, made, refused] = [0; 3].map(AtomicU32::new);
    thread::scope(|scope| {
        let _ends = Ends(&is_over);
        for me in 1..=2 {
            let (root, outside) = (&root, outside.folder.path());
            let (is_over, deeds) = (&is_over, &deeds);
            scope.spawn(move || be_hostile(root, outside, me, is_over, deeds));
        }
        let begun = Instant::now();
        // On a busy host he has not had his chances by then.
        let few = || deeds.load(Ordering::Relaxed) <= u64::from(rounds);
        for round in 0.. {
            if round >= rounds && !(few() && begun.elapsed() < PATIENCE) {
                break;
            }
            tried.fetch_add(1, Ordering::Relaxed);
            // What ends at once, in place of a machine; its loader and libraries are shown in the jail.
            let mut jail = scene.command_of(Path::new(TRUE), &[]);
            let output = jail.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            match output.status.code() {
                Some(0) => made.fetch_add(1, Ordering::Relaxed),
                Some(1) => {
                    assert_eq!(said.lines().count(), 1, "{said}");
                    refused.fetch_add(1, Ordering::Relaxed)
                }
                // The program has come to run; where its loader was taken away it dies.
                _ => {
                    assert!(!said.contains("panicked"), "{said}");
                    made.fetch_add(1, Ordering::Relaxed)
                }
            };
            if round % 4 == 3 {
                let said = scene.clean_with(Path::new(TRUE), &[]).stderr;
                let said = String::from_utf8(said).unwrap();
                assert!(said.lines().count() <= 1, "{said}");
            }
            outside.check();
        }
    });
    let (made, refused) = (made.into_inner(), refused.into_inner());
    println!("{made} jails made, {refused} refused, {} deeds", deeds.load(Ordering::Relaxed));
    assert_eq!(made + refused, tried.into_inner());
    assert!(deeds.into_inner() > u64::from(rounds), "the user was there");
    // Once he is gone all is well again. The last round may have removed it.
    let removed = fs::remove_dir_all(&root);
    assert!(removed.is_ok() || !root.exists(), "{removed:?}");
    let last = scene.command_of(Path::new(TRUE), &[]).output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    let cleaned = scene.clean_with(Path::new(TRUE), &[]);
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    outside.check();
}

/// Lets a command go through so many system calls, and kills it there; whether it was still at it.
fn killed_after(command: &mut Command, calls: u32) -> bool {
    // It stops itself before it becomes the command, so that it is known from the first call on.
    let mut stopped = Command::new("bash");
    stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "bash"]);
    stopped.arg(command.get_program()).args(command.get_args());
    stopped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Owned::spawn(&mut stopped).unwrap();
    let pid = Pid::from_raw(child.pid() as i32);
    wait_until("it stops", || {
        let stat = fs::read_to_string(proc(child.pid(), "stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    let options = ptrace::Options::PTRACE_O_TRACEEXEC | ptrace::Options::PTRACE_O_TRACESYSGOOD;
    ptrace::seize(pid, options).unwrap();
    nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
    let (mut executed, mut left) = (0, calls);
    loop {
        let signal = match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return false,
            // The jailer first, and what runs in the jail then.
            WaitStatus::PtraceEvent(_, _, EXEC) => {
                executed += 1;
                None
            }
            WaitStatus::PtraceSyscall(_) if executed == 1 => {
                left = left.saturating_sub(1);
                None
            }
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGSTOP => Some(signal),
            _ => None,
        };
        if executed == 2 || left == 0 {
            break;
        }
        ptrace::syscall(pid, signal).unwrap();
    }
    drop(child);
    executed < 2
}

/// PTRACE_EVENT_EXEC.
const EXEC: i32 = 4;

#[test]
fn a_builder_that_was_killed_at_any_step_leaves_what_is_taken_again_and_cleaned() {
    let step = rounds(40, 1);
    let scene = Scene::new();
    let parent = format!("jail-test-killed-{}", std::process::id());
    let flags = ["--parent-cgroup", &parent, "--cgroup", "pids.max=99", "--new-net-ns"];
    let mut calls = 1;
    while killed_after(&mut scene.command_of(Path::new(TRUE), &flags), calls) {
        if calls % (2 * step) == 1 {
            // Taken again as it is; then cleaned.
            let again = scene.command_of(Path::new(TRUE), &flags).output().unwrap();
            assert!(again.status.success(), "{calls}: {}", String::from_utf8_lossy(&again.stderr));
        }
        let cleaned = scene.clean_with(Path::new(TRUE), &flags[..2]);
        assert!(cleaned.status.success(), "{calls}: {}", String::from_utf8_lossy(&cleaned.stderr));
        assert!(!scene.home_of(Path::new(TRUE)).exists(), "{calls}");
        assert_eq!(groups(&format!("{parent}/{}", scene.id)), [""; 0], "{calls}");
        calls += step;
    }
    let cleaned = scene.clean_with(Path::new(TRUE), &flags[..2]);
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    println!("killed at every {step}th of {calls} system calls");
    assert!(calls > 100, "{calls}");
    nobody_has_mounts_below(scene.base.path());
    for group in groups(&parent) {
        fs::remove_dir(group).unwrap();
    }
}

/// Folders of control groups of that name, in every hierarchy.
fn groups(name: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let tops = mounts.lines().filter(|line| line.contains(" cgroup"));
    let places = tops.map(|line| Path::new(line.split(' ').nth(1).unwrap()).join(name));
    places.filter(|place| place.is_dir()).map(|place| place.display().to_string()).collect()
}

/// Neither this process nor any other has a mount of something below `base`: who has none is in no jail there.
fn nobody_has_mounts_below(base: &Path) {
    let base = base.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let pids = processes.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let mut looked_at = 0;
    for pid in pids {
        // It may end meanwhile.
        let Ok(mounts) = fs::read_to_string(proc(pid, "mountinfo")) else { continue };
        assert!(!mounts.contains(base), "process {pid}:\n{mounts}");
        looked_at += 1;
    }
    assert!(looked_at > 0);
}

#[test]
fn of_many_jails_at_once_nothing_is_left() {
    let many = rounds(30, 1000);
    let base = Scene::new();
    let parent = format!("jail-test-many-{}", std::process::id());
    let flags = ["--parent-cgroup", &parent, "--cgroup", "pids.max=99", "--new-net-ns"];
    let scenes: Vec<_> = (0..many).map(|nth| base.sibling(&format!("m-{nth}"))).collect();
    let each = |deed: &(dyn Fn(&Scene) + Sync)| {
        let next = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while let Some(scene) =
                        scenes.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                    {
                        deed(scene);
                    }
                });
            }
        });
    };
    let running = Mutex::new(BTreeMap::new());
    each(&|scene| {
        let program = Owned::spawn(scene.command(&flags).stderr(Stdio::null())).unwrap();
        scene.api().get("/").unwrap();
        running.lock().unwrap().insert(scene.id, program);
    });
    let held: BTreeSet<_> = scenes.iter().map(|scene| space(scene.pid(), "net")).collect();
    assert_eq!(held.len(), many as usize, "each has a network of its own");
    each(&|scene| {
        let program = running.lock().unwrap().remove(scene.id);
        // Killed, and waited for.
        drop(program.unwrap());
        let cleaned = scene.clean_with(&vmm(), &flags[..2]);
        assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    });
    let left = fs::read_dir(base.home().parent().unwrap()).unwrap();
    assert_eq!(left.count(), 0, "folders");
    nobody_has_mounts_below(base.base.path());
    // Fails if there is a group in it still.
    for group in groups(&parent) {
        fs::remove_dir(group).unwrap();
    }
}

#[test]
fn two_builders_of_one_jail_do_not_meet_in_it() {
    let scene = Scene::new();
    for _ in 0..rounds(10, 200) {
        let mut builders: Vec<_> = (0..4)
            .map(|_| Owned::spawn(scene.command(&[]).stderr(Stdio::null())).unwrap())
            .collect();
        scene.api();
        // All but one have said that it is in use.
        let ended = |builder: &mut Owned| builder.child().try_wait().unwrap();
        wait_until("one is in it", || builders.iter_mut().filter_map(ended).count() == 3);
        builders.retain_mut(|builder| match builder.child().try_wait().unwrap() {
            Some(status) => {
                assert_eq!(status.code(), Some(1));
                false
            }
            None => true,
        });
        let [inmate] = &mut builders[..] else { panic!("one") };
        assert_eq!(scene.pid(), inmate.pid());
        inmate.child().kill().unwrap();
        inmate.wait(PATIENCE).unwrap();
        fs::remove_file(scene.socket()).unwrap();
    }
}
