//! What a user changes of what there is; what is not given stays.

use std::path::PathBuf;
use std::sync::Arc;

use arch::smbios::Identity;
use arch::template::Template;
use device_core::rate::Quota;
use devices::block::spec::Allowed as DiskAllowed;
use devices::net::stage::limiter::Allowed;

use super::spec::{DeviceBus, MachineSpec};
use crate::memory::{Pages, Size};

/// What to change of a [`MachineSpec`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachinePatch {
    pub cpus: Option<u8>,
    pub memory: Option<Size>,
    pub pages: Option<Pages>,
    pub bus: Option<DeviceBus>,
    pub identity: Option<Identity>,
    pub smt: Option<bool>,
    pub track_dirty_pages: Option<bool>,
    pub template: Option<Arc<Template>>,
}

impl MachinePatch {
    pub fn apply(&self, machine: &MachineSpec) -> MachineSpec {
        MachineSpec {
            cpus: self.cpus.unwrap_or(machine.cpus),
            memory: self.memory.unwrap_or(machine.memory),
            pages: self.pages.unwrap_or(machine.pages),
            bus: self.bus.or(machine.bus),
            identity: self.identity.clone().unwrap_or_else(|| machine.identity.clone()),
            smt: self.smt.unwrap_or(machine.smt),
            track_dirty_pages: self.track_dirty_pages.unwrap_or(machine.track_dirty_pages),
            template: self.template.clone().or_else(|| machine.template.clone()),
        }
    }
}

/// What to change of a card's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitPatch {
    /// Replaces them all, before the others.
    pub all: Option<Allowed>,
    /// The inner `None` is no limit.
    pub bw_in: Option<Option<Quota>>,
    pub bw_out: Option<Option<Quota>>,
    pub pps_in: Option<Option<Quota>>,
    pub pps_out: Option<Option<Quota>>,
}

impl LimitPatch {
    pub fn apply(&self, limits: &Allowed) -> Allowed {
        let limits = self.all.unwrap_or(*limits);
        Allowed {
            bw_in: self.bw_in.unwrap_or(limits.bw_in),
            bw_out: self.bw_out.unwrap_or(limits.bw_out),
            pps_in: self.pps_in.unwrap_or(limits.pps_in),
            pps_out: self.pps_out.unwrap_or(limits.pps_out),
            ..limits
        }
    }
}

/// What to change of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPatch {
    /// The image that takes the old one's place.
    pub path: Option<PathBuf>,
    /// What is below that.
    pub bases: Vec<PathBuf>,
    pub limits: DiskLimitPatch,
}

/// What to change of a disk's limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskLimitPatch {
    /// Replaces them all, before the others.
    pub all: Option<DiskAllowed>,
    /// The inner `None` is no limit.
    pub bw: Option<Option<Quota>>,
    pub iops: Option<Option<Quota>>,
}

impl DiskLimitPatch {
    pub fn apply(&self, limits: &DiskAllowed) -> DiskAllowed {
        let limits = self.all.unwrap_or(*limits);
        DiskAllowed { bw: self.bw.unwrap_or(limits.bw), iops: self.iops.unwrap_or(limits.iops) }
    }
}
