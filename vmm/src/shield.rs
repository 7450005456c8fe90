//! What every run is shut in by before its guest runs; plans in [`table`], and small code that builds them.
//!
//! ```text
//!  begin        the process gains no rights and no code any more
//!    api        is shut in before it hears its first client
//!  build        files and devices are opened, threads start
//!  shut         each thread: no path is open to it (Landlock), then its filter of system calls; main last
//!  guest runs   what is named only now is opened by the broker, a process that was given folders
//! ```

pub mod broker;
mod descriptors;
mod filter;
pub mod groups;
mod install;
#[cfg(feature = "intruder")]
mod intruder;
mod landlock;
mod names;
pub mod nursery;
#[cfg(test)]
mod page;
#[cfg(feature = "recorder")]
pub mod recorder;
pub mod row;
#[cfg(test)]
mod seen;
mod table;
pub mod violation;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::{socket, thread};
use groups::Groups;
use libc::{SECCOMP_RET_LOG, SECCOMP_RET_TRAP};
use serde::Serialize;

pub use descriptors::Inherited;
use landlock::{REMOVE_FILE, Rules};
use row::Kind;

use crate::signals::me;

/// What becomes of a system call that is not in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is not made, and the process ends with an exit code of its own.
    #[default]
    Kill,
    /// It is made, and the kernel logs it.
    Log,
    /// It is made: there are no filters.
    Off,
}

/// Why the process cannot be shut in as asked.
#[derive(Debug, thiserror::Error)]
pub enum ShieldError {
    #[error(
        "this kernel takes no filters of system calls; start with --seccomp off, or --no-seccomp of firecracker, to do without"
    )]
    NoFilters(#[source] io::Error),
    #[error("this kernel gives rights away that a process wants to be without")]
    NoPrivileges(#[source] io::Error),
}

/// What holds, for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// What becomes of a system call that is not in the table.
    pub seccomp: Mode,
    /// Version of Landlock by which no path is open to threads; `None` where the kernel has none.
    pub landlock: Option<u8>,
}

/// What threads shut themselves in by.
pub struct Shield {
    state: State,
    /// For threads that need no path, until all are under them.
    rules: Mutex<Option<Rules>>,
    /// Where threads go, until all are there: none is to choose another for itself once the guest runs.
    groups: Mutex<Option<Groups>>,
    inherited: Inherited,
}

impl Shield {
    /// Prepares the process, which began with the descriptors `inherited`, before it has a second thread. Threads go into `groups`, if there
    /// are some. Fails if the kernel has no filters, and `mode` asks for some.
    pub fn begin(
        mode: Mode,
        inherited: Inherited,
        groups: Option<Groups>,
    ) -> Result<Arc<Shield>, ShieldError> {
        harden().map_err(ShieldError::NoPrivileges)?;
        if let Some(refusal) = mode.refusal() {
            install::can_filter(refusal).map_err(ShieldError::NoFilters)?;
            install::no_backtraces();
        }
        let rules = landlock::version().and_then(|abi| Ok((abi, Rules::new(abi)?)));
        let (landlock, rules) = match rules {
            Ok((abi, rules)) => (Some(abi), Some(rules)),
            Err(error) => {
                tracing::warn!(
                    "threads are kept from paths by filters alone: this kernel has no Landlock: {error}"
                );
                (None, None)
            }
        };
        let state = State { seccomp: mode, landlock };
        let (rules, groups) = (Mutex::new(rules), Mutex::new(groups));
        Ok(Arc::new(Shield { state, rules, groups, inherited }))
    }

    /// Shuts nothing in.
    #[cfg(test)]
    pub fn none() -> Arc<Shield> {
        let state = State { seccomp: Mode::Off, landlock: None };
        Arc::new(Shield {
            state,
            rules: Mutex::default(),
            groups: Mutex::default(),
            inherited: Inherited::default(),
        })
    }

