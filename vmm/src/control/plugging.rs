//! What a controller does about devices that come into a machine that lives, and leave it.

use std::sync::Arc;
use std::time::Instant;

use device_core::files::{Files, Own};
use devices::{DeviceSpec, Kind};

use super::Controller;
use super::later::Reminder;
use super::start::tell_of;
use super::unplug::{Asked, PATIENCE};
use crate::action::{Action, ActionError, Refusal, Reply, Waiting};
use crate::observe::events::Event;
use crate::vm::attach::AttachError;
use crate::vm::config::Config;
use crate::vm::hotplug::{PlugError, UnplugError};
use crate::vm::metadata;
use crate::vm::state::State;
use crate::words::Setting;

impl Controller {
    /// Adds a device to what is asked for, or plugs it into the machine that lives.
    pub(super) fn add(&mut self, spec: DeviceSpec) -> Result<(), ActionError> {
        match self.vm {
            None => set(&mut self.config, spec, &Own),
            Some(_) => self.plug(spec),
        }
    }

    fn plug(&mut self, spec: DeviceSpec) -> Result<(), ActionError> {
        let (kind, id) = (spec.kind(), spec.id().to_string());
        let refused = |why| {
            let (kind, id) = (spec.kind(), spec.id().to_string());
            ActionError::Plug(Box::new(Refusal { kind, id, why }))
        };
        let mut config = self.live_config();
        let Some(vm) = &self.vm else { return Ok(()) };
        if config.has_device(kind, &id) {
            return Err(refused(PlugError::IdInUse));
        }
        if !vm.can_plug() {
            return Err(refused(PlugError::NoPci));
        }
        if is_root(&spec) {
            return Err(refused(PlugError::Root));
        }
        let files = self.walls.late.for_devices(self.builder.is_some());
        set(&mut config, spec.clone(), &*files)?;
        let plugged = self.build(spec.clone(), files);
        plugged.map_err(|error| refused(error.into()))?;
        let Some(vm) = &self.vm else { return Ok(()) };
        self.config = config;
        self.reminder = Some(Reminder::since(Instant::now()));
        if kind == Kind::Nic
            && let Some(nic) = vm.nics().last()
        {
            tell_of(nic, &self.events);
            metadata::tell_of(&self.metadata, nic);
            if let Some(serving) = &self.serving {
                self.config.reach_metadata(&id, serving.spec());
            }
        }
        let (device, slot) = (Setting::of_device(kind, &id).field(), vm.slot(kind, &id));
        self.events.tell(&Event::Plugged { device, slot });
        Ok(())
    }

    /// Has the device built, its threads shut in, and put into its slot, by the thread that is there for it if main is
    /// shut in. The machine goes there and comes back; main waits for it.
    fn build(&mut self, spec: DeviceSpec, files: Arc<dyn Files>) -> Result<(), AttachError> {
        let Some(mut vm) = self.vm.take() else { return Ok(()) };
        let (shield, serving) = (self.walls.shield.clone(), self.serving.clone());
        let job = move || {
            let plugged = vm.plug(&spec, &*files, &shield, serving.as_deref());
            (vm, plugged)
        };
        let (vm, plugged) = match &self.builder {
            Some(builder) => builder.run(job),
            None => job(),
        };
        self.vm = Some(vm);
        plugged
    }

    /// Asks the guest for a device; `reply` is told what becomes of it.
    pub(super) fn unplug(&mut self, kind: Kind, id: &str, reply: Waiting) {
        match self.begin_unplug(kind, id) {
            Ok(Some(asked)) => self.unplugs.begin(asked, Instant::now(), reply),
            Ok(None) => reply(Ok(Reply::Done)),
            Err(error) => reply(Err(error)),
        }
    }

    /// The same where nobody waits for that. Fails if the guest is not asked.
    pub(super) fn unplug_some_time(&mut self, kind: Kind, id: &str) -> Result<(), ActionError> {
        if let Some(asked) = self.begin_unplug(kind, id)? {
            self.unplugs.begin(asked, Instant::now(), Box::new(drop));
        }
        Ok(())
    }

