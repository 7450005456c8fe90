//! PC board devices: serial port and its console, keyboard controller, clock, power registers, generation id.
//!
//! Each is a register file on ports, driven by one byte at a time; what it does to the machine goes
//! through an [`IrqLine`](device_core::interrupt::IrqLine) or [`BoardEvents`].

#![deny(unsafe_code)] // allowed in `console/tty.rs` alone
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

pub mod absent;
pub mod console;
pub mod generation;
pub mod i8042;
mod line;
mod ports;
pub mod power;
pub mod rtc;
pub mod serial;
#[cfg(test)]
mod testing;

pub use absent::Absent;
pub use console::{
    Console, ConsoleSpec, Escape, Key as TypedKey, OpenConsole, OpenConsoleError,
    ParseConsoleError, RawMode, restore_terminal,
};
pub use generation::{Generation, NoRoom, Places};
pub use i8042::{I8042, KeyboardNotReady};
pub use line::Line;
pub use power::{BoardEvents, PowerButton, PowerFacts, PowerRegisters, ResetControl};
pub use rtc::Rtc;
pub use serial::Serial;
