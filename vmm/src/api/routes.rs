//! Every request there is: rows that serve them, and that the API's description is printed from.

mod disks;
mod forks;
mod guest;
mod machine;
mod memory;
mod migrations;
mod nics;
mod route;
mod snapshots;
mod watch;

use hyper::{Method, Uri};

use crate::action::Reply;
#[cfg(test)]
pub use guest::HintingStop;
#[cfg(test)]
pub use machine::{ActionBody, VmPatch};
pub use machine::{DIALECT, InstanceInfo};
pub use route::{Answer, Asked, Refused, Route};
#[cfg(test)]
pub use watch::OPENAPI;

/// All rows, by what they are about.
const TABLES: [&[Route]; 9] = [
    machine::ROUTES,
    disks::ROUTES,
    nics::ROUTES,
    guest::ROUTES,
    memory::ROUTES,
    watch::ROUTES,
    snapshots::ROUTES,
    forks::ROUTES,
    migrations::ROUTES,
];

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Route> {
    TABLES.into_iter().flatten()
}

/// A row of the table that fits a request, and what its path named.
pub struct Found {
    route: &'static Route,
    id: String,
}

impl Found {
    /// Method and path of the row.
    pub fn kind(&self) -> (&'static str, &'static str) {
        (self.route.verb.name(), self.route.path)
    }

    /// What the request asks for.
    pub fn read(&self, body: &[u8]) -> Result<Asked, Refused> {
        match self.route.body {
            None if !body.is_empty() => {
                return Err(Refused::UnwantedBody { method: self.route.verb });
            }
            Some(_) if body.is_empty() && !self.route.may_lack_body() => {
                return Err(Refused::NoBody);
            }
            _ => {}
        }
        (self.route.read)(&self.id, body)
    }

    /// What its client gets.
    pub fn show(&self, reply: Reply) -> Result<Answer, Refused> {
        (self.route.show)(reply).ok_or(Refused::WrongReply)
    }
}

/// Finds the row for a request.
pub fn find(method: &Method, uri: &Uri) -> Result<Found, Refused> {
    let path = uri.path();
    let shown = || shorten(path);
    if uri.query().is_some() {
        return Err(Refused::Query { path: shown() });
    }
    let fits = || all().filter_map(|route| Some((route, matching(route.path, path)?)));
    let mut known = Vec::new();
    for (route, id) in fits() {
        if method.as_str() == route.verb.to_string() {
            return Ok(Found { route, id: id.to_string() });
        }
        known.push(route.verb.to_string());
    }
    if !known.is_empty() {
        let method = shorten(method.as_str());
        return Err(Refused::Method { method, path: shown(), known: known.join(" or ") });
    }
    Err(Refused::NoResource(shown()))
}

/// What stands in `path` for `{id}` of the `pattern`, which it fits; empty without one.
fn matching<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (mut id, mut parts) = ("", path.split('/'));
    for wanted in pattern.split('/') {
        match (wanted, parts.next()?) {
            ("{id}", "") => return None,
            ("{id}", given) => id = given,
            (wanted, given) if wanted == given => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(id)
}

/// Text of a client, as much of it as fits a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
#[path = "routes_test.rs"]
mod tests;
