//! Jails: what runs in one has nothing of the host's, and nobody can turn the making of one against the host.
#![forbid(unsafe_code)]

#[path = "jail/arrivals.rs"]
mod arrivals;
#[path = "jail/races.rs"]
mod races;
#[path = "jail/ready.rs"]
mod ready;
#[path = "jail/rootless.rs"]
mod rootless;
#[path = "jail/scene.rs"]
mod scene;
#[path = "jail/threads.rs"]
mod threads;
#[path = "jail/unit.rs"]
mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use scene::{GID, PATIENCE, Scene, UID, kill, proc, space, status, vmm, wait_until};
use serde_json::json;
use tests::api::Api;
use tests::idle;
use tests::process::Owned;

#[test]
fn a_program_in_a_jail_has_nothing_of_the_hosts() {
    let scene = Scene::new();
    // A descriptor and a variable that somebody forgot.
    let jail = scene.command(&[]);
    let mut careless = Command::new("bash");
    careless.args(["-c", "exec 7</etc/passwd; SECRET=1 exec \"$0\" \"$@\""]);
    careless.arg(jail.get_program()).args(jail.get_args()).stdin(Stdio::null());
    careless.stdout(Stdio::null()).stderr(Stdio::null());
    let program = Owned::spawn(&mut careless).unwrap();
    scene.api();
    let pid = program.pid();
    assert_eq!(scene.pid(), pid);
    assert_eq!(status(pid, "Uid"), ["4711"; 4]);
    assert_eq!(status(pid, "Gid"), ["4712"; 4]);
    assert_eq!(status(pid, "Groups"), [""; 0]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(pid, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), ["1"]);
    assert_eq!(fs::read(proc(pid, "environ")).unwrap(), b"");
    for entry in fs::read_dir(proc(pid, "fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        let known = ["/dev/null", "pipe:", "socket:"];
        let known = known.iter().any(|kind| target.to_str().unwrap().starts_with(kind))
            || ["[eventfd]", "[eventpoll]", "[signalfd]", "[landlock-ruleset]"]
                .iter()
                .any(|kind| target == Path::new(&format!("anon_inode:{kind}")));
        assert!(known, "{}", target.display());
    }
    let inside: BTreeSet<_> = fs::read_dir(proc(pid, "root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let name = vmm().file_name().unwrap().to_str().unwrap().to_string();
    let own = ["dev", "run", "lib", "lib64", "usr"].map(str::to_string);
    let known: BTreeSet<_> = own.into_iter().chain([format!("{name}.pid")]).collect();
    assert!(inside.is_subset(&known), "{inside:?}");
    let mounts = fs::read_to_string(proc(pid, "mountinfo")).unwrap();
    assert!(mounts.lines().count() < 10, "{mounts}");
    for space_name in ["mnt", "ipc", "uts", "cgroup"] {
        assert_ne!(space(pid, space_name), space(std::process::id(), space_name), "{space_name}");
    }
    let socket = fs::metadata(scene.socket()).unwrap();
    assert_eq!((socket.uid(), socket.gid()), (UID, GID));
    for folder in ["", "dev", "dev/net", "run"] {
        let folder = fs::metadata(scene.root().join(folder)).unwrap();
        assert_eq!((folder.uid(), folder.mode() & 0o7777), (UID, 0o700));
    }
}

#[test]
fn a_machine_runs_in_a_jail() {
    tests::host::need_kvm();
    let scene = Scene::new();
    let mut program = scene.start(&["--new-net-ns"]);
    let mut api = scene.api();
    // What the machine needs is put there, and is named as it is seen there.
    idle::kernel(&scene.root()).unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "/idle" })).unwrap();
    api.done("PUT", "/machine-config", &json!({ "vcpu_count": 2, "mem_size_mib": 64 })).unwrap();
    api.act("InstanceStart").unwrap();
    wait_until("the machine runs", || api.get("/").unwrap()["state"] == "Running");
    assert_eq!(api.get("/").unwrap()["id"], scene.id);
    assert_ne!(space(program.pid(), "net"), space(std::process::id(), "net"));
    api.act("Kill").unwrap();
    assert_eq!(program.wait(PATIENCE).unwrap().unwrap().code(), Some(0));
}

