//! Forks that are refused, after which everything is as it was.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::frames::Link;
use tests::native::line::TAP;
use tests::native::witness::Listener;

use crate::{FRAMES, LIMIT, Scene, Test};

/// All of them.
pub const TESTS: [(&str, Test); 2] = [
    ("a_fork_that_fails_leaves_no_child_and_a_machine_that_goes_on", fails),
    ("a_machine_that_shall_have_no_children_has_none", none),
];

/// Bodies that make no sense, and what their answers name.
const NONSENSE: [(&str, &str); 9] = [
    (r#"{"count":0}"#, "count"),
    (r#"{"count":100000}"#, "count"),
    (r#"{"count":2,"first":4294967295}"#, "first"),
    (r#"{"count":2,"id":"same"}"#, "id"),
    (r#"{"id":"../x"}"#, "id"),
    (r#"{"network_overrides":[{"iface_id":"no","host_dev_name":"t"}]}"#, "no"),
    (r#"{"network_overrides":[{"iface_id":"eth0","host_dev_name":"tap0"}]}"#, "tap0"),
    (r#"{"vsock_override":{"uds_path":"/tmp/v"}}"#, "vsock"),
    (r#"{"kernel":"x"}"#, "kernel"),
];

fn fails(scene: &Scene) -> Result<()> {
    let mut told = Listener::new(Link::open(TAP)?)?;
    let mut machine = scene.start(&[])?;
    told.hear_many(FRAMES, LIMIT)?;
    for (body, word) in NONSENSE {
        let answer = machine.api.ask("PUT", "/fork", body)?;
        ensure!(answer.status == 400 && answer.fault()?.contains(word), "{body}: {answer:?}");
    }
    // The last of three finds something at its path: the others, which were there already, go.
    let _taps = scene.taps(1)?;
    fs::write(scene.path("s3"), "precious")?;
    let sockets = scene.path("s{n}");
    let body = json!({ "count": 3, "api_socket": sockets });
    let answer = machine.api.ask("PUT", "/fork", &body.to_string())?;
    let fault = answer.fault()?;
    ensure!(answer.status == 400 && fault.contains("s3"), "{answer:?}");
    ensure!(fs::read(scene.path("s3"))? == b"precious");
    tests::host::eventually("the end of the others", LIMIT, || {
        Ok(!scene.path("s1").exists() && !scene.path("s2").exists())
    })?;
    // Where children may not make anything.
    let elsewhere = tempfile::tempdir()?;
    let body = json!({ "api_socket": elsewhere.path().join("s") });
    let answer = machine.api.ask("PUT", "/fork", &body.to_string())?;
    ensure!(answer.status == 400, "{answer:?}");
    ensure!(fs::read_dir(elsewhere.path())?.count() == 0);
    told.hear_many(FRAMES, LIMIT)?;
    ensure!(machine.process.wait(Duration::ZERO)?.is_none());
    Ok(())
}

fn none(scene: &Scene) -> Result<()> {
    let mut machine = scene.start(&["--no-fork"])?;
    let answer = machine.api.ask("PUT", "/fork", "{}")?;
    ensure!(answer.status == 400, "{answer:?}");
    let fault = answer.fault().context("no message")?;
    ensure!(fault.contains("--no-fork"), "{fault}");
    Ok(())
}
