//! Migrations by TCP, as to another host.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::host;

use crate::{FRAMES, LIMIT, Scene, Test, drain, goes_on};

pub const TESTS: [(&str, Test); 1] = [("a_machine_goes_by_tcp_if_it_may", by_tcp)];

fn by_tcp(scene: &Scene) -> Result<()> {
    let _ = scene.wire.network().ip(&["link", "set", "lo", "up"]);
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let place = format!("tcp:{free}");
    let mut unsaid = scene.receive_at(&place, 1, &[])?;
    ensure!(unsaid.end()? == Some(2), "it takes machines from anybody");

    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&["--allow-tcp", &format!("*:{}", free.port())])?;
    listener.hear_many(FRAMES, LIMIT)?;
    let mut next = scene.listener(1)?;
    let mut target = scene.receive_at(&place, 1, &["--insecure", "--net", "eth0=tap1"])?;
    let mut told = None;
    let body = json!({ "destination": place, "insecure": true }).to_string();
    host::eventually("somebody who waits", LIMIT, || {
        ensure!(target.process.wait(Duration::ZERO)?.is_none());
        let answer = machine.api()?.ask("PUT", "/migration", &body)?;
        let waits = answer.status == 400 && answer.fault()?.contains("nobody can be reached");
        ensure!(waits || answer.status == 200, "{answer:?}");
        told = Some(answer).filter(|answer| answer.status == 200);
        Ok(told.is_some())
    })?;
    ensure!(machine.end()? == Some(0));
    let before = drain(&mut listener)?;
    goes_on(before, &mut next)?;
    ensure!(target.lives()?);
    Ok(())
}
