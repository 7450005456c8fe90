//! Machines that come into a jail from elsewhere: from a snapshot, and from another process.

use std::process::{Command, Stdio};

use serde_json::json;
use tests::api::Api;
use tests::idle;
use tests::process::Owned;

use super::scene::{PATIENCE, Scene, status, vmm, wait_until};

/// A vmm in a jail with these words of its own.
fn start(scene: &Scene, flags: &[&str], words: &[&str]) -> Owned {
    Owned::spawn(scene.command_with(flags, words).stderr(Stdio::null())).unwrap()
}

fn boot(api: &mut Api, kernel: &str) {
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": kernel })).unwrap();
    api.done("PUT", "/machine-config", &json!({ "vcpu_count": 1, "mem_size_mib": 64 })).unwrap();
    api.act("InstanceStart").unwrap();
}

/// What it is called, and that it runs as the jail's user, shut in.
fn runs(scene: &Scene, process: &mut Owned) {
    let mut api = scene.api();
    wait_until("it runs", || api.get("/").unwrap()["state"] == "Running");
    let about = api.get("/").unwrap();
    assert_eq!((&about["id"], &about["seccomp"]), (&json!(scene.id), &json!("kill")));
    assert_eq!(status(process.pid(), "Uid"), ["4711"; 4]);
    api.act("Kill").unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().unwrap().code(), Some(0));
}

#[test]
fn a_snapshot_that_was_taken_in_a_jail_goes_on_in_a_jail() {
    tests::host::need_kvm();
    let scene = Scene::new();
    let mut first = scene.start(&[]);
    let mut api = scene.api();
    idle::kernel(&scene.root()).unwrap();
    boot(&mut api, "/idle");
    api.done("PATCH", "/vm", &json!({ "state": "Paused" })).unwrap();
    let files = json!({ "snapshot_path": "/run/state", "mem_file_path": "/run/memory" });
    api.done("PUT", "/snapshot/create", &files).unwrap();
    api.act("Kill").unwrap();
    assert_eq!(first.wait(PATIENCE).unwrap().unwrap().code(), Some(0));
    for flags in [&[][..], &["--thread-cgroups"]] {
        let mut second = start(&scene, flags, &["restore", "/run/state"]);
        runs(&scene, &mut second);
    }
    let cleaned = scene.clean();
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
}

#[test]
fn a_machine_migrates_into_a_jail() {
    tests::host::need_kvm();
    let scene = Scene::new();
    let mut target = start(&scene, &[], &["receive", "unix:/run/come"]);
    let source = tempfile::tempdir().unwrap();
    let socket = source.path().join("api");
    let run = scene.root().join("run");
    let mut vmm = Command::new(vmm());
    vmm.arg("--api-sock").arg(&socket).arg("--allow-path").arg(&run).stdin(Stdio::null());
    let mut vmm = Owned::spawn(vmm.stderr(Stdio::null())).unwrap();
    let mut api = Api::wait(&socket, PATIENCE).unwrap();
    wait_until("a place to go to", || run.join("come").exists());
    boot(&mut api, idle::kernel(source.path()).unwrap().to_str().unwrap());
    let to = json!({ "destination": format!("unix:{}", run.join("come").display()) }).to_string();
    // The name is there before anybody listens.
    wait_until("it goes", || api.ask("PUT", "/migration", &to).unwrap().status == 200);
    assert_eq!(vmm.wait(PATIENCE).unwrap().unwrap().code(), Some(0));
    runs(&scene, &mut target);
}
