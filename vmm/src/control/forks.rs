//! What a controller does about forks: of its machine, and as one.

use std::time::Instant;

use devices::net::spec::BackendSpec;

use super::Controller;
use super::images::Images;
use super::snapshots::{differing, with_seed};
use crate::action::{ActionError, Reply};
use crate::dialect::{file, full};
use crate::end::End;
use crate::fork::child::Newborn;
use crate::fork::error::ForkError;
use crate::fork::spec::{ChildSpec, ForkSpec, Parent};
use crate::fork::view::{Child, ChildDisk, ChildNic, Forked};
use crate::fork::words::Brood;
use crate::memory::Pages;
use crate::memory::base::Prepared;
use crate::observe::events::Event;
use crate::snapshot::error::LoadError;
use crate::snapshot::kept::Kept;
use crate::snapshot::spec::{LoadSpec, OtherImage};
use crate::vm::Vm;
use crate::vm::backing::Backing;
use crate::vm::config::Config;
use crate::vm::metadata::MetadataSpec;
use crate::vm::restore::{Content, GoesOn};
use crate::vm::saved::MachineState;
use crate::vm::state::State;

impl Controller {
    /// Forks the machine, which is paused meanwhile and goes on in any case.
    pub(super) fn fork(&mut self, spec: &ForkSpec) -> Result<Reply, ActionError> {
        let begun = Instant::now();
        let config = self.lasting_config();
        let (Some(vm), Some(zygote)) = (&mut self.vm, &self.walls.zygote) else {
            return Err(ForkError::NoZygote.into());
        };
        check_parts(&config)?;
        if matches!(vm.backing(), Backing::Brought(_)) {
            let (what, why) = ("memory that comes by a pager".to_string(), "it is not all here");
            return Err(ForkError::Unforked { what, why }.into());
        }
        let vsock = config.vsock.as_ref().map(|open| open.spec());
        let parent = Parent {
            id: &self.id,
            api_socket: zygote.api_socket(),
            nics: &config.nics,
            disks: &config.disks,
            vsock: vsock.map(|vsock| vsock.path.as_path()),
        };
        let children = spec.children(&parent)?;
        let shown = full::shown(&config).map_err(ForkError::from)?;
        let kept = Kept::of(config.seed.as_deref(), &self.metadata).map_err(ForkError::Seed)?;

        let prepared = vm.prepare_memory().map_err(ForkError::Memory)?;
        let paused = Instant::now();
        let ran = vm.state() == State::Running;
        if ran && vm.pause().is_err() {
            return Err(ActionError::Ending);
        }
        let mut images = Images::of(&config, children.clone());
        let files = self.walls.late.files();
        let taken = images
            .make_first(zygote, vm, files)
            .and_then(|()| take(vm, prepared).inspect_err(|_| images.stand_as_before(vm, files)));
        if ran && vm.resume().is_err() {
            return Err(ActionError::Ending);
        }
        let pause = paused.elapsed();

        let born = taken.and_then(|(state, bytes)| {
            images.make_others(zygote)?;
            let memory = vm.backing().file().ok_or(ForkError::NoZygote)?;
            let (resume, children) = (spec.resume, images.children.clone());
            let brood = Brood { config: shown, state, kept, resume, children };
            Ok((zygote.fork(brood, memory)?, bytes))
        });
        let (pids, memory_bytes) = match born {
            Ok(born) => born,
            Err(error) => {
                images.remove(zygote);
                if matches!(error, ForkError::Gone(_)) {
                    // What it still says would be taken for the answer to something else.
                    self.walls.zygote = None;
                }
                return Err(error.into());
            }
        };
        let (pause_us, took_us) = (micros(pause), micros(begun.elapsed()));
        let count = children.len();
        tracing::info!("{count} children go on: paused for {pause_us} us, all in {took_us} us");
        self.events.tell(&Event::Forked { children: count, pause_us, took_us });
        let Images { children, own, .. } = images;
        for OtherImage { id, path, .. } in &own {
            tracing::info!("disk {id} goes on in {}", path.display());
        }
        let drives = own.into_iter().map(ChildDisk::from).collect();
        let children = children.into_iter().zip(pids).map(|(child, pid)| Child {
            id: child.id,
            pid,
            api_socket: child.api_socket.display().to_string(),
            network_interfaces: child
                .taps
                .into_iter()
                .map(|(iface_id, host_dev_name)| {
                    let mut nics = config.nics.iter();
                    let guest_mac = nics.find(|nic| nic.id == iface_id).and_then(|nic| nic.mac);
                    let identity = child.identities.iter().find(|card| card.id == iface_id);
                    let seen = identity.and_then(|card| card.rewrite);
                    let (mac, ip) = (seen.and_then(|seen| seen.mac), seen.and_then(|seen| seen.ip));
                    ChildNic { iface_id, host_dev_name, guest_mac, mac, ip }
                })
                .collect(),
            drives: child.images.into_iter().map(ChildDisk::from).collect(),
            uds_path: child.vsock.map(|path| path.display().to_string()),
        });
        let children = children.collect();
        Ok(Reply::Forked(Box::new(Forked { children, drives, memory_bytes, pause_us, took_us })))
    }

