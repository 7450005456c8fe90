//! Machines that go on from a snapshot, each with a disk of its own over the image that the first one had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::native::disk::{Image, Report};
use tests::process::quiet;

use super::refusals::refused_with;
use super::{LIMIT, Machine, Scene, Test};

/// Of each model of a disk.
pub const OF_MODELS: [(&str, Test); 1] =
    [("what_machines_of_one_snapshot_write_goes_to_overlays_of_their_own", apart)];

/// What is no matter of models.
pub const TESTS: [(&str, Test); 1] =
    [("a_disk_that_cannot_take_an_images_place_is_refused_by_one_line", wrong)];

/// Bytes of a disk.
const SIZE: u64 = 4 << 20;
/// Exit codes of a load that failed, and of a command line that says nothing.
const NOT_LOADED: i32 = 7;
const USAGE: i32 = 2;

impl Scene {
    /// Takes a snapshot of a machine whose guest tells what it has flushed to a disk, and ends it; the image and the
    /// snapshot.
    fn saved_with_disk(&self) -> Result<(Image, PathBuf)> {
        let (mut machine, image) = self.start_with_disk()?;
        let folder = self.path("snapshot");
        machine.pause()?;
        machine.save(&folder)?;
        Ok((image, folder))
    }

    fn start_with_disk(&self) -> Result<(Machine, Image)> {
        let image = Image::filled(self.path("gold.raw"), SIZE)?;
        let model = if self.card.is_ena() { "nvme" } else { "virtio" };
        let mut command = self.command("disk=sync in-flight=8");
        command.arg("--disk").arg(format!("{},id=data,model={model}", image.path().display()));
        let mut machine = self.run(command)?;
        image.wait_for(&mut machine.process, 3, LIMIT)?;
        Ok((machine, image))
    }

    /// Both as one image, once nobody holds them.
    fn flat(&self, overlay: &Path, base: &Path) -> Result<Image> {
        let flat = overlay.with_extension("raw");
        let mut command = Command::new(&self.vmm);
        command.args(["disk", "flatten"]).arg(overlay).arg("--base").arg(base);
        quiet(command.arg("--to").arg(&flat))?;
        Image::at(flat)
    }
}

/// As `vmm restore` has a disk that is an overlay.
fn option(overlay: &Path, base: &Path) -> String {
    format!("data={},base={}", overlay.display(), base.display())
}

/// What is in it of its own, once the guest has gone on for some steps.
fn gone_on(machine: &mut Machine, overlay: &Path, from: u64) -> Result<Report> {
    machine.loaded()?;
    let image = Image::overlay(overlay.to_owned())?;
    image.wait_for(&mut machine.process, from + 3, LIMIT)
}

/// Two of them at once, each of which goes on twice.
fn apart(scene: &Scene) -> Result<()> {
    let (gold, snapshot) = scene.saved_with_disk()?;
    let (before, told) = (fs::read(gold.path())?, gold.report()?.context("no report")?);
    let names = ["one", "two"];
    let overlays = names.map(|name| scene.path(&format!("{name}.cow")));
    let disks = overlays.each_ref().map(|overlay| option(overlay, gold.path()));
    let restore = |nth: usize| scene.restore_as(names[nth], &snapshot, &["--disk", &disks[nth]]);
    let (mut one, mut two) = (restore(0)?, restore(1)?);
    let of_one = gone_on(&mut one, &overlays[0], told.step)?;
    drop(one);
    // Longer than the other, so that what they have differs.
    gone_on(&mut two, &overlays[1], of_one.step)?;
    drop(two);
    for overlay in &overlays {
        let own = Image::overlay(overlay.clone())?.report()?.context("no report")?;
        ensure!(own.is_clean() && own.step > told.step, "{own:?} after {told:?}");
        let flat = scene.flat(overlay, gold.path())?;
        ensure!(flat.size()? == SIZE, "{} bytes", flat.size()?);
        flat.has_steps(own.step).with_context(|| overlay.display().to_string())?;
    }
    ensure!(fs::read(gold.path())? == before, "nobody writes to the base");

    // A snapshot of such a machine names both, and is restored without a word of them.
    fs::remove_file(&overlays[0])?;
    let mut one = restore(0)?;
    let of_one = gone_on(&mut one, &overlays[0], told.step)?;
    one.pause()?;
    let later = scene.path("later");
    one.save(&later)?;
    drop(one);
    let mut one = scene.restore(&later)?;
    gone_on(&mut one, &overlays[0], of_one.step)?;
    drop(one);
    ensure!(fs::read(gold.path())? == before, "nobody writes to the base");
    Ok(())
}

fn wrong(scene: &Scene) -> Result<()> {
    let (gold, snapshot) = scene.saved_with_disk()?;
    let before = fs::read(gold.path())?;
    let made = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        fs::write(scene.path(name), bytes)?;
        Ok(scene.path(name))
    };
    let short = made("short.raw", &before[..SIZE as usize / 2])?;
    let raw = made("raw.cow", &before)?;
    let folder = scene.path("folder");
    fs::create_dir(&folder)?;
    let other = made("other.raw", &vec![0; SIZE as usize])?;
    let of_other = scene.path("other.cow");
    let mut create = Command::new(&scene.vmm);
    quiet(create.args(["disk", "create"]).arg(&of_other).arg("--base").arg(&other))?;
    let (own, nowhere) = (scene.path("own.cow"), scene.path("nowhere/own.cow"));
    let gold = gold.path();
    for (disk, code, why) in [
        (option(&own, gold).replace("data", "root"), NOT_LOADED, "has no disk \"root\""),
        (option(&own, &scene.path("none.raw")), NOT_LOADED, "none.raw: No such file"),
        (option(&own, &folder), NOT_LOADED, "folder is neither a regular file nor a block device"),
        (option(&nowhere, gold), NOT_LOADED, "nowhere/own.cow: No such file"),
        (option(&folder, gold), NOT_LOADED, "folder is neither a regular file nor a block device"),
        (option(&raw, gold), NOT_LOADED, "raw.cow cannot be an overlay: it does not begin as an"),
        (option(&of_other, gold), NOT_LOADED, "gold.raw is not as it was when the overlay"),
        (option(gold, gold), NOT_LOADED, "gold.raw cannot be an overlay on itself"),
        (format!("data={}", of_other.display()), NOT_LOADED, "other.cow is an overlay; name its"),
        (format!("data={},base=", own.display()), USAGE, "the image that the overlay is on behind"),
        (format!("={}", own.display()), USAGE, "write the id that it has in the snapshot"),
        (format!("data={}", short.display()), NOT_LOADED, "4194304"),
        (option(&scene.path("short.cow"), &short), NOT_LOADED, "4194304"),
    ] {
        let output = refused_with(scene, &snapshot, &["--disk", &disk])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{disk}: {:?}: {said}", output.status);
        ensure!(said.lines().count() == 1 && said.contains(why), "{disk}: {said:?} has no {why:?}");
    }
    ensure!(!own.exists(), "nothing is made where a disk was refused");
    ensure!(fs::read(gold)? == before && fs::read(&short)? == before[..SIZE as usize / 2]);
    Ok(())
}
