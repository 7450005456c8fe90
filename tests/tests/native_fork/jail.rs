//! Forks of a machine in a jail, whose children are in it as well.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::frames::Link;
use tests::host;
use tests::native::line::TAP;
use tests::native::witness::Listener;
use tests::process::Owned;

use crate::{FRAMES, LIMIT, Scene};

/// Nobody on any host.
const USER: &str = "4711";

/// A child is the jail's user, in the jail's tree, and under its filters.
pub fn within(scene: &Scene) -> Result<()> {
    let child_tap = format!("{TAP}-1");
    for tap in [TAP, &child_tap] {
        let _ = scene.wire.ip(&format!("link delete {tap}"));
        scene.wire.ip(&format!("tuntap add dev {tap} mode tap vnet_hdr user {USER}"))?;
        scene.wire.ip(&format!("link set {tap} up"))?;
    }
    let mut told = Listener::new(Link::open(&child_tap)?)?;
    let folder = scene.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let program = scene.vmm.file_name().context("no program")?;
    let root = folder.join(program).join("one/root");
    fs::create_dir_all(&root)?;
    fs::copy(&scene.kernel, root.join("guest"))?;
    fs::set_permissions(root.join("guest"), fs::Permissions::from_mode(0o755))?;
    let log = scene.log()?;
    let card = format!("tap={TAP},mac=02:00:00:00:00:01,model={}", scene.card.model);
    let mut command = Command::new(&scene.vmm);
    command.args(["jail", "--id", "one", "--uid", USER, "--gid", USER]);
    command.arg("--chroot-base-dir").arg(folder).args(["--", "--kernel", "/guest"]);
    command.args(["--mem", "128M", "--cmdline", "load=witness rest=1000000", "--net", &card]);
    command.args(["--serial", "none", "--api-sock", "/run/vm.sock"]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut process = Owned::spawn(&mut command)?;
    let socket = root.join("run/vm.sock");
    let mut api = Api::of(&mut process, &socket, LIMIT)?;
    let answer = api.ask("PUT", "/fork", &json!({ "id": "inmate" }).to_string())?;
    ensure!(answer.status == 200, "{answer:?}");
    let pid = answer.json()?["children"][0]["pid"].as_u64().context("no pid")?;
    told.hear_many(FRAMES, LIMIT)?;
    let process_of_child = format!("/proc/{pid}");
    ensure!(fs::metadata(&process_of_child)?.uid().to_string() == USER);
    let its_root = fs::metadata(format!("{process_of_child}/root/"))?;
    let root = fs::metadata(&root)?;
    ensure!((its_root.dev(), its_root.ino()) == (root.dev(), root.ino()));
    let status = fs::read_to_string(format!("{process_of_child}/status"))?;
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        ensure!(status.lines().any(|its| its == line), "no {line:?} in {status}");
    }
    Api::connect(&socket.with_extension("sock.1"))?.act("Kill")?;
    host::eventually("its end", LIMIT, || {
        Ok(fs::read_link(format!("{process_of_child}/exe")).is_err())
    })?;
    api.act("Kill")?;
    process.ended(LIMIT)?;
    Ok(())
}
