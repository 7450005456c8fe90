//! What is asked of the devices of a machine, or of those that it is to have.

use devices::block::spec::DiskSpec;
use devices::net::service::store::StoreError;

use super::Controller;
use crate::action::{ActionError, Outcome, Reply};
use crate::observe::events::{DiskEvent, Event};
use crate::vm::Vm;
use crate::vm::balloon::{self, BalloonAsk, BalloonError, BalloonReply};
use crate::vm::disk::{self, DiskAsk, DiskReply, DiskView};
use crate::vm::hot_memory::{self, HotMemoryAsk, HotMemoryError};
use crate::vm::memory_report::MemoryReport;
use crate::vm::metadata::{self, MetadataAsk, MetadataError};
use crate::vm::nic::{NicAsk, NicReply};
use crate::vm::patch::DiskPatch;
use crate::vm::pmem::PmemPatch;

impl Controller {
    pub(super) fn show_disks(&self, id: Option<String>) -> Outcome {
        let mut disks = self.live_config().disks;
        if let Some(id) = id {
            disks.retain(|spec| spec.id == id);
            if disks.is_empty() {
                return Err(ActionError::NoSuchDisk(id));
            }
        }
        let view = |spec: DiskSpec| {
            let mut live = self.vm.iter().flat_map(Vm::disks);
            let state = live.find(|disk| disk.id() == spec.id).map(|disk| disk.inspect());
            DiskView { spec, state }
        };
        Ok(Reply::Disks(disks.into_iter().map(view).collect()))
    }

    pub(super) fn ask_disk(&self, id: String, ask: DiskAsk) -> Outcome {
        let mut disks = self.vm.iter().flat_map(Vm::disks);
        let Some(disk) = disks.find(|disk| disk.id() == id) else {
            return Err(ActionError::NoSuchDisk(id));
        };
        if let DiskAsk::Change(DiskPatch { path: Some(path), bases, .. }) = &ask {
            self.live_config().check_replaced(&id, path, bases)?;
        }
        let before = disk.inspect();
        let injected = match ask {
            DiskAsk::Inject(fault) => Some(fault),
            _ => None,
        };
        let reply = match disk::answer(&**disk, ask, self.walls.late.files()) {
            Ok(reply) => reply,
            Err(source) => return Err(ActionError::Disk { id, source }),
        };
        let now = disk.inspect();
        let (path, size) = (now.path.display().to_string(), now.size);
        if before.path != now.path || before.size != now.size {
            self.events.tell_of_disk(&id, &DiskEvent::Image { path, size });
        }
        if let Some(fault) = injected {
            self.events.tell_of_disk(&id, &DiskEvent::Fault { fault });
        }
        Ok(match reply {
            DiskReply::Done => Reply::Done,
            reply => Reply::Disk(reply),
        })
    }

    pub(super) fn ask_nic(&self, id: String, ask: NicAsk) -> Outcome {
        let mut nics = self.vm.iter().flat_map(Vm::nics);
        let Some(nic) = nics.find(|nic| nic.control.id() == id) else {
            return Err(ActionError::NoSuchNic(id));
        };
        match nic.answer(ask, self.walls.late.files()) {
            Ok(NicReply::Done) => Ok(Reply::Done),
            Ok(reply) => Ok(Reply::Nic(reply)),
            Err(source) => Err(ActionError::Nic { id, source }),
        }
    }

    pub(super) fn ask_metadata(&self, ask: MetadataAsk) -> Outcome {
        let reached = self.config.metadata.is_some() || self.config.imds.is_some();
        if self.vm.is_some() && !reached {
            return Err(MetadataError::from(StoreError::NotInitialized).into());
        }
        let content = metadata::answer(&self.metadata, ask)?;
        Ok(content.map_or(Reply::Done, Reply::Metadata))
    }

    pub(super) fn ask_balloon(&self, ask: BalloonAsk) -> Outcome {
        let Some(spec) = &self.config.balloon else { return Err(BalloonError::None.into()) };
        let memory = self.config.most_memory();
        let reply = match (self.vm.as_ref().and_then(Vm::balloon), ask) {
            (Some(balloon), ask) => balloon::answer(spec, balloon, memory, ask)?,
            (None, BalloonAsk::Describe) => BalloonReply::Spec(spec.clone()),
            (None, _) => return Err(BalloonError::None.into()),
        };
        if let BalloonAsk::SetAmount(amount_mib) = ask {
            self.events.tell(&Event::BalloonTarget { amount_mib });
        }
        Ok(match reply {
            BalloonReply::Done => Reply::Done,
            reply => Reply::Balloon(reply),
        })
    }

    pub(super) fn ask_hot_memory(&self, ask: HotMemoryAsk) -> Outcome {
        let memory = self.vm.as_ref().and_then(Vm::hot_memory).ok_or(HotMemoryError::None)?;
        if let HotMemoryAsk::Request(mib) = ask {
            memory.request(mib).map_err(HotMemoryError::from)?;
            self.events.tell(&Event::MemoryTarget { requested_size_mib: mib });
            return Ok(Reply::Done);
        }
        Ok(Reply::HotMemory(hot_memory::view(memory)))
    }

    pub(super) fn limit_pmem(&self, id: String, patch: &PmemPatch) -> Outcome {
        let mut pmems = self.vm.iter().flat_map(Vm::pmems);
        let pmem = pmems.find(|pmem| pmem.name() == id).ok_or(ActionError::NoSuchPmem(id))?;
        pmem.limit(patch.apply(pmem.limits()));
        Ok(Reply::Done)
    }

    pub(super) fn show_vsock(&self) -> Outcome {
        let vsock = self.vm.as_ref().and_then(Vm::vsock).ok_or(ActionError::NoVsock)?;
        Ok(Reply::Vsock(Box::new(vsock.view())))
    }

    pub(super) fn show_memory(&self) -> Outcome {
        let balloon = self.vm.as_ref().and_then(Vm::balloon);
        let hot = self.vm.as_ref().and_then(Vm::hot_memory);
        Ok(Reply::Memory(MemoryReport::now(self.config.machine.memory, balloon, hot)))
    }
}
