//! One row: how a request is read, and how its reply is shown.

use std::fmt;

use devices::Kind;
use serde::Serialize;

use crate::action::{Action, Instance, Reply};
use crate::dialect::BodyError;

/// What to do for a request.
pub enum Asked {
    /// To be done by the main thread.
    Act(Action),
    /// The same whatever the machine does.
    Show(Answer),
}

/// What a client gets if all is well.
pub enum Answer {
    /// 204.
    Done,
    /// 200 with this JSON.
    Json(String),
    /// 200 with text of another kind.
    Text(&'static str, String),
    /// 200 and lines without end; the first tells this state.
    Events(String),
    /// 200 with all settings.
    Config(serde_json::Value),
    /// 200 with name and state of the machine, and what serves it.
    Instance(Instance),
}

/// Why there is nothing to do for a request.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("there is no resource {0}")]
    NoResource(String),
    #[error("{method} is not possible on {path}; {known} is")]
    Method { method: String, path: String, known: String },
    #[error("{path} takes no query")]
    Query { path: String },
    #[error("a {method} has no body")]
    UnwantedBody { method: Verb },
    #[error("the body is missing")]
    NoBody,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the machine gave an answer to another question")]
    WrongReply,
}

/// Methods of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Patch,
    Post,
    Delete,
}

impl Verb {
    /// As in a request.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One request: how it is read, and how its reply is shown.
#[cfg_attr(not(test), expect(dead_code, reason = "some of it is for the description alone"))]
pub struct Route {
    pub verb: Verb,
    /// `{id}` stands for one part of the path.
    pub path: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// Name of the body's schema; a request without one has no body.
    pub body: Option<&'static str>,
    /// Name of the answer's schema; a request without one is answered with 204.
    pub answer: Option<&'static str>,
    pub read: fn(&str, &[u8]) -> Result<Asked, Refused>,
    pub show: fn(Reply) -> Option<Answer>,
}

/// Requests whose body may be left out.
const WITHOUT_BODY: [&str; 2] = ["/balloon/hinting/start", "/balloon/hinting/stop"];

impl Route {
    /// Whether its body may be left out.
    pub fn may_lack_body(&self) -> bool {
        WITHOUT_BODY.contains(&self.path)
    }
}

/// Unplugs a device.
pub fn unplug(kind: Kind, id: &str) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::Unplug(kind, id.to_string())))
}

/// Nothing more is to be said.
pub fn done(reply: Reply) -> Option<Answer> {
    matches!(reply, Reply::Done).then_some(Answer::Done)
}

/// `value` as JSON.
pub fn json_of(value: &impl Serialize) -> Option<Answer> {
    serde_json::to_string(value).ok().map(Answer::Json)
}
