//! What a controller does about snapshots.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use devices::net::mac::MacAddr;
use devices::net::spec::{BackendSpec, Outside};

use super::Controller;
use super::later::Flap;
use crate::action::{Action, ActionError};
use crate::dialect::{file, full};
use crate::end::End;
use crate::observe::events::Event;
use crate::pager::own::Record;
use crate::pager::working_set;
use crate::snapshot::error::{CreateError, LoadError};
use crate::snapshot::kept::{Bytes, Kept};
use crate::snapshot::lineage::Lineage;
use crate::snapshot::memory_file::Sums;
use crate::snapshot::spec::{CardIdentity, CreateSpec, LoadSpec, OtherImage, PagerSpec, Rewritten};
use crate::snapshot::store;
use crate::snapshot::turn::Turn;
use crate::vm::Vm;
use crate::vm::config::{SEED_ID, seed_path};
use crate::vm::restore::{Content, GoesOn};
use crate::vm::seed;

impl Controller {
    /// Writes a snapshot of the machine, which is paused and stays so.
    pub(super) fn create_snapshot(&mut self, spec: &CreateSpec) -> Result<(), ActionError> {
        let begun = Instant::now();
        let config = self.lasting_config();
        let Some(vm) = &mut self.vm else { return Ok(()) };
        let kept = Kept::of(config.seed.as_deref(), &self.metadata).map_err(CreateError::Seed)?;
        let shown = full::shown(&config).map_err(CreateError::from)?;
        let files = self.walls.late.files();
        let (head, lineage) = store::create(vm, shown, kept, spec, self.lineage.as_ref(), files)?;
        self.lineage = Some(lineage);
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

    /// The content of memory, as it is to come.
    fn content(
        &self,
        spec: &LoadSpec,
        turn: Turn,
        sums: &Sums,
        bytes: u64,
    ) -> Result<Content, LoadError> {
        if spec.pager == PagerSpec::External {
            let code = (self.manners.leave)(&End::Pages { why: String::new() }).code();
            return Ok(Content::External { socket: spec.memory.clone(), code });
        }
        let file = store::open_memory(&spec.memory, turn, sums, bytes)?;
        let path = working_set::beside(&spec.memory);
        let memory = working_set::identity(sums.bytes, &sums.pieces);
        if spec.record {
            let made = working_set::create(&path);
            let record = made.map_err(|source| LoadError::Record { path, source })?;
            let record = Some(Record { file: record, memory });
            return Ok(Content::Own { file, ahead: Vec::new(), record });
        }
        // It is a hint, and a machine goes on without.
        let ahead = working_set::read(&path, memory, bytes).unwrap_or_else(|error| {
            let line = crate::words::one_line(None, &error);
            tracing::warn!("record {}: {line}; it is not used", path.display());
            None
        });
        let ahead = ahead.unwrap_or_default();
        Ok(match spec.pager {
            PagerSpec::Own => Content::Own { file, ahead, record: None },
            _ => Content::Mapped { file, ahead },
        })
    }

    fn try_load(&mut self, spec: LoadSpec) -> Result<(), ActionError> {
        let begun = Instant::now();
        let (head, body) = store::open(&spec.state)?;
        let (mut actions, boot) =
            file::of_snapshot(body.config).map_err(|error| LoadError::Config(error.to_string()))?;
        let seed = with_seed(&mut actions, body.kept.seed)?;
        for action in differing(actions, &spec)? {
            self.act(action)?;
        }
        self.config.machine.track_dirty_pages = spec.track;
        (self.config.boot, self.config.seed) = (boot, seed);
        self.metadata.go_on(body.kept.metadata);
        if let Some(pages) = spec.pages {
            self.config.machine.pages = pages;
        }
        let advance = spec.advance.unwrap_or(self.config.clock_advances);
        let machine = self.config.to_spec().ok_or(LoadError::NoBoot)?;
        let bytes = self.config.most_memory().0;
        let memory = self.content(&spec, head.turn, &body.memory, bytes)?;
        let lineage = Lineage::of_loaded(head.id, body.memory, memory.file());
        let how = GoesOn { advance, is_itself: false };
        let vm = Vm::restore(&machine, &body.state, memory, how, &self.ends);
        let vm = vm.map_err(|source| {
            // What parts of it reported is no end of a machine.
            self.ends.take();
            LoadError::Restore { path: spec.state.clone(), source: Box::new(source) }
        })?;
        self.adopt(vm)?;
        self.lineage = Some(lineage);
        // A pager's socket is no place for files.
        let memory = (spec.pager != PagerSpec::External).then_some(&spec.memory);
        self.walls.late.came_from(&[&spec.state, memory.unwrap_or(&spec.state)]);
        if !self.shut_in() {
            return Ok(());
        }
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let snapshot_path = spec.state.display().to_string();
        tracing::info!("snapshot {snapshot_path} is loaded: {took_us} us");
        self.events.tell(&Event::SnapshotLoaded { snapshot_path, took_us });
        self.announce(spec.identities);
        if spec.resume {
            self.resume();
        }
        Ok(())
    }

    /// What the guest is to see of it that its cards have another place, once it goes on.
    pub(super) fn announce(&mut self, cards: Vec<CardIdentity>) {
        if let Some(vm) = &self.vm {
            cards.iter().filter(|card| card.reset).for_each(|card| vm.ask_for_reset(&card.id));
        }
        self.flap = Flap::of_cards(cards);
    }
}

/// The file in memory of the disk that cloud-init reads, if there are `bytes` of one; the action that sets it finds it.
/// Fails if the host has no memory for it.
pub(super) fn with_seed(
    actions: &mut [Action],
    bytes: Option<Bytes>,
) -> Result<Option<Arc<File>>, LoadError> {
    let Some(Bytes(bytes)) = bytes else { return Ok(None) };
    let seed = seed::in_memory(&bytes).map_err(LoadError::Seed)?;
    for action in actions {
        match action {
            Action::SetDisk(disk) if disk.id == SEED_ID => disk.path = seed_path(&seed),
            _ => {}
        }
    }
    Ok(Some(Arc::new(seed)))
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
    for identity in &spec.identities {
        let nic = actions.iter_mut().find_map(|action| match action {
            Action::SetNic(nic) if nic.id == identity.id => Some(nic),
            _ => None,
        });
        let nic = nic.ok_or_else(|| unknown("network card", &identity.id))?;
        let unasked = |source| LoadError::Driver { id: identity.id.clone(), source };
        identity.check(nic.model).map_err(unasked)?;
        if let Some(Rewritten { mac, ip, guest_ip }) = identity.rewrite {
            let mac = mac.unwrap_or_else(MacAddr::random);
            nic.outside = Some(Outside { mac, ip, guest_ip });
        }
    }
    for OtherImage { id, path, bases } in &spec.images {
        let place = actions.iter_mut().find_map(|action| match action {
            Action::SetDisk(disk) if disk.id == *id => {
                Some((&mut disk.path, Some(&mut disk.bases)))
            }
            // It has none.
            Action::SetPmem(pmem) if pmem.id == *id && bases.is_empty() => {
                Some((&mut pmem.path, None))
            }
            _ => None,
        });
        let (its, below) = place.ok_or_else(|| unknown("disk", id))?;
        *its = path.clone();
        if let Some(below) = below {
            *below = bases.clone();
        }
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
