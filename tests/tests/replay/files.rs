//! Configuration files in the shapes that launchers write, and what is wrong with others.

use std::fs;

use serde_json::Value;
use tests::host;

use super::scene::Scene;

/// A shape, the file, and what the machine then shows.
pub struct File(pub &'static str, pub &'static str, pub &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
pub const ROWS: &[File] = &[
    File("the smallest", r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[]}"#,
        &[("/machine-config/vcpu_count", "1"), ("/machine-config/mem_size_mib", "128")]),
    File("the usual example", r#"{
  "boot-source": {
    "kernel_image_path": "{idle}",
    "boot_args": "console=ttyS0 reboot=k panic=1 pci=off",
    "initrd_path": null
  },
  "drives": [
    {
      "drive_id": "rootfs",
      "partuuid": null,
      "is_root_device": true,
      "cache_type": "Unsafe",
      "is_read_only": false,
      "path_on_host": "{disk}",
      "io_engine": "Sync",
      "rate_limiter": null,
      "socket": null
    }
  ],
  "machine-config": {
    "vcpu_count": 2,
    "mem_size_mib": 128,
    "smt": false,
    "track_dirty_pages": false,
    "huge_pages": "None"
  },
  "cpu-config": null,
  "balloon": null,
  "network-interfaces": [],
  "vsock": null,
  "logger": null,
  "metrics": null,
  "mmds-config": null,
  "entropy": null,
  "pmem": [],
  "memory-hotplug": null
}"#, &[("/drives/0/path_on_host", "\"{disk}\""), ("/machine-config/vcpu_count", "2"),
        ("/boot-source/boot_args", "\"console=ttyS0 reboot=k panic=1 pci=off\"")]),
    File("a runtime for pods: spare drives, no root, FIFOs", r#"{
  "boot-source":{"kernel_image_path":"{idle}","boot_args":"reboot=k panic=1 pci=off i8042.noaux root=/dev/vda1 ro rootfstype=ext4"},
  "drives":[
    {"drive_id":"rootfs","path_on_host":"{disk}","is_root_device":false,"is_read_only":true},
    {"drive_id":"drive_0","path_on_host":"{empty}","is_root_device":false,"is_read_only":false},
    {"drive_id":"drive_1","path_on_host":"{odd}","is_root_device":false,"is_read_only":false}],
  "logger":{"log_path":"{log.fifo}","level":"Debug"},
  "metrics":{"metrics_path":"{metrics.fifo}"},
  "machine-config":{"vcpu_count":1,"mem_size_mib":256,"smt":false}
}"#, &[("/drives/2/drive_id", "\"drive_1\""), ("/machine-config/mem_size_mib", "256")]),
    File("a manager of nodes: threads of cores, a log", r#"{
  "machine-config":{"vcpu_count":2,"mem_size_mib":128,"smt":true},
  "boot-source":{"kernel_image_path":"{idle}","boot_args":"console=ttyS0 reboot=k panic=1 pci=off ds=nocloud-net;s=http://169.254.169.254/latest/ network-config=none"},
  "drives":[{"drive_id":"root","path_on_host":"{disk}","is_root_device":true,"is_read_only":false,"cache_type":"Unsafe"}],
  "logger":{"level":"Debug","log_path":"{file}","show_level":true,"show_log_origin":true},
  "metrics":{"metrics_path":"{new}"}
}"#, &[("/machine-config/smt", "true"), ("/drives/0/drive_id", "\"root\"")]),
    File("functions: one drive read-only, limits", r#"{
  "boot-source":{"kernel_image_path":"{idle}","boot_args":"quiet loglevel=1 8250.nr_uarts=0 reboot=k panic=-1 pci=off"},
  "drives":[
    {"drive_id":"base","path_on_host":"{disk}","is_root_device":true,"is_read_only":true,"io_engine":"Async"},
    {"drive_id":"scratch","path_on_host":"{grown}","is_root_device":false,"is_read_only":false,
     "rate_limiter":{"bandwidth":{"size":10485760,"refill_time":1000},"ops":{"size":500,"refill_time":1000,"one_time_burst":1000}}}],
  "machine-config":{"vcpu_count":1,"mem_size_mib":128,"track_dirty_pages":true}
}"#, &[("/drives/0/is_read_only", "true"), ("/machine-config/track_dirty_pages", "true")]),
    File("an initial RAM disk and nothing else", r#"{"boot-source":{"kernel_image_path":"{idle}","initrd_path":"{initrd}"},"drives":[],
  "machine-config":{"vcpu_count":1,"mem_size_mib":64}}"#, &[("/boot-source/initrd_path", "\"{initrd}\"")]),
    File("a CPU template in it", r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],
  "cpu-config":{"cpuid_modifiers":[{"leaf":"0x1","subleaf":"0x0","flags":0,"modifiers":[{"register":"ecx","bitmap":"0bx"}]}]}}"#,
        &[("/machine-config/vcpu_count", "1")]),
    File("a CPU template in a file", r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"cpu-config":"{template}"}"#,
        &[("/machine-config/vcpu_count", "1")]),
    File("with what nobody knows at its top", r#"{"$schema":"x","comment":"mine","boot-source":{"kernel_image_path":"{idle}"},"drives":[]}"#,
        &[("/machine-config/vcpu_count", "1")]),
    // Better: there a file without drives is refused.
    File("no drives", r#"{"boot-source":{"kernel_image_path":"{idle}"}}"#, &[("/drives", "[]")]),
];

