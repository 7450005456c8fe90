//! Jails of who is not root: the same walls, and a plain word where the host does not let him have them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tests::idle;
use tests::process::{Owned, stdout_of};

use super::scene::{GID, PATIENCE, Scene, UID, proc, space, status, vmm, wait_until};

/// Becomes that user, who may use KVM and make TAPs, in a mount namespace where his devices are; they are in the folder $0.
const LOG_IN: &str = r#"
mount --make-rprivate / && mount -t tmpfs none "$0" || exit 99
mknod "$0/kvm" c 10 232 && mknod "$0/tun" c 10 200 && chmod 666 "$0/kvm" "$0/tun" || exit 99
mount --bind "$0/kvm" /dev/kvm && mount --bind "$0/tun" /dev/net/tun || exit 99
exec setpriv --reuid 4711 --regid 4712 --clear-groups "$@""#;

/// A user with a folder of jails, and a vmm that he can read.
pub struct User {
    pub scene: Scene,
    _stage: tempfile::TempDir,
    vmm: PathBuf,
    dev: PathBuf,
}

impl User {
    pub fn new() -> User {
        let scene = Scene::new();
        chown(scene.base.path(), Some(UID), Some(GID)).unwrap();
        let stage = tempfile::tempdir().unwrap();
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(stage.path(), all.clone()).unwrap();
        // Under the name that the scene knows.
        let program = stage.path().join(vmm().file_name().unwrap());
        fs::copy(vmm(), &program).unwrap();
        fs::set_permissions(&program, all).unwrap();
        let dev = stage.path().join("dev");
        fs::create_dir(&dev).unwrap();
        User { scene, _stage: stage, vmm: program, dev }
    }

    /// A script of root's that ends in the user's being logged in, with these words to execute.
    fn command(&self, script: &str, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["-m", "--", "bash", "-c", script]).arg(&self.dev).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn words<'a>(&'a self, flags: &[&'a str], extra: &[&'a str]) -> Vec<&'a str> {
        let base = self.scene.base.path().to_str().unwrap();
        let jail =
            [self.vmm.to_str().unwrap(), "jail", "--id", self.scene.id, "--chroot-base-dir", base];
        [&jail[..], flags, &["--", "--api-sock", "/run/vm.sock"], extra].concat()
    }

    pub fn start(&self, flags: &[&str]) -> Owned {
        Owned::spawn(self.command(LOG_IN, &self.words(flags, &[])).stderr(Stdio::null())).unwrap()
    }

    fn refusal_by(&self, script: &str, flags: &[&str]) -> String {
        let output = self.command(script, &self.words(flags, &[])).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    fn refusal(&self, flags: &[&str]) -> String {
        self.refusal_by(LOG_IN, flags)
    }

    pub fn clean(&self) -> Output {
        let base = self.scene.base.path().to_str().unwrap();
        let program = self.vmm.to_str().unwrap();
        let words = [program, "jail", "--clean", "--id", self.scene.id, "--chroot-base-dir", base];
        self.command(LOG_IN, &words).output().unwrap()
    }
}

