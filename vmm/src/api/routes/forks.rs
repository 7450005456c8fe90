//! Requests about children of a machine.

use super::route::{Asked, Route, Verb, json_of};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::fork::Fork;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[Route {
    verb: Verb::Put,
    path: "/fork",
    about: "Starts machines that go on as this one is at the moment, each in a process of its own; all, or none.",
    body: Some("Fork"),
    answer: Some("Forked"),
    read: |_, body| {
        Ok(Asked::Act(Action::Fork(Box::new(dialect::read::<Fork>(body)?.try_into()?))))
    },
    show: |reply| match reply {
        Reply::Forked(forked) => json_of(&*forked),
        _ => None,
    },
}];
