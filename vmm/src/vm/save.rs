//! Taking the state of a machine that is paused.

use std::io;
use std::sync::mpsc::Receiver;

use device_core::GuestRam;
use device_core::snapshot::SaveError as PartError;

use super::Vm;
use super::backing::Backing;
use super::saved::{MachineState, PartState};
use super::spec::DeviceBus;
use crate::kvm::vcpu_state::{VcpuState, VcpuStateError};
use crate::kvm::vm_state::{self, VmStateError};
use crate::memory::changes::Since;
use crate::memory::pages::PageSet;

/// Why the state of a machine could not be taken. The machine is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("{0:?} cannot be saved")]
    Part(String, #[source] PartError),
    #[error("an interrupt line does not settle")]
    Lines(#[source] io::Error),
    #[error("vCPU {index}")]
    Vcpu { index: usize, source: VcpuStateError },
    #[error("vCPU {0} does not answer")]
    NoVcpu(usize),
    #[error(transparent)]
    Kvm(#[from] VmStateError),
}

impl Vm {
    /// Takes the state. The machine is paused, and stays so. Fails if a part of it has none, or KVM refuses.
    pub fn save(&self) -> Result<MachineState, SaveError> {
        // Lines first: what a device has pulsed is in the controllers before these are read.
        self.board.lines.settle().map_err(SaveError::Lines)?;
        let asked: Vec<_> = self
            .vcpus
            .iter()
            .map(|vcpu| {
                let host = self.host.clone();
                vcpu.ask(move |vcpu| vcpu.save(&host))
            })
            .collect();
        let answer = |(index, answer): (usize, Receiver<Result<VcpuState, VcpuStateError>>)| {
            let state = answer.recv().map_err(|_| SaveError::NoVcpu(index))?;
            state.map_err(|source| SaveError::Vcpu { index, source })
        };
        let vcpus = asked.into_iter().enumerate().map(answer).collect::<Result<_, _>>()?;
        let kvm = vm_state::save(&self.fd)?;
        let refused = |id: &str| {
            let id = id.to_string();
            move |error| SaveError::Part(id, error)
        };
        let mut devices = Vec::new();
        for device in self.registry.iter() {
            let saved = device.save().map_err(refused(device.id()))?;
            devices.push(PartState { id: device.id().to_string(), saved });
        }
        let board = self.board.save().map_err(|(id, error)| refused(id)(error))?;
        Ok(MachineState { vcpus, kvm, windows: self.windows.placed(), board, devices })
    }

    /// Looks which pages of the memory may have changed. The machine is paused, and its state has been taken: that may
    /// write to it. Fails if KVM does not tell.
    pub fn look_for_changes(&mut self) -> io::Result<()> {
        let hot = self.supplies.hot_slots.as_deref();
        self.changes.look(&self.fd, &self.ram, hot, self.backing.file())
    }

    /// A network card whose writes to the memory are not among the changes: the host's kernel makes them by addresses of
    /// the process, of which KVM's log knows nothing and the host's map all.
    pub fn writes_untracked(&self) -> Option<&str> {
        let is_tracked = self.changes.since() == Since::Last;
        let card = self.nics().iter().find(|nic| nic.control.port().is_passed_by());
        card.filter(|_| is_tracked).map(|nic| nic.control.id())
    }

    /// Pages that have changed, as it was looked last.
    pub fn changes(&self) -> &PageSet {
        self.changes.pages()
    }

    /// Since when pages have changed.
    pub fn changed_since(&self) -> Since {
        self.changes.since()
    }

    /// A snapshot is written of all that has changed.
    pub fn changes_are_written(&mut self) {
        self.changes.written();
    }

    /// Its memory.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Where its content is, as far as nobody has touched it.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// What its devices are attached to.
    pub fn bus(&self) -> DeviceBus {
        self.bus
    }
}
