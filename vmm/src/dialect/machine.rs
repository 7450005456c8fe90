//! `/boot-source` and `/machine-config`.

use std::ffi::OsStr;
use std::sync::Arc;

use arch::template::Template;
use serde::{Deserialize, Serialize};

use super::smbios::Smbios;
use super::{BodyError, bad};
use crate::memory::{Pages, Size};
use crate::vm::patch::MachinePatch;
use crate::vm::spec::{BootFrom, BootSpec, DeviceBus, MachineSpec};

/// What the machine boots.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BootSource {
    /// Host path of the kernel: a bzImage or an ELF vmlinux.
    pub kernel_image_path: String,
    /// Host path of the initial RAM disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<String>,
    /// Kernel command line; `console=ttyS0 reboot=k panic=-1` if not given, or what Firecracker says where
    /// its command line is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
    /// Host folder where a bzImage is kept unpacked for the next start, or `off`: the guest unpacks it
    /// each time. If not given: `vmm/kernels` in `$XDG_CACHE_HOME`, else in `~/.cache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_cache: Option<String>,
}

impl From<BootSource> for BootSpec {
    fn from(body: BootSource) -> BootSpec {
        let kernel_cache = body.kernel_cache.as_ref().map(|text| OsStr::new(text).into());
        BootSpec {
            kernel: BootFrom::Kernel(body.kernel_image_path.into()),
            initrd: body.initrd_path.map(Into::into),
            cmdline: body.boot_args,
            kernel_cache: kernel_cache.unwrap_or_default(),
        }
    }
}

impl BootSource {
    /// What a user would say; nothing of a machine that boots what is on its disk.
    pub fn of(boot: &BootSpec) -> Option<BootSource> {
        let BootFrom::Kernel(kernel) = &boot.kernel else { return None };
        Some(BootSource {
            kernel_image_path: kernel.display().to_string(),
            initrd_path: boot.initrd.as_ref().map(|path| path.display().to_string()),
            boot_args: boot.cmdline.clone(),
            kernel_cache: boot.kernel_cache.said(),
        })
    }
}

/// What the host backs guest memory with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum HugePages {
    /// Its usual pages.
    #[default]
    None,
    /// Pages of 2 MiB from the host's pool.
    #[serde(rename = "2M")]
    TwoMiB,
}

impl From<HugePages> for Pages {
    fn from(pages: HugePages) -> Pages {
        match pages {
            HugePages::None => Pages::Small,
            HugePages::TwoMiB => Pages::Huge,
        }
    }
}

/// What devices are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BusName {
    /// Every device is a PCI card.
    Pci,
    /// There is no PCI: virtio devices have their registers at fixed addresses.
    Mmio,
}

impl From<BusName> for DeviceBus {
    fn from(bus: BusName) -> DeviceBus {
        match bus {
            BusName::Pci => DeviceBus::Pci,
            BusName::Mmio => DeviceBus::Mmio,
        }
    }
}

impl From<DeviceBus> for BusName {
    fn from(bus: DeviceBus) -> BusName {
        match bus {
            DeviceBus::Pci => BusName::Pci,
            DeviceBus::Mmio => BusName::Mmio,
        }
    }
}

/// CPUs, memory and bus.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// Number of vCPUs.
    #[cfg_attr(test, schema(minimum = 1, maximum = 64))]
    pub vcpu_count: u8,
    /// Memory in MiB, rounded down.
    #[cfg_attr(test, schema(minimum = 1))]
    pub mem_size_mib: u64,
    /// Memory in KiB, beside `mem_size_mib` where that is not all of it.
    #[cfg_attr(test, schema(minimum = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_size_kib: Option<u64>,
    #[serde(default)]
    pub huge_pages: HugePages,
    /// What devices are attached to. If not given: what `--bus` says, else `pci`, unless `boot_args` has
    /// `pci=off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<BusName>,
    /// Simultaneous multithreading: whether each two vCPUs are the threads of one core.
    #[serde(default)]
    pub smt: bool,
    /// Whether pages that the guest writes to are tracked, so that snapshots of type `Diff` have no others.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// `None`: the guest sees the host's CPU. Others are given to `/cpu-config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<String>,
    /// What SMBIOS says that the machine is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smbios: Option<Smbios>,
}

