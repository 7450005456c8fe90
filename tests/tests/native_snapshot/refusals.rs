//! Snapshots that cannot be written or loaded.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::api::Api;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::witness::Listener;
use tests::process::Owned;

use super::{FRAMES, LIMIT, Scene, Test};

pub const TESTS: [(&str, Test); 2] = [
    ("a_snapshot_that_cannot_be_written_leaves_nothing_and_the_machine_goes_on", unwritten),
    ("a_snapshot_that_is_not_whole_ends_the_process_with_one_line_and_its_code", damaged),
];

/// Exit codes of a load that failed, of either face.
const NOT_LOADED: i32 = 7;
const OF_FIRECRACKER: i32 = 152;

fn unwritten(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start()?;
    listener.hear_many(FRAMES, LIMIT)?;
    let there = scene.path("there");
    fs::create_dir(&there)?;
    let (state, memory) = (there.join("state"), there.join("memory"));
    let early = json!({ "snapshot_path": state, "mem_file_path": memory }).to_string();
    let answer = machine.api.ask("PUT", "/snapshot/create", &early)?;
    ensure!(answer.fault()?.contains("the machine is running"), "{answer:?}");

    machine.pause()?;
    let nowhere = scene.path("nowhere/state");
    for (state, memory, why) in [
        (&nowhere, &memory, "nowhere/state: cannot be written"),
        (&state, &nowhere, "nowhere/state: cannot be written"),
        (&state, &state, "need a file each"),
        (&there, &memory, "no regular file"),
    ] {
        let body = json!({ "snapshot_path": state, "mem_file_path": memory }).to_string();
        let answer = machine.api.ask("PUT", "/snapshot/create", &body)?;
        ensure!(answer.status == 400 && answer.fault()?.contains(why), "{answer:?}");
        ensure!(fs::read_dir(&there)?.count() == 0, "something was left");
    }
    machine.resume()?;
    listener.hear_many(FRAMES, LIMIT)?;
    Ok(())
}

/// What a restore says that fails.
fn refused(scene: &Scene, folder: &Path) -> Result<Output> {
    refused_with(scene, folder, &[])
}

/// The same with more options.
pub(super) fn refused_with(scene: &Scene, folder: &Path, options: &[&str]) -> Result<Output> {
    let mut command = Command::new(&scene.vmm);
    command.arg("restore").arg(folder).args(["--serial", "none"]).args(options);
    command.output().context("vmm does not start")
}

fn damaged(scene: &Scene) -> Result<()> {
    let mut listener = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start()?;
    listener.hear_many(FRAMES, LIMIT)?;
    machine.pause()?;
    let folder = scene.path("snapshot");
    machine.save(&folder)?;
    drop(machine);
    let (state, memory) = (folder.join("state"), folder.join("memory"));
    let whole = fs::read(&state)?;
    let expect = |why: &str| {
        let output = refused(scene, &folder)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(NOT_LOADED), "{:?}: {said}", output.status);
        ensure!(said.lines().count() == 1 && said.contains(why), "{said:?} has no {why:?}");
        Ok(())
    };
    // Each part of the file: the mark, numbers, digest, head, and places of the body.
    let places = [0, 8, 12, 16, 30, 60, whole.len() / 3, whole.len() / 2, whole.len() - 1];
    for (place, why) in places.into_iter().zip(["no snapshot of vmm"; 1].into_iter().chain([""; 8]))
    {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        fs::write(&state, bytes)?;
        expect(why).with_context(|| format!("byte {place}"))?;
    }
    fs::write(&state, &whole[..whole.len() / 2])?;
    expect("cut off")?;
    fs::write(&state, &whole)?;

    let file = fs::File::options().write(true).open(&memory)?;
    let length = file.metadata()?.len();
    file.set_len(length - 4096)?;
    expect("and the machine")?;
    file.set_len(length)?;
    // The guest's code is at 2 MiB; what was there is only not zero.
    file.write_all_at(&[0x5a; 16], 0)?;
    expect("it is not the one of this snapshot")?;
    drop(file);

    // The same by the API, of either face: the answer comes, and then the end.
    let faces = [(&[][..], NOT_LOADED), (&["firecracker"], OF_FIRECRACKER)];
    for (words, code) in faces {
        let socket = scene.path("late");
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(&scene.vmm);
        command.args(words).arg("--api-sock").arg(&socket);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut vmm = Owned::spawn(&mut command)?;
        let mut api = Api::wait(&socket, LIMIT)?;
        let backend = json!({ "backend_type": "File", "backend_path": memory });
        let body = json!({ "snapshot_path": state, "mem_backend": backend }).to_string();
        let answer = api.ask("PUT", "/snapshot/load", &body)?;
        ensure!(answer.status == 400, "{answer:?}");
        ensure!(answer.fault()?.contains("not the one of this snapshot"), "{answer:?}");
        let ended = vmm.ended(LIMIT)?.code();
        ensure!(ended == Some(code), "{words:?}: {ended:?}");
    }
    Ok(())
}
