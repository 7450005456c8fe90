//! Migrations by TLS: only between ends that know each other, whatever becomes of what joins them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::authority::{Authority, Files, Valid};
use tests::host;

use crate::{FRAMES, LIMIT, Machine, Scene, Test, drain, goes_on, is_long};

pub const TESTS: [(&str, Test); 2] = [
    ("a_machine_goes_by_tls_to_whom_it_knows", goes),
    ("strangers_and_cuts_leave_one_machine", strangers),
];

/// Exit code of a target that the machine has not come to.
const NOT_LOADED: i32 = 7;

/// Ends that know each other, and where a target waits.
struct Ends {
    authority: Authority,
    source: Files,
    target: Files,
    place: SocketAddr,
}

impl Ends {
    fn new(scene: &Scene) -> Result<Ends> {
        // It may be up already.
        let _ = scene.wire.network().ip(&["link", "set", "lo", "up"]);
        let authority = Authority::new()?;
        let folder = scene.folder.path();
        let source = authority.files(folder, "source", &["source.example"], Valid::Now)?;
        let names = ["target.example", "127.0.0.1"];
        let target = authority.files(folder, "target", &names, Valid::Now)?;
        let place = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Ends { authority, source, target, place })
    }

    /// Starts a target of these files, and waits until somebody listens there.
    fn receive(&self, scene: &Scene, turn: usize, files: &Files) -> Result<Machine> {
        let tap = format!("eth0={}", crate::TAPS[turn % crate::TAPS.len()]);
        let allowed = self.place.to_string();
        let own = ["--net", &tap, "--allow-tcp", &allowed];
        let options = [&own[..], &files.options()].concat();
        let mut target = scene.receive_at(&format!("tls:{}", self.place), turn, &options)?;
        let listens = format!(":{:04X} 00000000:0000 0A", self.place.port());
        host::eventually("somebody who waits", LIMIT, || {
            let ended = target.process.wait(Duration::ZERO)?;
            ensure!(ended.is_none(), "vmm has ended: {ended:?}");
            Ok(fs::read_to_string("/proc/thread-self/net/tcp")?.contains(&listens))
        })?;
        Ok(target)
    }
}

/// The body of a migration to there.
fn to(place: SocketAddr, more: Value) -> String {
    let mut body = json!({ "destination": format!("tls:{place}") });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body.to_string()
}

fn goes(scene: &Scene) -> Result<()> {
    let ends = Ends::new(scene)?;
    let mut listener = scene.listener(0)?;
    let allowed = ends.place.to_string();
    let mut machine =
        scene.start(&[&["--allow-tcp", &allowed][..], &ends.source.options()].concat())?;
    listener.hear_many(FRAMES, LIMIT)?;
    // By its address, and by its name.
    let bodies = [json!({}), json!({ "target_name": "target.example" })];
    for (turn, body) in (1..).zip(bodies).take(if is_long() { 2 } else { 1 }) {
        let mut next = scene.listener(turn)?;
        let mut target = ends.receive(scene, turn, &ends.target)?;
        let answer = machine.api()?.ask("PUT", "/migration", &to(ends.place, body))?;
        ensure!(answer.status == 200, "{answer:?}");
        if std::env::var_os("VMM_FIGURES").is_some() {
            println!("{}", answer.body);
        }
        ensure!(machine.end()? == Some(0));
        let before = drain(&mut listener)?;
        goes_on(before, &mut next)?;
        target.await_api()?;
        (machine, listener) = (target, next);
    }
    ensure!(machine.lives()?);
    Ok(())
}

