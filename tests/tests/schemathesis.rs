//! The API against its own description: schemathesis sends what the description allows and what it
//! does not, and every answer must be one that is described.
#![forbid(unsafe_code)]

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::{Api, Served};
use tests::idle;
use tests::machine::Hypervisor;
use tests::process::Owned;
use tests::relay::Relay;
use tests::schemathesis::Schemathesis;

/// Time for all requests of a run; they take seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// Exit codes of a machine that is killed or reset as asked.
const ASKED: [i32; 2] = [0, 3];

/// Keeps a machine behind a socket: a new one takes the place of one that was ended by a request.
struct Machines {
    folder: PathBuf,
    prepare: fn(&mut Api) -> Result<()>,
    now: Option<Served>,
}

impl Machines {
    /// A connection to a machine that lives.
    fn connect(&mut self) -> Result<UnixStream> {
        let socket = self.folder.join("api");
        // One that is ending answers no more.
        let alive = |served: &Served| {
            served.api().is_ok_and(|mut api| {
                api.ask("GET", "/", "").is_ok_and(|answer| answer.status == 200)
            })
        };
        if !self.now.as_ref().is_some_and(alive) {
            if let Some(ended) = self.now.take() {
                let status = ended.end()?;
                ensure!(status.code().is_some_and(|code| ASKED.contains(&code)), "vmm: {status}");
            }
            self.end_children()?;
            let served = Served::start(&mut confined(&self.folder)?, &socket)?;
            (self.prepare)(&mut served.api()?)?;
            self.now = Some(served);
        }
        Ok(UnixStream::connect(socket)?)
    }

    /// Children of machines that have ended keep their images; they answer at sockets of their own.
    fn end_children(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_socket()
                && let Ok(mut child) = Api::connect(&entry.path())
            {
                // Its answer may come too late.
                let _ = child.act("Kill");
            }
        }
        Ok(())
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.now = None;
        let _ = self.end_children();
    }
}

/// A vmm that can make files in `folder` only, and TAPs that nobody else sees: who knows what it
/// will be asked for.
fn confined(folder: &Path) -> Result<Command> {
    const SCRIPT: &str = r#"
        mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd "$0" && exec "$@"
    "#;
    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { unreachable!("ours is not QEMU") };
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", SCRIPT]).arg(folder).arg(vmm);
    command.args(["--serial", "none", "--id", "test"]);
    Ok(command)
}

fn run(prepare: fn(&mut Api) -> Result<()>, arguments: &[&str]) -> Result<()> {
    let program = Schemathesis::open()?;
    let folder = tempfile::tempdir()?;
    idle::kernel(folder.path())?;
    std::fs::write(folder.path().join("image"), [0; 4096])?;
    let mut machines = Machines { folder: folder.path().to_owned(), prepare, now: None };
    let relay = Relay::start(move || machines.connect())?;
    let left_behind = tempfile::tempdir()?;
    let mut command = program.command(left_behind.path());
    command.args(["--no-color", "run"]).arg(format!("http://{}/openapi.json", relay.address()));
    // A connection to each request leaves no doubt which of them meets which machine.
    command.args(["--header", "Connection: close", "--request-timeout", "60"]);
    // It never ends, so it has no answer that could be looked at.
    command.args(["--exclude-path", "/events"]).args(arguments);
    if std::env::var_os("VMM_LONG").is_some() {
        command.args(["--max-examples", "100"]);
    }
    let output = left_behind.path().join("output");
    command.stdout(std::fs::File::create(&output)?);
    let status = Owned::spawn(&mut command)?.wait(PATIENCE)?;
    // What became of the machines says more than what their client saw.
    let told = std::fs::read_to_string(&output)?;
    relay.finish().with_context(|| told.clone())?;
    let status = status.with_context(|| format!("it still runs: {told}"))?;
    ensure!(status.success(), "{told}");
    ensure!(told.contains(" passed") && told.contains("generated"), "nothing was tried: {told}");
    Ok(())
}

/// Nothing can be started here, as that would be the end of setting things.
#[test]
fn a_machine_that_is_not_started_answers_as_described() {
    run(|_| Ok(()), &["--exclude-path", "/actions"]).unwrap();
}

#[test]
fn a_machine_that_runs_answers_as_described() {
    let prepare = |api: &mut Api| {
        api.done("PUT", "/boot-source", &json!({ "kernel_image_path": "idle" }))?;
        api.done("PUT", "/machine-config", &json!({ "vcpu_count": 1, "mem_size_mib": 64 }))?;
        let root = json!({ "drive_id": "rootfs", "path_on_host": "image", "is_root_device": true });
        api.done("PUT", "/drives/rootfs", &root)?;
        for (id, model) in [("eth0", "ena"), ("eth1", "virtio")] {
            let tap = format!("tap-of-{id}");
            let nic = json!({ "iface_id": id, "host_dev_name": tap, "model": model, "queues": 2 });
            api.done("PUT", &format!("/network-interfaces/{id}"), &nic)?;
        }
        api.act("InstanceStart")
    };
    run(prepare, &[]).unwrap();
}
