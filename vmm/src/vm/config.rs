//! The wish while it grows: each setting is checked when it comes, and one that is refused changes
//! nothing.

mod apart;

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arch::boot::DEFAULT_CMDLINE;
use arch::template::Template;
use device_core::files::{Files, Own};
use devices::balloon::BalloonSpec;
use devices::block::image::{Image, Mode, OpenError};
use devices::block::spec::{DiskSpec, Key};
use devices::entropy::EntropySpec;
use devices::legacy::ConsoleSpec;
use devices::memory::HotMemorySpec;
use devices::net::service::store::USUAL_LIMIT;
use devices::net::spec::NicSpec;
use devices::pmem::PmemSpec;
use devices::vsock::{self, OpenVsock, VsockSpec};
use devices::{DeviceSpec, Kind};

use super::balloon;
use super::boot;
use super::build::BootError;
use super::imds::ImdsSpec;
use super::kernels::KernelCache;
use super::metadata::{MetadataError, MetadataSpec};
use super::root;
use super::spec::{BootFrom, BootSpec, DeviceBus, MOST_DEVICES, MachineSpec, SettingError, VmSpec};
use crate::memory::Size;
use crate::words::Setting;

/// All that has been asked of a machine so far.
#[derive(Clone, Debug)]
pub struct Config {
    /// CPUs, memory and bus.
    pub machine: MachineSpec,
    /// The bus of a machine that is set without one.
    pub bus: Option<DeviceBus>,
    /// A machine without it boots what is on its disk.
    pub boot: Option<BootSpec>,
    /// Where the serial port goes.
    pub serial: ConsoleSpec,
    /// In the order in which the guest finds them; the root is the first.
    pub disks: Vec<DiskSpec>,
    /// What cloud-init reads; the last of the disks is it.
    pub seed: Option<Arc<File>>,
    /// In the order in which the guest finds them, behind the disks.
    pub nics: Vec<NicSpec>,
    /// Behind the cards; its socket listens.
    pub vsock: Option<OpenVsock>,
    /// How the guest reaches metadata, if it does.
    pub metadata: Option<MetadataSpec>,
    /// What the machine says of itself by metadata, if it does.
    pub imds: Option<ImdsSpec>,
    /// Most bytes of metadata.
    pub metadata_limit: usize,
    /// Behind the cards.
    pub pmems: Vec<PmemSpec>,
    /// Behind persistent memory.
    pub balloon: Option<BalloonSpec>,
    /// Behind the balloon.
    pub entropy: EntropyWish,
    /// The last of all devices.
    pub hot_memory: Option<HotMemorySpec>,
    /// Whether a guest can report that it is up.
    pub boot_timer: bool,
    /// What a kernel is told if nobody says what.
    pub default_cmdline: &'static str,
    /// What the threads of vCPUs are called, before their number.
    pub vcpu_threads: &'static str,
    /// Whether the clock of a guest that comes from a snapshot goes on with the time that passed, if nobody says so.
    pub clock_advances: bool,
    /// How long a guest may take to power off once asked; without it nobody asks.
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            machine: MachineSpec::default(),
            bus: None,
            boot: None,
            serial: ConsoleSpec::default(),
            disks: Vec::new(),
            seed: None,
            nics: Vec::new(),
            vsock: None,
            metadata: None,
            imds: None,
            metadata_limit: USUAL_LIMIT,
            pmems: Vec::new(),
            balloon: None,
            entropy: EntropyWish::Usual,
            hot_memory: None,
            boot_timer: false,
            default_cmdline: DEFAULT_CMDLINE,
            vcpu_threads: "vcpu",
            clock_advances: true,
            grace: Duration::from_secs(10),
        }
    }
}

/// Whether a machine has a source of entropy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EntropyWish {
    /// Nobody said anything: it has one, if there is room for it.
    #[default]
    Usual,
    /// It has none.
    Off,
    /// It has this one.
    Given(EntropySpec),
}

/// Id of the disk that cloud-init reads.
pub const SEED_ID: &str = "cidata";