    /// Asks the guest for a device, in the slot that this gives; nothing where there was no need to ask, and it is gone.
    fn begin_unplug(&mut self, kind: Kind, id: &str) -> Result<Option<Asked>, ActionError> {
        let refused =
            |why| ActionError::Unplug(Box::new(Refusal { kind, id: id.to_string(), why }));
        Action::Unplug(kind, id.to_string()).allowed_in(self.state())?;
        let is_root = self.config.has_root(kind, id);
        let Some(vm) = &mut self.vm else { return Err(refused(UnplugError::NoSuch)) };
        if !vm.can_plug() {
            return Err(refused(UnplugError::NoPci));
        }
        let slot = vm.slot(kind, id).ok_or_else(|| refused(UnplugError::NoSuch))?;
        if is_root {
            return Err(refused(UnplugError::Root));
        }
        if self.unplugs.has(slot) {
            return Err(refused(UnplugError::Twice));
        }
        let is_in_use = vm.is_in_use(slot);
        if vm.state() == State::Paused {
            if is_in_use {
                return Err(refused(UnplugError::Paused));
            }
            vm.take(slot);
            self.unplugged(kind, id);
            return Ok(None);
        }
        vm.ask_for(slot);
        self.reminder = Some(Reminder::since(Instant::now()));
        let device = Setting::of_device(kind, id).field();
        self.events.tell(&Event::UnplugAsked { device, slot });
        Ok(Some(Asked { kind, id: id.to_string(), slot, is_in_use }))
    }

    /// Lets go of what the guest has let go, and of waiting where its time is up.
    pub(super) fn settle_unplugs(&mut self) {
        let Some(vm) = &mut self.vm else { return };
        let ejected = vm.take_ejected();
        let mut gone: Vec<_> =
            ejected.into_iter().filter_map(|slot| self.unplugs.end(slot)).collect();
        let mut kept = Vec::new();
        while let Some(unplug) = self.unplugs.overdue(Instant::now()) {
            let slot = unplug.device.slot;
            if !vm.withdraw(slot) {
                // It lets go at this moment, and its vCPU tells when it has.
                self.unplugs.await_end(unplug);
            } else if vm.is_in_use(slot) {
                kept.push(unplug);
            } else {
                vm.take(slot);
                gone.push(unplug);
            }
        }
        for unplug in gone {
            self.unplugged(unplug.device.kind, &unplug.device.id);
            unplug.answer(Ok(Reply::Done));
        }
        for unplug in kept {
            let (kind, id) = (unplug.device.kind, unplug.device.id.clone());
            let device = Setting::of_device(kind, &id).field();
            self.events.tell(&Event::UnplugRefused { device });
            let why = UnplugError::Kept { seconds: PATIENCE.as_secs() };
            unplug.answer(Err(ActionError::Unplug(Box::new(Refusal { kind, id, why }))));
        }
    }

    pub(super) fn remind(&mut self) {
        let (Some(reminder), Some(vm)) = (&mut self.reminder, &self.vm) else { return };
        if reminder.is_due(Instant::now()) && !vm.remind() {
            self.reminder = None;
        }
    }

    /// A device is gone, with all that it held.
    fn unplugged(&mut self, kind: Kind, id: &str) {
        self.config.remove_device(kind, id);
        if kind == Kind::Nic {
            metadata::forget(&self.metadata, id);
        }
        self.events.tell(&Event::Unplugged { device: Setting::of_device(kind, id).field() });
    }
}

/// Adds a disk, a card or persistent memory to what is asked for.
fn set(config: &mut Config, spec: DeviceSpec, files: &dyn Files) -> Result<(), ActionError> {
    match spec {
        DeviceSpec::Disk(disk) => config.set_disk_of(disk, files)?,
        DeviceSpec::Nic(nic) => config.set_nic(nic)?,
        DeviceSpec::Pmem(pmem) => config.set_pmem(pmem, files)?,
        // Nobody asks for one of these so.
        DeviceSpec::Vsock(_)
        | DeviceSpec::Balloon(_)
        | DeviceSpec::Entropy(_)
        | DeviceSpec::HotMemory(_) => {}
    }
    Ok(())
}

fn is_root(spec: &DeviceSpec) -> bool {
    match spec {
        DeviceSpec::Disk(disk) => disk.root.is_some(),
        DeviceSpec::Pmem(pmem) => pmem.root,
        _ => false,
    }
}
