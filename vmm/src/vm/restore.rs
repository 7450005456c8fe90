//! From the state of a machine to the machine: built as any other, then given what it had.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use device_core::snapshot::LoadError;
use device_core::{GuestRam, dirty};
use devices::memory::HotMemorySpec;
use kvm_bindings::CpuId;

use super::Vm;
use super::backing::Backing;
use super::build::{Base, BuildError, Ground};
use super::generation::{self, GenerationError};
use super::nic::{self, NoGuestIp};
use super::saved::{MachineState, PartState};
use super::spec::{DeviceBus, VmSpec};
use crate::end::Ends;
use crate::kvm;
use crate::kvm::probe;
use crate::kvm::tsc::Passage;
use crate::kvm::vcpu::Vcpu;
use crate::kvm::vcpu_state::{HostFacts, VcpuStateError};
use crate::kvm::vm_state::{self, VmStateError};
use crate::memory::{self, Pages};
use crate::pager::ahead;
use crate::pager::external::{self, ExternalError};
use crate::pager::helper::Helper;
use crate::pager::own::{self, OwnError, Record, Wish};
use crate::pager::regions::Regions;
use crate::pager::working_set::Run;

/// Why a machine could not be made of its state. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("a snapshot cannot be restored into huge pages")]
    HugePages,
    #[error("cannot map the memory")]
    Memory(#[source] io::Error),
    #[error("it has the state of {found} vCPUs, and the machine {wanted}")]
    Vcpus { found: usize, wanted: u8 },
    #[error(
        "its CPU has {0}, which this host's has not; restore it on a host like the one it comes from"
    )]
    Feature(String),
    #[error("vCPU {index}")]
    Vcpu { index: u8, source: VcpuStateError },
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error(transparent)]
    Kvm(#[from] VmStateError),
    #[error("it has the state of {found:?}, where the machine has {wanted:?}")]
    Part { found: String, wanted: String },
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Outside(#[from] NoGuestIp),
    #[error("{id:?}")]
    Load { id: String, source: LoadError },
}

impl Vm {
    /// Builds the machine that `spec` asks for, and gives it `state` and the content of `memory`; it is paused. What
    /// ends it will be reported to `ends`.
    ///
    /// What the machine is to boot is not looked at. Fails if `state` is not that of such a machine, or this host
    /// cannot run it.
    pub fn restore(
        spec: &VmSpec,
        state: &MachineState,
        memory: Content,
        how: GoesOn,
        ends: &Arc<Ends>,
    ) -> Result<Vm, RestoreError> {
        let machine = &spec.machine;
        let is_mapped = matches!(memory, Content::Mapped { .. } | Content::Shared(_));
        if machine.pages == Pages::Huge && is_mapped {
            return Err(RestoreError::HugePages);
        }
        let (found, wanted) = (state.vcpus.len(), machine.cpus);
        if found != usize::from(wanted) {
            return Err(RestoreError::Vcpus { found, wanted });
        }
        let bus = machine.bus.unwrap_or(DeviceBus::Pci);
        spec.check_bus(bus).map_err(BuildError::from)?;
        let mut ground = Ground::new(spec, bus)?;
        ground.windows.clone_from(&state.windows);
        check_features(state, &ground.room.host_cpuid)?;
        let ram = match &memory {
            Content::Mapped { file, .. } => memory::restored::map_all(&ground.room.memory, file),
            Content::Shared(base) => memory::base::map_all(&ground.room.memory, base),
            Content::There(ram) => Ok(ram.clone()),
            Content::Own { .. } | Content::External { .. } => {
                memory::map_all(&ground.room.memory, machine.pages)
            }
        };
        let ram = ram.map_err(RestoreError::Memory)?;
        if machine.track_dirty_pages {
            dirty::begin(&ram);
        }
        let made = memory.bring(&ram, machine.pages, ends).and_then(|(backing, pager)| {
            let base = Base::build(ram.clone(), spec, ground, backing, ends)?;
            let vm = finish(base, spec, state, how, ends)?;
            Ok(vm.with_pager(pager))
        });
        if made.is_err() {
            memory::release(ram);
        }
        made
    }
}

/// How a machine goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoesOn {
    /// Whether its clocks go on with the time that passed, and not from where they were.
    pub advance: bool,
    /// Whether it is the machine that it was, which is nowhere else any more, and not another one that begins as that was.
    pub is_itself: bool,
}

/// Whether this host could run vCPUs of a machine with that state, as far as their features tell. Fails if not.
pub fn check_host(state: &MachineState) -> Result<(), RestoreError> {
    let kvm = probe::open().map_err(BuildError::from)?;
    let cpuid = kvm::vm::supported_cpuid(&kvm).map_err(BuildError::from)?;
    check_features(state, &cpuid)
}

fn check_features(state: &MachineState, host: &CpuId) -> Result<(), RestoreError> {
    for vcpu in &state.vcpus {
        let leaves: Vec<_> = vcpu.cpuid.iter().map(|leaf| leaf.0).collect();
        if let Some(missing) = arch::cpu_needs::missing(&leaves, host) {
            return Err(RestoreError::Feature(missing));
        }
    }
    Ok(())
}

/// What a machine's memory has in it.
pub enum Content {
    /// All of it is there.
    There(GuestRam),
    /// That of a file, which is mapped; what `ahead` names is fetched before it is touched.
    Mapped { file: File, ahead: Vec<Run> },
    /// That of a base, which is mapped; what is zero there is of this process alone when it is written.
    Shared(File),
    /// That of a file, which a thread brings.
    Own { file: File, ahead: Vec<Run>, record: Option<Record> },
    /// What a process brings that listens at `socket`. If nobody hears that it does no more, the exit code is `code`.
    External { socket: PathBuf, code: u8 },
}

