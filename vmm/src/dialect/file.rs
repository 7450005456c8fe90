//! `--config-file`: a whole machine in one JSON file, which is a recorded list of actions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arch::template::Template;
use devices::legacy::ConsoleSpec;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::balloon::Balloon;
use super::cpu::{self, CpuConfig};
use super::drives::Drive;
use super::entropy::Entropy;
use super::hot_memory::MemoryHotplug;
use super::machine::{BootSource, MachineConfig};
use super::mmds::{self, MmdsConfig};
use super::network::NetworkInterface;
use super::pmem::Pmem;
use super::vsock::Vsock;
use super::watch::{Logger, Metrics, Serial};
use super::{BodyError, bad, objects};
use crate::action::Action;
use crate::observe::logger::LogSpec;
use crate::text_file::{self, ReadError};
use crate::vm::config::EntropyWish;
use crate::vm::metadata::{MetadataAsk, MetadataSpec};
use crate::vm::spec::{BootSpec, MachineSpec};
use crate::words::{self, Listed, Setting};

/// Largest configuration file; thousands of cards and disks would be smaller.
const MAX_FILE: usize = 1 << 20;

/// Time for it to come, if it comes by a pipe.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a configuration file, or one with metadata, is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("--config-file: {}", path.display())]
    Read { path: PathBuf, source: ReadError },
    #[error("--metadata: {}", path.display())]
    ReadMetadata { path: PathBuf, source: ReadError },
    #[error("{}", path.display())]
    Content { path: PathBuf, source: BodyError },
}

/// What becomes of words that a file has at its top and nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The file is of no use.
    Refused,
    /// The log tells that they are left out.
    Told,
}

/// Where a file says what.
#[derive(Debug, Default)]
pub struct Places {
    path: PathBuf,
    listed: Listed,
    /// Whether it says where the console goes; else an option does.
    says_serial: bool,
}

impl Places {
    /// Where `setting` was said.
    pub fn of(&self, setting: &Setting) -> String {
        match setting {
            Setting::Serial if !self.says_serial => setting.option(),
            _ => format!("{}: {}", self.path.display(), setting.place(&self.listed)),
        }
    }
}

/// The file's content.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    #[serde(default)]
    boot_source: Option<BootSource>,
    #[serde(default)]
    machine_config: Option<MachineConfig>,
    #[serde(default)]
    drives: Vec<Drive>,
    #[serde(default)]
    network_interfaces: Vec<NetworkInterface>,
    #[serde(default)]
    vsock: Option<Vsock>,
    #[serde(default)]
    logger: Option<Logger>,
    #[serde(default)]
    metrics: Option<Metrics>,
    #[serde(default)]
    serial: Option<Serial>,
    #[serde(default)]
    mmds_config: Option<MmdsConfig>,
    #[serde(default)]
    pmem: Option<Vec<Pmem>>,
    #[serde(default)]
    balloon: Option<Balloon>,
    #[serde(default)]
    entropy: Option<Entropy>,
    #[serde(default)]
    cpu_config: Option<Value>,
    #[serde(default)]
    memory_hotplug: Option<MemoryHotplug>,
}

impl ConfigFile {
    /// Two of one id would be one to those who ask for them by it.
    fn check_ids(&self) -> Result<(), BodyError> {
        let cards = self.network_interfaces.iter().map(|nic| &nic.iface_id);
        check_twice(cards, "iface_id", "card", words::card_of_file)?;
        let disks = self.drives.iter().map(|drive| &drive.drive_id);
        check_twice(disks, "drive_id", "disk", words::disk_of_file)?;
        let pmems = self.pmem.iter().flatten().map(|pmem| &pmem.id);
        check_twice(pmems, "id", "persistent memory", words::pmem_of_file)
    }

    fn into_actions(self, path: &Path) -> Result<(Vec<Action>, Places), BodyError> {
        let no_boot = || BodyError::Json("missing field `boot-source`".to_string());
        let boot = self.boot_source.clone().ok_or_else(no_boot)?;
        let (mut actions, mut places) = self.into_devices()?;
        places.path = path.into();
        actions.extend([Action::SetBoot(boot.into()), Action::Start]);
        Ok((actions, places))
    }

    /// What all of it but what is booted asks for.
    fn into_devices(self) -> Result<(Vec<Action>, Places), BodyError> {
        self.check_ids()?;
        let mut actions = Vec::new();
        if let Some(logger) = self.logger {
            let log = LogSpec::try_from(logger).map_err(|error| error.within("logger"))?;
            actions.push(Action::SetLog(log));
        }
        if let Some(metrics) = self.metrics {
            actions.push(Action::SetMetrics(metrics.metrics_path));
        }
        if let Some(machine) = self.machine_config {
            let machine = MachineSpec::try_from(machine);
            actions.push(Action::SetMachine(machine.map_err(|e| e.within("machine-config"))?));
        }
        if let Some(template) = self.cpu_config.filter(|config| !config.is_null()) {
            actions.push(Action::SetTemplate(cpu_template(template)?));
        }
        let says_serial = self.serial.is_some();
        if let Some(serial) = self.serial {
            let console = ConsoleSpec::try_from(serial).map_err(|error| error.within("serial"))?;
            actions.push(Action::SetSerial(console));
        }
        let mut listed = Listed::default();
        for (index, drive) in self.drives.into_iter().enumerate() {
            let id = drive.drive_id.clone();
            let spec = drive.into_spec(&id);
            let spec = spec.map_err(|error| error.within(&words::disk_of_file(index)))?;
            actions.push(Action::SetDisk(Box::new(spec)));
            listed.disks.push(id);
        }
        for (index, nic) in self.network_interfaces.into_iter().enumerate() {
            let id = nic.iface_id.clone();
            let spec = nic.into_spec(&id);
            let spec = spec.map_err(|error| error.within(&words::card_of_file(index)))?;
            actions.push(Action::SetNic(Box::new(spec)));
            listed.cards.push(id);
        }
        actions.extend(self.vsock.map(|vsock| Action::SetVsock(vsock.into())));
        if let Some(mmds) = self.mmds_config {
            let spec = MetadataSpec::try_from(mmds);
            actions.push(Action::SetMetadata(spec.map_err(|e| e.within("mmds-config"))?));
        }
        for (index, pmem) in self.pmem.into_iter().flatten().enumerate() {
            let id = pmem.id.clone();
            let spec = pmem.into_spec(&id);
            let spec = spec.map_err(|error| error.within(&words::pmem_of_file(index)))?;
            actions.push(Action::SetPmem(Box::new(spec)));
            listed.pmems.push(id);
        }
        // Before the balloon, which may have some of it.
        if let Some(memory) = self.memory_hotplug {
            actions.push(Action::SetHotMemory(memory.into()));
        }
        if let Some(balloon) = self.balloon {
            actions.push(Action::SetBalloon(balloon.into()));
        }
        if let Some(entropy) = self.entropy {
            let wish = entropy.try_into().map_err(|error: BodyError| error.within("entropy"))?;
            actions.push(Action::SetEntropy(wish));
        }
        Ok((actions, Places { path: PathBuf::new(), listed, says_serial }))
    }
}

