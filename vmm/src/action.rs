//! The control surface: what can be asked of a machine, in which state, and what comes back.

mod error;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arch::template::Template;
use devices::Kind;
use devices::balloon::BalloonSpec;
use devices::block::spec::DiskSpec;
use devices::legacy::ConsoleSpec;
use devices::memory::HotMemorySpec;
use devices::net::spec::NicSpec;
use devices::pmem::PmemSpec;
use devices::vsock::{VsockSpec, VsockView};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::fork::child::Newborn;
use crate::fork::spec::ForkSpec;
use crate::fork::view::Forked;
use crate::migration::incoming::Arrival;
use crate::migration::spec::MigrateSpec;
use crate::migration::view::Migrated;
use crate::observe::logger::LogSpec;
use crate::observe::metrics::Figures;
use crate::shield;
use crate::snapshot::spec::{CreateSpec, LoadSpec};
use crate::vm::balloon::{BalloonAsk, BalloonReply};
use crate::vm::config::{Config, EntropyWish};
use crate::vm::disk::{DiskAsk, DiskReply, DiskView};
use crate::vm::hot_memory::{HotMemoryAsk, HotMemoryView};
use crate::vm::hotplug::DeviceView;
use crate::vm::memory_report::MemoryReport;
use crate::vm::metadata::{MetadataAsk, MetadataSpec};
use crate::vm::nic::{NicAsk, NicReply};
use crate::vm::patch::MachinePatch;
use crate::vm::pmem::PmemPatch;
use crate::vm::seed::SeedSpec;
use crate::vm::spec::{BootSpec, MachineSpec};
use crate::vm::state::State;

pub use error::{ActionError, ErrorKind, Refusal, is_of_host};

/// One thing to do or to tell. Command line, configuration file and API all speak in these.
#[derive(Debug)]
pub enum Action {
    SetMachine(MachineSpec),
    PatchMachine(MachinePatch),
    /// Changes what the guest's CPUs show.
    SetTemplate(Template),
    SetBoot(BootSpec),
    SetSerial(ConsoleSpec),
    SetDisk(Box<DiskSpec>),
    /// Adds the disk that cloud-init reads.
    SetSeed(SeedSpec),
    SetNic(Box<NicSpec>),
    SetVsock(VsockSpec),
    /// How the guest reaches metadata.
    SetMetadata(MetadataSpec),
    SetPmem(Box<PmemSpec>),
    SetBalloon(BalloonSpec),
    SetEntropy(EntropyWish),
    /// Memory that is plugged while the machine runs.
    SetHotMemory(HotMemorySpec),
    SetLog(LogSpec),
    /// Writes metrics to this file.
    SetMetrics(PathBuf),
    /// Builds the machine and lets it run.
    Start,
    /// Writes the machine's state and memory to files.
    CreateSnapshot(CreateSpec),
    /// Makes the machine from such files.
    LoadSnapshot(Box<LoadSpec>),
    /// Starts machines that go on as this one is.
    Fork(Box<ForkSpec>),
    /// Makes the machine as one that was forked.
    BeBorn(Box<Newborn>),
    /// Has the machine go on in another process.
    Migrate(MigrateSpec),
    /// Has it stay, if it is on its way.
    StopMigration,
    /// Makes the machine as the one that comes from another process.
    Arrive(Box<Arrival>),
    Pause,
    Resume,
    PressPowerButton,
    PressCtrlAltDel,
    /// Ends the machine as a reset by the guest does.
    Reset,
    /// Ends the machine, and the process, whatever it does.
    Kill,
    /// Writes a line of metrics now.
    FlushMetrics,
    /// All about the disk of this id, or about each that there is.
    ShowDisks(Option<String>),
    /// Something to do or to tell for the disk of this id.
    OfDisk(String, Box<DiskAsk>),
    /// Something to do or to tell for the card of this id.
    OfNic(String, Box<NicAsk>),
    /// All about the vsock.
    ShowVsock,
    /// Something to do or to tell of the metadata.
    OfMetadata(MetadataAsk),
    /// Changes the limits of the persistent memory of this id.
    LimitPmem(String, PmemPatch),
    /// Takes a disk, a card or persistent memory out of a machine that lives; done when the guest has let it go.
    Unplug(Kind, String),
    /// Something to do or to tell for the balloon.
    OfBalloon(BalloonAsk),
    /// Something to do or to tell of memory that is plugged while the machine runs.
    OfHotMemory(HotMemoryAsk),
    /// Name and state.
    Describe,
    /// All settings.
    ShowConfig,
    /// All devices of the machine that lives.
    ShowDevices,
    /// Figures of machine and VMM.
    ShowFigures,
    /// What the machine's memory comes to on the host.
    ShowMemory,
}