/// Where that disk is opened, for as long as `seed` is there.
pub fn seed_path(seed: &File) -> PathBuf {
    format!("/proc/self/fd/{}", seed.as_raw_fd()).into()
}

/// Why an image is of no use to its disk.
#[derive(Debug)]
pub struct ImageRefused {
    id: String,
    kind: Kind,
    why: OpenError,
}

impl ImageRefused {
    /// What it is about.
    pub fn setting(&self) -> Setting {
        if self.kind == Kind::Pmem {
            return Setting::Pmem(self.id.clone());
        }
        let key = match self.why {
            OpenError::NoDirect { .. } => Key::Direct,
            OpenError::OtherBase { .. } => Key::Base,
            _ => Key::Path,
        };
        Setting::Disk(self.id.clone(), Some(key))
    }
}

/// The reason; who tells it knows what he calls the disk.
impl fmt::Display for ImageRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl Error for ImageRefused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why.source()
    }
}

/// Why a disk is refused.
#[derive(Debug, thiserror::Error)]
pub enum DiskRefused {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Image(#[from] ImageRefused),
}

/// Why a vsock is refused.
#[derive(Debug, thiserror::Error)]
pub enum VsockRefused {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Open(#[from] vsock::OpenError),
}

impl Config {
    /// Whether nobody has asked for anything that a machine is made of, but CPUs and memory.
    pub fn is_untouched(&self) -> bool {
        let has_none = self.disks.is_empty() && self.nics.is_empty() && self.pmems.is_empty();
        let others = self.vsock.is_none() && self.balloon.is_none() && self.metadata.is_none();
        let others = others && self.hot_memory.is_none();
        has_none && others && self.boot.is_none() && self.entropy == EntropyWish::Usual
    }

    /// Replaces CPUs and memory, and the bus. Fails, with nothing changed, if they cannot be.
    pub fn set_machine(&mut self, machine: MachineSpec) -> Result<(), SettingError> {
        machine.validate()?;
        if let Some(balloon) = &self.balloon
            && balloon::pages(balloon.amount_mib, self.with_hot_memory(machine.memory)).is_err()
        {
            let (amount, memory) = (balloon.amount_mib, machine.memory);
            return Err(SettingError::MemoryBelowBalloon { amount, memory });
        }
        let template = machine.template.or(self.machine.template.take());
        self.machine = MachineSpec { bus: machine.bus.or(self.bus), template, ..machine };
        Ok(())
    }

    /// Replaces what the guest's CPUs show otherwise than they would.
    pub fn set_template(&mut self, template: Template) {
        self.machine.template = Some(Arc::new(template));
    }

    /// Opens the files, to see whether a machine could boot from them, and closes them again. Fails,
    /// with nothing changed, if it could not.
    pub fn set_boot(&mut self, boot: BootSpec) -> Result<(), BootError> {
        let default = match &boot.kernel {
            BootFrom::Kernel(_) => Some(self.default_cmdline.to_string()),
            BootFrom::Disk(..) => None,
        };
        let boot = BootSpec { cmdline: boot.cmdline.or(default), ..boot };
        boot::check(&boot)?;
        self.boot = Some(boot);
        Ok(())
    }

    /// Adds a card, or replaces the one with the same id. Fails, with nothing changed, if the card
    /// cannot be, or not beside the others.
    pub fn set_nic(&mut self, nic: NicSpec) -> Result<(), SettingError> {
        nic.validate().map_err(|why| SettingError::Card { id: nic.id.clone(), why })?;
        for other in self.nics.iter().filter(|other| other.id != nic.id) {
            apart::cards(&nic, other)?;
        }
        match self.nics.iter_mut().find(|known| known.id == nic.id) {
            Some(known) => {
                // Another card under this name is not known to serve it.
                self.metadata.take_if(|metadata| !metadata.lose(&nic.id));
                *known = nic;
            }
            None => {
                self.check_room(Kind::Nic, &nic.id)?;
                self.nics.push(nic);
            }
        }
        Ok(())
    }