/// As anywhere, and with the one image that it may take by then.
#[test]
fn a_machine_in_a_jail_shuts_itself_in_there() {
    tests::host::need_kvm();
    let outside = Scene::new();
    let _outside = outside.start(&[]);
    let walls = |api: &mut Api| {
        let about = api.get("/").unwrap();
        (about["seccomp"].clone(), about["landlock"].clone())
    };
    let scene = Scene::new();
    let ended = scene.command(&["--new-pid-ns"]).stderr(Stdio::null()).status().unwrap();
    assert_eq!(ended.code(), Some(0));
    let (mut api, pid) = (scene.api(), scene.pid());
    assert_eq!(walls(&mut api), walls(&mut outside.api()));
    idle::kernel(&scene.root()).unwrap();
    for image in ["disk", "other"] {
        fs::write(scene.root().join(image), [0; 4096]).unwrap();
        chown(scene.root().join(image), Some(UID), None).unwrap();
    }
    let disk = |path: &str| json!({ "drive_id": "a", "path_on_host": path });
    let root = json!({ "drive_id": "a", "path_on_host": "/disk", "is_root_device": false });
    api.done("PUT", "/drives/a", &root).unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "/idle" })).unwrap();
    api.act("InstanceStart").unwrap();
    for task in fs::read_dir(proc(pid, "task")).unwrap() {
        let task = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(task.contains("Seccomp:\t2\n"), "{task}");
    }
    api.done("PATCH", "/drives/a", &disk("/other")).unwrap();
    for (path, why) in [("/dev/kvm", "neither a regular file"), ("/etc/passwd", "No such file")] {
        let answer = api.ask("PATCH", "/drives/a", &disk(path).to_string()).unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.fault().unwrap().contains(why), "{answer:?}");
    }
    api.act("Kill").unwrap();
    wait_until("its end", || !proc(pid, "root").exists());
}

#[test]
fn a_jail_is_one_programs_and_is_taken_again_when_that_has_ended() {
    let scene = Scene::new();
    let mut first = scene.start(&[]);
    scene.api();
    let said = scene.refusal(&[]);
    assert!(said.contains("is in use") && said.contains(&first.pid().to_string()), "{said}");
    let said = String::from_utf8(scene.clean().stderr).unwrap();
    assert!(said.contains("is in use"), "{said}");
    scene.api().get("/").unwrap();
    kill(first.pid());
    first.wait(PATIENCE).unwrap().unwrap();
    fs::remove_file(scene.socket()).unwrap();
    let second = scene.start(&[]);
    scene.api();
    assert_eq!(scene.pid(), second.pid());
    drop(second);
    for _ in 0..2 {
        let cleaned = scene.clean();
        assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
        assert!(!scene.home().exists());
    }
}

