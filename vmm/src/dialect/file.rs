//! `--config-file`: a whole machine in one JSON file, which is a recorded list of actions.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::machine::{BootSource, MachineConfig};
use super::network::NetworkInterface;
use super::watch::{Logger, Metrics, Serial};
use super::{BodyError, read};
use crate::action::Action;

/// Largest configuration file; thousands of cards would be smaller.
const MAX_FILE: u64 = 1 << 20;

/// Why a configuration file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("--config-file: cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("--config-file: {} is no regular file of at most 1 MiB", path.display())]
    Kind { path: PathBuf },
    #[error("--config-file: {}", path.display())]
    Content { path: PathBuf, source: BodyError },
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
                return Err(super::bad(field, "it does not exist here; leave it out"));
            }
        }
        Ok(())
    }

    fn into_actions(self) -> Result<Vec<Action>, BodyError> {
        self.check_absent()?;
        let mut actions = Vec::new();
        if let Some(logger) = self.logger {
            actions.push(Action::SetLog(logger.try_into()?));
        }
        if let Some(metrics) = self.metrics {
            actions.push(Action::SetMetrics(metrics.metrics_path));
        }
        if let Some(machine) = self.machine_config {
            actions.push(Action::SetMachine(machine.try_into()?));
        }
        actions.push(Action::SetBoot(self.boot_source.into()));
        if let Some(serial) = self.serial {
            actions.push(Action::SetSerial(serial.try_into()?));
        }
        for nic in self.network_interfaces {
            let id = nic.iface_id.clone();
            actions.push(Action::SetNic(Box::new(nic.into_spec(&id)?)));
        }
        Ok(actions)
    }
}

/// What `path` asks for, in order.
pub fn actions(path: &Path) -> Result<Vec<Action>, ConfigFileError> {
    let failed = |source| ConfigFileError::Read { path: path.into(), source };
    let content = |source| ConfigFileError::Content { path: path.into(), source };
    // Reading a pipe might wait for ever.
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(ConfigFileError::Kind { path: path.into() });
    }
    let text = std::fs::read(path).map_err(failed)?;
    read::<ConfigFile>(&text).and_then(ConfigFile::into_actions).map_err(content)
}
