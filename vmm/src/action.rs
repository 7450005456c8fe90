//! The control surface: what can be asked of a machine, in which state, and what comes back.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arch::template::Template;
use devices::Kind;
use devices::balloon::BalloonSpec;
use devices::block::spec::DiskSpec;
use devices::legacy::{ConsoleSpec, KeyboardNotReady};
use devices::memory::HotMemorySpec;
use devices::net::spec::NicSpec;
use devices::pmem::PmemSpec;
use devices::vsock::{self, VsockSpec, VsockView};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::fork::child::Newborn;
use crate::fork::error::ForkError;
use crate::fork::spec::ForkSpec;
use crate::fork::view::Forked;
use crate::migration::error::{MigrateError, ReceiveError};
use crate::migration::incoming::Arrival;
use crate::migration::spec::MigrateSpec;
use crate::migration::view::Migrated;
use crate::observe::logger::{LogError, LogSpec};
use crate::observe::metrics::Figures;
use crate::observe::output::OutputError;
use crate::shield;
use crate::snapshot::error::{CreateError, LoadError};
use crate::snapshot::spec::{CreateSpec, LoadSpec};
use crate::vm::balloon::{BalloonAsk, BalloonError, BalloonReply};
use crate::vm::build::{BootError, BuildError};
use crate::vm::config::{Config, DiskRefused, EntropyWish, ImageRefused, VsockRefused};
use crate::vm::disk::{DiskAsk, DiskError, DiskReply, DiskView};
use crate::vm::hot_memory::{HotMemoryAsk, HotMemoryError, HotMemoryView};
use crate::vm::hotplug::{DeviceView, PlugError, UnplugError};
use crate::vm::memory_report::MemoryReport;
use crate::vm::metadata::{MetadataAsk, MetadataError, MetadataSpec};
use crate::vm::nic::{NicAsk, NicError, NicReply};
use crate::vm::patch::MachinePatch;
use crate::vm::pmem::PmemPatch;
use crate::vm::seed::{SeedDiskError, SeedSpec};
use crate::vm::spec::{BootSpec, MachineSpec, SettingError};
use crate::vm::state::State;
use crate::words::Setting;

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

/// Whose fault it is that something was not done; decides HTTP status and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense, whatever the state.
    Invalid,
    /// It names something that is not there.
    NotFound,
    /// It makes sense, but not now.
    NotNow,
    /// It is more than there is room for.
    TooLarge,
    /// The host or the VMM failed.
    Host,
}

