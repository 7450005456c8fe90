//! Control groups of threads: those of vCPUs and those of devices are apart, and who is asked to stop the machine is in neither.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use serde_json::json;
use tests::idle;

use super::scene::{PATIENCE, Scene, UID, proc, vmm};

/// Where the host has its control groups of version 2.
fn top() -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let top = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    top.expect("a host with control groups of version 2").split(' ').nth(1).unwrap().to_owned()
}

/// The group of each thread, by its name.
fn groups(pid: u32) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(proc(pid, "task")).unwrap().map(|task| task.unwrap().path());
    tasks
        .map(|task| {
            let name = fs::read_to_string(task.join("comm")).unwrap().trim().to_owned();
            let groups = fs::read_to_string(task.join("cgroup")).unwrap();
            let group = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
            (name, group.to_owned())
        })
        .collect()
}

#[test]
fn threads_of_vcpus_and_of_devices_are_in_groups_of_their_own() {
    tests::host::need_kvm();
    let scene = Scene::new();
    let parent = format!("jail-test-threads-{}", std::process::id());
    let mut program = scene.start(&["--thread-cgroups", "--parent-cgroup", &parent]);
    let mut api = scene.api();
    idle::kernel(&scene.root()).unwrap();
    for image in ["disk", "late"] {
        fs::write(scene.root().join(image), [0; 4096]).unwrap();
        chown(scene.root().join(image), Some(UID), None).unwrap();
    }
    let disk = |id: &str| json!({ "drive_id": id, "path_on_host": format!("/{id}"), "is_root_device": false, "io_engine": "Sync" });
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "/idle" })).unwrap();
    api.done("PUT", "/machine-config", &json!({ "vcpu_count": 2, "mem_size_mib": 64 })).unwrap();
    api.done("PUT", "/drives/disk", &disk("disk")).unwrap();
    api.act("InstanceStart").unwrap();
    // One that comes later is started by who is in the group already.
    api.done("PUT", "/drives/late", &disk("late")).unwrap();
    let own = format!("/{parent}/{}", scene.id);
    let groups = groups(program.pid());
    let has = |begin: &str| groups.keys().any(|name| name.starts_with(begin));
    for thread in ["vcpu0", "vcpu1", "io-0", "builder", "disk-disk-0", "disk-late-0", "api"] {
        assert!(has(thread), "{thread}: {groups:?}");
    }
    for (name, group) in &groups {
        let wanted = match name.as_str() {
            "api" => own.clone(),
            main if vmm().file_name().unwrap().to_str().unwrap().starts_with(main) => own.clone(),
            // The kernel's own, of kvm, is started by the first vCPU that runs.
            vcpu if vcpu.starts_with("vcpu") || vcpu.starts_with("kvm-") => format!("{own}/vcpus"),
            _ => format!("{own}/lanes"),
        };
        assert_eq!(*group, wanted, "{name}: {groups:?}");
    }
    // Nothing by which it could choose another group.
    for entry in fs::read_dir(proc(program.pid(), "fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert!(!target.to_str().unwrap().contains("cgroup"), "{}", target.display());
    }
    api.act("Kill").unwrap();
    assert_eq!(program.wait(PATIENCE).unwrap().unwrap().code(), Some(0));
    let place = Path::new(&top()).join(&parent);
    assert!(place.join(scene.id).join("vcpus").is_dir());
    let cleaned = scene.clean_with(&vmm(), &["--parent-cgroup", &parent]);
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    // Fails if there is a group in it still.
    fs::remove_dir(place).unwrap();
}
