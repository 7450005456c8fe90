//! The admin half of the controller: its queue, what it is asked there, and the events that it tells.
//!
//! All of it happens on the vCPU that rang a doorbell or on the attendant's thread, under the
//! controller's lock.

pub mod aborts;
mod commands;
pub mod events;
mod features;
mod identify;
mod logs;
pub mod queue;
pub mod queues;
pub mod settings;
pub mod statistics;