    /// What holds for threads that are shut in.
    pub fn state(&self) -> State {
        self.state
    }

    /// Shuts the calling thread in, for good: it goes into its control group, opens nothing by a path, and makes no call that is not in the
    /// table for `kind`. Fails if the kernel refuses.
    pub fn shut(&self, kind: Kind) -> io::Result<()> {
        remember(kind);
        if let Some(groups) = &*self.groups.lock().unwrap_or_else(PoisonError::into_inner) {
            groups.join(kind)?;
        }
        if let Some(rules) = &*self.rules.lock().unwrap_or_else(PoisonError::into_inner) {
            rules.restrict()?;
        }
        self.filter(kind)
    }

    /// Whether the main thread stays as it is once the guest runs: then it can open what only comes later.
    pub fn leaves_main(&self) -> bool {
        self.state.seccomp == Mode::Off
    }

    /// Shuts the main thread in, after all others: it may remove the sockets of the process, and nothing else by
    /// a path. Closes descriptors that were inherited. Fails if the kernel refuses.
    pub fn shut_main(&self) -> io::Result<()> {
        remember(Kind::Main);
        self.inherited.close();
        if self.leaves_main() {
            return Ok(());
        }
        // What comes later is started by one that is in a group.
        drop(self.groups.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(mut rules) = self.rules.lock().unwrap_or_else(PoisonError::into_inner).take() {
            for folder in socket::folders() {
                rules.grant(File::open(folder)?.as_fd(), REMOVE_FILE)?;
            }
            rules.restrict()?;
        }
        let State { seccomp, landlock } = self.state;
        tracing::info!("shut in: system calls {seccomp}, Landlock {}", words(landlock));
        self.filter(Kind::Main)
    }

    fn filter(&self, kind: Kind) -> io::Result<()> {
        if let Some(refusal) = self.state.seccomp.refusal() {
            #[cfg(feature = "intruder")]
            let refusal = intruder::refusal(refusal);
            let pid = me::process().unsigned_abs();
            let mut program = filter::of_build(kind, pid, refusal);
            // It has no call to end by.
            thread::stay();
            install::filter(&mut program, refusal == SECCOMP_RET_LOG)?;
        }
        #[cfg(feature = "intruder")]
        intruder::act(kind);
        Ok(())
    }
}

/// What every process of a machine begins with, before it has a second thread: it gains no rights and no code any more,
/// and what is forked from it neither. Fails if the kernel refuses.
pub fn harden() -> io::Result<()> {
    install::one_heap();
    install::no_new_privileges()?;
    // Not every kernel has them.
    let _ = install::refuse_new_code();
    let _ = install::share_no_pages();
    Ok(())
}

/// What cannot be asked for any more: who the thread is, by handlers of signals, and random numbers, by the hash tables of those who have
/// some. Threads of devices that come later may not ask already.
fn remember(kind: Kind) {
    if matches!(kind, Kind::Main | Kind::Api | Kind::Builder) {
        drop(std::hash::RandomState::new());
    }
    violation::remember_name();
    me::remember();
}

fn words(landlock: Option<u8>) -> String {
    landlock.map_or("none".to_string(), |abi| format!("of version {abi}"))
}

impl Mode {
    /// What a filter answers to a call that is not in the table.
    fn refusal(self) -> Option<u32> {
        match self {
            Mode::Kill => Some(SECCOMP_RET_TRAP),
            Mode::Log => Some(SECCOMP_RET_LOG),
            Mode::Off => None,
        }
    }

    /// What users call them.
    pub const NAMES: [&str; 3] = ["kill", "log", "off"];

    /// The mode of that name.
    pub fn of_name(name: &str) -> Option<Mode> {
        match name {
            "kill" => Some(Mode::Kill),
            "log" => Some(Mode::Log),
            "off" => Some(Mode::Off),
            _ => None,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Kill => "kill",
            Mode::Log => "log",
            Mode::Off => "off",
        })
    }
}