/// What an action gives back.
#[derive(Debug)]
pub enum Reply {
    Done,
    Instance(Instance),
    Config(Box<Config>),
    Disks(Vec<DiskView>),
    Disk(DiskReply),
    Devices(Vec<DeviceView>),
    Nic(NicReply),
    Vsock(Box<VsockView>),
    Metadata(serde_json::Value),
    Balloon(BalloonReply),
    HotMemory(HotMemoryView),
    Memory(MemoryReport),
    Forked(Box<Forked>),
    Migrated(Box<Migrated>),
    Figures(Instance, Box<Figures>),
}

/// Who a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// As the user named it.
    pub id: String,
    /// What it is doing.
    pub state: State,
    /// What shuts its threads in.
    pub shield: shield::State,
}

impl Action {
    /// What people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Action::SetMachine(_) | Action::PatchMachine(_) => "changing CPUs or memory",
            Action::SetTemplate(_) => "changing what CPUs show",
            Action::SetBoot(_) => "changing what to boot",
            Action::SetSerial(_) => "changing the console",
            Action::SetDisk(_) | Action::SetSeed(_) => "adding a disk",
            Action::SetNic(_) => "adding a network card",
            Action::SetVsock(_) => "adding a vsock",
            Action::SetMetadata(_) => "changing the metadata service",
            Action::SetPmem(_) => "adding persistent memory",
            Action::LimitPmem(..) => "limiting persistent memory",
            Action::SetBalloon(_) => "setting the balloon",
            Action::SetEntropy(_) => "setting the source of entropy",
            Action::SetHotMemory(_) => "setting memory to plug",
            Action::SetLog(_) => "changing the log",
            Action::SetMetrics(_) => "changing the file for metrics",
            Action::FlushMetrics => "flushing metrics",
            Action::Start => "starting",
            Action::CreateSnapshot(_) => "writing a snapshot",
            Action::LoadSnapshot(_) => "loading a snapshot",
            Action::Fork(_) => "forking",
            Action::BeBorn(_) => "going on as a fork",
            Action::Migrate(_) => "migrating",
            Action::StopMigration => "stopping a migration",
            Action::Arrive(_) => "going on from another process",
            Action::Pause => "pausing",
            Action::Resume => "resuming",
            Action::PressPowerButton => "pressing the power button",
            Action::PressCtrlAltDel => "pressing Ctrl-Alt-Del",
            Action::Reset => "resetting",
            Action::Kill => "killing",
            Action::ShowDisks(_) => "showing disks",
            Action::OfDisk(..) => "working with a disk",
            Action::OfNic(..) => "working with a network card",
            Action::ShowVsock => "showing the vsock",
            Action::OfMetadata(_) => "working with metadata",
            Action::OfBalloon(BalloonAsk::Describe) => "describing the balloon",
            Action::OfBalloon(_) => "working with the balloon",
            Action::OfHotMemory(_) => "plugging memory",
            Action::Describe => "describing the machine",
            Action::ShowConfig => "showing the configuration",
            Action::Unplug(..) => "unplugging",
            Action::ShowDevices => "showing devices",
            Action::ShowFigures => "showing figures",
            Action::ShowMemory => "showing memory",
        }
    }

    /// Whether a machine that is being migrated is not to do it: its memory is looked at, or what it is made of changes.
    pub fn disturbs_migration(&self) -> bool {
        matches!(
            self,
            Action::CreateSnapshot(_)
                | Action::Fork(_)
                | Action::SetDisk(_)
                | Action::SetNic(_)
                | Action::SetPmem(_)
                | Action::Unplug(..)
                | Action::Migrate(_)
        )
    }

    /// Whether it can be done in `state`, which is not the end.
    pub fn allowed_in(&self, state: State) -> Result<(), ActionError> {
        use State::{Configuring, Paused, Running, Stopped};
        let states: &[State] = match self {
            Action::SetMachine(_)
            | Action::PatchMachine(_)
            | Action::SetTemplate(_)
            | Action::SetBoot(_)
            | Action::SetSerial(_)
            | Action::SetSeed(_)
            | Action::SetVsock(_)
            | Action::SetMetadata(_)
            | Action::SetBalloon(_)
            | Action::SetEntropy(_)
            | Action::SetHotMemory(_)
            | Action::SetLog(_)
            | Action::SetMetrics(_)
            | Action::LoadSnapshot(_)
            | Action::BeBorn(_)
            | Action::Arrive(_)
            | Action::Start => &[Configuring],
            Action::CreateSnapshot(_) => &[Paused],
            Action::SetDisk(_)
            | Action::SetNic(_)
            | Action::SetPmem(_)
            | Action::OfBalloon(BalloonAsk::Describe)
            | Action::ShowMemory => &[Configuring, Running, Paused],
            Action::Pause
            | Action::Fork(_)
            | Action::Migrate(_)
            | Action::StopMigration
            | Action::OfBalloon(_)
            | Action::OfHotMemory(_)
            | Action::LimitPmem(..)
            | Action::Resume
            | Action::Reset
            | Action::PressCtrlAltDel
            | Action::FlushMetrics
            | Action::OfDisk(..)
            | Action::OfNic(..)
            | Action::Unplug(..)
            | Action::ShowDevices
            | Action::ShowVsock => &[Running, Paused],
            Action::PressPowerButton => &[Running],
            Action::Kill
            | Action::ShowDisks(_)
            | Action::Describe
            | Action::ShowConfig
            | Action::ShowFigures
            | Action::OfMetadata(_) => &[Configuring, Running, Paused],
        };
        if states.contains(&state) {
            return Ok(());
        }
        let why = match state {
            Configuring => "the machine is not started",
            Running => "the machine is running",
            Paused => "the machine is paused",
            Stopped => "the machine has stopped",
        };
        Err(ActionError::NotNow { action: self.name(), why, state })
    }
}

