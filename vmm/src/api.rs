//! The API: HTTP over a Unix socket, on a thread of its own that reaches the machine by mail only.

#[cfg(any(test, feature = "testing"))]
pub mod by_hand;
pub mod connection;
pub mod manner;
#[cfg(test)]
mod openapi;
mod refusals;
pub mod routes;
pub mod server;
pub mod socket;

pub use server::{Api, Service};