    /// The card `id` came into a machine that lives, whose metadata is reached as `spec` says: by that card, too, if it is
    /// one of those. Where a machine describes itself, and nothing else is said, it is.
    pub fn reach_metadata(&mut self, id: &str, spec: &MetadataSpec) {
        if !spec.has(id) || self.metadata.is_none() && self.imds.is_some() {
            return;
        }
        let empty = || MetadataSpec { cards: Vec::new(), ..spec.clone() };
        self.metadata.get_or_insert_with(empty).cards.push(id.to_string());
    }

    /// Replaces how the guest reaches metadata. Fails, with nothing changed, if it cannot be so with the cards
    /// that there are.
    pub fn set_metadata(&mut self, metadata: MetadataSpec) -> Result<(), MetadataError> {
        metadata.validate(self.nics.iter().map(|nic| nic.id.as_str()))?;
        self.metadata = Some(metadata);
        Ok(())
    }

    /// Adds a disk, or replaces the one with the same id; the root comes before all others. Fails, with
    /// nothing changed, if the disk cannot be, or not beside the others, or its image is none.
    pub fn set_disk(&mut self, disk: DiskSpec) -> Result<(), DiskRefused> {
        self.set_disk_of(disk, &Own)
    }

    /// The same, with an image that `files` open.
    pub fn set_disk_of(&mut self, disk: DiskSpec, files: &dyn Files) -> Result<(), DiskRefused> {
        disk.validate().map_err(|why| SettingError::Disk { id: disk.id.clone(), why })?;
        for other in self.disks.iter().filter(|other| other.id != disk.id) {
            apart::disks(&disk, other)?;
        }
        self.pmems.iter().try_for_each(|pmem| apart::disk_and_pmem(&disk, pmem, true))?;
        let place = self.disks.iter().position(|known| known.id == disk.id);
        if place.is_none() {
            self.check_room(Kind::Disk, &disk.id)?;
        }
        check_image(&disk, files)?;
        let place = match (place, &disk.root) {
            (Some(place), None) => {
                self.disks.remove(place);
                place
            }
            (Some(place), Some(_)) => {
                self.disks.remove(place);
                0
            }
            (None, Some(_)) => 0,
            (None, None) => self.disks.len(),
        };
        self.disks.insert(place, disk);
        Ok(())
    }

    /// Gives the machine a vsock, in place of the one it has; its socket listens from now on. Fails, with
    /// nothing changed, if it cannot be, or the host refuses the socket.
    pub fn set_vsock(&mut self, spec: VsockSpec) -> Result<(), VsockRefused> {
        spec.validate().map_err(SettingError::Vsock)?;
        if self.vsock.is_none() {
            self.check_room(Kind::Vsock, vsock::ID)?;
        }
        let vsock = match &self.vsock {
            Some(open) if open.spec().path == spec.path => open.with_cid(spec.cid),
            _ => OpenVsock::open(spec)?,
        };
        self.vsock = Some(vsock);
        Ok(())
    }

    /// Adds persistent memory, or replaces that with the same id. Fails, with nothing changed, if it cannot be, or
    /// not beside the others, or its file, which `files` open, is none.
    pub fn set_pmem(&mut self, pmem: PmemSpec, files: &dyn Files) -> Result<(), DiskRefused> {
        pmem.validate().map_err(|why| SettingError::Pmem { id: pmem.id.clone(), why })?;
        for other in self.pmems.iter().filter(|other| other.id != pmem.id) {
            apart::pmems(&pmem, other)?;
        }
        self.disks.iter().try_for_each(|disk| apart::disk_and_pmem(disk, &pmem, false))?;
        let place = self.pmems.iter().position(|known| known.id == pmem.id);
        if place.is_none() {
            self.check_room(Kind::Pmem, &pmem.id)?;
        }
        let mode = Mode { read_only: pmem.read_only, direct: false };
        if let Err(why) = Image::open_by(&pmem.path, mode, files) {
            return Err(ImageRefused { id: pmem.id, kind: Kind::Pmem, why }.into());
        }
        match place.and_then(|place| self.pmems.get_mut(place)) {
            Some(known) => *known = pmem,
            None => self.pmems.push(pmem),
        }
        Ok(())
    }

