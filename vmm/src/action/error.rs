//! Why something was not done that was asked of a machine, and whose fault that is.

use std::error::Error;
use std::{fmt, io};

use devices::Kind;
use devices::legacy::KeyboardNotReady;
use devices::vsock;

use crate::fork::error::ForkError;
use crate::migration::error::{MigrateError, ReceiveError};
use crate::observe::logger::LogError;
use crate::observe::output::OutputError;
use crate::snapshot::error::{CreateError, LoadError};
use crate::vm::balloon::BalloonError;
use crate::vm::build::{BootError, BuildError};
use crate::vm::config::{DiskRefused, ImageRefused, VsockRefused};
use crate::vm::disk::DiskError;
use crate::vm::hot_memory::HotMemoryError;
use crate::vm::hotplug::{PlugError, UnplugError};
use crate::vm::metadata::MetadataError;
use crate::vm::nic::NicError;
use crate::vm::seed::SeedDiskError;
use crate::vm::spec::SettingError;
use crate::vm::state::State;
use crate::words::Setting;

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
