//! What a machine is to those who know it, before and after.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{FRAMES, LIMIT, Machine, Scene, drain, goes_on, to};

/// What a guest is told of its generation: the id, and the counts of breaks and of machines.
#[derive(Debug, PartialEq, Eq)]
struct Generation {
    id: [u8; 16],
    breaks: u64,
    machines: u64,
}

/// Of a machine that is paused, from a snapshot of it.
fn generation(scene: &Scene, machine: &Machine) -> Result<Generation> {
    let (state, memory) = (scene.path("state"), scene.path("memory"));
    let body = json!({ "snapshot_path": state, "mem_file_path": memory });
    machine.api()?.done("PUT", "/snapshot/create", &body)?;
    let text = fs::read(&state)?;
    let head = u32::from_le_bytes(text.get(12..16).context("no head")?.try_into()?) as usize;
    let body: Value = serde_json::from_slice(text.get(56 + head..).context("no body")?)?;
    let parts = body["state"]["board"].as_array().context("no board")?;
    let part = parts.iter().find(|part| part["id"] == "generation").context("no generation")?;
    let state = &part["saved"]["state"];
    let place =
        |name: &str| state["places"][name].as_u64().with_context(|| format!("no {name}: {state}"));
    let file = File::open(&memory)?;
    let (mut id, mut page) = ([0; 16], [0; 112]);
    file.read_exact_at(&mut id, place("id")?)?;
    file.read_exact_at(&mut page, place("clock")?)?;
    let number = |at: usize| page[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(Generation { id, breaks: number(16), machines: number(104) })
}

fn pause(machine: &Machine, state: &str) -> Result<()> {
    machine.api()?.done("PATCH", "/vm", &json!({ "state": state }))
}

/// It is the same machine, whose time has a break; one that rests goes on resting.
pub fn keeps(scene: &Scene) -> Result<()> {
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    pause(&machine, "Paused")?;
    let before = generation(scene, &machine)?;
    ensure!(before.id != [0; 16], "{before:?}");
    let last = drain(&mut listener)?;
    let mut next = scene.listener(1)?;
    let mut target = scene.receive(1, &[])?;
    let told = machine.migrate(&to(&scene.destination(1)))?;
    ensure!(told["downtime_ms"] == 0.0, "it ran nowhere before: {told}");
    ensure!(machine.end()? == Some(0));
    ensure!(target.await_api()?.get("/vm")?["state"] == "Paused");
    let after = generation(scene, &target)?;
    let wanted = Generation { breaks: before.breaks + 1, ..before };
    ensure!(after == wanted, "{after:?}, and not {wanted:?}");
    pause(&target, "Resumed")?;
    goes_on(last, &mut next)?;

    // And with a rest that is asked for there.
    let mut listener = scene.listener(0)?;
    let resting = scene.receive(2, &["--paused", "--track-dirty-pages"])?;
    target.migrate(&to(&scene.destination(2)))?;
    let last = drain(&mut next)?;
    let mut resting = resting;
    ensure!(resting.await_api()?.get("/vm")?["state"] == "Paused");
    pause(&resting, "Resumed")?;
    goes_on(last, &mut listener).map(drop)
}
