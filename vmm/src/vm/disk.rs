//! What can be asked of a disk while its machine lives.

use device_core::files::Files;
use devices::block::control::{ChangeError, DiskControl, Inspection, NoSuchFault};
use devices::block::image::Source;
use devices::block::spec::{DiskSpec, Fault};
use serde::Serialize;

use super::patch::DiskPatch;

/// One thing to ask.
#[derive(Debug)]
pub enum DiskAsk {
    /// Looks at the image's size again.
    Refresh,
    Change(DiskPatch),
    Inject(Fault),
    ClearFaults,
}

/// What a disk answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum DiskReply {
    Done,
    Size {
        /// Bytes that the guest sees now.
        size: u64,
    },
}

/// A disk as it was asked for, and as it is once its machine lives.
#[derive(Debug)]
pub struct DiskView {
    pub spec: DiskSpec,
    pub state: Option<Inspection>,
}

/// Why a disk did not do something. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("image")]
    Change(#[from] ChangeError),
    #[error("fault")]
    Fault(#[from] NoSuchFault),
}

/// Asks the disk, for which `files` opens images. Fails if it cannot do it.
pub fn answer(
    disk: &dyn DiskControl,
    ask: DiskAsk,
    files: &dyn Files,
) -> Result<DiskReply, DiskError> {
    match ask {
        DiskAsk::Refresh => return Ok(DiskReply::Size { size: disk.refresh()? }),
        DiskAsk::Change(patch) => {
            if let Some(path) = &patch.path {
                disk.replace(&Source { path, bases: &patch.bases }, files)?;
            }
            disk.limit(&patch.limits.apply(&disk.allowed()));
        }
        DiskAsk::Inject(fault) => disk.inject(fault)?,
        DiskAsk::ClearFaults => disk.clear_faults(),
    }
    Ok(DiskReply::Done)
}
