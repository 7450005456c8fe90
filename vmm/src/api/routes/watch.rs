//! Requests of those who watch a machine: console, log, figures, events.

use super::route::{Answer, Asked, Route, Verb, done};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::watch::{Logger, Metrics, Serial};
use crate::observe::openmetrics;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Put,
        path: "/serial",
        about: "Sets where the serial console goes, before the start.",
        body: Some("Serial"),
        answer: None,
        read: |_, body| {
            Ok(Asked::Act(Action::SetSerial(dialect::read::<Serial>(body)?.try_into()?)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/logger",
        about: "Changes the VMM's log, before the start.",
        body: Some("Logger"),
        answer: None,
        read: |_, body| Ok(Asked::Act(Action::SetLog(dialect::read::<Logger>(body)?.try_into()?))),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/metrics",
        about: "Sets the file for metrics, before the start.",
        body: Some("Metrics"),
        answer: None,
        read: |_, body| {
            let path = dialect::read::<Metrics>(body)?.metrics_path;
            Ok(Asked::Act(Action::SetMetrics(path)))
        },
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/metrics",
        about: "Tells all figures as OpenMetrics text.",
        body: None,
        answer: Some("Exposition"),
        read: |_, _| Ok(Asked::Act(Action::ShowFigures)),
        show: |reply| match reply {
            Reply::Figures(instance, figures) => {
                let state = instance.state.to_string();
                let text = openmetrics::text(&instance.id, &state, *figures).ok()?;
                Some(Answer::Text(openmetrics::CONTENT_TYPE, text))
            }
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/events",
        about: "Follows what happens to the machine: one JSON object a line, until it ends.",
        body: None,
        answer: Some("Event"),
        read: |_, _| Ok(Asked::Act(Action::Describe)),
        show: |reply| match reply {
            Reply::Instance(instance) => Some(Answer::Events(instance.state.to_string())),
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/openapi.json",
        about: "Tells this description.",
        body: None,
        answer: Some("OpenApi"),
        read: |_, _| Ok(Asked::Show(Answer::Json(OPENAPI.to_string()))),
        show: |_| None,
    },
];

/// The API's description, as printed from the table.
pub const OPENAPI: &str = include_str!("../../../../resources/openapi.json");
