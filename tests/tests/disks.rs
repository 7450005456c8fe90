//! Disks of a machine that runs: what the API and `vmm ctl` show and change of them.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::api::{Api, Served};
use tests::bench::resident;
use tests::host;
use tests::idle;
use tests::machine::Hypervisor;

const ROOT: &str = "/drives/rootfs";

fn vmm() -> Command {
    match Hypervisor::ours().unwrap() {
        Hypervisor::Vmm(path) => Command::new(path),
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

/// A machine whose guest does nothing, with a disk `rootfs` of 1 MiB and what else is asked for.
struct Scene {
    folder: TempDir,
    served: Served,
}

impl Scene {
    fn with(drives: &[(&str, Value)]) -> Scene {
        host::need_kvm();
        let folder = tempfile::tempdir().unwrap();
        let kernel = idle::kernel(folder.path()).unwrap();
        let socket = folder.path().join("api");
        let served = Served::start(vmm().args(["--serial", "none"]), &socket).unwrap();
        let scene = Scene { folder, served };
        let image = scene.image("root.raw", 1 << 20);
        let mut api = scene.api();
        api.done("PUT", "/boot-source", &json!({ "kernel_image_path": kernel })).unwrap();
        let root = json!({ "drive_id": "rootfs", "path_on_host": image, "is_root_device": true });
        api.done("PUT", ROOT, &root).unwrap();
        for (id, fields) in drives {
            let mut drive = json!({ "drive_id": id, "is_root_device": false });
            for (name, value) in fields.as_object().unwrap() {
                drive[name] = value.clone();
            }
            drive["path_on_host"] = json!(scene.image(&format!("{id}.raw"), 1 << 20));
            api.done("PUT", &format!("/drives/{id}"), &drive).unwrap();
        }
        api.act("InstanceStart").unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of that many bytes.
    fn image(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.path(name);
        grow(&path, bytes);
        path
    }

    fn api(&self) -> Api {
        self.served.api().unwrap()
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let output = vmm().arg("ctl").arg(self.path("api")).args(arguments).output().unwrap();
        let (said, wrong) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {wrong}");
        said
    }
}

fn grow(path: &Path, bytes: u64) {
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn a_disk_tells_what_it_is_and_so_does_the_configuration() {
    let fields = json!({ "is_read_only": true, "cache": "writethrough", "io_engine": "Sync",
        "serial": "vol-1", "queues": 2, "allowances": { "iops": 100 } });
    let scene = Scene::with(&[("data", fields)]);
    let mut api = scene.api();
    let shown = api.get("/drives/data").unwrap();
    for (field, value) in [
        ("id", json!("data")),
        ("model", json!("virtio")),
        ("path", json!(scene.path("data.raw"))),
        ("size", json!(1 << 20)),
        ("read_only", json!(true)),
        ("cache", json!("writethrough")),
        ("engine", json!("threads")),
        ("serial", json!("vol-1")),
        ("limits", json!({ "iops": 100 })),
        ("faults", json!([])),
        ("running", json!(false)),
        ("in_flight", json!(0)),
    ] {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    assert_eq!(shown["counters"]["reads"], 0);
    let drives = api.get("/vm/config").unwrap()["drives"].clone();
    let expected = json!([
        { "drive_id": "rootfs", "is_root_device": true, "path_on_host": scene.path("root.raw"),
          "is_read_only": false, "partuuid": null, "cache_type": "Unsafe", "io_engine": null,
          "rate_limiter": null, "socket": null, "model": "virtio", "direct": false },
        { "drive_id": "data", "is_root_device": false, "path_on_host": scene.path("data.raw"),
          "is_read_only": true, "partuuid": null, "cache_type": null, "io_engine": "Sync",
          "rate_limiter": null, "socket": null, "cache": "writethrough", "model": "virtio",
          "queues": 2, "direct": false, "serial": "vol-1", "allowances": { "iops": 100 } },
    ]);
    assert_eq!(drives, expected);
    // As it was asked for, and as it is: whoever reads either finds it.
    assert_eq!(shown["path_on_host"], shown["path"]);
    assert_eq!((&shown["is_root_device"], &shown["drive_id"]), (&json!(false), &json!("data")));
    for stretch in ["queue_to_submit", "submit_to_completion", "completion_to_interrupt"] {
        assert_eq!(shown["stretches"][stretch]["max_ns"], 0, "{stretch}");
    }
    let all = api.get("/drives").unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!((&all[0]["id"], &all[1]), (&json!("rootfs"), &shown));
    let missing = api.ask("GET", "/drives/none", "").unwrap().fault().unwrap();
    assert_eq!(missing, "there is no disk \"none\"");
}

#[test]
fn an_image_that_grew_is_seen_when_that_is_asked_for() {
    let scene = Scene::with(&[]);
    let (mut api, mut events) = (scene.api(), scene.api().follow("/events").unwrap());
    let mut next = || events.next().unwrap().unwrap();
    assert_eq!(next()["event"], "hello");
    grow(&scene.path("root.raw"), 3 << 20);
    assert_eq!(api.get(ROOT).unwrap()["size"], 1 << 20, "nobody has looked yet");
    let answer = api.ask("POST", "/drives/rootfs/refresh", "").unwrap();
    assert_eq!((answer.status, answer.json().unwrap()), (200, json!({ "size": 3 << 20 })));
    let event = next();
    assert_eq!((&event["event"], &event["drive_id"]), (&json!("image"), &json!("rootfs")));
    assert_eq!(event["size"], 3 << 20);

    // What Firecracker's users do for it: the same path once more.
    grow(&scene.path("root.raw"), 4 << 20);
    let same = json!({ "drive_id": "rootfs", "path_on_host": scene.path("root.raw") });
    api.done("PATCH", ROOT, &same).unwrap();
    assert_eq!(api.get(ROOT).unwrap()["size"], 4 << 20);
    assert_eq!(next()["size"], 4 << 20);
    grow(&scene.path("root.raw"), 5 << 20);
    assert_eq!(scene.ctl(&["disk", "rootfs", "resize"]), "size  5M\n");
}

#[test]
fn another_image_takes_the_old_ones_place_and_a_wrong_one_does_not() {
    let scene = Scene::with(&[("other", json!({}))]);
    let mut api = scene.api();
    let next = scene.image("next.raw", 2 << 20);
    fs::write(scene.path("qcow2"), [&b"QFI\xfb"[..], &[0; 4096]].concat()).unwrap();
    for (path, place, said) in [
        (scene.path("nowhere"), "disk \"rootfs\": image: ", "nowhere: No such file"),
        (scene.path("qcow2"), "disk \"rootfs\": image: ", "qcow2"),
        (scene.folder.path().to_owned(), "disk \"rootfs\": image: ", "neither a regular file"),
        (scene.path("other.raw"), "path_on_host: ", "is in use by disk \"other\""),
    ] {
        let limiter = json!({ "bandwidth": { "size": 5, "refill_time": 1000 } });
        let body = json!({ "drive_id": "rootfs", "path_on_host": path, "rate_limiter": limiter });
        let answer = api.ask("PATCH", ROOT, &body.to_string()).unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
        let message = answer.fault().unwrap();
        assert!(message.starts_with(place) && message.contains(said), "{message}");
        let shown = api.get(ROOT).unwrap();
        assert_eq!(shown["path"], json!(scene.path("root.raw")));
        assert_eq!(shown["limits"], json!({}), "what came with it is not done either");
    }
    let body = json!({ "drive_id": "rootfs", "path_on_host": next });
    api.done("PATCH", ROOT, &body).unwrap();
    let shown = api.get(ROOT).unwrap();
    assert_eq!((&shown["path"], &shown["size"]), (&json!(next), &json!(2 << 20)));
    assert_eq!(api.get("/vm/config").unwrap()["drives"][0]["path_on_host"], json!(next));
    // Nobody has the old one any more.
    scene.ctl(&["disk", "other", "replace", scene.path("root.raw").to_str().unwrap()]);
    assert_eq!(api.get("/drives/other").unwrap()["path"], json!(scene.path("root.raw")));
}

#[test]
fn a_disk_goes_on_above_its_image_and_others_share_that() {
    let scene = Scene::with(&[]);
    let mut api = scene.api();
    let (root, own) = (scene.path("root.raw"), scene.path("own.cow"));
    let above = |path: &Path, bases: &[&PathBuf]| json!({ "drive_id": "rootfs", "path_on_host": path, "base_paths_on_host": bases });
    api.done("PATCH", ROOT, &above(&own, &[&root])).unwrap();
    let shown = api.get(ROOT).unwrap();
    for (field, value) in [
        ("path", json!(own)),
        ("bases", json!([root])),
        ("base_paths_on_host", json!([root])),
        ("size", json!(1 << 20)),
        ("overlay_bytes", json!(0)),
    ] {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    let told = scene.ctl(&["disk", "rootfs"]);
    assert!(told.contains("own.cow") && told.contains("root.raw"), "{told}");

    // Nobody writes the base now, and others stand on it, on whom others stand.
    let kernel = idle::kernel(scene.folder.path()).unwrap();
    let other = |disk: String| {
        let mut other = vmm();
        other.arg("--kernel").arg(&kernel).args(["--mem", "64M", "--serial", "none"]);
        other.arg("--disk").arg(disk);
        other
    };
    let output = other(root.display().to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("is in use"), "{said}");
    let second = scene.path("second.cow");
    let disk = format!("{},base={},model=nvme", second.display(), root.display());
    let second = Served::start(&mut other(disk), &scene.path("second")).unwrap();
    let there = second.api().unwrap().get("/drives/disk0").unwrap();
    assert_eq!((&there["size"], &there["bases"]), (&json!(1 << 20), &json!([root])));
    second.api().unwrap().act("Kill").unwrap();
    second.end().unwrap();

    let third = scene.path("third.cow");
    for (path, bases, said) in [
        (&own, &[][..], "is an overlay; name its base too"),
        (&third, &[&own][..], "is an overlay; name its base too"),
        (&own, &[&scene.path("none")], "No such file"),
        (&scene.image("raw", 8192), &[&root], "does not begin as an overlay"),
        (&own, &[&own], "cannot be an overlay on itself"),
    ] {
        let answer = api.ask("PATCH", ROOT, &above(path, bases).to_string()).unwrap();
        let message = answer.fault().unwrap();
        assert!(answer.status == 400 && message.contains(said), "{path:?} {bases:?}: {message}");
        assert_eq!(api.get(ROOT).unwrap()["path"], json!(own));
    }
    api.done("PATCH", ROOT, &above(&third, &[&own, &root])).unwrap();
    assert_eq!(api.get(ROOT).unwrap()["bases"], json!([own, root]));
    let drive = api.get("/vm/config").unwrap()["drives"][0].clone();
    assert_eq!(drive["base_paths_on_host"], json!([own, root]));
    // And back to the image itself.
    api.done("PATCH", ROOT, &above(&root, &[])).unwrap();
    assert_eq!(api.get(ROOT).unwrap()["overlay_bytes"], Value::Null);
}

/// As Kata Containers does it: the machine is started with empty disks, which get their images later.
#[test]
fn an_empty_image_holds_the_place_of_one_that_comes_later() {
    let scene = Scene::with(&[("late", json!({ "is_read_only": true }))]);
    let mut api = scene.api();
    let empty = scene.image("empty.raw", 0);
    let change = |path: &Path| json!({ "drive_id": "late", "path_on_host": path });
    api.done("PATCH", "/drives/late", &change(&empty)).unwrap();
    assert_eq!(api.get("/drives/late").unwrap()["size"], 0);
    api.done("PATCH", "/drives/late", &change(&scene.image("next.raw", 2 << 20))).unwrap();
    assert_eq!(api.get("/drives/late").unwrap()["size"], 2 << 20);
}

#[test]
fn limits_change_as_they_are_said_and_are_shown_as_they_are() {
    let scene = Scene::with(&[]);
    let mut api = scene.api();
    let bucket = |size: u64| json!({ "size": size, "refill_time": 100 });
    for (fields, limits) in [
        (json!({ "rate_limiter": { "bandwidth": bucket(1000) } }), json!({ "bw": bucket(1000) })),
        (json!({ "rate_limiter": {} }), json!({ "bw": bucket(1000) })),
        (
            json!({ "rate_limiter": { "ops": bucket(50) } }),
            json!({ "bw": bucket(1000), "iops": bucket(50) }),
        ),
        (json!({ "rate_limiter": { "bandwidth": bucket(0) } }), json!({ "iops": bucket(50) })),
        (json!({ "allowances": { "bw": 7 } }), json!({ "bw": 7 })),
        (json!({ "allowances": {} }), json!({})),
    ] {
        let mut body = fields.clone();
        body["drive_id"] = json!("rootfs");
        api.done("PATCH", ROOT, &body).unwrap();
        assert_eq!(api.get(ROOT).unwrap()["limits"], limits, "{fields}");
        let shown = api.get("/vm/config").unwrap()["drives"][0]["allowances"].clone();
        assert_eq!(if shown.is_null() { json!({}) } else { shown }, limits, "{fields}");
    }
}

#[test]
fn faults_are_made_shown_and_cleared() {
    let scene = Scene::with(&[]);
    let (mut api, mut events) = (scene.api(), scene.api().follow("/events").unwrap());
    let mut next = || events.next().unwrap().unwrap();
    assert_eq!(next()["event"], "hello");
    scene.ctl(&["disk", "rootfs", "fault", "slow"]);
    api.done("PUT", "/drives/rootfs/faults", &json!({ "fault": "error" })).unwrap();
    assert_eq!(api.get(ROOT).unwrap()["faults"], json!(["error", "slow"]));
    for fault in ["slow", "error"] {
        let event = next();
        assert_eq!((&event["event"], &event["fault"]), (&json!("fault"), &json!(fault)));
    }
    let vanish = json!({ "fault": "vanish" }).to_string();
    let message = api.ask("PUT", "/drives/rootfs/faults", &vanish).unwrap().fault().unwrap();
    assert!(
        message.starts_with("disk \"rootfs\": fault: ") && message.contains("nvme"),
        "{message}"
    );
    scene.ctl(&["disk", "rootfs", "fault", "clear"]);
    assert_eq!(api.get(ROOT).unwrap()["faults"], json!([]));
}

#[test]
fn an_nvme_disk_is_asked_and_changed_in_the_same_way() {
    for model in ["nvme", "nvme-instance"] {
        let scene = Scene::with(&[("data", json!({ "model": model, "serial": "vol0123" }))]);
        let mut api = scene.api();
        let shown = api.get("/drives/data").unwrap();
        assert_eq!((&shown["model"], &shown["size"]), (&json!(model), &json!(1 << 20)));
        assert_eq!((&shown["serial"], &shown["running"]), (&json!("vol0123"), &json!(false)));
        assert_eq!(shown["counters"]["reads"], 0);
        grow(&scene.path("data.raw"), 2 << 20);
        assert_eq!(scene.ctl(&["disk", "data", "resize"]), "size  2M\n");
        let next = scene.image("next.raw", 3 << 20);
        scene.ctl(&["disk", "data", "replace", next.to_str().unwrap()]);
        assert_eq!(api.get("/drives/data").unwrap()["size"], 3 << 20);
        for fault in ["vanish", "fatal"] {
            api.done("PUT", "/drives/data/faults", &json!({ "fault": fault })).unwrap();
            assert_eq!(api.get("/drives/data").unwrap()["faults"], json!([fault]));
            scene.ctl(&["disk", "data", "fault", "clear"]);
            assert_eq!(api.get("/drives/data").unwrap()["faults"], json!([]));
        }
        let limits = json!({ "drive_id": "data", "allowances": { "bw": 9 } });
        api.done("PATCH", "/drives/data", &limits).unwrap();
        assert_eq!(api.get("/vm/config").unwrap()["drives"][1]["allowances"], json!({ "bw": 9 }));
    }
}

#[test]
fn a_disk_takes_little_memory_while_nothing_is_asked_of_it() {
    const MOST_KIB: u64 = 256;
    const MORE: u64 = 15;
    /// Of a machine of which nothing else is said.
    const MEMORY_MIB: u32 = 128;
    for model in ["virtio", "nvme"] {
        let names: Vec<_> = (0..MORE).map(|nth| format!("more{nth}")).collect();
        let of = |name: &String| (name.clone(), json!({ "model": model }));
        let more: Vec<_> = names.iter().map(of).collect();
        let more: Vec<_> =
            more.iter().map(|(name, fields)| (name.as_str(), fields.clone())).collect();
        let [one, many] = [&[][..], &more].map(|more| {
            let scene = Scene::with(more);
            resident::beside(scene.served.pid(), MEMORY_MIB).unwrap()
        });
        let each = many.saturating_sub(one) / MORE;
        assert!(each <= MOST_KIB, "{model}: {each} KiB for each disk");
    }
}

#[test]
fn people_and_programs_are_told_of_all_disks() {
    let scene = Scene::with(&[("data", json!({ "is_read_only": true }))]);
    let listed = scene.ctl(&["disks"]);
    let rows: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["disk", "model", "size", "access"]);
    assert_eq!(rows[1][..5], ["rootfs", "virtio", "1M", "rw", "unsafe"]);
    assert_eq!(rows[2][..4], ["data", "virtio", "1M", "ro"]);
    let disks: Value = serde_json::from_str(&scene.ctl(&["--json", "disks"])).unwrap();
    assert_eq!(disks[1], scene.api().get("/drives/data").unwrap());
    let data = scene.ctl(&["disk", "data"]);
    assert!(data.contains("data.raw") && !data.contains("root.raw"), "{data}");
    assert!(scene.ctl(&["info"]).contains("rootfs"));
    let metrics = scene.ctl(&["metrics"]);
    for line in [
        "# TYPE vmm_block_reads counter",
        "vmm_block_reads_total{drive=\"data\"} 0",
        "vmm_block_write_bytes_total{drive=\"rootfs\"} 0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in {metrics}");
    }
}

#[test]
fn two_machines_do_not_write_one_image() {
    let scene = Scene::with(&[]);
    let image = scene.path("root.raw");
    let kernel = idle::kernel(scene.folder.path()).unwrap();
    for options in ["", ",ro"] {
        let mut second = vmm();
        second.arg("--kernel").arg(&kernel).args(["--mem", "64M", "--serial", "none", "--disk"]);
        let output = second.arg(format!("{}{options}", image.display())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("is in use by another process") && said.contains("--disk"), "{said}");
    }
    // It is free when the first one has ended.
    scene.api().act("Kill").unwrap();
    let Scene { folder, served } = scene;
    served.end().unwrap();
    let socket = folder.path().join("second");
    let mut second = vmm();
    second.arg("--kernel").arg(&kernel).args(["--mem", "64M", "--serial", "none"]);
    let second = Served::start(second.arg("--disk").arg(image), &socket).unwrap();
    assert_eq!(second.api().unwrap().get("/drives/disk0").unwrap()["id"], "disk0");
    second.api().unwrap().act("Kill").unwrap();
    second.end().unwrap();
}
