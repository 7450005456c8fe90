//! Requests in the log, bounded in length, and those that are refused in number too, as any client can
//! cause them.

use std::time::Instant;

use device_core::guest_log::LogLimit;
use hyper::{Method, StatusCode, Uri};

/// Bytes of a method, a path and a message that are logged.
const METHOD: usize = 16;
const PATH: usize = 128;
const MESSAGE: usize = 512;
const BODY: usize = 2048;

/// Requests whose bodies are not logged.
const SECRETS: [&str; 2] = ["/mmds", "/cpu-config"];

/// All clients together share it.
static LIMIT: LogLimit = LogLimit::new();

/// Logs what was asked, and why it was not done. Of a body only what the message quotes of it is told.
pub fn tell(method: &Method, uri: &Uri, status: StatusCode, message: &str) {
    let asked = || format!("{} {}", shown(method.as_str(), METHOD), shown(uri.path(), PATH));
    tell_of(asked, status, message);
}

/// Logs that a client asks for something, in Firecracker's words.
pub fn tell_request(method: &Method, uri: &Uri, body: &[u8]) {
    let mut name = method.as_str().to_ascii_lowercase();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let (name, path) = (shown(&name, METHOD), shown(uri.path(), PATH));
    // Of some a body is nobody's business.
    let is_secret = SECRETS.iter().any(|secret| path.starts_with(secret));
    if body.is_empty() || is_secret {
        return tracing::info!("The API server received a {name} request on {path:?}.");
    }
    let body = shown(&String::from_utf8_lossy(body), BODY);
    tracing::info!("The API server received a {name} request on {path:?} with body {body:?}.");
}

/// Logs a field of a request that the dialect will lose.
pub fn tell_deprecated(method: &str, path: &str, field: &str) {
    static LIMIT: LogLimit = LogLimit::new();
    if LIMIT.admit(Instant::now()).is_some() {
        tracing::info!("API: {method} {path}: {field} is deprecated");
    }
}

/// Logs that it was done, in the same words.
pub fn tell_done(status: StatusCode) {
    tracing::info!("The request was executed successfully. Status code: {status}.");
}

/// The same where nobody knows what was asked, but by `whom` or how.
pub fn tell_unread(whom: &'static str, status: StatusCode, message: &str) {
    tell_of(|| whom.into(), status, message);
}

fn tell_of(asked: impl FnOnce() -> String, status: StatusCode, message: &str) {
    let Some(suppressed) = LIMIT.admit(Instant::now()) else { return };
    if suppressed > 0 {
        tracing::warn!("{suppressed} more refused requests of the API were not logged");
    }
    let (asked, message) = (asked(), shown(message, MESSAGE));
    tracing::warn!("API: {asked} is answered with {}: {message}", status.as_u16());
}

/// On one line without control characters, cut to `most` bytes.
fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let before = shown.len();
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
        if shown.len() > most {
            shown.truncate(before);
            shown.push_str("...");
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_one_short_line() {
        assert_eq!(shown("/vm", PATH), "/vm");
        assert_eq!(shown("a\n\u{1b}[2J\u{e4}", PATH), "a\\n\\u{1b}[2J\u{e4}");
        assert_eq!(shown(&"\u{e4}".repeat(1000), 5), "\u{e4}\u{e4}...");
        assert_eq!(shown("exact", 5), "exact");
    }
}