/// What becomes of an action.
pub type Outcome = Result<Reply, ActionError>;

/// Who waits for an outcome: called once, on the main thread, where it must not wait in turn.
pub type Waiting = Box<dyn FnOnce(Outcome) + Send>;

/// An action, and who waits for its outcome.
pub struct Call {
    /// What to do.
    pub action: Action,
    /// Takes the outcome.
    pub reply: Waiting,
}

/// Where other threads leave calls for the main thread. Each client has at most one in it, so it is
/// bounded by their number.
pub struct Mailbox {
    calls: Mutex<Option<VecDeque<Call>>>,
    event: EventFd,
}

impl Mailbox {
    /// An empty mailbox. Fails if the host has no eventfd left.
    pub fn new() -> io::Result<Arc<Mailbox>> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Arc::new(Mailbox { calls: Mutex::new(Some(VecDeque::new())), event }))
    }

    /// Leaves a call; it is answered at once if nobody takes calls any more.
    pub fn put(&self, call: Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match calls.as_mut() {
            Some(calls) => {
                calls.push_back(call);
                // It can fail only if full, and then it is readable.
                let _ = self.event.write(1);
            }
            None => {
                drop(calls);
                (call.reply)(Err(ActionError::Ending));
            }
        }
    }

    /// All calls that are there now, the oldest first. Those that come meanwhile are left for later,
    /// so that who takes them has time for other things.
    pub fn take(&self) -> VecDeque<Call> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Readable when there may be calls.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Takes no more calls, and refuses those that wait.
    pub fn close(&self) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        for call in calls.into_iter().flatten() {
            (call.reply)(Err(ActionError::Ending));
        }
    }
}

#[cfg(test)]
#[path = "action_test.rs"]
mod tests;
