//! Devices that come into a machine that lives, and leave it.
//!
//! A device leaves in three steps: the guest is asked, it lets go (its card is off the bus before its vCPU goes on),
//! and the machine forgets the device, with all that it holds.

use std::sync::Arc;

use device_core::files::Files;
use devices::{DeviceSpec, Kind};
use pci::hotplug::HotPlug;
use serde::Serialize;

use super::Vm;
use super::attach::{Arrival, AttachError};
use super::metadata::Serving;
use super::slots::Slots;
use super::state::State;
use crate::shield::Shield;
use crate::vcpu::thread::VcpuThread;
use crate::words::Setting;

/// A device and its place, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeviceView {
    /// Kind and id, such as `drives/rootfs`.
    pub device: String,
    /// Its slot of the PCI bus, which is its device number there; null in a machine without PCI.
    pub slot: Option<u8>,
    pub state: Presence,
}

/// Whether a device is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is in its place.
    Plugged,
    /// The guest is asked to let it go.
    AwaitingConsent,
}

/// Why a device was not plugged into a machine that lives.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    #[error(
        "PCI is not enabled in this machine, and nothing else can be plugged into while it runs; give the device \
         before the start, or start the machine with PCI"
    )]
    NoPci,
    #[error("another one has this id; unplug that first, or take another id")]
    IdInUse,
    #[error(
        "the machine has booted, and this one cannot have its root file system any more; give it as no root"
    )]
    Root,
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Why a device was not unplugged. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UnplugError {
    #[error("PCI is not enabled in this machine, and its devices cannot be unplugged")]
    NoPci,
    #[error("there is no such device")]
    NoSuch,
    #[error("it has the guest's root file system; stop the machine instead")]
    Root,
    #[error(
        "the machine is paused, and its guest uses the device; resume it, so that it can let go"
    )]
    Paused,
    #[error("it is being unplugged already")]
    Twice,
    #[error(
        "the guest has not let go of it within {seconds} s, and it stays; see that the guest runs, has a driver for \
         ACPI PCI hot-plug and does not hold on to the device, or remove it in the guest first"
    )]
    Kept { seconds: u64 },
}

impl Vm {
    fn hot_plug(&self) -> Option<&HotPlug> {
        match &self.board.slots {
            Slots::Pci(slots) => Some(slots),
            Slots::Mmio(_) => None,
        }
    }

    /// Whether devices can come and go.
    pub fn can_plug(&self) -> bool {
        self.hot_plug().is_some()
    }

    /// Builds what `spec` asks for, of what `files` open, with threads that are shut in by `shield`, puts it into a slot
    /// of the PCI bus, and tells the guest. A network card may bring it `metadata`.
    pub fn plug(
        &mut self,
        spec: &DeviceSpec,
        files: &dyn Files,
        shield: &Arc<Shield>,
        metadata: Option<&Serving>,
    ) -> Result<(), AttachError> {
        let cpus = u8::try_from(self.vcpus.len()).unwrap_or(u8::MAX);
        let shut = super::how_to_shut(shield);
        let arrival = Arrival::Plugged { files, shut: &shut, metadata };
        let device = self.registry.attach(spec, &self.supplies, &self.board, cpus, arrival)?;
        if self.state == State::Paused {
            // As all others, until the machine goes on.
            device.stop();
        }
        Ok(())
    }

    /// The slot of the PCI bus that a device is in.
    pub fn slot(&self, kind: Kind, id: &str) -> Option<u8> {
        self.registry.slot(kind, id)
    }

    /// Whether a driver of the guest's uses the card in `slot`.
    pub fn is_in_use(&self, slot: u8) -> bool {
        self.hot_plug().is_some_and(|slots| slots.is_in_use(slot))
    }

    /// Asks the guest to let go of the card in `slot`; [`Vm::take_ejected`] tells when it has.
    pub fn ask_for(&self, slot: u8) {
        if let Some(slots) = self.hot_plug() {
            slots.ask(slot);
        }
    }

    /// Tells the guest again of cards that came or are asked for. False if it has heard of all.
    pub fn remind(&self) -> bool {
        self.hot_plug().is_some_and(HotPlug::remind)
    }

    /// The card in `slot` stays after all. False if the guest let go of it before.
    pub fn withdraw(&self, slot: u8) -> bool {
        self.hot_plug().is_none_or(|slots| slots.withdraw(slot))
    }

    /// Takes the card in `slot` without asking, and lets go of all that its device holds.
    pub fn take(&mut self, slot: u8) {
        if let Some(slots) = self.hot_plug() {
            slots.take(slot);
        }
        self.forget(slot);
    }

    /// Lets go of all that devices hold whose cards the guest let go since this was asked last; their slots.
    pub fn take_ejected(&mut self) -> Vec<u8> {
        let slots = self.hot_plug().map(HotPlug::take_ejected).unwrap_or_default();
        slots.iter().for_each(|slot| self.forget(*slot));
        slots
    }

    /// The device is off the bus; vCPUs that were in an access to it leave that before it goes.
    fn forget(&mut self, slot: u8) {
        if self.writes_untracked().is_some() {
            // It may be the one that goes, and what it wrote is nowhere noted.
            self.changes.add_all();
        }
        let Some(detached) = self.registry.detach(slot) else { return };
        if self.state == State::Running {
            self.vcpus.iter().for_each(VcpuThread::park);
            self.vcpus.iter().for_each(VcpuThread::wait_parked);
            self.vcpus.iter().for_each(VcpuThread::resume);
        }
        drop(detached);
    }

    /// All devices in order of their attachment.
    pub fn devices(&self) -> Vec<DeviceView> {
        let asked = self.hot_plug().map_or(0, |slots| slots.bits_now().asked);
        let is_asked = |slot: u8| asked.checked_shr(slot.into()).unwrap_or(0) & 1 == 1;
        let view = |(kind, id, slot): (Kind, &str, Option<u8>)| DeviceView {
            device: Setting::of_device(kind, id).field(),
            slot,
            state: match slot.is_some_and(is_asked) {
                true => Presence::AwaitingConsent,
                false => Presence::Plugged,
            },
        };
        self.registry.places().map(view).collect()
    }
}
