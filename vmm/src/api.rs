//! The API: HTTP over a Unix socket, on a thread of its own that reaches the machine by mail only.

pub mod connection;
#[cfg(test)]
mod openapi;
pub mod routes;
pub mod server;
pub mod socket;

pub use server::Api;