#[test]
fn planted_links_lead_nowhere() {
    for planted in ["", "dev", "dev/net", "run", "lib64", "dev/kvm", "dev/net/tun"] {
        let scene = Scene::new();
        let outside = tempfile::tempdir().unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = scene.root().join(planted);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::set_permissions(scene.home(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = place.to_str().unwrap().trim_end_matches('/').to_string();
        symlink(outside.path(), &place).unwrap();
        let said = scene.refusal(&[]);
        assert!(said.contains(&place), "{planted}: {said}");
        let facts = fs::metadata(outside.path()).unwrap();
        assert_eq!((facts.uid(), facts.mode() & 0o7777), (0, 0o755), "{planted}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{planted}");
    }
}

#[test]
fn a_planted_file_with_a_pid_leads_nowhere_and_is_nobody() {
    let scene = Scene::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "1").unwrap();
    fs::create_dir_all(scene.root()).unwrap();
    let name = format!("{}.pid", vmm().file_name().unwrap().to_str().unwrap());
    let place = scene.root().join(name);
    symlink(outside.path(), &place).unwrap();
    let program = scene.start(&[]);
    scene.api();
    assert_eq!(scene.pid(), program.pid());
    drop(program);
    fs::remove_file(scene.socket()).unwrap();
    assert_eq!(fs::read_to_string(outside.path()).unwrap(), "1");
    fs::remove_file(&place).unwrap();
    // Of somebody who runs, elsewhere.
    for text in ["1", "-1", "0", "99999999999999999999", "", "x\0y"] {
        fs::write(&place, text).unwrap();
        let program = scene.start(&[]);
        scene.api();
        assert_eq!(scene.pid(), program.pid());
        drop(program);
        let _ = fs::remove_file(scene.socket());
    }
}

#[test]
fn folders_that_others_could_change_are_refused() {
    let scene = Scene::new();
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(scene.base.path(), 0o777);
    assert!(scene.refusal(&[]).contains("somebody else could change"));
    mode(scene.base.path(), 0o1777);
    fs::create_dir_all(scene.home()).unwrap();
    chown(scene.home(), Some(UID), None).unwrap();
    assert!(scene.refusal(&[]).contains(scene.home().to_str().unwrap()));
    chown(scene.home(), Some(0), None).unwrap();
    fs::create_dir_all(scene.root()).unwrap();
    chown(scene.root(), Some(UID + 1), None).unwrap();
    assert!(scene.refusal(&[]).contains("user 4712"));
}

#[test]
fn networks_are_joined_by_handles_with_links_in_their_paths() {
    let scene = Scene::new();
    let mut keeper = Command::new("unshare");
    let keeper = Owned::spawn(keeper.args(["-n", "sleep", "1000"])).unwrap();
    wait_until("a network namespace", || {
        space(keeper.pid(), "net") != space(std::process::id(), "net")
    });
    let link = scene.base.path().join("netns");
    symlink(proc(keeper.pid(), "ns/net"), &link).unwrap();
    let program = scene.start(&["--netns", link.to_str().unwrap()]);
    scene.api();
    assert_eq!(space(program.pid(), "net"), space(keeper.pid(), "net"));
    drop(program);
    let _ = fs::remove_file(scene.socket());
    assert!(scene.refusal(&["--netns", "/nowhere"]).contains("--netns /nowhere"));
    assert!(scene.refusal(&["--netns", "/proc/self/ns/mnt"]).contains("--netns /proc/self/ns/mnt"));
}

#[test]
fn a_daemon_has_a_session_of_its_own_and_no_terminal() {
    let scene = Scene::new();
    assert_eq!(scene.output(&["--daemonize"]).status.code(), Some(0));
    scene.api();
    let pid = scene.pid();
    let stat = fs::read_to_string(proc(pid, "stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let (session, terminal) = (fields[3], fields[4]);
    let own = fs::read_to_string("/proc/self/stat").unwrap();
    assert_ne!(session, own.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap());
    assert_ne!(session, pid.to_string(), "a leader could get a terminal");
    assert_eq!(terminal, "0");
    for fd in ["fd/0", "fd/1", "fd/2"] {
        let target = fs::read_link(proc(pid, fd)).unwrap();
        assert!(target.ends_with("null"), "{}", target.display());
    }
    kill(pid);
}

#[test]
fn a_pid_namespace_has_the_program_first() {
    let scene = Scene::new();
    // Who goes on has the standard descriptors still.
    let ended = scene.command(&["--new-pid-ns"]).stderr(Stdio::null()).status().unwrap();
    assert_eq!(ended.code(), Some(0));
    scene.api();
    let pid = scene.pid();
    let ids = status(pid, "NSpid");
    assert_eq!(ids.last().unwrap(), "1");
    assert_eq!(ids.len(), 2);
    kill(pid);
}

#[test]
fn limits_are_those_asked_for() {
    let scene = Scene::new();
    let program =
        scene.start(&["--resource-limit", "fsize=1048576", "--resource-limit", "no-file=512"]);
    scene.api();
    let limits = fs::read_to_string(proc(program.pid(), "limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["512", "512"]);
    assert_eq!(limit("Max file size"), ["1048576", "1048576"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
}

#[test]
fn control_groups_have_their_values_and_go_when_cleaned() {
    let scene = Scene { id: "jail-test-groups", ..Scene::new() };
    let program = scene.start(&["--parent-cgroup", "jail-test", "--cgroup", "pids.max=77"]);
    scene.api();
    let groups = fs::read_to_string(proc(program.pid(), "cgroup")).unwrap();
    let inside = |line: &&str| line.ends_with("/jail-test/jail-test-groups");
    assert_eq!(groups.lines().filter(inside).count(), 1, "{groups}");
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let tops = mounts.lines().filter(|line| line.contains(" cgroup"));
    let places: Vec<_> = tops
        .map(|line| Path::new(line.split(' ').nth(1).unwrap()).join("jail-test/jail-test-groups"))
        .filter(|place| place.is_dir())
        .collect();
    let [place] = &places[..] else { panic!("{places:?}") };
    assert_eq!(fs::read_to_string(place.join("pids.max")).unwrap(), "77\n");
    let unknown = Scene::new().refusal(&["--cgroup", "nothing.max=1"]);
    assert!(
        unknown.contains("--cgroup nothing.max=1") && unknown.contains("controller"),
        "{unknown}"
    );
    drop(program);
    let mut clean = Command::new(vmm());
    clean.args(["jail", "--clean", "--id", scene.id, "--parent-cgroup", "jail-test"]);
    let cleaned = clean.arg("--chroot-base-dir").arg(scene.base.path()).output().unwrap();
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    assert!(!place.exists());
    fs::remove_dir(place.parent().unwrap()).unwrap();
}

#[test]
fn the_same_flags_make_a_jail_by_the_name_of_jailer() {
    let scene = Scene::new();
    let link = scene.base.path().join("jailer");
    symlink(vmm(), &link).unwrap();
    let mut jailer = Command::new(link);
    jailer.args(["--id", "one", "--exec-file"]).arg(vmm()).arg("--chroot-base-dir");
    jailer.arg(scene.base.path()).args(["--uid", "4711", "--gid", "4712"]);
    jailer.args(["--", "--api-sock", "/run/vm.sock"]);
    let program = Owned::spawn(&mut jailer).unwrap();
    assert_eq!(scene.api().get("/").unwrap()["id"], "one");
    assert_eq!(status(program.pid(), "Uid"), ["4711"; 4]);
}

#[test]
fn a_copy_that_is_called_jailer_puts_a_vmm_into_the_jail() {
    let scene = Scene::new();
    let copy = scene.base.path().join("jailer");
    fs::copy(vmm(), &copy).unwrap();
    let mut jailer = Command::new(copy);
    jailer.args(["--id", "one", "--uid", "4711", "--gid", "4712", "--chroot-base-dir"]);
    jailer.arg(scene.base.path()).args(["--", "--api-sock", "/run/vm.sock"]);
    let _program = Owned::spawn(&mut jailer).unwrap();
    assert_eq!(scene.api().get("/").unwrap()["app_name"], "vmm");
}