impl Content {
    /// The file that it is in, if it is in one that is ours.
    pub fn file(&self) -> Option<&File> {
        match self {
            Content::Mapped { file, .. } | Content::Own { file, .. } | Content::Shared(file) => {
                Some(file)
            }
            Content::There(_) | Content::External { .. } => None,
        }
    }

    /// Has pages of `ram` brought as they are touched.
    fn bring(
        self,
        ram: &GuestRam,
        pages: Pages,
        ends: &Arc<Ends>,
    ) -> Result<(Backing, Option<Helper>), RestoreError> {
        let page_size = match pages {
            Pages::Small => 4096,
            Pages::Huge => 2 << 20,
        };
        let regions = Regions::of(ram);
        Ok(match self {
            Content::There(_) => (Backing::Zero, None),
            Content::Mapped { file, ahead } if ahead.is_empty() => (Backing::Mapped(file), None),
            Content::Shared(base) => (Backing::Mapped(base), None),
            Content::Mapped { file, ahead } => {
                let helper = ahead::start(&file, regions, ahead).map_err(RestoreError::Memory)?;
                (Backing::Mapped(file), Some(helper))
            }
            Content::Own { file, ahead, record } => {
                let wish = Wish { page_size, ahead, record };
                let helper = own::start(&file, regions, wish, ends)?;
                (Backing::Brought(Some(file)), Some(helper))
            }
            Content::External { socket, code } => {
                let helper = external::start(&socket, &regions, page_size, ends, code)?;
                (Backing::Brought(None), Some(helper))
            }
        })
    }
}

fn finish(
    base: Base,
    spec: &VmSpec,
    state: &MachineState,
    how: GoesOn,
    ends: &Arc<Ends>,
) -> Result<Vm, RestoreError> {
    let mut vcpus = Vec::new();
    for index in 0..spec.machine.cpus {
        let source = |source| BuildError::Vcpu { index, source };
        vcpus.push(Vcpu::new(&base.fd, index).map_err(source)?);
    }
    // All are there before the first has its state: they belong together.
    for (index, (vcpu, state)) in (0..).zip(vcpus.iter_mut().zip(&state.vcpus)) {
        vcpu.load(state, &base.host).map_err(|source| RestoreError::Vcpu { index, source })?;
    }
    let passage = vm_state::load(&base.fd, &state.kvm, how.advance)?;
    load_time(&vcpus, state, &passage, &base.host)?;

    // Behind the interrupt controllers, which would forget what a device tells them before.
    let devices: Vec<_> = base.registry.iter().collect();
    let ids: Vec<_> = devices.iter().map(|device| device.id().to_string()).collect();
    check_parts(&state.devices, &ids)?;
    check_parts(&state.board, &base.board.part_names())?;
    devices.iter().rev().for_each(|device| device.stop());
    let refused = |id: &str, source| RestoreError::Load { id: id.to_string(), source };
    base.board.load(&state.board).map_err(|(id, source)| refused(id, source))?;
    // Memory that was plugged is there before those who have rings in it.
    let is_memory = |part: &PartState| part.id == HotMemorySpec::ID;
    let both = || devices.iter().zip(&state.devices);
    let (memory, others) =
        (both().filter(|(_, part)| is_memory(part)), both().filter(|(_, part)| !is_memory(part)));
    for (device, part) in memory.chain(others) {
        device.load(&part.saved).map_err(|source| refused(&part.id, source))?;
    }
    base.windows.settle();
    nic::check_outside(base.registry.nics())?;
    match how.is_itself {
        true => generation::move_on(&base.board)?,
        false => generation::renew(&base.board)?,
    }
    Ok(base.finish(spec, vcpus, None, ends)?)
}

/// Lets the vCPUs know the time, as the VM's clock has it already, and then what hangs on it.
fn load_time(
    vcpus: &[Vcpu],
    state: &MachineState,
    passage: &Passage,
    host: &HostFacts,
) -> Result<(), RestoreError> {
    let both = || (0..).zip(vcpus.iter().zip(&state.vcpus));
    let failed = |index| move |source| RestoreError::Vcpu { index, source };
    for (index, (vcpu, state)) in both() {
        vcpu.load_time(state, passage, host).map_err(failed(index))?;
    }
    // Counters that were one are one again, however long it took to set them: else KVM's clock is slow to read.
    let mut offsets = state.vcpus.iter().map(|vcpu| vcpu.tsc_offset);
    let first = offsets.next().flatten();
    if first.is_some() && offsets.all(|offset| offset == first) {
        let offset = vcpus.first().and_then(Vcpu::tsc_offset);
        for (index, (vcpu, _)) in both().skip(1) {
            let set = offset.map(|offset| vcpu.set_tsc_offset(offset)).transpose();
            set.map_err(|error| VcpuStateError::Refused("the offset of the first vCPU", error))
                .map_err(failed(index))?;
        }
    }
    for (index, (vcpu, state)) in both() {
        vcpu.load_rest(state, passage, host).map_err(failed(index))?;
    }
    Ok(())
}

/// Whether the states are those of these parts, in their order.
fn check_parts(states: &[PartState], wanted: &[String]) -> Result<(), RestoreError> {
    const NOTHING: &str = "nothing";
    for at in 0..states.len().max(wanted.len()) {
        let found = states.get(at).map_or(NOTHING, |part| &part.id);
        let wanted = wanted.get(at).map_or(NOTHING, String::as_str);
        if found != wanted {
            return Err(RestoreError::Part {
                found: found.to_string(),
                wanted: wanted.to_string(),
            });
        }
    }
    Ok(())
}
