//! What is in the memory of a process alone, and in no file, goes on with its machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::witness::Listener;

use super::{FRAMES, LIMIT, Scene, Test, WITNESS};

pub const TESTS: [(&str, Test); 1] =
    [("what_metadata_and_the_disk_of_cloud_init_say_is_what_they_said_before", contents)];

fn contents(scene: &Scene) -> Result<()> {
    let user = scene.path("user.yaml");
    fs::write(&user, "#cloud-config\nhostname: web1\n")?;
    let mut command = Command::new(&scene.vmm);
    command.arg("--kernel").arg(&scene.kernel).args(["--mem", "128M"]);
    command.args(["--cmdline", WITNESS]);
    command.args(["--net", &format!("tap={TAP},mac=02:00:00:00:00:01,model={}", scene.card.model)]);
    command.args(["--cloud-init", &format!("user-data={}", user.display())]);
    command.arg(format!("--imds=hostname=web1,user-data={}", user.display()));
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.run(command)?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.api.done("PATCH", "/mmds", &json!({ "latest": { "own": { "word": 1 } } }))?;
    let told = machine.api.get("/mmds")?;
    ensure!(told["latest"]["own"]["word"] == 1, "{told}");
    ensure!(told["latest"]["meta-data"]["hostname"] == "web1", "{told}");
    machine.pause()?;
    let folder = scene.path("snapshot");
    machine.save(&folder)?;
    drop(machine);
    let first = kept(scene, &folder)?;
    ensure!(first["seed"].as_str().is_some_and(|seed| seed.len() > 1024), "{first}");

    // Nobody reads it again.
    fs::remove_file(&user)?;
    let mut machine = scene.restore(&folder)?;
    listener.hear_many(FRAMES, LIMIT)?;
    let now = machine.api.get("/mmds")?;
    ensure!(now == told, "{now} after {told}");
    machine.pause()?;
    machine.save(&folder)?;
    let second = kept(scene, &folder)?;
    ensure!(second == first, "something else is kept now");
    Ok(())
}

/// What a snapshot keeps of its process.
fn kept(scene: &Scene, folder: &Path) -> Result<Value> {
    let shown = Command::new(&scene.vmm).args(["snapshot", "show", "--json"]).arg(folder).output();
    let shown = shown.context("vmm does not start")?;
    ensure!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    Ok(serde_json::from_slice::<Value>(&shown.stdout)?["body"]["kept"].take())
}
