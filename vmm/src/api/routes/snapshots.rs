//! Requests about snapshots.

use super::route::{Asked, Route, Verb, done};
use crate::action::Action;
use crate::dialect;
use crate::dialect::snapshot::{SnapshotCreate, SnapshotLoad};

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Put,
        path: "/snapshot/create",
        about: "Writes state and memory of the machine, which is paused and stays so, to files.",
        body: Some("SnapshotCreate"),
        answer: None,
        read: |_, body| {
            let spec = dialect::read::<SnapshotCreate>(body)?.into();
            Ok(Asked::Act(Action::CreateSnapshot(spec)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/snapshot/load",
        about: "Makes the machine from a snapshot, before anything else is set; if that fails, the VMM ends.",
        body: Some("SnapshotLoad"),
        answer: None,
        read: |_, body| {
            let spec = dialect::read::<SnapshotLoad>(body)?.try_into()?;
            Ok(Asked::Act(Action::LoadSnapshot(Box::new(spec))))
        },
        show: done,
    },
];
