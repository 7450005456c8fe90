//! What users read of a mistake: once, in a line, in the words of where it was said: the command line, a
//! configuration file, the API, or `vmm ctl`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::api::{Api, Served};
use tests::host;
use tests::idle;
use tests::machine::Hypervisor;
use tests::net::Network;

/// A card that cannot be: as an option and its key there, as fields and the one that is wrong.
struct Card(&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const CARDS: &[Card] = &[
    Card("tap=", "tap", r#"{"host_dev_name":""}"#, "host_dev_name"),
    Card("tap=sixteen-letters-", "tap", r#"{"host_dev_name":"sixteen-letters-"}"#, "host_dev_name"),
    Card("tap=a%b", "tap", r#"{"host_dev_name":"a%b"}"#, "host_dev_name"),
    Card("queues=2", "tap", r#"{"queues":2}"#, "host_dev_name"),
    Card("tap=t,fd=9", "fd", r#"{"host_dev_name":"t","host_fds":[9]}"#, "host_fds"),
    Card("dev=", "dev", r#"{"host_interface":""}"#, "host_interface"),
    Card("tap=t,dev=v", "dev", r#"{"host_dev_name":"t","host_interface":"v"}"#, "host_interface"),
    Card("fd=1", "fd", r#"{"host_fds":[1]}"#, "host_fds"),
    Card("fd=9:9", "fd", r#"{"host_fds":[9,9]}"#, "host_fds"),
    Card("fd=8:9,queues=3", "fd", r#"{"host_fds":[8,9],"queues":3}"#, "host_fds"),
    Card("tap=t,model=ne2000", "model", r#"{"host_dev_name":"t","model":"ne2000"}"#, "model"),
    Card("tap=t,mac=02:00", "mac", r#"{"host_dev_name":"t","guest_mac":"02:00"}"#, "guest_mac"),
    Card("tap=t,mac=01:00:00:00:00:01", "mac", r#"{"host_dev_name":"t","guest_mac":"01:00:00:00:00:01"}"#, "guest_mac"),
    Card("tap=t,mac=02:00:00:00:00:01", "mac", r#"{"host_dev_name":"t","guest_mac":"02:00:00:00:00:01"}"#, "guest_mac"),
    Card("tap=first", "tap", r#"{"host_dev_name":"first"}"#, "host_dev_name"),
    Card("tap=t,queues=0", "queues", r#"{"host_dev_name":"t","queues":0}"#, "queues"),
    Card("tap=t,queues=65", "queues", r#"{"host_dev_name":"t","queues":65}"#, "queues"),
    Card("tap=t,queues=two", "queues", r#"{"host_dev_name":"t","queues":"two"}"#, "queues"),
    Card("tap=t,mtu=20", "mtu", r#"{"host_dev_name":"t","mtu":20}"#, "mtu"),
    Card("tap=t,mtu=70000", "mtu", r#"{"host_dev_name":"t","mtu":70000}"#, "mtu"),
    Card("tap=t,model=ena,mtu=9217", "mtu", r#"{"host_dev_name":"t","model":"ena","mtu":9217}"#, "mtu"),
    Card("tap=t,bw-in=0", "bw-in", r#"{"host_dev_name":"t","allowances":{"bw_in":0}}"#, "allowances.bw_in"),
    Card("tap=t,bw-out=-1", "bw-out", r#"{"host_dev_name":"t","allowances":{"bw_out":-1}}"#, "allowances.bw_out"),
    Card("tap=t,pps=99999999999999999999", "pps", r#"{"host_dev_name":"t","allowances":{"pps":99999999999999999999}}"#, "allowances.pps"),
    Card("tap=t,conntrack=4294967296", "conntrack", r#"{"host_dev_name":"t","allowances":{"conntrack":4294967296}}"#, "allowances.conntrack"),
    Card("tap=t,llq=on", "llq", r#"{"host_dev_name":"t","llq":true}"#, "llq"),
    Card("tap=t,llq=maybe", "llq", r#"{"host_dev_name":"t","llq":"maybe"}"#, "llq"),
    Card("tap=t,fault=no-answer", "fault", r#"{"host_dev_name":"t","faults":[{"kind":"no-answer"}]}"#, "faults"),
    Card("tap=t,model=ena,fault=explode", "fault", r#"{"host_dev_name":"t","model":"ena","faults":[{"kind":"explode"}]}"#, "faults[0].kind"),
    Card("tap=t,model=ena,fault=no-answer@-1", "fault", r#"{"host_dev_name":"t","model":"ena","faults":[{"kind":"no-answer","after_s":-1}]}"#, "faults[0].after_s"),
    Card("tap=t,speed=9", "speed", r#"{"host_dev_name":"t","speed":9}"#, "speed"),
];

/// A disk that cannot be, in the same way. `{disk}` stands for an image that is there.
struct Disk(&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const DISKS: &[Disk] = &[
    Disk("path=", "path", r#"{"path_on_host":""}"#, "path_on_host"),
    Disk("path=new,base=", "base", r#"{"path_on_host":"new","base_paths_on_host":[""]}"#, "base_paths_on_host"),
    Disk("ro,id=a", "path", "{}", "path_on_host"),
    Disk("nowhere", "path", r#"{"path_on_host":"nowhere"}"#, "path_on_host"),
    Disk("/tmp", "path", r#"{"path_on_host":"/tmp"}"#, "path_on_host"),
    Disk("/dev/null", "path", r#"{"path_on_host":"/dev/null"}"#, "path_on_host"),
    Disk("{first}", "path", r#"{"path_on_host":"{first}"}"#, "path_on_host"),
    Disk("{disk},ro=1", "ro", r#"{"path_on_host":"{disk}","is_read_only":1}"#, "is_read_only"),
    Disk("{disk},root", "root", r#"{"path_on_host":"{disk}","is_root_device":true}"#, "is_root_device"),
    Disk("{disk},root=vda", "root", r#"{"path_on_host":"{disk}","is_root_device":"vda"}"#, "is_root_device"),
    Disk("{disk},partuuid=a b", "partuuid", r#"{"path_on_host":"{disk}","is_root_device":true,"partuuid":"a b"}"#, "partuuid"),
    Disk("{disk},model=scsi", "model", r#"{"path_on_host":"{disk}","model":"scsi"}"#, "model"),
    Disk("{disk},queues=0", "queues", r#"{"path_on_host":"{disk}","queues":0}"#, "queues"),
    Disk("{disk},queues=70000", "queues", r#"{"path_on_host":"{disk}","queues":70000}"#, "queues"),
    Disk("{disk},cache=none", "cache", r#"{"path_on_host":"{disk}","cache_type":"none"}"#, "cache_type"),
    Disk("{disk},cache=none", "cache", r#"{"path_on_host":"{disk}","cache":"none"}"#, "cache"),
    Disk("{disk},direct=maybe", "direct", r#"{"path_on_host":"{disk}","direct":"maybe"}"#, "direct"),
    Disk("{disk},engine=aio", "engine", r#"{"path_on_host":"{disk}","io_engine":"Aio"}"#, "io_engine"),
    Disk("{disk},engine=aio", "engine", r#"{"path_on_host":"{disk}","engine":"aio"}"#, "engine"),
    Disk("{disk},serial=", "serial", r#"{"path_on_host":"{disk}","serial":""}"#, "serial"),
    Disk("{disk},serial=first", "serial", r#"{"path_on_host":"{disk}","serial":"first"}"#, "serial"),
    Disk("{disk},bw=0", "bw", r#"{"path_on_host":"{disk}","allowances":{"bw":0}}"#, "allowances.bw"),
    Disk("{disk},iops=-1", "iops", r#"{"path_on_host":"{disk}","allowances":{"iops":-1}}"#, "allowances.iops"),
    Disk("{disk},fault=explode", "fault", r#"{"path_on_host":"{disk}","faults":["explode"]}"#, "faults[0]"),
    Disk("{disk},fault=fatal", "fault", r#"{"path_on_host":"{disk}","faults":["fatal"]}"#, "faults"),
    Disk("{disk},speed=9", "speed", r#"{"path_on_host":"{disk}","speed":9}"#, "speed"),
];

/// A machine that cannot be: its options and the one that is wrong, its object in a file, and the field.
/// `{idle}` stands for a kernel's path, `{large}` for that of a large file.
struct Machine(&'static [&'static str], &'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const MACHINES: &[Machine] = &[
    Machine(&["--kernel", "nowhere", "--mem", "64M"], "--kernel", "boot-source", r#"{"kernel_image_path":"nowhere"}"#, "kernel_image_path"),
    Machine(&["--kernel", "/tmp", "--mem", "64M"], "--kernel", "boot-source", r#"{"kernel_image_path":"/tmp"}"#, "kernel_image_path"),
    Machine(&["--kernel", "/dev/null", "--mem", "64M"], "--kernel", "boot-source", r#"{"kernel_image_path":"/dev/null"}"#, "kernel_image_path"),
    Machine(&["--kernel", "{large}", "--mem", "64M"], "--kernel", "boot-source", r#"{"kernel_image_path":"{large}"}"#, "kernel_image_path"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--initrd", "nowhere"], "--initrd", "boot-source", r#"{"kernel_image_path":"{idle}","initrd_path":"nowhere"}"#, "initrd_path"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--initrd", "{large}"], "--initrd", "boot-source", r#"{"kernel_image_path":"{idle}","initrd_path":"{large}"}"#, "initrd_path"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--cmdline", "a=ü"], "--cmdline", "boot-source", r#"{"kernel_image_path":"{idle}","boot_args":"a=ü"}"#, "boot_args"),
    Machine(&["--kernel", "{idle}", "--mem", "1M"], "--kernel", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":1}"#, "kernel_image_path"),
    Machine(&["--kernel", "{idle}", "--mem", "0M"], "--mem", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":0}"#, "mem_size_mib"),
    Machine(&["--kernel", "{idle}", "--mem", "65537K"], "--mem", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":64.5}"#, "mem_size_mib"),
    Machine(&["--kernel", "{idle}", "--mem", "9T"], "--mem", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":9437184}"#, "mem_size_mib"),
    Machine(&["--kernel", "{idle}", "--mem", "16777215T"], "--mem", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":17592186044415}"#, "mem_size_mib"),
    Machine(&["--kernel", "{idle}", "--mem", "16777216T"], "--mem", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":17592186044416}"#, "mem_size_mib"),
    Machine(&["--kernel", "{idle}", "--mem", "63M", "--huge-pages"], "--huge-pages", "machine-config", r#"{"vcpu_count":1,"mem_size_mib":63,"huge_pages":"2M"}"#, "huge_pages"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--cpus", "65"], "--cpus", "machine-config", r#"{"vcpu_count":65,"mem_size_mib":64}"#, "vcpu_count"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--log-file", "/nowhere/l"], "--log-file", "logger", r#"{"log_path":"/nowhere/l"}"#, "log_path"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--metrics-path", "/nowhere/m"], "--metrics-path", "metrics", r#"{"metrics_path":"/nowhere/m"}"#, "metrics_path"),
    Machine(&["--kernel", "{idle}", "--mem", "64M", "--serial", "file=/nowhere/s"], "--serial", "serial", r#"{"serial_out_path":"/nowhere/s"}"#, "serial"),
];

fn vmm() -> PathBuf {
    match Hypervisor::ours().unwrap() {
        Hypervisor::Vmm(path) => path,
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

struct Scene {
    folder: TempDir,
    idle: PathBuf,
    large: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let idle = idle::kernel(folder.path()).unwrap();
        // A kernel that says it takes a whole GiB, and a file that does.
        let large = folder.path().join("large");
        let mut elf = fs::read(&idle).unwrap();
        elf[104..112].copy_from_slice(&(1u64 << 30).to_le_bytes());
        fs::write(&large, elf).unwrap();
        fs::File::options().write(true).open(&large).unwrap().set_len(1 << 30).unwrap();
        for image in ["disk", "first"] {
            fs::write(folder.path().join(image), [0; 4096]).unwrap();
        }
        Scene { folder, idle, large }
    }

    fn filled(&self, text: &str) -> String {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let image = |name: &str| path(&self.folder.path().join(name));
        let text = text.replace("{disk}", &image("disk")).replace("{first}", &image("first"));
        text.replace("{idle}", &path(&self.idle)).replace("{large}", &path(&self.large))
    }

    fn by_options(&self, options: &[&str]) -> String {
        let mut command = Command::new(vmm());
        command.args(options.iter().map(|option| self.filled(option)));
        refused(&mut command)
    }

    /// By a file with these objects; a kernel that exists unless they say another.
    fn by_file(&self, mut objects: Value) -> (String, String) {
        if objects["boot-source"].is_null() {
            objects["boot-source"] = json!({ "kernel_image_path": self.idle });
        }
        let file = self.folder.path().join("vm.json");
        fs::write(&file, objects.to_string()).unwrap();
        let line = refused(Command::new(vmm()).arg("--config-file").arg(&file));
        (line, file.display().to_string())
    }

    fn serve(&self) -> Served {
        let socket = self.folder.path().join("api");
        Served::start(Command::new(vmm()).args(["--serial", "none"]), &socket).unwrap()
    }

    fn value(&self, text: &str) -> Value {
        serde_json::from_str(&self.filled(text)).unwrap()
    }
}

/// The only line on standard error of a command that ends with code 2, without what all begin with.
fn refused(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
    one_line(&said)
}

fn one_line(said: &str) -> String {
    let line = said.strip_prefix("vmm: error: ").and_then(|line| line.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("no error line: {said:?}"));
    assert!(!line.contains('\n'), "{said}");
    said_once(line);
    line.to_owned()
}

/// No part of a message stands in it twice.
fn said_once(line: &str) {
    let parts: Vec<&str> = line.split([':', ';', ',']).map(str::trim).collect();
    for (at, part) in parts.iter().enumerate() {
        let again = parts[at + 1..].iter().any(|other| other == part);
        assert!(part.len() < 8 || !again, "{part:?} is said twice: {line}");
    }
    // Nor any run of five words.
    let words: Vec<&str> =
        line.split_whitespace().map(|w| w.trim_matches([':', ';', ','])).collect();
    let runs: Vec<_> = words.windows(5).collect();
    for (at, run) in runs.iter().enumerate() {
        assert!(!runs[at + 1..].contains(run), "{run:?} is said twice: {line}");
    }
}

/// Words of the command line that no other surface knows.
fn speaks_of_no_option(line: &str) {
    assert!(!line.contains("--"), "{line}");
}

fn fault(api: &mut Api, method: &str, path: &str, body: &Value) -> String {
    let answer = api.ask(method, path, &body.to_string()).unwrap();
    assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
    let message = answer.fault().unwrap();
    said_once(&message);
    speaks_of_no_option(&message);
    message
}

#[test]
fn a_wrong_card_is_told_once_and_in_the_words_of_where_it_was_said() {
    let scene = Scene::new();
    let served = scene.serve();
    let mut api = served.api().unwrap();
    let first = json!({
        "iface_id": "first", "host_dev_name": "first", "guest_mac": "02:00:00:00:00:01",
    });
    api.done("PUT", "/network-interfaces/first", &first).unwrap();
    for Card(option, key, fields, field) in CARDS {
        let options = ["--kernel", "{idle}", "--mem", "64M", "--net"];
        let other = "tap=first,mac=02:00:00:00:00:01,id=first";
        let line = scene.by_options(&[&options[..], &[other, "--net", option]].concat());
        assert!(line.contains("--net") && line.contains(key), "{option}: {line}");

        let mut body = scene.value(fields);
        body["iface_id"] = json!("eth0");
        let (line, file) = scene.by_file(json!({ "network-interfaces": [first, body] }));
        let place = match *field {
            // A field that is not known, or not there, is no place.
            "speed" => format!("{file}: network-interfaces[1]"),
            field => format!("{file}: network-interfaces[1].{field}"),
        };
        assert!(line.starts_with(&place) && line.contains(field), "{fields}: {line}");
        speaks_of_no_option(&line);

        let message = fault(&mut api, "PUT", "/network-interfaces/eth0", &body);
        assert!(message.contains(field), "{fields}: {message}");
        assert!(*field == "speed" || message.starts_with(field), "{fields}: {message}");
    }
    let id = json!({ "iface_id": "a b", "host_dev_name": "t" });
    let (line, file) = scene.by_file(json!({ "network-interfaces": [id] }));
    assert!(
        line.starts_with(&format!("{file}: network-interfaces[0].iface_id: \"a b\"")),
        "{line}"
    );
    let line = scene.by_options(&["--kernel", "{idle}", "--mem", "64M", "--net", "tap=t,id=a b"]);
    assert!(line.starts_with("--net: card \"a b\": id: \"a b\" is not usable"), "{line}");
}

#[test]
fn a_wrong_disk_is_told_once_and_in_the_words_of_where_it_was_said() {
    let scene = Scene::new();
    let served = scene.serve();
    let mut api = served.api().unwrap();
    let first = scene.value(
        r#"{"drive_id":"first","path_on_host":"{first}","is_root_device":true,"serial":"first"}"#,
    );
    api.done("PUT", "/drives/first", &first).unwrap();
    for Disk(option, key, fields, field) in DISKS {
        let options = ["--kernel", "{idle}", "--mem", "64M", "--disk"];
        let other = "{first},root,serial=first,id=first";
        let line = scene.by_options(&[&options[..], &[other, "--disk", option]].concat());
        assert!(line.contains("--disk") && line.contains(key), "{option}: {line}");

        let mut body = scene.value(fields);
        body["drive_id"] = json!("disk1");
        if body["is_root_device"].is_null() {
            body["is_root_device"] = json!(false);
        }
        let (line, file) = scene.by_file(json!({ "drives": [first, body] }));
        let place = match *field {
            // A field that is not known, or not there, is no place.
            "speed" => format!("{file}: drives[1]"),
            field => format!("{file}: drives[1].{field}"),
        };
        assert!(line.starts_with(&place) && line.contains(field), "{fields}: {line}");
        speaks_of_no_option(&line);

        let message = fault(&mut api, "PUT", "/drives/disk1", &body);
        assert!(message.contains(field), "{fields}: {message}");
        assert!(*field == "speed" || message.starts_with(field), "{fields}: {message}");
    }
    let line = scene.by_options(&["--kernel", "{idle}", "--mem", "64M", "--disk", "{disk},id=a b"]);
    assert!(line.starts_with("--disk: disk \"a b\": id: \"a b\" is not usable"), "{line}");
    let twice = json!({ "drives": [first, first] });
    let (line, file) = scene.by_file(twice);
    let said = "drives[1].drive_id: \"first\" is the id of drives[0] too; each disk needs its own";
    assert_eq!(line, format!("{file}: {said}"));
}

#[test]
fn two_cards_of_one_kind_are_refused_and_both_are_named() {
    let scene = Scene::new();
    for (first, second, field, other) in [
        (
            json!({ "iface_id": "a", "host_dev_name": "t" }),
            json!({ "iface_id": "a", "host_dev_name": "u" }),
            "iface_id",
            "network-interfaces[0]",
        ),
        (
            json!({ "iface_id": "a", "host_dev_name": "t" }),
            json!({ "iface_id": "b", "host_dev_name": "t" }),
            "host_dev_name",
            "card \"a\"",
        ),
        (
            json!({ "iface_id": "a", "host_interface": "v" }),
            json!({ "iface_id": "b", "host_interface": "v" }),
            "host_interface",
            "card \"a\"",
        ),
        (
            json!({ "iface_id": "a", "host_fds": [7, 8] }),
            json!({ "iface_id": "b", "host_fds": [9, 8] }),
            "host_fds",
            "card \"a\"",
        ),
        (
            json!({ "iface_id": "a", "host_dev_name": "t", "guest_mac": "02:00:00:00:00:01" }),
            json!({ "iface_id": "b", "host_dev_name": "u", "guest_mac": "02:00:00:00:00:01" }),
            "guest_mac",
            "card \"a\"",
        ),
    ] {
        let (line, file) = scene.by_file(json!({ "network-interfaces": [first, second] }));
        let place = format!("{file}: network-interfaces[1].{field}: ");
        assert!(line.starts_with(&place) && line.contains(other), "{line}");
    }
}

#[test]
fn a_wrong_machine_is_told_once_and_in_the_words_of_where_it_was_said() {
    let scene = Scene::new();
    for Machine(options, option, object, fields, field) in MACHINES {
        let line = scene.by_options(options);
        let place =
            line.starts_with(&format!("{option}: ")) || line.contains(&format!("'{option} "));
        assert!(place, "{options:?}: {line}");

        let body = scene.value(fields);
        let (line, file) = scene.by_file(json!({ *object: body }));
        let said = line.strip_prefix(&format!("{file}: ")).expect(&line);
        assert!(said.split(": ").next().unwrap().ends_with(field), "{fields}: {line}");
        speaks_of_no_option(said);

        let served = scene.serve();
        let mut api = served.api().unwrap();
        api.done("PUT", "/boot-source", &json!({ "kernel_image_path": scene.idle })).unwrap();
        // Some of it can be seen at the start only.
        let mut answer = api.ask("PUT", &format!("/{object}"), &body.to_string()).unwrap();
        if answer.status == 204 {
            let start = r#"{"action_type":"InstanceStart"}"#;
            answer = api.ask("PUT", "/actions", start).unwrap();
        }
        assert_eq!(answer.status, 400, "{fields}: {answer:?}");
        let message = answer.fault().unwrap();
        assert!(message.starts_with(&format!("{field}: ")), "{fields}: {message}");
        said_once(&message);
        speaks_of_no_option(&message);
    }
    let line = scene.by_options(&["--kernel", "{idle}", "--mem", "65537K"]);
    assert!(line.contains("65537K of memory are not whole pages"), "{line}");
}

#[test]
fn what_an_option_says_beside_a_file_is_told_as_the_option() {
    let scene = Scene::new();
    let file = scene.folder.path().join("vm.json");
    let kernel = json!({ "boot-source": { "kernel_image_path": scene.idle } });
    fs::write(&file, kernel.to_string()).unwrap();
    for options in [["--serial", "file=/nowhere/s"], ["--metrics-path", "/nowhere/m"]] {
        let line = refused(Command::new(vmm()).arg("--config-file").arg(&file).args(options));
        assert!(line.starts_with(&format!("{}: ", options[0])), "{line}");
    }
}

#[test]
fn a_card_that_the_machines_bus_has_no_place_for_is_named_where_it_was_said() {
    let scene = Scene::new();
    let card = json!({ "iface_id": "eth0", "host_dev_name": "t", "model": "ena" });
    let machine = json!({ "vcpu_count": 1, "mem_size_mib": 64, "bus": "mmio" });
    let why = "model=ena is a PCI card, and bus mmio leaves the guest without PCI";
    let objects = json!({ "machine-config": machine, "network-interfaces": [card] });
    let (line, file) = scene.by_file(objects);
    assert!(line.starts_with(&format!("{file}: network-interfaces[0]: {why}")), "{line}");

    let served = scene.serve();
    let mut api = served.api().unwrap();
    let boot = json!({ "kernel_image_path": scene.idle, "boot_args": "pci=off" });
    api.done("PUT", "/boot-source", &boot).unwrap();
    api.done("PUT", "/network-interfaces/eth0", &card).unwrap();
    let start = json!({ "action_type": "InstanceStart" });
    let why = "network-interfaces/eth0: model=ena is a PCI card, and pci=off";
    let message = fault(&mut api, "PUT", "/actions", &start);
    assert!(message.starts_with(why), "{message}");
    api.done("PUT", "/machine-config", &machine).unwrap();
    let message = fault(&mut api, "PUT", "/actions", &start);
    assert!(message.contains("bus mmio"), "{message}");
    assert_eq!(api.get("/machine-config").unwrap()["bus"], "mmio");
}

#[test]
fn a_card_that_the_host_refuses_is_named_where_it_was_said() {
    // Cards are opened after it.
    host::need_kvm();
    let scene = Scene::new();
    let failed = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        one_line(&String::from_utf8(output.stderr).unwrap())
    };
    let mut command = Command::new(vmm());
    command.args(["--kernel", scene.idle.to_str().unwrap(), "--mem", "64M", "--net", "fd=977"]);
    let line = failed(&mut command);
    assert!(line.starts_with("--net: card \"eth0\": fd 977 is not open"), "{line}");

    let card = json!({ "iface_id": "eth0", "host_fds": [977] });
    let file = scene.folder.path().join("vm.json");
    let boot = json!({ "kernel_image_path": scene.idle });
    let whole = json!({ "boot-source": boot, "network-interfaces": [card] });
    fs::write(&file, whole.to_string()).unwrap();
    let line = failed(Command::new(vmm()).arg("--config-file").arg(&file));
    let place = format!("{}: network-interfaces[0]: fd 977 is not open", file.display());
    assert!(line.starts_with(&place), "{line}");

    let served = scene.serve();
    let mut api = served.api().unwrap();
    api.done("PUT", "/boot-source", &boot).unwrap();
    api.done("PUT", "/network-interfaces/eth0", &card).unwrap();
    let start = r#"{"action_type":"InstanceStart"}"#;
    let message = api.ask("PUT", "/actions", start).unwrap().fault().unwrap();
    assert!(message.starts_with("network-interfaces/eth0: fd 977 is not open"), "{message}");
    said_once(&message);
}

#[test]
fn a_file_may_come_by_a_pipe_and_does_so_whole() {
    let scene = Scene::new();
    let file = scene.folder.path().join("vm.json");
    let whole = json!({ "boot-source": { "kernel_image_path": scene.idle } });
    fs::write(&file, whole.to_string()).unwrap();
    for script in [
        r#"exec "$0" --config-file <(cat "$FILE") --serial none "$@""#,
        r#"exec "$0" --config-file /dev/stdin --serial none "$@" < "$FILE""#,
        r#"exec "$0" --config-file /dev/stdin --serial none "$@" <<< "$(cat "$FILE")""#,
        r#"exec "$0" --config-file /dev/stdin --serial none "$@" < <(sleep 0.2; cat "$FILE")"#,
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(vmm()).env("FILE", &file);
        let socket = scene.folder.path().join("api");
        let served = Served::start(&mut command, &socket).unwrap();
        let mut api = served.api().unwrap();
        assert_eq!(api.get("/vm").unwrap()["state"], "Running", "{script}");
        api.act("Kill").unwrap();
        assert_eq!(served.end().unwrap().code(), Some(0), "{script}");
    }
    for (path, said) in [
        ("/dev/zero", "is larger than 1024 KiB"),
        ("/tmp", "is a directory"),
        ("/dev/null", "EOF while parsing"),
    ] {
        let line = refused(Command::new(vmm()).args(["--config-file", path]));
        assert!(line.contains(path) && line.contains(said), "{line}");
    }
    // What can only be read once is no kernel: its size and its parts must be known before.
    let mut command = Command::new("bash");
    command.args(["-c", r#"exec "$0" --kernel <(cat "$FILE") --mem 64M"#]);
    let line = refused(command.arg(vmm()).env("FILE", &scene.idle));
    assert!(line.contains("--kernel: kernel /dev/fd/") && line.contains("regular file"), "{line}");
}

#[test]
fn what_ctl_is_refused_is_told_once() {
    let scene = Scene::new();
    let served = scene.serve();
    let ctl = |arguments: &[&str]| {
        let socket = scene.folder.path().join("api");
        let output = Command::new(vmm()).arg("ctl").arg(socket).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        one_line(&String::from_utf8(output.stderr).unwrap())
    };
    assert!(ctl(&["start"]).contains("nothing to boot"));
    let boot = json!({ "kernel_image_path": scene.idle });
    served.api().unwrap().done("PUT", "/boot-source", &boot).unwrap();
    let card = json!({ "iface_id": "eth0", "host_fds": [977] });
    served.api().unwrap().done("PUT", "/network-interfaces/eth0", &card).unwrap();
    assert!(ctl(&["start"]).starts_with("network-interfaces/eth0: fd 977 is not open"));
    assert!(ctl(&["nics", "eth7"]).contains("not started"));
}

#[test]
fn limits_of_a_card_that_runs_are_the_same_wherever_they_are_shown() {
    assert!(nix::unistd::geteuid().is_root(), "TAPs are made by root");
    let scene = Scene::new();
    let mut network = Network::new().unwrap();
    network.tap(1, 1500).unwrap();
    let mut command = network.command(vmm());
    let socket = scene.folder.path().join("api");
    let served = Served::start(command.args(["--serial", "none"]), &socket).unwrap();
    let mut api = served.api().unwrap();
    let nic = "/network-interfaces/eth0";
    api.done("PUT", "/boot-source", &json!({ "kernel_image_path": scene.idle })).unwrap();
    let bucket = |bytes: u64| json!({ "bandwidth": { "size": bytes, "refill_time": 1000 } });
    let bits = |bytes: u64| Some(json!({ "size": bytes * 8, "refill_time": 1000 }));
    let card = json!({
        "iface_id": "eth0", "host_dev_name": "tap0", "rx_rate_limiter": bucket(1000),
        "allowances": { "pps": 7 },
    });
    api.done("PUT", nic, &card).unwrap();
    api.act("InstanceStart").unwrap();
    for (patch, bw_in, bw_out) in [
        (json!({}), bits(1000), None),
        (json!({ "rx_rate_limiter": {}, "tx_rate_limiter": null }), bits(1000), None),
        (json!({ "rx_rate_limiter": bucket(5000) }), bits(5000), None),
        (json!({ "tx_rate_limiter": bucket(9000) }), bits(5000), bits(9000)),
        (json!({ "rx_rate_limiter": bucket(0) }), None, bits(9000)),
    ] {
        let mut patch = patch;
        patch["iface_id"] = json!("eth0");
        api.done("PATCH", nic, &patch).unwrap();
        let shown = api.get("/vm/config").unwrap()["network-interfaces"][0]["allowances"].clone();
        let mut expected = json!({ "pps": 7 });
        for (way, limit) in [("bw_in", bw_in), ("bw_out", bw_out)] {
            if let Some(limit) = limit {
                expected[way] = limit;
            }
        }
        assert_eq!(shown, expected, "{patch}");
        assert_eq!(api.get(nic).unwrap()["allowed"], shown, "{patch}");
    }
    // What is shown can be said: to a machine that is not started, part by part.
    let shown = api.get("/vm/config").unwrap();
    api.act("Kill").unwrap();
    served.end().unwrap();
    let served = Served::start(network.command(vmm()).args(["--serial", "none"]), &socket).unwrap();
    let mut api = served.api().unwrap();
    for part in ["boot-source", "machine-config", "serial"] {
        api.done("PUT", &format!("/{part}"), &shown[part]).unwrap();
    }
    api.done("PUT", nic, &shown["network-interfaces"][0]).unwrap();
    assert_eq!(api.get("/vm/config").unwrap(), shown);
}