    /// Shuts the zygote in, before the guest runs. Where that is not to be there is none.
    pub(super) fn seal_zygote(&mut self) {
        let Some(zygote) = &self.walls.zygote else { return };
        if let Err(error) = zygote.seal(&self.walls.late.places(&self.config)) {
            tracing::warn!("this machine can have no children: {error}");
            self.walls.zygote = None;
        }
    }

    /// Goes on as a machine that was forked. If that fails the process ends.
    pub(super) fn be_born(&mut self, newborn: Newborn) -> Result<(), ActionError> {
        let born = self.try_be_born(newborn);
        if born.is_err() {
            self.ends.report(End::NotLoaded);
        }
        born
    }

    fn try_be_born(&mut self, newborn: Newborn) -> Result<(), ActionError> {
        let Newborn { spec, config, state, kept, memory, resume, doorstep } = newborn;
        let (mut actions, boot) =
            file::of_snapshot(config).map_err(|error| LoadError::Config(error.to_string()))?;
        let seed = with_seed(&mut actions, kept.seed)?;
        let ChildSpec { taps, identities, images, vsock, .. } = spec;
        let others = LoadSpec { taps, identities, images, vsock, ..LoadSpec::default() };
        for action in differing(actions, &others)? {
            self.act(action)?;
        }
        // Nothing of the parent's has to be there any more.
        if let Some(nic) = self.config.nics.iter().find(|nic| !is_tap(&nic.backend)) {
            let unknown = LoadError::Unknown { kind: "TAP for network card", id: nic.id.clone() };
            return Err(unknown.into());
        }
        (self.config.boot, self.config.seed) = (boot, seed);
        self.metadata.go_on(kept.metadata);
        let machine = self.config.to_spec().ok_or(LoadError::NoBoot)?;
        let memory = Content::Shared(memory);
        let how = GoesOn { advance: true, is_itself: false };
        let vm = Vm::restore(&machine, &state, memory, how, &self.ends).map_err(|source| {
            // What parts of it reported is no end of a machine.
            self.ends.take();
            LoadError::Child(Box::new(source))
        })?;
        self.adopt(vm)?;
        if !self.shut_in() {
            return Err(ActionError::Ending);
        }
        doorstep.wait().map_err(|_| LoadError::Alone)?;
        self.announce(others.identities);
        if resume {
            self.resume();
        }
        Ok(())
    }

    /// What the machine is made of, as what is made of it later must find it.
    pub(super) fn lasting_config(&self) -> Config {
        let mut config = self.live_config();
        let Some(vm) = &self.vm else { return config };
        config.metadata =
            MetadataSpec::settled(config.metadata.as_ref(), config.imds.as_ref(), vm.nics());
        config.machine.bus = Some(vm.bus());
        for nic in vm.nics() {
            let spec = config.nics.iter_mut().find(|spec| spec.id == nic.control.id());
            if let Some(spec) = spec {
                spec.mac = Some(nic.control.inspect().mac);
            }
        }
        config
    }
}

/// Takes the state of a machine that is paused, and makes its memory a base; tells how much is in that.
fn take(vm: &mut Vm, prepared: Option<Prepared>) -> Result<(MachineState, u64), ForkError> {
    let state = vm.save()?;
    let bytes = vm.share_memory(prepared).map_err(ForkError::Memory)?;
    Ok((state, bytes))
}

/// Whether a machine has only what its children can have too.
fn check_parts(config: &Config) -> Result<(), ForkError> {
    let unforked = |what: String, why| Err(ForkError::Unforked { what, why });
    if config.machine.pages == Pages::Huge {
        return unforked("a machine with --huge-pages".into(), "children share smaller ones");
    }
    if let Some(pmem) = config.pmems.iter().find(|pmem| !pmem.read_only) {
        let what = format!("persistent memory {:?}", pmem.id);
        return unforked(what, "its children would write to it too");
    }
    Ok(())
}

fn is_tap(backend: &BackendSpec) -> bool {
    matches!(backend, BackendSpec::Tap(_))
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
