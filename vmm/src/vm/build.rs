//! From a wish to a machine: files are checked before anything is made.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arch::boot::{BootPlan, Cmdline, LoadError};
use arch::layout::AddressRange;
use arch::template::{Template, TemplateError};
use device_core::bus::Bus;
use device_core::hot_region::HotRegion;
use device_core::worker::Threads;
use device_core::{GuestRam, dirty};
use devices::DeviceSpec;
use devices::legacy::{OpenConsole, OpenConsoleError};
use kvm_bindings::CpuId;
use kvm_ioctls::{Cap, Kvm, VmFd};

use super::attach::{Arrival, AttachError, Supplies};
use super::backing::Backing;
use super::board::{Board, BoardError};
pub use super::boot::BootError;
use super::boot::Opened;
use super::boot_timer::{self, BootTimer};
use super::generation::{self, GenerationError};
use super::nic::{self, NoGuestIp};
use super::pmem;
use super::spec::{DeviceBus, MachineSpec, SettingError, VmSpec};
use super::state::{Event, State};
use super::tentative::Tentative;
use super::{Registry, Vm};
use crate::end::Ends;
use crate::kvm::hot_region::HotSlots;
use crate::kvm::probe::{self, ProbeError};
use crate::kvm::vcpu::{Vcpu, install_kick_handler};
use crate::kvm::vcpu_state::HostFacts;
use crate::kvm::vm::CreateError;
use crate::kvm::window::Windows;
use crate::kvm::{self, irq, kick};
use crate::memory::changes::Changes;
use crate::memory::reclaim::Reclaimer;
use crate::memory::{self, Extent, HotExtent};
use crate::observe::start::cpu_time;
use crate::vcpu::run::{AddressSpaces, Unmapped};
use crate::vcpu::thread::VcpuThread;
use crate::words::Setting;

