//! Manual pages and shell completions, printed from the command line itself.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Args;
use crate::ctl;
use crate::face;
use crate::images;
use crate::jail;
use crate::receive;
use crate::restore;
use crate::snapshot::show;

/// The version without the commit, which pages for many commits cannot tell.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The whole command line.
fn command() -> clap::Command {
    let jail = jail().name("jail").bin_name("vmm jail");
    Args::command()
        .version(VERSION)
        .subcommand(ctl().name("ctl").bin_name("vmm ctl"))
        .subcommand(restore().name("restore").bin_name("vmm restore"))
        .subcommand(receive().name("receive").bin_name("vmm receive"))
        .subcommand(snapshot().name("snapshot").bin_name("vmm snapshot"))
        .subcommand(disk().name("disk").bin_name("vmm disk"))
        .subcommand(jail)
}

fn restore() -> clap::Command {
    restore::command().version(VERSION)
}

fn receive() -> clap::Command {
    receive::command().version(VERSION)
}

fn snapshot() -> clap::Command {
    show::command().version(VERSION)
}

fn disk() -> clap::Command {
    images::command().version(VERSION)
}

fn jail() -> clap::Command {
    jail::command().version(VERSION)
}

fn ctl() -> clap::Command {
    ctl::command().version(VERSION)
}

fn page(command: clap::Command) -> Vec<u8> {
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(command).date("").source("vmm").manual("vmm");
    man.render(&mut text).expect("memory can be written");
    text
}

/// A page for each command of `vmm ctl`, and for it, `vmm`, `vmm restore`, `vmm receive`, `vmm snapshot`, `vmm disk`, `vmm jail`, `jailer` and `firecracker`.
fn pages() -> Vec<(PathBuf, Vec<u8>)> {
    let man = Path::new("man");
    let face = face::firecracker_command().version(VERSION);
    let mut pages = vec![
        (man.join("vmm.1"), page(command().name("vmm"))),
        (man.join("firecracker.1"), page(face)),
        (man.join("jailer.1"), page(jail())),
        (man.join("vmm-restore.1"), page(restore().name("vmm-restore"))),
        (man.join("vmm-receive.1"), page(receive().name("vmm-receive"))),
        (man.join("vmm-snapshot.1"), page(snapshot().name("vmm-snapshot"))),
        (man.join("vmm-disk.1"), page(disk().name("vmm-disk"))),
        (man.join("vmm-jail.1"), page(jail().name("vmm-jail"))),
    ];
    let all = ctl();
    for part in all.get_subcommands() {
        let name: &'static str = format!("vmm-ctl-{}", part.get_name()).leak();
        pages.push((man.join(format!("{name}.1")), page(part.clone().name(name).version(VERSION))));
    }
    pages.push((man.join("vmm-ctl.1"), page(all.name("vmm-ctl"))));
    pages
}

fn completions() -> Vec<(PathBuf, Vec<u8>)> {
    let shells = [(Shell::Bash, "vmm.bash"), (Shell::Zsh, "_vmm"), (Shell::Fish, "vmm.fish")];
    let one = |(shell, name): (Shell, &str)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "vmm", &mut text);
        (Path::new("completions").join(name), text)
    };
    shells.map(one).to_vec()
}

/// Prints them again with `UPDATE_GENERATED=1` in the environment.
#[test]
fn manual_pages_and_completions_are_those_of_the_command_line() {
    let resources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources");
    let renew = std::env::var_os("UPDATE_GENERATED").is_some();
    for (name, text) in pages().into_iter().chain(completions()) {
        let path = resources.join(name);
        if renew {
            std::fs::create_dir_all(path.parent().expect("it is in a folder"))
                .expect("the source tree can be written");
            std::fs::write(&path, text).expect("the source tree can be written");
            continue;
        }
        let there = std::fs::read(&path).unwrap_or_default();
        assert!(there == text, "{} is old; UPDATE_GENERATED=1 renews it", path.display());
    }
}