/// Files that are of no use, and a part of the line that says why.
#[rustfmt::skip]
const WRONG: &[(&str, &str)] = &[
    ("{}", "missing field `boot-source`"),
    ("{", "EOF while parsing"),
    ("[]", "a JSON object is expected"),
    (r#"{"drives":[]}"#, "missing field `boot-source`"),
    (r#"{"boot-source":{},"drives":[]}"#, "boot-source: missing field `kernel_image_path`"),
    (r#"{"boot-source":{"kernel_image_path":"/nowhere/k"},"drives":[]}"#, "boot-source.kernel_image_path"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}","x":1},"drives":[]}"#, "unknown field `x`"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[{"drive_id":"a"}]}"#, "missing field `is_root_device`"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[{"drive_id":"a","is_root_device":false,"path_on_host":"/nowhere/d"}]}"#, "drives[0].path_on_host"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"machine-config":{"vcpu_count":0,"mem_size_mib":1}}"#, "machine-config.vcpu_count"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"machine-config":{"vcpu_count":1,"mem_size_mib":64,"cpu_template":"T2"}}"#, "machine-config.cpu_template"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"logger":{"level":"loud"}}"#, "logger.level"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"metrics":{}}"#, "metrics: missing field `metrics_path`"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"cpu-config":"/nowhere/t"}"#, "/nowhere/t"),
    (r#"{"boot-source":{"kernel_image_path":"{idle}"},"drives":[],"cpu-config":{"x":1}}"#, "unknown field `x`"),
];

#[test]
fn a_machine_of_each_shape_runs_and_is_what_its_file_says() {
    host::need_kvm();
    let scene = Scene::new();
    let template = r#"{"cpuid_modifiers":[{"leaf":"1","subleaf":"0","flags":0,"modifiers":[{"register":"ecx","bitmap":"0bx"}]}]}"#;
    fs::write(scene.path("template"), template).unwrap();
    for File(name, file, shown) in ROWS {
        fs::write(scene.path("vm.json"), scene.fill(file)).unwrap();
        let served = scene.serve(&["--config-file", "vm.json", "--id", "vm-1", "--no-seccomp"]);
        let mut api = served.api().unwrap();
        assert_eq!(api.get("/").unwrap()["state"], "Running", "{name}");
        let config = api.get("/vm/config").unwrap();
        for (place, value) in *shown {
            let value: Value = serde_json::from_str(&scene.fill(value)).unwrap();
            assert_eq!(config.pointer(place), Some(&value), "{name}: {place} in {config}");
        }
        // What is shown is a file of the same machine.
        fs::write(scene.path("again.json"), config.to_string()).unwrap();
        drop((api, served));
        let again = scene.serve(&["--config-file", "again.json"]);
        assert_eq!(again.api().unwrap().get("/vm/config").unwrap(), config, "{name}");
    }
}

#[test]
fn a_file_that_is_of_no_use_is_refused_with_the_place_in_it() {
    let scene = Scene::new();
    for (file, said) in WRONG {
        fs::write(scene.path("vm.json"), scene.fill(file)).unwrap();
        let output = scene.firecracker(&["--no-api", "--config-file", "vm.json"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{file}: {errors}");
        assert!(errors.contains(said) && errors.lines().count() == 1, "{file}: {errors}");
    }
}