/// Why a machine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Console(#[from] OpenConsoleError),
    #[error("this host cannot run virtual machines")]
    Probe(#[from] ProbeError),
    #[error("cannot map {0} of guest memory; free some, or ask for less")]
    Memory(memory::Size, #[source] io::Error),
    #[error("the host has no {0} of free 2M pages; write more to /proc/sys/vm/nr_hugepages")]
    HugePages(memory::Size, #[source] io::Error),
    #[error(
        "{memory} of memory, with what is plugged later and the persistent memory, leave no room for PCI below the {bits} address bits \
         of this CPU"
    )]
    AddressSpace { memory: memory::Size, bits: u8 },
    #[error("{slots} slots; KVM of this host takes fewer; make slots larger")]
    HotSlots { slots: u64 },
    #[error("{cpus} vCPUs; KVM of this host takes at most {most}")]
    Cpus { cpus: u8, most: usize },
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error("KVM refused to list its MSRs")]
    Msrs(#[source] io::Error),
    #[error("cannot set vCPU {index} up")]
    Vcpu { index: u8, source: io::Error },
    #[error(transparent)]
    CpuId(#[from] arch::cpuid::CpuIdError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("cannot start {0}")]
    Thread(&'static str, #[source] io::Error),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Acpi(#[from] arch::acpi::AcpiError),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Outside(#[from] NoGuestIp),
    #[error("cannot write the boot tables into guest memory")]
    Tables(#[from] vm_memory::GuestMemoryError),
}

impl BuildError {
    fn memory(machine: &MachineSpec, source: io::Error) -> BuildError {
        match machine.pages {
            memory::Pages::Small => BuildError::Memory(machine.memory, source),
            memory::Pages::Huge => BuildError::HugePages(machine.memory, source),
        }
    }

    /// What it is about, if that is something that a user set.
    pub fn setting(&self) -> Option<Setting> {
        match self {
            BuildError::Setting(error) => Some(error.setting()),
            BuildError::Boot(error) => Some(error.setting()),
            BuildError::Console(_) | BuildError::Board(BoardError::Console(_)) => {
                Some(Setting::Serial)
            }
            BuildError::Memory(..)
            | BuildError::AddressSpace { .. }
            | BuildError::Create(CreateError::Memory { .. }) => Some(Setting::Memory),
            BuildError::HugePages(..) => Some(Setting::HugePages),
            BuildError::HotSlots { .. } => Some(Setting::HotMemory),
            BuildError::Cpus { .. } => Some(Setting::Cpus),
            BuildError::Template(_) => Some(Setting::CpuTemplate),
            BuildError::Attach(error) => Some(error.setting()),
            _ => None,
        }
    }

    /// Whether other arguments are the cure, and no machine was made.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            BuildError::Setting(_)
                | BuildError::Boot(_)
                | BuildError::Console(_)
                | BuildError::AddressSpace { .. }
                | BuildError::HotSlots { .. }
                | BuildError::Cpus { .. }
                | BuildError::Template(_)
        )
    }
}

/// What a machine boots, with what bus, and the CPU time that went into opening and unpacking it.
struct Planned {
    boot: BootPlan,
    bus: DeviceBus,
    reading: Duration,
}

/// Opens, unpacks and checks all that the machine boots from; no VM exists yet.
fn plan(spec: &VmSpec) -> Result<Planned, BuildError> {
    let before = cpu_time();
    let opened = Opened::of(&spec.boot)?;
    let bus = spec.bus(opened.cmdline());
    spec.check_bus(bus)?;
    let cmdline = announced(opened.cmdline().clone(), spec, bus);
    let boot = opened.plan(cmdline, spec.machine.memory)?;
    Ok(Planned { boot, bus, reading: cpu_time().saturating_sub(before) })
}

/// The command line that the kernel gets: with the devices that it may not find otherwise.
fn announced(cmdline: Cmdline, spec: &VmSpec, bus: DeviceBus) -> Cmdline {
    let cmdline = match spec.hot_memory() {
        Some(_) => cmdline.with_hot_memory(),
        None => cmdline,
    };
    match bus {
        DeviceBus::Mmio => cmdline.with_virtio_mmio(spec.devices.len()),
        DeviceBus::Pci => {
            if cmdline.is_pci_off() && !spec.devices.is_empty() {
                tracing::warn!(
                    "the kernel's command line has pci=off, and the bus is to be pci: it will find no device"
                );
            }
            cmdline
        }
    }
}

/// What the host's processor has room for.
pub struct Room {
    /// What KVM can show of it.
    pub host_cpuid: CpuId,
    /// For memory.
    pub memory: Extent,
    /// For persistent memory.
    pmem: AddressRange,
    pci_mmio64: AddressRange,
}

impl Room {
    /// Whether the machine fits; nothing of it exists yet.
    fn of(kvm: &Kvm, spec: &VmSpec) -> Result<Room, BuildError> {
        let machine = &spec.machine;
        let (cpus, most) = (machine.cpus, kvm.get_max_vcpus());
        if usize::from(cpus) > most {
            return Err(BuildError::Cpus { cpus, most });
        }
        if let Some(template) = &machine.template {
            check_capabilities(kvm, template)?;
        }
        let host_cpuid = kvm::vm::supported_cpuid(kvm)?;
        let bits = arch::cpuid::physical_address_bits(&host_cpuid);
        let sizes = spec.devices.iter().filter_map(|device| match device {
            DeviceSpec::Pmem(pmem) => Some(pmem::guest_bytes(&pmem.path)),
            _ => None,
        });
        let memory = machine.memory;
        let no_room = || BuildError::AddressSpace { memory, bits };
        let hot = spec.hot_memory();
        if let Some(slots) = hot.and_then(|hot| hot.total_bytes().checked_div(hot.slot_bytes()))
            && !HotSlots::fit(kvm, slots)
        {
            return Err(BuildError::HotSlots { slots });
        }
        let bytes = hot.map_or(0, |hot| hot.total_bytes());
        let range = arch::layout::hot_memory(memory.0, bytes).ok_or_else(no_room)?;
        let hot = hot.map(|hot| HotExtent { range, block: hot.block_bytes() });
        let extent = Extent { ram: memory.0, hot };
        let pmem = arch::layout::pmem(range.end, sizes).ok_or_else(no_room)?;
        let pmem = arch::layout::with_spare_pmem(pmem, bits);
        let pci_mmio64 = arch::layout::pci_mmio64(memory.0, pmem.end, bits).ok_or_else(no_room)?;
        Ok(Room { host_cpuid, memory: extent, pmem, pci_mmio64 })
    }
}

impl Room {
    /// Where BARs of 64 bits go, in a machine that has such.
    fn pci_mmio64_of(&self, bus: DeviceBus) -> Option<AddressRange> {
        (bus == DeviceBus::Pci).then_some(self.pci_mmio64)
    }
}

/// Whether KVM can do all that a template asks for.
fn check_capabilities(kvm: &Kvm, template: &Template) -> Result<(), TemplateError> {
    let mut numbers = template.capabilities.iter();
    match numbers.find(|&&number| kvm.check_extension_raw(number.into()) <= 0) {
        Some(&number) => Err(TemplateError::NoCapability { number }),
        None => Ok(()),
    }
}

impl Vm {
    /// Builds the machine that `spec` asks for; it rests until [`Vm::resume`]. What ends it will be
    /// reported to `ends`. What fails leaves nothing behind.
    pub fn build(spec: &VmSpec, ends: &Arc<Ends>) -> Result<Vm, BuildError> {
        let plan = plan(spec)?;
        let ground = Ground::new(spec, plan.bus)?;
        let ram = memory::map_all(&ground.room.memory, spec.machine.pages)
            .map_err(|source| BuildError::memory(&spec.machine, source))?;
        if spec.machine.track_dirty_pages {
            dirty::begin(&ram);
        }
        let built = Base::build(ram.clone(), spec, ground, Backing::Zero, ends)
            .and_then(|base| boot(base, spec, plan, ends));
        if built.is_err() {
            memory::release(ram);
        }
        built
    }
}

/// What there is before the first part of a machine: the host can run it.
pub struct Ground {
    kvm: Kvm,
    console: OpenConsole,
    bus: DeviceBus,
    /// What the host's processor has.
    pub room: Room,
    /// Where memory of cards will be, if that is known ([`MachineState::windows`](super::saved::MachineState)).
    pub windows: Vec<(u64, u64)>,
}

impl Ground {
    /// Opens what a machine with this `bus` stands on. Fails if the host cannot run it.
    pub fn new(spec: &VmSpec, bus: DeviceBus) -> Result<Ground, BuildError> {
        let console = spec.serial.open()?;
        let kvm = probe::open()?;
        let room = Room::of(&kvm, spec)?;
        Ok(Ground { kvm, console, bus, room, windows: Vec::new() })
    }
}

/// A machine without vCPUs, and with nothing in its memory: what is alike, however it begins. Fields are dropped
/// in order.
pub struct Base {
    /// Its devices, in their places.
    pub registry: Registry,
    /// What every machine has.
    pub board: Board,
    console: OpenConsole,
    ports: Arc<Bus>,
    mmio: Tentative,
    boot_timer: Option<Arc<BootTimer>>,
    supplies: Supplies,
    kvm: Kvm,
    room: Room,
    bus: DeviceBus,
    /// What this host's KVM has of vCPUs.
    pub host: HostFacts,
    /// The VM.
    pub fd: Arc<VmFd>,
    /// Memory of its cards.
    pub windows: Arc<Windows>,
    backing: Backing,
    ram: GuestRam,
}

impl Base {
    /// Builds it with the memory `ram`, whose content is where `backing` says.
    pub fn build(
        ram: GuestRam,
        spec: &VmSpec,
        ground: Ground,
        backing: Backing,
        ends: &Arc<Ends>,
    ) -> Result<Base, BuildError> {
        let Ground { kvm, console, bus, room, windows: expected } = ground;
        let cpus = spec.machine.cpus;
        let fd = kvm::vm::bare(&kvm, &ram)?;
        let windows = Arc::new(Windows::new(fd.clone(), &ram, room.pmem));
        windows.expect(&expected);
        kvm::vm::give_interrupts(&fd)?;
        let lenient = !probe::has_hardware_virtualization();
        let host = HostFacts::of(&kvm, &fd, lenient).map_err(BuildError::Msrs)?;
        let threads = Threads::new().map_err(|e| BuildError::Thread("the thread io-0", e))?;
        let (ports, mmio) = (Bus::new(), Tentative::new());
        // Of PCI alone; virtio devices have places of their own.
        let pci_mmio64 = room.pci_mmio64_of(bus);
        let board = Board::build(&fd, &ram, &ports, &mmio, pci_mmio64, &console, ends)?;

        let reclaimer = Arc::new(match &backing {
            Backing::Mapped(_) => Reclaimer::of_file(&ram),
            Backing::Zero | Backing::Brought(_) => Reclaimer::new(&ram, spec.machine.pages),
        });
        let hot_slots = spec.hot_memory().and_then(|hot| {
            let pages = (spec.machine.pages, backing.is_restored());
            HotSlots::of(&fd, &ram, hot.slot_bytes(), pages, &reclaimer).map(Arc::new)
        });
        let supplies = Supplies {
            hot: hot_slots.clone().map(|slots| slots as Arc<dyn HotRegion>),
            hot_slots,
            memory: ram.clone(),
            msi: Arc::new(irq::Msi::new(fd.clone())),
            kicks: Arc::new(kick::Kicks(fd.clone())),
            windows: windows.clone(),
            reclaim: reclaimer.clone(),
            reclaimer,
            threads,
        };
        let mut registry = Registry::default();
        for device in &spec.devices {
            registry.attach(device, &supplies, &board, cpus, Arrival::Boot)?;
        }
        let boot_timer = spec.boot_timer.then(|| Arc::new(BootTimer::new()));
        if let Some(timer) = &boot_timer {
            ports.insert(boot_timer::PORT, 1, timer.clone()).map_err(BoardError::Map)?;
            if bus == DeviceBus::Mmio {
                // Elsewhere cards have this address.
                mmio.insert(boot_timer::ADDRESS, 1, timer.clone()).map_err(BoardError::Map)?;
            }
        }
        Ok(Base {
            registry,
            board,
            console,
            ports,
            mmio,
            boot_timer,
            supplies,
            kvm,
            room,
            bus,
            host,
            fd,
            windows,
            backing,
            ram,
        })
    }

    /// Starts the threads of `vcpus`, which are ready to run; `reading` is CPU time that went into what is booted,
    /// if anything is.
    pub fn finish(
        self,
        spec: &VmSpec,
        vcpus: Vec<Vcpu>,
        reading: Option<Duration>,
        ends: &Arc<Ends>,
    ) -> Result<Vm, BuildError> {
        install_kick_handler().map_err(|e| BuildError::Thread("the kick of vCPUs", e))?;
        let console = self.board.connect(self.console, &self.supplies.threads, ends)?;
        let unmapped = Arc::new(Unmapped::default());
        let mut threads = Vec::with_capacity(vcpus.len());
        let mut counters = Vec::with_capacity(vcpus.len());
        for (index, vcpu) in (0..).zip(vcpus) {
            let spaces = AddressSpaces::new(&self.ports, &self.mmio, unmapped.clone());
            counters.push(spaces.counters());
            let ends = ends.clone();
            let on_end = Arc::new(move |end| ends.report(end));
            threads.push(
                VcpuThread::spawn(spec.vcpu_threads, index, vcpu, spaces, on_end)
                    .map_err(|source| BuildError::Vcpu { index, source })?,
            );
        }
        self.mmio.keep();
        let state = State::Configuring.after(Event::Built).unwrap_or(State::Stopped);
        Ok(Vm {
            state,
            vcpus: threads,
            counters,
            pauses: 0,
            is_parted: false,
            registry: self.registry,
            board: self.board,
            console,
            boot_timer: self.boot_timer,
            unmapped,
            arrives: reading.is_none(),
            reading,
            bus: self.bus,
            host: self.host,
            changes: Changes::of(&self.ram, self.backing.is_restored(), self.backing.file()),
            backing: self.backing,
            pager: None,
            supplies: self.supplies,
            fd: self.fd,
            windows: self.windows,
            ram: self.ram,
        })
    }
}

/// Puts what the machine boots into its memory, and its vCPUs at the beginning of it.
fn boot(base: Base, spec: &VmSpec, plan: Planned, ends: &Arc<Ends>) -> Result<Vm, BuildError> {
    let cpus = spec.machine.cpus;
    let Planned { boot: plan, bus, reading } = plan;
    let ram = &*base.ram;
    let before = cpu_time();
    plan.load_images(ram)?;
    let reading = reading.saturating_add(cpu_time().saturating_sub(before));
    let virtio_mmio = if bus == DeviceBus::Mmio { spec.devices.len() } else { 0 };
    let pci_mmio64 = base.room.pci_mmio64_of(bus);
    let facts = arch::acpi::BoardFacts { cpus, pci_mmio64, virtio_mmio, ..Board::FACTS };
    let rsdp = arch::acpi::write_tables(ram, &facts)?;
    generation::begin(&base.board)?;
    nic::check_outside(base.registry.nics())?;
    arch::mptable::write(ram, cpus, virtio_mmio)?;
    let smt = spec.machine.smt;
    let facts = arch::smbios::MachineFacts { cpus, smt, ram_bytes: spec.machine.memory.0 };
    arch::smbios::write(ram, &spec.machine.identity, &facts)?;
    let entry = plan.write_parameters(ram, rsdp)?;
    arch::regs::write_tables(ram, entry.mode)?;

    let template = spec.machine.template.clone().unwrap_or_default();
    let tsc_deadline = base.kvm.check_extension(Cap::TscDeadlineTimer);
    let mut vcpus = Vec::with_capacity(cpus.into());
    for index in 0..cpus {
        let refused = |source| BuildError::Vcpu { index, source };
        let mut vcpu = Vcpu::new(&base.fd, index).map_err(refused)?;
        let facts = arch::cpuid::CpuFacts { index, count: cpus, smt, tsc_deadline };
        let mut cpuid = arch::cpuid::guest_cpuid(&base.room.host_cpuid, &facts)?;
        template.shape(&mut cpuid)?;
        vcpu.init(&cpuid).map_err(refused)?;
        vcpu.shape(&template).map_err(refused)??;
        if index == 0 {
            vcpu.boot(&entry).map_err(refused)?;
        }
        vcpus.push(vcpu);
    }
    base.finish(spec, vcpus, Some(reading), ends)
}