/// What a snapshot's machine was made of, and what it had booted from a file, which need not be there any more. Its
/// serial port goes where that of this process goes.
pub fn of_snapshot(config: Value) -> Result<(Vec<Action>, Option<BootSpec>), BodyError> {
    let text = config.to_string();
    let file = super::read::<ConfigFile>(text.as_bytes())?;
    let boot = file.boot_source.clone().map(Into::into);
    // What is usual here may not have been there.
    let has_entropy = file.entropy.is_some();
    let (mut actions, _) = file.into_devices()?;
    actions.extend((!has_entropy).then_some(Action::SetEntropy(EntropyWish::Off)));
    actions.retain(|action| !matches!(action, Action::SetSerial(_)));
    Ok((actions, boot))
}

/// A CPU template, or that of the file with this name.
fn cpu_template(config: Value) -> Result<Template, BodyError> {
    let body = match config {
        Value::String(path) => cpu::file(Path::new(&path))?,
        object => super::read::<CpuConfig>(object.to_string().as_bytes())
            .map_err(|error| error.within("cpu-config"))?,
    };
    Template::try_from(body).map_err(|error| error.within("cpu-config"))
}

/// Refuses the second of two with one id.
fn check_twice<'a>(
    ids: impl Iterator<Item = &'a String>,
    field: &'static str,
    kind: &str,
    place: fn(usize) -> String,
) -> Result<(), BodyError> {
    let mut seen = HashMap::new();
    for (index, id) in ids.enumerate() {
        if let Some(first) = seen.insert(id, index) {
            let first = place(first);
            let why = format!("{id:?} is the id of {first} too; each {kind} needs its own");
            return Err(bad(field, why).within(&place(index)));
        }
    }
    Ok(())
}

/// What `path` asks for, in order, and where it says so.
pub fn actions(path: &Path, unknown: Unknown) -> Result<(Vec<Action>, Places), ConfigFileError> {
    let text = text_file::read(path, MAX_FILE, PATIENCE);
    let mut text = text.map_err(|source| ConfigFileError::Read { path: path.into(), source })?;
    if unknown == Unknown::Told
        && let Some(known) = without_unknown(path, &text)
    {
        text = known;
    }
    let config = super::read::<ConfigFile>(&text).and_then(|config| config.into_actions(path));
    config.map_err(|source| ConfigFileError::Content { path: path.into(), source })
}

/// The text without what it has at its top and nobody knows, of which the log tells; `None` of one that has
/// nothing such.
fn without_unknown(path: &Path, text: &[u8]) -> Option<Vec<u8>> {
    let known = objects::fields_of::<ConfigFile>();
    let mut all: Map<String, Value> = serde_json::from_slice(text).ok()?;
    let unknown: Vec<_> =
        all.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
    if unknown.is_empty() {
        return None;
    }
    for key in &unknown {
        tracing::warn!("{}: {key:?} is unknown and left out", path.display());
        all.remove(key);
    }
    serde_json::to_vec(&all).ok()
}

/// The metadata that `path` holds, which `most` bytes of compact JSON may hold.
pub fn metadata(path: &Path, most: usize) -> Result<Action, ConfigFileError> {
    // Blanks and line ends are not counted in the end.
    let most = most.saturating_mul(4).max(MAX_FILE);
    let text = text_file::read(path, most, PATIENCE);
    let text =
        text.map_err(|source| ConfigFileError::ReadMetadata { path: path.into(), source })?;
    let content = mmds::contents(&text);
    let content =
        content.map_err(|source| ConfigFileError::Content { path: path.into(), source })?;
    Ok(Action::OfMetadata(MetadataAsk::Put(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_left_out_at_the_top_alone() {
        let text = br#"{"boot-source":{"kernel_image_path":"k"},"comment":1,"drives":[{"x":1}]}"#;
        let known: Value =
            serde_json::from_slice(&without_unknown(Path::new("f"), text).unwrap()).unwrap();
        assert_eq!(known["comment"], Value::Null);
        assert_eq!(known["drives"][0]["x"], 1);
        assert_eq!(without_unknown(Path::new("f"), br#"{"drives":[]}"#), None);
        assert_eq!(without_unknown(Path::new("f"), b"{"), None);
    }
}