    /// Sets the balloon. Fails, with nothing changed, if it is larger than the memory that is set now.
    pub fn set_balloon(&mut self, spec: BalloonSpec) -> Result<(), SettingError> {
        let memory = self.most_memory();
        if balloon::pages(spec.amount_mib, memory).is_err() {
            return Err(SettingError::BalloonTooLarge { amount: spec.amount_mib, memory });
        }
        if self.balloon.is_none() {
            self.check_room(Kind::Balloon, BalloonSpec::ID)?;
        }
        self.balloon = Some(spec);
        Ok(())
    }

    /// Says whether there is a source of entropy. Fails, with nothing changed, if there is no room for it.
    pub fn set_entropy(&mut self, wish: EntropyWish) -> Result<(), SettingError> {
        if matches!(wish, EntropyWish::Given(_)) && !matches!(self.entropy, EntropyWish::Given(_)) {
            self.check_room(Kind::Entropy, EntropySpec::ID)?;
        }
        self.entropy = wish;
        Ok(())
    }

    /// Sets memory that is plugged while the machine runs. Fails, with nothing changed, if it cannot be.
    pub fn set_hot_memory(&mut self, spec: HotMemorySpec) -> Result<(), SettingError> {
        spec.validate().map_err(SettingError::HotMemory)?;
        if self.hot_memory.is_none() {
            self.check_room(Kind::HotMemory, HotMemorySpec::ID)?;
        }
        self.hot_memory = Some(spec);
        Ok(())
    }

    /// All memory that the guest can have.
    pub fn most_memory(&self) -> Size {
        self.with_hot_memory(self.machine.memory)
    }

    fn with_hot_memory(&self, ram: Size) -> Size {
        let hot = self.hot_memory.map_or(0, |spec| spec.total_bytes());
        Size(ram.0.saturating_add(hot))
    }

    /// Whether there is a disk, a card or persistent memory of this id.
    pub fn has_device(&self, kind: Kind, id: &str) -> bool {
        match kind {
            Kind::Disk => self.disks.iter().any(|disk| disk.id == id),
            Kind::Nic => self.nics.iter().any(|nic| nic.id == id),
            Kind::Pmem => self.pmems.iter().any(|pmem| pmem.id == id),
            Kind::Vsock | Kind::Balloon | Kind::Entropy | Kind::HotMemory => false,
        }
    }

    /// Whether the guest has its root file system there, as far as that was said here: the machine cannot be without.
    pub fn has_root(&self, kind: Kind, id: &str) -> bool {
        match kind {
            Kind::Disk => {
                let boots =
                    || self.boot.is_none() && self.first_disk().is_some_and(|disk| disk.id == id);
                let mut disks = self.disks.iter().filter(|disk| disk.id == id);
                disks.any(|disk| disk.root.is_some() || boots())
            }
            Kind::Pmem => self.pmems.iter().any(|pmem| pmem.id == id && pmem.root),
            _ => false,
        }
    }

    /// Forgets a disk, a card or persistent memory.
    pub fn remove_device(&mut self, kind: Kind, id: &str) {
        match kind {
            Kind::Disk => {
                self.disks.retain(|disk| disk.id != id);
                self.seed.take_if(|_| id == SEED_ID);
            }
            Kind::Nic => {
                self.nics.retain(|nic| nic.id != id);
                self.metadata.take_if(|metadata| !metadata.lose(id));
            }
            Kind::Pmem => self.pmems.retain(|pmem| pmem.id != id),
            Kind::Vsock | Kind::Balloon | Kind::Entropy | Kind::HotMemory => {}
        }
    }

    /// Whether the disk `id` could have the image at `path`, on `bases`, beside the others. Fails if another has it.
    pub fn check_replaced(
        &self,
        id: &str,
        path: &Path,
        bases: &[PathBuf],
    ) -> Result<(), SettingError> {
        let Some(disk) = self.disks.iter().find(|disk| disk.id == id) else { return Ok(()) };
        let after = DiskSpec { path: path.into(), bases: bases.to_vec(), ..disk.clone() };
        let mut others = self.disks.iter().filter(|other| other.id != id);
        others.try_for_each(|other| apart::disks(&after, other))
    }

