//! Requests about a machine that goes on in another process.

use super::route::{Asked, Route, Verb, done, json_of};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::migration::Migration;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Put,
        path: "/migration",
        about: "Has the machine go on in another process, on this host or another; answered when it does, and the VMM ends.                 If it fails the machine goes on here.",
        body: Some("Migration"),
        answer: Some("Migrated"),
        read: |_, body| {
            let spec = dialect::read::<Migration>(body)?.try_into()?;
            Ok(Asked::Act(Action::Migrate(spec)))
        },
        show: |reply| match reply {
            Reply::Migrated(migrated) => json_of(&*migrated),
            _ => None,
        },
    },
    Route {
        verb: Verb::Delete,
        path: "/migration",
        about: "Has the machine stay that is being migrated.",
        body: None,
        answer: None,
        read: |_, _| Ok(Asked::Act(Action::StopMigration)),
        show: done,
    },
];
