//! The control half: admin queue, features, queues, events, statistics (specification 4 to 6, 9).

mod buffer;
pub(crate) mod commands;
pub(crate) mod events;
pub(crate) mod features;
pub(crate) mod llq;
pub(crate) mod queue;
pub(crate) mod queues;
pub(crate) mod rss;
pub(crate) mod stats;