fn strangers(scene: &Scene) -> Result<()> {
    let ends = Ends::new(scene)?;
    let way = TcpListener::bind("127.0.0.1:0")?;
    let (place, cut) = (ends.place, way.local_addr()?);
    let mut listener = scene.listener(0)?;
    let ports = [place, cut].map(|at| format!("*:{}", at.port()));
    let mut options = vec!["--allow-tcp", &ports[0], "--allow-tcp", &ports[1]];
    let source_options = ends.source.options();
    options.extend(source_options);
    let mut machine = scene.start(&options)?;
    listener.hear_many(FRAMES, LIMIT)?;
    let stays = |machine: &mut Machine, body: &str, why: &str| -> Result<()> {
        let answer = machine.api()?.ask("PUT", "/migration", body)?;
        ensure!(answer.status == 400 && answer.fault()?.contains(why), "{why}: {answer:?}");
        ensure!(machine.api()?.get("/vm")?["state"] == "Running");
        Ok(())
    };

    // Targets that the machine does not know, or that do not know it; they wait on.
    let other = Authority::new()?;
    let folder = scene.folder.path();
    let names = ["127.0.0.1"];
    let foreign = other.files(folder, "foreign", &names, Valid::Now)?;
    let mut wary = ends.authority.files(folder, "wary", &names, Valid::Now)?;
    wary.authority.clone_from(&foreign.authority);
    let old = ends.authority.files(folder, "old", &names, Valid::Past)?;
    let here = to(place, json!({}));
    for (files, why) in [
        (&foreign, "signed by no authority of --tls-ca"),
        (&wary, "refuses this vmm's certificate"),
        (&old, "has expired"),
    ] {
        let mut target = ends.receive(scene, 1, files)?;
        stays(&mut machine, &here, why)?;
        ensure!(target.lives()?, "{why}");
    }
    let elsewhere = to(place, json!({ "target_name": "other.example" }));
    let mut target = ends.receive(scene, 1, &ends.target)?;
    stays(&mut machine, &elsewhere, "and not for other.example")?;

    // Those who are no target at all.
    for (says, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak TLS"),
        (b"", "ended the connection"),
    ] {
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let (mut stream, _) = way.accept().expect("somebody comes");
                let _ = stream.write_all(says);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            });
            stays(&mut machine, &to(cut, json!({})), why)
        })?;
    }

    // Those who are no source: one in plain words, one that says half of something, and one that says nothing.
    let mut plain = TcpStream::connect(place)?;
    plain.write_all(&[&b"vmm-move"[..], &1u32.to_le_bytes(), &[0; 4]].concat())?;
    plain.set_read_timeout(Some(LIMIT))?;
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    ensure!(heard.len() < 16, "{heard:?}");
    let mut half = TcpStream::connect(place)?;
    half.write_all(&[22, 3, 1, 2, 0, 1])?;
    let _silent = TcpStream::connect(place)?;
    ensure!(target.lives()?);

    // What joins them is cut while they meet, and while the machine goes.
    for count in [200, 1200, 40_000, 400_000] {
        std::thread::scope(|threads| {
            threads.spawn(|| lead(&way, place, count));
            stays(&mut machine, &to(cut, json!({})), "")
        })
        .with_context(|| format!("cut after {count} bytes"))?;
        listener.hear_many(FRAMES, LIMIT)?;
        if let Some(ended) = target.process.wait(Duration::from_millis(200))? {
            ensure!(ended.code() == Some(NOT_LOADED), "{ended}");
            target = ends.receive(scene, 1, &ends.target)?;
        }
    }

    // After all of this it goes.
    let mut next = scene.listener(1)?;
    let answer = machine.api()?.ask("PUT", "/migration", &here)?;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(machine.end()? == Some(0));
    let before = drain(&mut listener)?;
    goes_on(before, &mut next)?;
    ensure!(target.lives()?);
    Ok(())
}

/// Leads one who comes to `to`, and cuts both off after so many bytes of his.
fn lead(way: &TcpListener, to: SocketAddr, count: usize) -> Result<()> {
    let (mut near, _) = way.accept()?;
    let mut far = TcpStream::connect(to)?;
    let (mut back, mut answers) = (near.try_clone()?, far.try_clone()?);
    let answers = std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let (mut left, mut part) = (count, [0; 4096]);
    while left > 0 {
        let most = left.min(part.len());
        match near.read(&mut part[..most])? {
            0 => break,
            got => {
                far.write_all(&part[..got])?;
                left -= got;
            }
        }
    }
    let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
    let _ = answers.join();
    Ok(())
}
