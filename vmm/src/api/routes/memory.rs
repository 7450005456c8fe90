//! Requests about memory that is plugged while the machine runs.

use super::route::{Asked, Route, Verb, done, json_of};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::hot_memory::{self, MemoryHotplug, MemoryHotplugPatch};
use crate::vm::hot_memory::HotMemoryAsk;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Put,
        path: "/hotplug/memory",
        about: "Sets how much memory can be plugged while the machine runs, before the start.",
        body: Some("MemoryHotplug"),
        answer: None,
        read: |_, body| {
            Ok(Asked::Act(Action::SetHotMemory(dialect::read::<MemoryHotplug>(body)?.into())))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/hotplug/memory",
        about: "Changes how much of it the guest is to have, while the machine runs or is paused.",
        body: Some("MemoryHotplugPatch"),
        answer: None,
        read: |_, body| {
            let wanted = dialect::read::<MemoryHotplugPatch>(body)?.requested_size_mib;
            Ok(Asked::Act(Action::OfHotMemory(HotMemoryAsk::Request(wanted))))
        },
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/hotplug/memory",
        about: "Tells how much of it the guest is to have, and has.",
        body: None,
        answer: Some("MemoryHotplugStatus"),
        read: |_, _| Ok(Asked::Act(Action::OfHotMemory(HotMemoryAsk::Describe))),
        show: |reply| match reply {
            Reply::HotMemory(view) => json_of(&hot_memory::shown(&view)),
            _ => None,
        },
    },
];
