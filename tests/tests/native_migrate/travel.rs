//! A machine that goes from process to process, and back.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::native::wire;
use tests::native::witness::{Listener, Told};

use crate::{FRAMES, LIMIT, Machine, Scene, TAPS, drain, goes_on, is_long, to};

/// Migrations in a row.
fn turns() -> usize {
    if is_long() { 100 } else { 2 }
}

/// One turn: the machine is where it was not; who listens there, and what it told first.
fn turn(
    scene: &Scene,
    mut machine: Machine,
    listener: &mut Listener,
    turn: usize,
) -> Result<(Machine, Listener, Told)> {
    let mut next = scene.listener(turn)?;
    let mut target = scene.receive(turn, &[])?;
    let told = machine.migrate(&to(&scene.destination(turn)))?;
    let number = |field: &str| told[field].as_f64().with_context(|| format!("no {field}: {told}"));
    ensure!(number("rounds")? >= 2.0 && number("pages")? > 0.0, "{told}");
    ensure!(number("bytes")? >= 4096.0 * number("pages")?, "{told}");
    ensure!(number("downtime_ms")? > 0.0 && number("total_ms")? > number("downtime_ms")?, "{told}");
    ensure!(machine.end()? == Some(0), "its old process has another end");
    ensure!(!machine.socket.exists(), "its old socket is left");
    let before = drain(listener)?;
    let after = goes_on(before, &mut next)?;
    ensure!(target.await_api()?.get("/vm")?["state"] == "Running");
    if std::env::var_os("VMM_FIGURES").is_some() {
        println!("{told}");
    }
    Ok((target, next, after))
}

pub fn there_and_back(scene: &Scene) -> Result<()> {
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    for number in 1..=turns() {
        let next = turn(scene, machine, &mut listener, number);
        (machine, listener, _) = next.with_context(|| format!("turn {number}"))?;
    }
    ensure!(machine.lives()?);
    Ok(())
}

/// Frames that the owner of the TAP took so far.
fn taken(tap: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(tap)?.strip_prefix(':'));
    let field = line.context("no TAP")?.split_whitespace().nth(9).context("no field")?;
    Ok(field.parse()?)
}

/// Frames go to both of its places all the time: each that a process took from its TAP came to the guest, whichever process
/// it was, and the guest's own are all there, once and in their order.
pub fn under_load(scene: &Scene) -> Result<()> {
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    let frame = wire::frame(100);
    let send = |listener: &Listener| {
        for _ in 0..50 {
            // There is no room, or nobody has the TAP.
            if listener.link().send(&frame).is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    };
    for number in 1..=turns() {
        let mut next = scene.listener(number)?;
        let mut target = scene.receive(number, &[])?;
        std::thread::scope(|threads| -> Result<()> {
            let body = to(&scene.destination(number));
            let machine = &mut machine;
            let migration = threads.spawn(move || machine.migrate(&body));
            while !migration.is_finished() {
                send(&listener);
                send(&next);
            }
            migration.join().map_err(|_| anyhow::anyhow!("it panicked"))?.map(drop)
        })?;
        ensure!(machine.end()? == Some(0));
        let before = drain(&mut listener)?;
        goes_on(before, &mut next).with_context(|| format!("turn {number}"))?;
        target.await_api()?;
        (machine, listener) = (target, next);
    }
    let all = || TAPS.iter().map(|tap| taken(tap)).sum::<Result<u64>>();
    let mut told = listener.hear(LIMIT)?;
    let begun = std::time::Instant::now();
    while told.received < all()? && begun.elapsed() < Duration::from_secs(5) {
        told = listener.hear(LIMIT)?;
    }
    ensure!(told.received == all()?, "{} frames were taken, {told:?}", all()?);
    ensure!(told.received > 0, "no frame came");
    ensure!(machine.lives()?);
    Ok(())
}
