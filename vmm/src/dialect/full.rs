//! All settings of a machine, in the layout of a configuration file: what `/vm/config` shows, and a snapshot has.

use serde::Serialize;
use serde_json::{Value, json};

use super::balloon::Balloon;
use super::drives::Drive;
use super::entropy::Entropy;
use super::hot_memory::MemoryHotplug;
use super::machine::{BootSource, MachineConfig};
use super::mmds::MmdsConfig;
use super::network::NetworkInterface;
use super::pmem::Pmem;
use super::vsock::Vsock;
#[cfg(test)]
use super::watch::Serial;
use crate::vm::config::Config;

/// All settings, in the layout of a configuration file.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct FullConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_source: Option<BootSource>,
    machine_config: MachineConfig,
    drives: Vec<Drive>,
    network_interfaces: Vec<NetworkInterface>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vsock: Option<Vsock>,
    mmds_config: Option<MmdsConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pmem: Vec<Pmem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balloon: Option<Balloon>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entropy: Option<Entropy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_hotplug: Option<MemoryHotplug>,
    #[cfg_attr(test, schema(value_type = Serial))]
    serial: serde_json::Value,
}

impl From<&Config> for FullConfig {
    fn from(config: &Config) -> FullConfig {
        FullConfig {
            boot_source: config.boot.as_ref().and_then(BootSource::of),
            machine_config: (&config.machine).into(),
            drives: config.disks.iter().map(Into::into).collect(),
            network_interfaces: config.nics.iter().map(Into::into).collect(),
            vsock: config.vsock.as_ref().map(|open| open.spec().into()),
            mmds_config: config.metadata.as_ref().map(Into::into),
            pmem: config.pmems.iter().map(Into::into).collect(),
            balloon: config.balloon.as_ref().map(Into::into),
            entropy: Entropy::of(&config.entropy_now()),
            memory_hotplug: config.hot_memory.as_ref().map(Into::into),
            serial: json!({ "console": config.serial.to_string() }),
        }
    }
}

/// What a machine has, with null or an empty list for all else that the dialect knows.
pub fn shown(config: &Config) -> serde_json::Result<Value> {
    const KNOWN: [&str; 9] = [
        "balloon",
        "boot-source",
        "cpu-config",
        "entropy",
        "logger",
        "memory-hotplug",
        "metrics",
        "mmds-config",
        "vsock",
    ];
    let mut config = serde_json::to_value(FullConfig::from(config))?;
    if let Some(fields) = config.as_object_mut() {
        for known in KNOWN {
            fields.entry(known).or_insert(Value::Null);
        }
        fields.entry("pmem").or_insert_with(|| json!([]));
    }
    Ok(config)
}
