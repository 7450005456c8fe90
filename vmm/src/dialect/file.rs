//! `--config-file`: a whole machine in one JSON file, which is a recorded list of actions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devices::legacy::ConsoleSpec;
use serde::Deserialize;
use serde_json::Value;

use super::machine::{BootSource, MachineConfig};
use super::network::NetworkInterface;
use super::watch::{Logger, Metrics, Serial};
use super::{BodyError, bad};
use crate::action::Action;
use crate::observe::logger::LogSpec;
use crate::text_file::{self, ReadError};
use crate::vm::spec::MachineSpec;
use crate::words::{self, Setting};

/// Largest configuration file; thousands of cards would be smaller.
const MAX_FILE: usize = 1 << 20;

/// Time for it to come, if it comes by a pipe.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a configuration file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("--config-file: {}", path.display())]
    Read { path: PathBuf, source: ReadError },
    #[error("{}", path.display())]
    Content { path: PathBuf, source: BodyError },
}

/// Where a file says what.
#[derive(Debug, Default)]
pub struct Places {
    path: PathBuf,
    /// Of its cards, in order.
    ids: Vec<String>,
    /// Whether it says where the console goes; else an option does.
    says_serial: bool,
}

impl Places {
    /// Where `setting` was said.
    pub fn of(&self, setting: &Setting) -> String {
        match setting {
            Setting::Serial if !self.says_serial => setting.option(),
            _ => format!("{}: {}", self.path.display(), setting.place(&self.ids)),
        }
    }
}

/// The file's content.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    boot_source: BootSource,
    #[serde(default)]
    machine_config: Option<MachineConfig>,
    #[serde(default)]
    network_interfaces: Vec<NetworkInterface>,
    #[serde(default)]
    logger: Option<Logger>,
    #[serde(default)]
    metrics: Option<Metrics>,
    #[serde(default)]
    serial: Option<Serial>,
    // What the dialect knows and this machine does not have: null, or an empty list.
    #[serde(default)]
    drives: Option<Value>,
    #[serde(default)]
    pmem: Option<Value>,
    #[serde(default)]
    balloon: Option<Value>,
    #[serde(default)]
    vsock: Option<Value>,
    #[serde(default)]
    entropy: Option<Value>,
    #[serde(default)]
    mmds_config: Option<Value>,
    #[serde(default)]
    cpu_config: Option<Value>,
    #[serde(default)]
    memory_hotplug: Option<Value>,
}

impl ConfigFile {
    fn check_absent(&self) -> Result<(), BodyError> {
        for (field, value) in [
            ("drives", &self.drives),
            ("pmem", &self.pmem),
            ("balloon", &self.balloon),
            ("vsock", &self.vsock),
            ("entropy", &self.entropy),
            ("mmds-config", &self.mmds_config),
            ("cpu-config", &self.cpu_config),
            ("memory-hotplug", &self.memory_hotplug),
        ] {
            let empty = value.as_ref().is_none_or(|value| match value {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                _ => false,
            });
            if !empty {
                return Err(bad(field, "it does not exist here; leave it out"));
            }
        }
        Ok(())
    }

    /// Two cards of one id would be one to those who ask for them by it.
    fn check_ids(&self) -> Result<(), BodyError> {
        let mut seen = HashMap::new();
        for (index, nic) in self.network_interfaces.iter().enumerate() {
            if let Some(first) = seen.insert(&nic.iface_id, index) {
                let why = format!(
                    "{:?} is the id of {} too; each card needs its own",
                    nic.iface_id,
                    words::card_of_file(first)
                );
                return Err(bad("iface_id", why).within(&words::card_of_file(index)));
            }
        }
        Ok(())
    }

    fn into_actions(self, path: &Path) -> Result<(Vec<Action>, Places), BodyError> {
        self.check_absent()?;
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
        actions.push(Action::SetBoot(self.boot_source.into()));
        let says_serial = self.serial.is_some();
        if let Some(serial) = self.serial {
            let console = ConsoleSpec::try_from(serial).map_err(|error| error.within("serial"))?;
            actions.push(Action::SetSerial(console));
        }
        let mut ids = Vec::new();
        for (index, nic) in self.network_interfaces.into_iter().enumerate() {
            let id = nic.iface_id.clone();
            let spec = nic.into_spec(&id);
            let spec = spec.map_err(|error| error.within(&words::card_of_file(index)))?;
            actions.push(Action::SetNic(Box::new(spec)));
            ids.push(id);
        }
        actions.push(Action::Start);
        Ok((actions, Places { path: path.into(), ids, says_serial }))
    }
}

/// What `path` asks for, in order, and where it says so.
pub fn actions(path: &Path) -> Result<(Vec<Action>, Places), ConfigFileError> {
    let text = text_file::read(path, MAX_FILE, PATIENCE);
    let text = text.map_err(|source| ConfigFileError::Read { path: path.into(), source })?;
    let config = super::read::<ConfigFile>(&text).and_then(|config| config.into_actions(path));
    config.map_err(|source| ConfigFileError::Content { path: path.into(), source })
}