/// What to change of CPUs and memory; what is not given stays.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachinePatchBody {
    /// Number of vCPUs.
    #[cfg_attr(test, schema(minimum = 1, maximum = 64))]
    #[serde(default)]
    pub vcpu_count: Option<u8>,
    /// Memory in MiB, rounded down.
    #[cfg_attr(test, schema(minimum = 1))]
    #[serde(default)]
    pub mem_size_mib: Option<u64>,
    /// Memory in KiB, beside `mem_size_mib` where that is not all of it.
    #[cfg_attr(test, schema(minimum = 1024))]
    #[serde(default)]
    pub mem_size_kib: Option<u64>,
    #[serde(default)]
    pub huge_pages: Option<HugePages>,
    /// What devices are attached to.
    #[serde(default)]
    pub bus: Option<BusName>,
    /// Simultaneous multithreading: whether each two vCPUs are the threads of one core.
    #[serde(default)]
    pub smt: Option<bool>,
    /// Whether pages that the guest writes to are tracked, so that snapshots of type `Diff` have no others.
    #[serde(default)]
    pub track_dirty_pages: Option<bool>,
    /// `None`: the guest sees the host's CPU. Others are given to `/cpu-config`.
    #[serde(default)]
    pub cpu_template: Option<String>,
    /// What SMBIOS says that the machine is, all of it.
    #[serde(default)]
    pub smbios: Option<Smbios>,
}

impl TryFrom<MachineConfig> for MachineSpec {
    type Error = BodyError;

    fn try_from(body: MachineConfig) -> Result<MachineSpec, BodyError> {
        let memory = size(body.mem_size_mib, body.mem_size_kib)?;
        Ok(MachineSpec {
            cpus: body.vcpu_count,
            memory,
            pages: body.huge_pages.into(),
            bus: body.bus.map(Into::into),
            identity: body.smbios.unwrap_or_default().try_into()?,
            smt: body.smt,
            track_dirty_pages: body.track_dirty_pages,
            template: named_template(body.cpu_template.as_deref())?,
        })
    }
}

impl TryFrom<MachinePatchBody> for MachinePatch {
    type Error = BodyError;

    fn try_from(body: MachinePatchBody) -> Result<MachinePatch, BodyError> {
        let memory = match (body.mem_size_mib, body.mem_size_kib) {
            (Some(mib), kib) => Some(size(mib, kib)?),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(bad("mem_size_kib", "mem_size_mib is missing beside it"));
            }
        };
        let patch = MachinePatch {
            cpus: body.vcpu_count,
            memory,
            pages: body.huge_pages.map(Into::into),
            bus: body.bus.map(Into::into),
            identity: body.smbios.map(TryInto::try_into).transpose()?,
            smt: body.smt,
            track_dirty_pages: body.track_dirty_pages,
            template: named_template(body.cpu_template.as_deref())?,
        };
        if patch == MachinePatch::default() {
            return Err(BodyError::Nothing);
        }
        Ok(patch)
    }
}

impl From<&MachineSpec> for MachineConfig {
    fn from(machine: &MachineSpec) -> MachineConfig {
        let bytes = machine.memory.0;
        MachineConfig {
            vcpu_count: machine.cpus,
            mem_size_mib: bytes >> 20,
            mem_size_kib: (!bytes.is_multiple_of(1 << 20)).then_some(bytes >> 10),
            huge_pages: match machine.pages {
                Pages::Small => HugePages::None,
                Pages::Huge => HugePages::TwoMiB,
            },
            bus: machine.bus.map(Into::into),
            smt: machine.smt,
            track_dirty_pages: machine.track_dirty_pages,
            cpu_template: None,
            smbios: Smbios::of(&machine.identity),
        }
    }
}

/// `mib`, or what `kib` says more exactly.
fn size(mib: u64, kib: Option<u64>) -> Result<Size, BodyError> {
    let whole = mib.checked_mul(1 << 20);
    let whole = whole.ok_or_else(|| bad("mem_size_mib", format!("{mib} MiB is too large")))?;
    match kib {
        None => Ok(Size(whole)),
        Some(kib) if kib >> 10 == mib => Ok(Size(kib << 10)),
        Some(kib) => {
            let why = format!("{kib} KiB are {} MiB, and mem_size_mib is {mib}", kib >> 10);
            Err(bad("mem_size_kib", why))
        }
    }
}

/// The template of this name, if one is named. Fails for one that is not here.
fn named_template(name: Option<&str>) -> Result<Option<Arc<Template>>, BodyError> {
    match name {
        None => Ok(None),
        Some("None") => Ok(Some(Arc::default())),
        Some(other) => {
            let why = format!(
                "{other:?} is not possible; there are no templates with a name here, give their bits to \
                 /cpu-config"
            );
            Err(bad("cpu_template", why))
        }
    }
}