    fn check_room(&self, kind: Kind, id: &str) -> Result<(), SettingError> {
        let entropy = usize::from(matches!(self.entropy, EntropyWish::Given(_)));
        let balloon = usize::from(self.balloon.is_some());
        let hot_memory = usize::from(self.hot_memory.is_some());
        let others = entropy + balloon + hot_memory + usize::from(self.vsock.is_some());
        match self.nics.len() + self.disks.len() + self.pmems.len() + others < MOST_DEVICES {
            true => Ok(()),
            false => Err(SettingError::TooMany { kind, id: id.to_string() }),
        }
    }

    /// Adds the disk that cloud-init reads, which is there for as long as somebody holds `seed`. Fails, with
    /// nothing changed, if the disk cannot be beside the others.
    pub fn set_seed(&mut self, seed: File) -> Result<(), DiskRefused> {
        if self.disks.iter().any(|disk| disk.id == SEED_ID) {
            return Err(SettingError::DiskIdTwice(SEED_ID.to_string()).into());
        }
        let path = seed_path(&seed);
        let disk = format!("{},id={SEED_ID},ro", path.display()).parse().expect("it is a disk");
        self.set_disk(disk)?;
        self.seed = Some(Arc::new(seed));
        Ok(())
    }

    fn first_disk(&self) -> Option<&DiskSpec> {
        self.disks.iter().find(|disk| disk.id != SEED_ID)
    }

    /// What a machine boots if nobody names a kernel: what is on its root, or its first disk.
    fn boot_of_disk(&self) -> Option<BootSpec> {
        let disk = self.first_disk()?;
        Some(BootSpec {
            kernel: BootFrom::disk(disk),
            initrd: None,
            cmdline: None,
            kernel_cache: KernelCache::default(),
        })
    }

    /// What a machine is built from; `None` as long as there is neither a kernel nor a disk.
    pub fn to_spec(&self) -> Option<VmSpec> {
        let mut boot = self.boot.clone().or_else(|| self.boot_of_disk())?;
        // What boots from a disk knows its root.
        if let BootFrom::Kernel(_) = &boot.kernel {
            boot.cmdline = Some(root::named(boot.cmdline(), &self.disks, &self.pmems));
        }
        let disks = self.disks.iter().cloned().map(DeviceSpec::Disk);
        let nics = self.nics.iter().cloned().map(DeviceSpec::Nic);
        let vsock = self.vsock.iter().cloned().map(DeviceSpec::Vsock);
        let pmems = self.pmems.iter().cloned().map(DeviceSpec::Pmem);
        let balloon = self.balloon.iter().cloned().map(DeviceSpec::Balloon);
        let entropy = match &self.entropy {
            // Not unless it is asked for: beside it guests in the emulated testbed stop now and then.
            EntropyWish::Usual | EntropyWish::Off => None,
            EntropyWish::Given(spec) => Some(spec.clone()),
        };
        let entropy = entropy.into_iter().map(DeviceSpec::Entropy);
        let hot_memory = self.hot_memory.iter().copied().map(DeviceSpec::HotMemory);
        Some(VmSpec {
            machine: self.machine.clone(),
            boot,
            serial: self.serial.clone(),
            devices: disks
                .chain(nics)
                .chain(vsock)
                .chain(pmems)
                .chain(balloon)
                .chain(entropy)
                .chain(hot_memory)
                .collect(),
            boot_timer: self.boot_timer,
            vcpu_threads: self.vcpu_threads,
        })
    }
}

/// Opens the image, to see whether a machine could have it, and closes it again.
fn check_image(disk: &DiskSpec, files: &dyn Files) -> Result<(), ImageRefused> {
    let mode = Mode { read_only: disk.read_only, direct: disk.direct };
    match Image::open_source(&disk.source(), mode, files) {
        Ok(_) => Ok(()),
        Err(why) => Err(ImageRefused { id: disk.id.clone(), kind: Kind::Disk, why }),
    }
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