/// Why an action was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Image(ImageRefused),
    #[error(transparent)]
    Seed(#[from] SeedDiskError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{action} is not possible: {why}")]
    NotNow { action: &'static str, why: &'static str, state: State },
    #[error(transparent)]
    Metrics(#[from] OutputError),
    #[error("flushing metrics is not possible: no file for them was given")]
    NoMetrics,
    #[error("there is nothing to boot; say which kernel first")]
    NoKernel,
    #[error(transparent)]
    Build(Box<BuildError>),
    #[error("Ctrl-Alt-Del is not possible")]
    Keyboard(#[from] KeyboardNotReady),
    #[error("there is no disk {0:?}")]
    NoSuchDisk(String),
    #[error("disk {id:?}")]
    Disk { id: String, source: DiskError },
    #[error("there is no network card {0:?}")]
    NoSuchNic(String),
    #[error("network card {id:?}")]
    Nic { id: String, source: NicError },
    #[error(transparent)]
    Vsock(#[from] vsock::OpenError),
    #[error("the machine has no vsock")]
    NoVsock,
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("there is no persistent memory {0:?}")]
    NoSuchPmem(String),
    /// It is about this device.
    #[error(transparent)]
    Plug(#[from] Box<Refusal<PlugError>>),
    #[error(transparent)]
    Unplug(#[from] Box<Refusal<UnplugError>>),
    #[error("balloon")]
    Balloon(#[from] BalloonError),
    #[error("memory")]
    HotMemory(#[from] HotMemoryError),
    #[error(transparent)]
    Create(Box<CreateError>),
    #[error(transparent)]
    Load(Box<LoadError>),
    #[error(transparent)]
    Fork(Box<ForkError>),
    #[error(transparent)]
    Migrate(Box<MigrateError>),
    #[error(transparent)]
    Receive(Box<ReceiveError>),
    #[error(
        "loading a snapshot is not possible: a machine has been configured; load it first of all"
    )]
    NotFresh,
    #[error("the VMM is ending")]
    Ending,
}

/// Why something was not done with a device, and with which.
#[derive(Debug)]
pub struct Refusal<E> {
    pub kind: Kind,
    pub id: String,
    pub why: E,
}

/// The reason; who tells it knows what he calls the device.
impl<E: fmt::Display> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<E: Error> Error for Refusal<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why.source()
    }
}

impl ActionError {
    /// What it is about, if that is something that a user set.
    pub fn setting(&self) -> Option<Setting> {
        match self {
            ActionError::Setting(error) => Some(error.setting()),
            ActionError::Image(error) => Some(error.setting()),
            ActionError::Seed(_) => Some(Setting::CloudInit),
            ActionError::Boot(error) => Some(error.setting()),
            ActionError::Log(_) => Some(Setting::LogFile),
            ActionError::Metrics(_) => Some(Setting::MetricsFile),
            ActionError::Vsock(_) => Some(Setting::Vsock(Some(vsock::Key::Path))),
            ActionError::Build(error) => error.setting(),
            ActionError::Plug(refusal) => Some(Setting::of_device(refusal.kind, &refusal.id)),
            ActionError::Unplug(refusal) => Some(Setting::of_device(refusal.kind, &refusal.id)),
            ActionError::Metadata(MetadataError::Imds(_) | MetadataError::ImdsTooLarge) => {
                Some(Setting::Imds)
            }
            _ => None,
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // By the cause, wherever it struck.
            error if is_of_host(error) => ErrorKind::Host,
            ActionError::Setting(_)
            | ActionError::Boot(_)
            | ActionError::Log(_)
            | ActionError::Metrics(_)
            | ActionError::Image(_)
            | ActionError::Seed(_)
            | ActionError::Vsock(_)
            | ActionError::Disk { .. }
            | ActionError::Nic { .. }
            | ActionError::Plug(_) => ErrorKind::Invalid,
            ActionError::Unplug(refusal) => match refusal.why {
                UnplugError::NoSuch => ErrorKind::NotFound,
                _ => ErrorKind::NotNow,
            },
            ActionError::NoSuchDisk(_)
            | ActionError::NoSuchNic(_)
            | ActionError::NoSuchPmem(_)
            | ActionError::NoVsock
            | ActionError::Balloon(BalloonError::None)
            | ActionError::HotMemory(HotMemoryError::None) => ErrorKind::NotFound,
            ActionError::Metadata(MetadataError::TooLarge(_)) => ErrorKind::TooLarge,
            ActionError::Metadata(MetadataError::Random(_)) => ErrorKind::Host,
            ActionError::Metadata(_) | ActionError::Balloon(_) => ErrorKind::Invalid,
            ActionError::HotMemory(_) => ErrorKind::Invalid,
            ActionError::Create(_) | ActionError::Load(_) => ErrorKind::Invalid,
            ActionError::Fork(error) => match **error {
                ForkError::NoZygote => ErrorKind::NotNow,
                ForkError::Memory(_) | ForkError::Seed(_) | ForkError::Gone(_) => ErrorKind::Host,
                _ => ErrorKind::Invalid,
            },
            ActionError::Migrate(error) => match **error {
                MigrateError::Tracking(_)
                | MigrateError::Memory(_)
                | MigrateError::Seed(_)
                | MigrateError::Tls(_) => ErrorKind::Host,
                _ => ErrorKind::Invalid,
            },
            ActionError::Receive(_) => ErrorKind::Invalid,
            ActionError::NotNow { .. }
            | ActionError::NotFresh
            | ActionError::NoMetrics
            | ActionError::NoKernel
            | ActionError::Keyboard(_)
            | ActionError::Ending => ErrorKind::NotNow,
            ActionError::Build(error) if error.is_usage() => ErrorKind::Invalid,
            ActionError::Build(_) => ErrorKind::Host,
        }
    }
}

/// What a host is out of, or cannot do, whatever it was asked for.
const HOST_FAILURES: [i32; 9] = [
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
    libc::ENOBUFS,
    libc::EAGAIN,
    libc::EIO,
    libc::ENOSPC,
    libc::EDQUOT,
    libc::ENOLCK,
];

/// Whether the error's cause is a host that has too little, or is broken: other arguments would not help.
pub fn is_of_host(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if errno.is_some_and(|errno| HOST_FAILURES.contains(&errno)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The reasons for which a disk is refused are those of settings, and those of its image.
impl From<DiskRefused> for ActionError {
    fn from(refused: DiskRefused) -> ActionError {
        match refused {
            DiskRefused::Setting(error) => ActionError::Setting(error),
            DiskRefused::Image(error) => ActionError::Image(error),
        }
    }
}

impl From<CreateError> for ActionError {
    fn from(error: CreateError) -> ActionError {
        ActionError::Create(Box::new(error))
    }
}

impl From<LoadError> for ActionError {
    fn from(error: LoadError) -> ActionError {
        ActionError::Load(Box::new(error))
    }
}

impl From<MigrateError> for ActionError {
    fn from(error: MigrateError) -> ActionError {
        ActionError::Migrate(Box::new(error))
    }
}

impl From<ReceiveError> for ActionError {
    fn from(error: ReceiveError) -> ActionError {
        ActionError::Receive(Box::new(error))
    }
}

impl From<ForkError> for ActionError {
    fn from(error: ForkError) -> ActionError {
        ActionError::Fork(Box::new(error))
    }
}

/// The reasons for which a vsock is refused are those of settings, and those of its socket.
impl From<VsockRefused> for ActionError {
    fn from(refused: VsockRefused) -> ActionError {
        match refused {
            VsockRefused::Setting(error) => ActionError::Setting(error),
            VsockRefused::Open(error) => ActionError::Vsock(error),
        }
    }
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

/// An action and the way back of its outcome, which is called on the main thread and must not wait.
pub struct Call {
    /// What to do.
    pub action: Action,
    /// Takes the outcome.
    pub reply: Box<dyn FnOnce(Outcome) + Send>,
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
