//! A machine that goes on has its driver reset its ENA card if that is asked for, and else does not.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::frames::Link;
use tests::host::eventually;
use tests::native::line::TAP;
use tests::native::peer::MAC;

use super::clones::{INSIDE, exchange, question};
use super::refusals::refused_with;
use super::{LIMIT, Machine, Scene, Test};

pub const OF_ENA: [(&str, Test); 1] =
    [("a_driver_resets_its_card_if_it_is_asked_for_that_and_else_does_not", asked)];
pub const OF_VIRTIO: [(&str, Test); 1] =
    [("a_driver_of_a_virtio_card_is_not_asked_for_a_reset", not_asked)];

/// Drivers, and the reason that each gives: one that listens to requests, and one that goes by keep-alives as older ones do.
const DRIVERS: [(&str, u64); 2] = [("groups=128", 19), ("groups=16 silence=6000000000", 1)];
/// Longer than a driver waits for a keep-alive that does not come.
const A_WHILE: Duration = Duration::from_millis(3500);
const NOT_LOADED: i32 = 7;

impl Scene {
    /// Lets the machine of a snapshot go on by the API, which asks for a reset of its card.
    fn load_with_reset(&self, folder: &Path) -> Result<Machine> {
        let mut machine = self.run(Command::new(&self.vmm))?;
        let (state, memory) = (folder.join("state"), folder.join("memory"));
        let card = json!({ "iface_id": "eth0", "host_dev_name": TAP, "driver": "reset" });
        let body = json!({
            "snapshot_path": state,
            "mem_backend": { "backend_type": "File", "backend_path": memory },
            "network_overrides": [card],
            "resume_vm": true,
        });
        machine.api.done("PUT", "/snapshot/load", &body)?;
        Ok(machine)
    }
}

/// How often the card was reset since the machine was first built, and why the last time.
fn resets(machine: &mut Machine) -> Result<(u64, Value)> {
    let seen = machine.api.get("/network-interfaces/eth0")?;
    Ok((seen["resets"].as_u64().unwrap_or(0), seen["last_reset"]["code"].clone()))
}

/// Whether the guest answers, as an address on the link.
fn answers(link: &Link) -> Result<()> {
    let heard = exchange(link, &question(INSIDE), &MAC)?;
    ensure!(heard[28..32] == INSIDE, "{heard:02x?}");
    Ok(())
}

fn asked(scene: &Scene) -> Result<()> {
    for (words, reason) in DRIVERS {
        let link = Link::open(TAP)?;
        let mut machine = scene.start_with(&format!("load=host {words}"), &[])?;
        answers(&link)?;
        machine.pause()?;
        let folder = scene.path("snapshot");
        machine.save(&folder)?;
        let (before, _) = resets(&mut machine)?;
        drop(machine);

        // Nobody asks.
        let mut machine = scene.restore(&folder)?;
        std::thread::sleep(A_WHILE);
        answers(&link)?;
        ensure!(resets(&mut machine)?.0 == before, "{words}: {:?}", resets(&mut machine)?);
        drop(machine);

        // By either way to ask; once it is reset it is a card as any other.
        for by_api in [false, true] {
            let mut machine = if by_api {
                scene.load_with_reset(&folder)?
            } else {
                scene.restore_as("api", &folder, &["--net", "eth0,driver=reset"])?
            };
            let wanted = (before + 1, json!(reason));
            eventually("a reset", LIMIT, || Ok(resets(&mut machine)?.0 > before))?;
            answers(&link)?;
            std::thread::sleep(A_WHILE);
            let now = resets(&mut machine)?;
            ensure!(now == wanted, "{words}, by the API {by_api}: {now:?} and not {wanted:?}");
            answers(&link)?;
        }
    }
    Ok(())
}

fn not_asked(scene: &Scene) -> Result<()> {
    let link = Link::open(TAP)?;
    let mut machine = scene.start_with("load=host", &[])?;
    answers(&link)?;
    machine.pause()?;
    let folder = scene.path("snapshot");
    machine.save(&folder)?;
    drop(machine);
    let output = refused_with(scene, &folder, &["--net", "eth0,driver=reset"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(NOT_LOADED), "{:?}: {said}", output.status);
    let why = "network card \"eth0\": drivers of a virtio card are not asked for resets";
    ensure!(said.lines().count() == 1 && said.contains(why), "{said:?}");
    Ok(())
}
