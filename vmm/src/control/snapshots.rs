//! What a controller does about snapshots.

use std::time::Instant;

use devices::net::spec::BackendSpec;

use super::Controller;
use crate::action::{Action, ActionError};
use crate::dialect::{file, full};
use crate::end::End;
use crate::observe::events::Event;
use crate::snapshot::error::{CreateError, LoadError};
use crate::snapshot::spec::{CreateSpec, LoadSpec};
use crate::snapshot::store;
use crate::vm::Vm;

impl Controller {
    /// Writes a snapshot of the machine, which is paused and stays so.
    pub(super) fn create_snapshot(&self, spec: &CreateSpec) -> Result<(), ActionError> {
        let Some(vm) = &self.vm else { return Ok(()) };
        let begun = Instant::now();
        let config = self.lasting_config();
        if config.seed.is_some() {
            let (what, why) = ("the disk of cloud-init".to_string(), "it is in memory only");
            return Err(CreateError::Unsaved { what, why }.into());
        }
        let shown = full::shown(&config).map_err(CreateError::from)?;
        let head = store::create(vm, shown, spec, self.walls.late.files())?;
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            "snapshot {} is written: {} bytes of memory, {took_us} us",
            spec.state.display(),
            head.memory_data_bytes,
        );
        let snapshot_path = spec.state.display().to_string();
        self.events.tell(&Event::SnapshotCreated { snapshot_path, took_us });
        Ok(())
    }

    /// Makes the machine from a snapshot. If that fails the process ends, as what there was before may be gone.
    pub(super) fn load_snapshot(&mut self, spec: LoadSpec) -> Result<(), ActionError> {
        if !self.config.is_untouched() {
            return Err(ActionError::NotFresh);
        }
        let loaded = self.try_load(spec);
        if loaded.is_err() {
            self.ends.report(End::NotLoaded);
        }
        loaded
    }

    fn try_load(&mut self, spec: LoadSpec) -> Result<(), ActionError> {
        let begun = Instant::now();
        let body = store::open(&spec.state)?;
        let (actions, boot) =
            file::of_snapshot(body.config).map_err(|error| LoadError::Config(error.to_string()))?;
        for action in differing(actions, &spec)? {
            self.act(action)?;
        }
        self.config.boot = boot;
        let advance = spec.advance.unwrap_or(self.config.clock_advances);
        let machine = self.config.to_spec().ok_or(LoadError::NoBoot)?;
        let memory = store::open_memory(&spec.memory, &body.memory, machine.machine.memory.0)?;
        let vm = Vm::restore(&machine, &body.state, &memory, advance, &self.ends);
        let vm = vm.map_err(|source| {
            // What parts of it reported is no end of a machine.
            self.ends.take();
            LoadError::Restore { path: spec.state.clone(), source: Box::new(source) }
        })?;
        self.adopt(vm)?;
        self.walls.late.came_from(&[&spec.state, &spec.memory]);
        if !self.shut_in() {
            return Ok(());
        }
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let snapshot_path = spec.state.display().to_string();
        tracing::info!("snapshot {snapshot_path} is loaded: {took_us} us");
        self.events.tell(&Event::SnapshotLoaded { snapshot_path, took_us });
        if spec.resume {
            self.resume();
        }
        Ok(())
    }
}

/// The actions with what is to be different. Fails if something is not there that is to differ.
pub(super) fn differing(
    mut actions: Vec<Action>,
    spec: &LoadSpec,
) -> Result<Vec<Action>, LoadError> {
    let unknown = |kind, id: &str| LoadError::Unknown { kind, id: id.to_string() };
    for (id, tap) in &spec.taps {
        let nic = actions.iter_mut().find_map(|action| match action {
            Action::SetNic(nic) if nic.id == *id => Some(nic),
            _ => None,
        });
        let nic = nic.ok_or_else(|| unknown("network card", id))?;
        nic.backend = BackendSpec::Tap(tap.clone());
    }
    for (id, image) in &spec.images {
        let path = actions.iter_mut().find_map(|action| match action {
            Action::SetDisk(disk) if disk.id == *id => Some(&mut disk.path),
            Action::SetPmem(pmem) if pmem.id == *id => Some(&mut pmem.path),
            _ => None,
        });
        *path.ok_or_else(|| unknown("disk", id))? = image.clone();
    }
    if let Some(socket) = &spec.vsock {
        let path = actions.iter_mut().find_map(|action| match action {
            Action::SetVsock(vsock) => Some(&mut vsock.path),
            _ => None,
        });
        *path.ok_or_else(|| unknown("vsock", ""))? = socket.clone();
    }
    Ok(actions)
}
