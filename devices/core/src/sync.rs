//! The atomics of the lock-free parts; the models in `tests/loom.rs` put loom's in their place.

pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
