//! TLS 1.3 over the connection that carries a machine: both ends show a certificate, and each looks at the other's.
//!
//! Bytes alone are here: who has the socket waits for it. Sessions are not resumed and no data goes before both ends know
//! each other, so that nothing that was recorded can be sent again.

pub mod credentials;
pub mod files;
pub mod session;
#[cfg(test)]
pub mod testing;
pub mod trouble;
