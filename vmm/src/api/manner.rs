//! What an API is like to its clients, whatever they ask for.

use hyper::{StatusCode, Uri};
use serde_json::Value;

use super::routes::Refused;
use crate::action::ActionError;

/// How requests are told apart, and answered.
#[derive(Clone, Copy)]
pub struct ApiManner {
    /// Name of the thread that serves.
    pub thread: &'static str,
    /// What the header `Server` says.
    pub server: &'static str,
    /// What `GET /` says that it talks to, and its version.
    pub app_name: &'static str,
    pub version: &'static str,
    /// What a client gets whose request the host could not do.
    pub host_failed: StatusCode,
    /// What a client gets whose body is too large.
    pub too_large: StatusCode,
    /// Whether each request and its answer is logged, not only those that are refused.
    pub tells_requests: bool,
    /// The resource that is meant by an address.
    pub resource: fn(Uri) -> Uri,
    /// How the settings of a machine are shown.
    pub config: fn(Value) -> Value,
    /// The message to a client who asked, by this method and path, for what cannot be.
    pub refused: fn(&str, &str, &Refused) -> String,
    /// The same where the machine would not do it; `None` if that is as well as done.
    pub failed: fn(&str, &str, &ActionError) -> Option<String>,
}
