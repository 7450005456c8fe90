//! vCPUs: one thread each, which enters the guest, answers its accesses, and can be parked.

pub mod run;
pub mod thread;
