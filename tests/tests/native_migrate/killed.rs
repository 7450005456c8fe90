//! Either end is killed at whatever moment: the machine is never in two places, and in none only if who had it is dead.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{FRAMES, LIMIT, Machine, Scene, Test, drain, goes_on, is_long, to};

pub const TESTS: [(&str, Test); 2] = [
    ("a_target_that_is_killed_leaves_the_machine_where_it_was", target),
    ("a_source_that_is_killed_leaves_the_machine_in_one_place_or_in_none", source),
];

/// Exit codes: it is elsewhere; it was handed over, and nothing was heard of it; it never came.
const MIGRATED: i32 = 0;
const NOT_LOADED: i32 = 7;
const PARTED: i32 = 9;

/// How long a whole migration takes here.
fn measure(scene: &Scene) -> Result<Duration> {
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    let _target = scene.receive(1, &[])?;
    let begun = Instant::now();
    machine.migrate(&to(&scene.destination(1)))?;
    Ok(begun.elapsed())
}

/// Moments at which somebody is killed: all over a migration, and more of them towards its end.
fn moments(whole: Duration) -> Vec<Duration> {
    let count = if is_long() { 200 } else { 4 };
    let part = |nth: u32| f64::from(nth) / f64::from(count);
    let during = (0..count).map(|nth| whole.mul_f64(1.1 * part(nth).sqrt()));
    // And once it is over, however busy the host is.
    during.chain([whole.mul_f64(10.0)]).collect()
}

fn kill_it(machine: &mut Machine) -> Result<()> {
    kill(Pid::from_raw(machine.process.pid().try_into()?), Signal::SIGKILL)?;
    machine.end().map(drop)
}

fn target(scene: &Scene) -> Result<()> {
    let whole = measure(scene)?;
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    let mut stayed = 0;
    let mut turn = 1;
    for moment in moments(whole) {
        listener.hear_many(FRAMES, LIMIT)?;
        let mut next = scene.listener(1)?;
        let mut target = scene.receive(1, &[])?;
        let (mut api, body) = (machine.api()?, to(&scene.destination(1)).to_string());
        let asks = std::thread::spawn(move || api.ask("PUT", "/migration", &body));
        sleep(moment);
        kill_it(&mut target)?;
        let _ = std::fs::remove_file(scene.destination(1));
        turn += 1;
        let told = format!("turn {turn}, killed after {moment:?}");
        let answer = asks.join().map_err(|_| anyhow!("it panicked"))?;
        let answer = answer.with_context(|| told.clone())?;
        // It ends once it is elsewhere, or nobody knows.
        let is_over = answer.status == 200 || answer.fault()?.contains("handed over");
        let ended = if is_over { Some(machine.end()?) } else { None };
        let before = drain_some(&mut listener, is_over)?;
        match ended {
            None => {
                // Its frames follow one another, and nobody else has any.
                ensure!(machine.api()?.get("/vm")?["state"] == "Running", "{told}");
                listener.hear_many(FRAMES, LIMIT).with_context(|| told.clone())?;
                ensure!(
                    next.hear(Duration::from_millis(20)).is_err(),
                    "{told}: it is in two places"
                );
                stayed += 1;
            }
            // The target had it.
            Some(Some(MIGRATED | PARTED)) => {
                if let Ok(first) = next.hear(Duration::from_millis(20)) {
                    ensure!(Some(first.number) == before.map(|last| last + 1), "{told}: {first:?}");
                }
                listener = scene.listener(0)?;
                machine = scene.start(&[])?;
            }
            other => bail!("{told}: {other:?}"),
        }
    }
    ensure!(stayed > 0, "it never stayed");
    Ok(())
}

/// The number of what a machine told last that is no more.
fn drain_some(
    listener: &mut tests::native::witness::Listener,
    is_over: bool,
) -> Result<Option<u64>> {
    if !is_over {
        return Ok(None);
    }
    drain(listener).map(|told| Some(told.number))
}

fn source(scene: &Scene) -> Result<()> {
    let whole = measure(scene)?;
    let (mut arrived, mut lost) = (0, 0);
    for moment in moments(whole) {
        let told = format!("killed after {moment:?}");
        let (mut listener, mut next) = (scene.listener(0)?, scene.listener(1)?);
        let mut machine = scene.start(&[])?;
        listener.hear_many(FRAMES, LIMIT)?;
        let mut target = scene.receive(1, &[])?;
        let mut api = machine.api()?;
        api.send("PUT", "/migration", &to(&scene.destination(1)).to_string())?;
        sleep(moment);
        // It may have gone already.
        let _ = kill(Pid::from_raw(machine.process.pid().try_into()?), Signal::SIGKILL);
        machine.end()?;
        let before = drain(&mut listener)?;
        // A target that nobody has reached waits on.
        let waits = scene.destination(1).exists();
        match waits {
            true => {
                ensure!(next.hear(Duration::from_millis(20)).is_err(), "{told}: nobody sent it");
                drop(target);
                let _ = std::fs::remove_file(scene.destination(1));
                lost += 1;
            }
            false => match next.hear(Duration::from_millis(500)) {
                Ok(first) => {
                    ensure!(
                        first.number == before.number + 1,
                        "{told}: {first:?} after {before:?}"
                    );
                    next.hear_many(FRAMES, LIMIT)?;
                    ensure!(target.lives()?, "{told}");
                    arrived += 1;
                }
                Err(_) => {
                    ensure!(target.end()? == Some(NOT_LOADED), "{told}");
                    lost += 1;
                }
            },
        }
    }
    ensure!(arrived > 0 && lost > 0, "{arrived} arrived, {lost} did not");
    // Another one goes on as ever.
    let mut listener = scene.listener(0)?;
    let mut machine = scene.start(&[])?;
    listener.hear_many(FRAMES, LIMIT)?;
    let mut next = scene.listener(1)?;
    let _target = scene.receive(1, &[])?;
    machine.migrate(&to(&scene.destination(1)))?;
    let before = drain(&mut listener)?;
    goes_on(before, &mut next).map(drop)
}
