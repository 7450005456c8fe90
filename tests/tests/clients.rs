//! Clients of Firecracker by others, unmodified, that take a machine of ours for one of theirs.
#![forbid(unsafe_code)]

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::clients::{self, Scene};
use tests::net::Network;
use tests::{host, programs};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::ignorable_test("firecracker_python_drives_a_machine", || run(firecracker_python)),
        Trial::ignorable_test("microheart_drives_a_machine", || run(microheart)),
        Trial::ignorable_test("firepilot_drives_a_machine", || {
            run(|scene| crates(scene, "firepilot"))
        }),
        Trial::ignorable_test("fctools_drives_a_machine", || run(|scene| crates(scene, "fctools"))),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(test: fn(&Scene) -> Result<Option<&'static str>>) -> Result<Completion, Failed> {
    if let Err(error) = host::kvm() {
        return Ok(Completion::ignored_with(format!("/dev/kvm cannot be opened: {error}")));
    }
    let done = Scene::idle().and_then(|scene| test(&scene));
    match done.map_err(|error| format!("{error:#}"))? {
        None => Ok(Completion::Completed),
        Some(why) => Ok(Completion::ignored_with(why)),
    }
}

fn firecracker_python(scene: &Scene) -> Result<Option<&'static str>> {
    scene.finish(&mut scene.script("firecracker_python.py")?)?;
    Ok(None)
}

/// It makes a TAP, which nobody else shall see.
fn microheart(scene: &Scene) -> Result<Option<&'static str>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Some("TAPs are made by root only"));
    }
    programs::ensure(&[programs::IP])?;
    let (network, script) = (Network::new()?, scene.script("microheart.py")?);
    let mut command = network.command(script.get_program());
    command.args(script.get_args()).current_dir(scene.path("client"));
    for (name, value) in script.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    scene.finish(&mut command)?;
    Ok(None)
}

/// The crates are built for this test alone, so only where there is time for it.
fn crates(scene: &Scene, client: &str) -> Result<Option<&'static str>> {
    if std::env::var_os("VMM_LONG").is_none() {
        return Ok(Some("VMM_LONG is not set, and the client's crate has to be built"));
    }
    clients::build()?;
    scene.finish(&mut scene.of_crate(client)?)?;
    Ok(None)
}
