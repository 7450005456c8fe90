//! The unit of systemd: it is one that systemd takes, and what it starts says that it is ready.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tests::process::Owned;
use tests::{cargo, host, idle};

use super::scene::{PATIENCE, vmm};

fn unit() -> String {
    fs::read_to_string(cargo::workspace().join("resources/systemd/vmm@.service")).unwrap()
}

/// What comes behind `key=`, of each line that has it.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_is_one_of_systemds() {
    let unit = unit();
    let sections: Vec<_> = unit.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(sections, ["[Unit]", "[Service]", "[Install]"]);
    for line in unit.lines().filter(|line| !line.is_empty()) {
        let is_setting = line
            .split_once('=')
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_alphanumeric()));
        assert!(line.starts_with(['#', '[']) || is_setting, "{line}");
    }
    assert_eq!(values(&unit, "Type"), ["notify"]);
    let Some(analyze) = host::find("systemd-analyze") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vmm@.service");
    fs::write(&file, unit.replace("/usr/bin/vmm", vmm().to_str().unwrap())).unwrap();
    let output = Command::new(analyze).args(["--man=no", "verify"]).arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("vmm@")).collect();
    assert!(of_ours.is_empty(), "{said}");
}

/// Of what is left to a service of all that systemd can take away, from 0 to 10, by its own count.
const MOST_EXPOSED: f64 = 2.0;

#[test]
fn the_unit_leaves_little_of_what_systemd_can_take_away() {
    let Some(analyze) = host::find("systemd-analyze") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vmm@one.service");
    fs::write(&file, unit()).unwrap();
    let output = Command::new(analyze)
        .args(["--no-pager", "security", "--offline=true"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let words = said
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for "))
        .map(|(_, words)| words);
    let level = words.and_then(|words| words.split_whitespace().nth(1)?.parse::<f64>().ok());
    let level =
        level.unwrap_or_else(|| panic!("{said} {}", String::from_utf8_lossy(&output.stderr)));
    assert!(level <= MOST_EXPOSED, "{said}");
}

#[test]
fn what_the_unit_starts_runs_the_machine_of_its_name_and_says_so() {
    host::need_kvm();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let state = place("vmm/one");
    fs::create_dir_all(&state).unwrap();
    idle::kernel(&state).unwrap();
    let machine = json!({
        "boot-source": { "kernel_image_path": "idle" },
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 64 },
    });
    fs::write(place("machine.json"), machine.to_string()).unwrap();

    let unit = unit();
    let [start] = values(&unit, "ExecStart")[..] else { panic!("one command") };
    let here = folder.path().to_str().unwrap();
    let words =
        ["%d", "%t", "%S"].iter().fold(start.to_owned(), |text, word| text.replace(word, here));
    let words = words.replace("%i", "one");
    let mut words = words.split(' ');
    assert_eq!(words.next().map(Path::new), Some(Path::new("/usr/bin/vmm")));
    let manager = UnixDatagram::bind(place("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(vmm());
    command.args(words).current_dir(&state).env("NOTIFY_SOCKET", place("notify"));
    let _machine = Owned::spawn(command.stdin(Stdio::null())).unwrap();
    let mut said = [0; 64];
    let len = manager.recv(&mut said).unwrap();
    assert_eq!(&said[..len], b"READY=1\n");
    let mut api = tests::api::Api::connect(&state.join("api.sock")).unwrap();
    let info = api.get("/").unwrap();
    assert_eq!((&info["id"], &info["state"]), (&json!("one"), &json!("Running")));
    api.act("Kill").unwrap();
}
