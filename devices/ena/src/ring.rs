//! The data half of the card: I/O queues as the packet path's rings (specification section 7).
//!
//! The admin half checks a CREATE command, makes a [`TxConfig`] or [`RxConfig`] of it and plugs the
//! [`Tx`] or [`Rx`] into the port; from then on the two share only the [`SqDoorbell`] and the
//! [`Vector`].
//!
//! ```text
//! doorbell ──► Tx::next ──► frame          frame ──► Rx::deliver ──► buffers
//!              descriptor, llq, offload                             completion
//!              completion ◄── Tx::complete          completion ──► Vector
//! ```

mod completion;
mod descriptor;
mod interrupt;
mod llq;
mod rx;
mod shared;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tx;

pub use crate::page::Page;
pub use crate::quiet::RxDoorbell;
pub use crate::stamp::Stamp;
pub use completion::CqConfig;
pub use interrupt::{DELAY_UNIT_US, Vector, VectorState};
pub use llq::{LlqPolicy, Stride};
pub use rx::saved::RxState;
pub use rx::{Rx, RxConfig};
pub use shared::{BadRing, Direction, FaultSink, MAX_BUFFERS, MAX_DEPTH, SqDoorbell};
pub use source::Placement;
pub use tx::saved::TxState;
pub use tx::{Tx, TxConfig};

#[cfg(test)]
#[path = "ring/hostile_test.rs"]
mod hostile_test;
