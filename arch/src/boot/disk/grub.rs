//! GRUB's configuration as far as it says what is booted: its language, and those of its commands that
//! lead to a kernel (GNU GRUB manual 2.12, chapters 6 and 16; `blscfg` as Fedora adds it).

mod block;
mod commands;
mod lexer;
mod menu;
mod parser;
mod script;
mod state;
mod test;

pub(crate) use script::boot;
pub(crate) use state::GrubError;
