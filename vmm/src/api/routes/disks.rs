//! Requests about disks and persistent memory.

use devices::Kind;
use serde_json::Value;

use super::route::{Answer, Asked, Refused, Route, Verb, done, json_of, unplug};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::drives::{self, DiskFaultBody, Drive, DrivePatch};
use crate::dialect::pmem::{Pmem, PmemPatchBody};
use crate::vm::disk::DiskAsk;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/drives",
        about: "Tells all about each disk.",
        body: None,
        answer: Some("DiskInspections"),
        read: |_, _| Ok(Asked::Act(Action::ShowDisks(None))),
        show: |reply| json_of(&shown_disks(reply)?),
    },
    Route {
        verb: Verb::Put,
        path: "/drives/{id}",
        about: "Adds a disk, or replaces the one with this id, before the start; later plugs one in. The image must be there.",
        body: Some("Drive"),
        answer: None,
        read: |id, body| {
            let disk = dialect::read::<Drive>(body)?.into_spec(id)?;
            Ok(Asked::Act(Action::SetDisk(Box::new(disk))))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/drives/{id}",
        about: "Gives a disk another image or other limits, while the machine runs or is paused.",
        body: Some("DrivePatch"),
        answer: None,
        read: |id, body| {
            let patch = dialect::read::<DrivePatch>(body)?.into_patch(id)?;
            of_disk(id, DiskAsk::Change(patch))
        },
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/drives/{id}",
        about: "Unplugs a disk from a machine that is started: the guest is asked, and this is answered when the disk is gone.",
        body: None,
        answer: None,
        read: |id, _| unplug(Kind::Disk, id),
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/drives/{id}",
        about: "Tells all about a disk: what was asked for and, once the machine is started, size, limits, requests in flight, counters.",
        body: None,
        answer: Some("DiskInspection"),
        read: |id, _| Ok(Asked::Act(Action::ShowDisks(Some(id.to_string())))),
        show: |reply| json_of(shown_disks(reply)?.first()?),
    },
    Route {
        verb: Verb::Post,
        path: "/drives/{id}/refresh",
        about: "Looks at the size of a disk's image again, and tells the guest if it has changed.",
        body: None,
        answer: Some("DiskSize"),
        read: |id, _| of_disk(id, DiskAsk::Refresh),
        show: disk,
    },
    Route {
        verb: Verb::Put,
        path: "/drives/{id}/faults",
        about: "Makes a disk go wrong, until that is cleared.",
        body: Some("DiskFaultBody"),
        answer: None,
        read: |id, body| of_disk(id, DiskAsk::Inject(dialect::read::<DiskFaultBody>(body)?.fault)),
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/drives/{id}/faults",
        about: "Lets a disk behave well again; what it had swallowed completes.",
        body: None,
        answer: None,
        read: |id, _| of_disk(id, DiskAsk::ClearFaults),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/pmem/{id}",
        about: "Adds persistent memory, or replaces that with this id, before the start; later plugs some in. The file must be there.",
        body: Some("Pmem"),
        answer: None,
        read: |id, body| {
            let pmem = dialect::read::<Pmem>(body)?.into_spec(id)?;
            Ok(Asked::Act(Action::SetPmem(Box::new(pmem))))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/pmem/{id}",
        about: "Changes the limits of persistent memory, while the machine runs or is paused.",
        body: Some("PmemPatch"),
        answer: None,
        read: |id, body| {
            let patch = dialect::read::<PmemPatchBody>(body)?.into_patch(id)?;
            Ok(Asked::Act(Action::LimitPmem(id.to_string(), patch)))
        },
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/pmem/{id}",
        about: "Unplugs persistent memory from a machine that is started: the guest is asked, and this is answered when it is gone.",
        body: None,
        answer: None,
        read: |id, _| unplug(Kind::Pmem, id),
        show: done,
    },
];

fn of_disk(id: &str, ask: DiskAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfDisk(id.to_string(), Box::new(ask))))
}

fn shown_disks(reply: Reply) -> Option<Vec<Value>> {
    let Reply::Disks(disks) = reply else { return None };
    disks.iter().map(|disk| drives::shown(disk).ok()).collect()
}

fn disk(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Disk(reply) => json_of(&reply),
        _ => None,
    }
}