#[test]
fn who_is_not_root_has_a_machine_in_a_jail_with_a_tap_of_its_own() {
    tests::host::need_kvm();
    let user = User::new();
    let scene = &user.scene;
    let mut keeper = user.start(&["--rootless", "--new-net-ns", "--tap", "tap0,queues=2"]);
    let mut api = scene.api();
    let kernel = idle::kernel(&scene.root()).unwrap();
    fs::set_permissions(kernel, fs::Permissions::from_mode(0o644)).unwrap();
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "/idle" })).unwrap();
    api.done("PUT", "/machine-config", &json!({ "vcpu_count": 1, "mem_size_mib": 64 })).unwrap();
    let card = json!({ "iface_id": "eth0", "host_dev_name": "tap0" });
    api.done("PUT", "/network-interfaces/eth0", &card).unwrap();
    api.act("InstanceStart").unwrap();
    wait_until("the machine runs", || api.get("/").unwrap()["state"] == "Running");

    let pid = scene.pid();
    assert_eq!(status(pid, "Uid"), ["4711"; 4]);
    assert_eq!(status(pid, "Gid"), ["4712"; 4]);
    for who in [pid, keeper.pid()] {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(who, set), ["0000000000000000"], "{set}");
        }
        assert_eq!(status(who, "NoNewPrivs"), ["1"]);
    }
    assert_eq!(status(pid, "NSpid").len(), 2);
    for name in ["user", "mnt", "ipc", "uts", "cgroup", "net", "pid"] {
        assert_ne!(space(pid, name), space(std::process::id(), name), "{name}");
    }
    let inside: BTreeSet<_> = fs::read_dir(proc(pid, "root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let pid_file = format!("{}.pid", vmm().file_name().unwrap().to_str().unwrap());
    let known = ["dev", "run", "lib", "lib64", "usr", "idle", &pid_file];
    assert!(inside.iter().all(|name| known.contains(&name.as_str())), "{inside:?}");
    // Devices are the host's own nodes: no user makes any.
    let mounts = fs::read_to_string(proc(pid, "mountinfo")).unwrap();
    for device in ["/dev/kvm", "/dev/net/tun"] {
        assert!(mounts.lines().any(|line| line.split(' ').nth(4) == Some(device)), "{mounts}");
    }
    assert!(!fs::metadata(scene.root().join("dev/kvm")).unwrap().file_type().is_socket_or_device());

    // What could be root again, in another user namespace, cannot be had from in there, not even by all capabilities in it.
    let enter = ["-t", &pid.to_string(), "-U", "--preserve-credentials"];
    let mut within = Command::new("nsenter");
    let within = within.args(enter).args(["unshare", "-U", "true"]).output().unwrap();
    assert!(!within.status.success());

    api.act("Kill").unwrap();
    assert_eq!(
        keeper.wait(PATIENCE).unwrap().unwrap().code(),
        Some(0),
        "the keeper ends as the program does"
    );
    let cleaned = user.clean();
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    assert!(!scene.home().exists());
}

trait Kind {
    fn is_socket_or_device(&self) -> bool;
}

impl Kind for fs::FileType {
    fn is_socket_or_device(&self) -> bool {
        !(self.is_file() || self.is_dir() || self.is_symlink())
    }
}

#[test]
fn a_keeper_passes_signals_on_and_does_not_leave_the_program_behind() {
    let user = User::new();
    let start = || {
        let keeper = user.start(&["--rootless"]);
        user.scene.api();
        (keeper, user.scene.pid())
    };
    let (mut keeper, pid) = start();
    assert_ne!(keeper.pid(), pid);
    let sent = Command::new("kill").arg(keeper.pid().to_string()).status().unwrap();
    assert!(sent.success());
    assert_eq!(keeper.wait(PATIENCE).unwrap().unwrap().code(), Some(143));
    wait_until("the program has ended", || !proc(pid, "").exists());

    let (mut keeper, pid) = start();
    keeper.child().kill().unwrap();
    keeper.wait(PATIENCE).unwrap().unwrap();
    wait_until("the program has ended", || !proc(pid, "").exists());
    let _ = fs::remove_file(user.scene.socket());

    // A second one of the same name waits for nobody, and leaves the first alone.
    let (_keeper, pid) = start();
    let said = user.refusal(&["--rootless"]);
    assert!(said.contains("is in use") && said.contains(&pid.to_string()), "{said}");
    assert!(!user.clean().status.success());
    user.scene.api().get("/").unwrap();
}

#[test]
fn what_the_host_does_not_allow_is_named() {
    let user = User::new();
    // A user namespace that has no room for another is a host that allows none.
    let none = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let host = format!("unshare -U --map-current-user --keep-caps -- bash -c '{none}' \"$@\"");
    let said = user.refusal_by(&LOG_IN.replace("\"$@\"", &host), &["--rootless"]);
    assert!(
        said.contains("--rootless: ") && said.contains("user.max_user_namespaces is 0"),
        "{said}"
    );
    // In a chroot nobody makes one.
    let into = r#"mkdir "$0/root" && mount --rbind / "$0/root" && exec chroot "$0/root" setpriv"#;
    let said = user.refusal_by(&LOG_IN.replace("exec setpriv", into), &["--rootless"]);
    assert!(said.contains("cannot make a user namespace") && said.contains("a chroot"), "{said}");
    let said = user.refusal_by(&LOG_IN.replace("chmod 666", "chmod 600"), &["--rootless"]);
    assert!(said.contains("user 4711 may not open /dev/kvm"), "{said}");
    let said = user.refusal(&["--uid", "4711", "--gid", "4712"]);
    assert!(said.contains("--rootless"), "{said}");
    let said = user.refusal(&["--rootless", "--uid", "0"]);
    assert!(said.contains("--uid 0"), "{said}");
    let said = Scene::new().refusal(&["--rootless"]);
    assert!(said.contains("--rootless: root would be root"), "{said}");
    // Somebody else's folder.
    chown(user.scene.base.path(), Some(UID + 1), None).unwrap();
    let said = user.refusal(&["--rootless"]);
    assert!(said.contains("somebody else could change"), "{said}");
}

/// A control group of version 2 that goes with it, and where it is.
struct Group(PathBuf);

impl Group {
    fn new() -> Group {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let top = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let top = Path::new(
            top.expect("a host with control groups of version 2").split(' ').nth(1).unwrap(),
        );
        let group = top.join(format!("vmm-rootless-{}", std::process::id()));
        for path in [&group, &group.join("start"), &group.join("run")] {
            fs::create_dir(path).unwrap();
        }
        Group(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in [&self.0.join("start"), &self.0.join("run"), &self.0] {
            let _ = fs::remove_dir(path);
        }
    }
}

#[test]
fn control_groups_are_had_where_they_are_delegated() {
    let user = User::new();
    let group = Group::new();
    let name = group.0.file_name().unwrap().to_str().unwrap();
    let parent = format!("{name}/run");
    let script = format!("echo $$ >{}/start/cgroup.procs || exit 99\n{LOG_IN}", group.0.display());
    let flags = ["--rootless", "--parent-cgroup", &parent];
    let said = user.refusal_by(&script, &flags);
    assert!(said.contains("is not delegated") && said.contains("systemd-run --user"), "{said}");
    for folder in [&group.0, &group.0.join("run"), &group.0.join("start")] {
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(folder.join(file), Some(UID), Some(GID)).unwrap();
        }
    }
    let words = user.words(&flags, &[]);
    let keeper = Owned::spawn(user.command(&script, &words).stderr(Stdio::null())).unwrap();
    user.scene.api();
    let groups = fs::read_to_string(proc(user.scene.pid(), "cgroup")).unwrap();
    assert!(groups.lines().any(|line| line == format!("0::/{parent}")), "{groups}");
    drop(keeper);
    wait_until("the group is empty", || {
        fs::read_to_string(group.0.join("run/cgroup.procs")).unwrap().is_empty()
    });
}

#[test]
fn descriptors_are_handed_over_by_name_and_lead_nowhere() {
    let user = User::new();
    let outside = tempfile::tempdir().unwrap();
    let open = |what: &str| format!("exec 5</etc/passwd 6>>/etc/passwd 7<{what}\n{LOG_IN}");
    let said = user.refusal_by(&open("/tmp"), &["--rootless", "--fd", "7"]);
    assert!(said.contains("--fd 7: it is open on a folder"), "{said}");
    let said = user.refusal_by(LOG_IN, &["--rootless", "--fd", "7"]);
    assert!(said.contains("--fd 7: it is not open"), "{said}");
    let said = user.refusal_by(LOG_IN, &["--rootless", "--ready-fd", "1"]);
    assert!(said.contains("--ready-fd 1: "), "{said}");
    let file = outside.path().join("handed");
    fs::write(&file, "").unwrap();
    let script = open(file.to_str().unwrap());
    let words = user.words(&["--rootless", "--fd", "7"], &[]);
    let _keeper = Owned::spawn(user.command(&script, &words).stderr(Stdio::null())).unwrap();
    user.scene.api();
    let pid = user.scene.pid();
    assert_eq!(fs::read_link(proc(pid, "fd/7")).unwrap(), file);
    for entry in fs::read_dir(proc(pid, "fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert_ne!(target, Path::new("/etc/passwd"), "a descriptor that was not named");
    }
    let owner = fs::metadata(user.scene.root()).unwrap();
    assert_eq!((owner.uid(), owner.mode() & 0o777), (UID, 0o700));
    let id = stdout_of(Command::new("stat").args(["-c", "%u"]).arg(proc(pid, "root/run"))).unwrap();
    assert_eq!(id.trim(), "4711");
}
