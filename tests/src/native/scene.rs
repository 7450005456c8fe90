//! Where machines of a guest are started that tells of itself on its card: what tests share in which it goes on elsewhere,
//! as snapshots, forks and migrations.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Trial};

use super::wire::Wire;
use super::{guest, trial};
use crate::process::Owned;

/// Far longer than anything takes, on any machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Frames heard of a machine that goes on.
pub const FRAMES: usize = 20;

/// A card, and how the machine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// As `--net` has it.
    pub model: &'static str,
    /// Of the command line.
    pub options: &'static [&'static str],
}

impl Card {
    const ALL: [Card; 3] = [
        Card { model: "virtio", options: &[] },
        Card { model: "virtio", options: &["--bus", "mmio"] },
        Card { model: "ena", options: &[] },
    ];

    /// Whether it is one of several on their usual bus.
    pub fn is_on_pci(self) -> bool {
        self.options.is_empty()
    }

    /// Whether it is the one card that a test has which is no matter of cards.
    pub fn is_ena(self) -> bool {
        self.model == "ena"
    }

    /// A test's name with its card.
    fn name(self, test: &str) -> String {
        format!("{test} [{} {}]", self.model, self.options.join(" ")).replace(" ]", "]")
    }
}

/// A test, and its name.
pub type Named<S> = (&'static str, fn(&S) -> Result<()>);

/// Runs the tests that there are for each card, one after the other, each in a scene that `make` makes of a new one.
pub fn run<S>(make: fn(Scene) -> Result<S>, tests: fn(Card) -> Vec<Named<S>>) -> !
where
    S: Deref<Target = Scene> + 'static,
{
    let mut arguments = Arguments::from_args();
    // Each moves its thread to a network of its own, and has busy threads already.
    arguments.test_threads = Some(1);
    let trial = |card: Card, (name, test): Named<S>| {
        let run = move || {
            let scene = make(Scene::new(card)?)?;
            test(&scene).with_context(|| format!("vmm said {:?}", scene.said()))
        };
        Trial::ignorable_test(card.name(name), move || trial::in_a_network(run))
    };
    let of_card = |card| tests(card).into_iter().map(move |named| trial(card, named));
    let trials = Card::ALL.into_iter().flat_map(of_card).collect();
    libtest_mimic::run(&arguments, trials).exit()
}

/// A folder, a network, and what is started there.
pub struct Scene {
    /// What the machine is to have.
    pub card: Card,
    /// The program under test.
    pub vmm: PathBuf,
    /// The guest.
    pub kernel: PathBuf,
    /// Goes with the scene.
    pub folder: tempfile::TempDir,
    /// The same; the test's thread is in its network.
    pub wire: Wire,
}

impl Scene {
    fn new(card: Card) -> Result<Self> {
        let vmm = trial::vmm()?;
        let folder = tempfile::tempdir().context("no temporary folder")?;
        Ok(Self { card, vmm, kernel: guest::build()?, folder, wire: Wire::new()? })
    }

    /// Where something of this name is in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a machine with the guest is started by; it lacks a card.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.vmm);
        command.arg("--kernel").arg(&self.kernel).args(["--mem", "128M"]).args(self.card.options);
        command
    }

    /// An empty file for what a machine says.
    pub fn log(&self) -> Result<File> {
        File::create(self.path("log")).context("cannot make a log")
    }

    /// Starts a machine that says things to `log`, with an API at `socket`. Fails if it cannot be started.
    pub fn spawn(&self, command: &mut Command, socket: &Path, log: File) -> Result<Owned> {
        // Of one before, if it was killed.
        let _ = std::fs::remove_file(socket);
        command.args(["--serial", "none", "--api-sock"]).arg(socket);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Owned::spawn(command)
    }

    /// The end of what machines said, in one line.
    pub fn said(&self) -> String {
        let said = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        said.lines().rev().take(4).collect::<Vec<_>>().join(" / ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_by_its_card() {
        let names = Card::ALL.map(|card| card.name("it_lives"));
        assert_eq!(names, ["it_lives [virtio]", "it_lives [virtio --bus mmio]", "it_lives [ena]"]);
    }
}
