//! Migrations that do not come about, after which the machine goes on where it was.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::native::line::TAP;

use crate::{FRAMES, LIMIT, Machine, Scene, Test, to};

pub const TESTS: [(&str, Test); 3] = [
    ("a_migration_that_fails_leaves_the_machine_where_it_was", fails),
    ("who_sends_nonsense_to_a_target_is_no_source", nonsense),
    ("what_cannot_go_along_is_refused_by_its_name", parts),
];

/// It is refused for a reason that has this in it; the machine runs.
fn refused(machine: &mut Machine, body: &Value, why: &str) -> Result<()> {
    let answer = machine.api()?.ask("PUT", "/migration", &body.to_string())?;
    ensure!(answer.status == 400 && answer.fault()?.contains(why), "{why}: {answer:?}");
    ensure!(machine.api()?.get("/vm")?["state"] == "Running");
    Ok(())
}

fn fails(scene: &Scene) -> Result<()> {
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    let place = scene.destination(1);
    refused(&mut machine, &to(&place), "nobody can be reached")?;
    let elsewhere = tempfile::tempdir()?;
    refused(&mut machine, &to(&elsewhere.path().join("s")), "--allow-path")?;
    refused(&mut machine, &json!({ "destination": "tcp:127.0.0.1:7000" }), "insecure")?;
    let by_tcp = json!({ "destination": "tcp:127.0.0.1:7000", "insecure": true });
    refused(&mut machine, &by_tcp, "--allow-tcp 127.0.0.1:7000")?;
    let answer = machine.api()?.ask("DELETE", "/migration", "")?;
    ensure!(answer.status == 400 && answer.fault()?.contains("there is none"), "{answer:?}");
    listener.hear_many(FRAMES, LIMIT)?;

    // Targets that cannot have it: by what they are told, and by what the host has.
    for (more, why) in [
        (&["--net", "other=tap1"][..], "no network card \"other\""),
        (&["--disk", "root=/nothing"], "no disk \"root\""),
        (&["--vsock", "/nothing"], "no vsock"),
        (&[], TAP),
    ] {
        let place_text = format!("unix:{}", place.display());
        let mut target = scene.receive_at(&place_text, 1, more)?;
        refused(&mut machine, &to(&place), why)?;
        ensure!(target.end()? == Some(7), "{why}");
        listener.hear_many(FRAMES, LIMIT).with_context(|| why.to_string())?;
    }

    // One that is somebody else, and one that goes away.
    for says in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let other = UnixListener::bind(&place)?;
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let (mut stream, _) = other.accept().expect("somebody comes");
                let _ = stream.write_all(says);
            });
            refused(&mut machine, &to(&place), "the target")
        })?;
        std::fs::remove_file(&place)?;
        listener.hear_many(FRAMES, LIMIT)?;
    }
    // One that hears all and says nothing, until nobody waits for it any more.
    let other = UnixListener::bind(&place)?;
    let mut api = machine.api()?;
    api.send("PUT", "/migration", &to(&place).to_string())?;
    let (stream, _) = other.accept()?;
    let answer = machine.api()?.ask("PUT", "/fork", "{}")?;
    ensure!(answer.status == 400 && answer.fault()?.contains("being migrated"), "{answer:?}");
    let answer = machine.api()?.ask("DELETE", "/migration", "")?;
    ensure!(answer.status == 204, "{answer:?}");
    drop(stream);
    listener.hear_many(FRAMES, LIMIT)?;
    ensure!(machine.lives()?);
    Ok(())
}

fn nonsense(scene: &Scene) -> Result<()> {
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    let mut target = scene.receive(1, &[])?;
    let place = scene.destination(1);
    let greeting = [&b"vmm-move"[..], &1u32.to_le_bytes(), &[0; 4]].concat();
    let record =
        |kind: u32, len: u32| [&kind.to_le_bytes()[..], &len.to_le_bytes(), &[0; 16]].concat();
    for says in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        greeting.clone(),
        [&b"vmm-move"[..], &9u32.to_le_bytes(), &[0; 4]].concat(),
        [greeting.clone(), record(1, u32::MAX)].concat(),
        [greeting.clone(), record(77, 0)].concat(),
        [greeting.clone(), record(6, 0)].concat(),
    ] {
        let mut stream = UnixStream::connect(&place)?;
        stream.write_all(&says)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // Nothing is said, and the end may be that of somebody who did not want to hear more.
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        ensure!(heard.is_empty(), "{heard:?}");
    }
    ensure!(target.lives()?);
    let mut next = scene.listener(1)?;
    machine.migrate(&to(&place))?;
    next.hear_many(FRAMES, LIMIT).map(drop)
}

fn parts(scene: &Scene) -> Result<()> {
    // Nobody is there who could hear anything.
    let place = to(&scene.destination(1));
    let file = scene.path("pmem");
    std::fs::File::create(&file)?.set_len(2 << 20)?;
    let pmem = format!("{},id=store", file.display());
    let mut machine = scene.start(&["--pmem", &pmem])?;
    refused(&mut machine, &place, "persistent memory \"store\"")?;
    drop(machine);

    let machine = scene.start(&[])?;
    machine.api()?.done("PATCH", "/vm", &json!({ "state": "Paused" }))?;
    let (state, memory) = (scene.path("state"), scene.path("memory"));
    let body = json!({ "snapshot_path": state, "mem_file_path": memory });
    machine.api()?.done("PUT", "/snapshot/create", &body)?;
    drop(machine);
    let mut command = Command::new(&scene.vmm);
    command.arg("restore").arg(&state).args(["--pager", "own"]);
    let mut machine = scene.spawn(&mut command, "0", &[])?;
    machine.await_api()?;
    refused(&mut machine, &place, "memory that comes by a pager")?;
    drop(machine);

    // What is written by the kernel, where the host lets it.
    if std::path::Path::new("/dev/vhost-net").exists() {
        let card = format!("id=lent,tap={TAP},backend=vhost");
        let line = ["--cmdline", "load=witness rest=1000000", "--net", &card];
        let mut machine = scene.start_with(&line)?;
        refused(&mut machine, &place, "network card \"lent\"")?;
    }
    // A port that nobody listens on any more.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let text = format!("127.0.0.1:{port}");
    let mut machine = scene.start(&["--allow-tcp", &text])?;
    let body = json!({ "destination": format!("tcp:{text}"), "insecure": true });
    refused(&mut machine, &body, "nobody can be reached")?;
    ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    Ok(())
}
