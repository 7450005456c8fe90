//! How a machine ends: the reasons, their exit codes and their one line for the user.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::vm::state::Event;

/// The exit code of a machine whose memory did not come.
pub const PAGES_LOST: u8 = 8;

/// Why the process ends, once a machine has been built.
#[derive(Debug)]
pub enum End {
    /// ACPI S5: the guest powered itself off.
    GuestOff,
    /// The user quit at the console.
    Quit,
    /// The user ended it by the API.
    Killed,
    /// The user reset it by the API.
    ResetByUser,
    /// The guest reset itself: reboot, or a kernel panic with `panic=-1`.
    GuestReset,
    TripleFault {
        cpu: u8,
        /// Unless the host's CPU lost it.
        rip: Option<u64>,
    },
    InternalError {
        cpu: u8,
        suberror: u32,
        rip: u64,
        instruction: Vec<u8>,
        hardware: bool,
    },
    FailedEntry {
        cpu: u8,
        reason: u64,
        host_cpu: u32,
        hardware: bool,
    },
    /// KVM_RUN itself failed, or ended in a way that nothing here enables.
    VcpuFailed {
        cpu: u8,
        source: io::Error,
    },
    /// There is no machine, as its snapshot could not be loaded.
    NotLoaded,
    /// A signal, and the guest did not power off in time.
    Signal(i32),
    /// Who brings pages of the guest's memory from elsewhere has ended, or brings none.
    Pager {
        /// Of its socket.
        path: PathBuf,
        why: String,
    },
    /// Pages of the guest's memory cannot be brought from its file.
    Pages {
        why: String,
    },
    /// The machine runs in another process.
    Migrated {
        /// As the user named it.
        destination: String,
    },
    /// The machine is another process's, which has not said that it runs there.
    Parted {
        /// As the user named it.
        destination: String,
    },
    /// Threads could not be shut in before the guest ran.
    NotShut {
        source: io::Error,
    },
}

impl End {
    /// What it means for the machine's state.
    pub fn event(&self) -> Event {
        match self {
            End::GuestOff => Event::GuestOff,
            End::GuestReset => Event::GuestReset,
            End::Quit
            | End::Killed
            | End::ResetByUser
            | End::NotLoaded
            | End::Migrated { .. }
            | End::Parted { .. }
            | End::Signal(_) => Event::Stop,
            End::TripleFault { .. }
            | End::InternalError { .. }
            | End::FailedEntry { .. }
            | End::VcpuFailed { .. }
            | End::Pager { .. }
            | End::Pages { .. }
            | End::NotShut { .. } => Event::Fault,
        }
    }

    /// Whether threads of the machine may wait for ever for their memory: then it is left as it is.
    pub fn has_lost_pages(&self) -> bool {
        matches!(self, End::Pager { .. } | End::Pages { .. })
    }

    /// The process's exit code; documented in the manual's page on booting.
    pub fn exit_code(&self) -> u8 {
        match self {
            End::GuestOff | End::Quit | End::Killed | End::Migrated { .. } => 0,
            End::VcpuFailed { .. } | End::NotShut { .. } => 1,
            End::GuestReset | End::ResetByUser => 3,
            End::TripleFault { .. } => 4,
            End::InternalError { .. } | End::FailedEntry { .. } => 5,
            End::NotLoaded => 7,
            End::Parted { .. } => 9,
            End::Pager { .. } | End::Pages { .. } => PAGES_LOST,
            End::Signal(number) => 128 + (*number as u8 & 0x7f),
        }
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It exits with this code.
    Exit(u8),
    /// It dies by this signal.
    DieBy(libc::c_int),
}

impl Leave {
    /// As a shell sees it.
    pub fn code(self) -> u8 {
        match self {
            Leave::Exit(code) => code,
            Leave::DieBy(signal) => 128 | (signal as u8 & 0x7f),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::GuestOff => write!(f, "the guest powered off"),
            End::Quit => write!(f, "stopped from the console"),
            End::Killed => write!(f, "killed by the API"),
            End::NotLoaded => write!(f, "the snapshot was not loaded"),
            End::ResetByUser => write!(f, "reset by the API"),
            End::GuestReset => write!(
                f,
                "the guest reset itself (a reboot, or a kernel panic with panic=-1; its console tells)"
            ),
            End::TripleFault { cpu, rip } => {
                write!(f, "vCPU {cpu} stopped by a triple fault")?;
                if let Some(rip) = rip {
                    write!(f, " at RIP {rip:#x}")?;
                }
                write!(f, ": the guest could not handle an exception")
            }
            End::InternalError { cpu, suberror, rip, instruction, hardware } => {
                write!(
                    f,
                    "vCPU {cpu} stopped by a KVM internal error: suberror {suberror} ({}), RIP {rip:#x}",
                    suberror_name(*suberror)
                )?;
                if !instruction.is_empty() {
                    write!(f, ", instruction bytes")?;
                    instruction.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
                }
                no_hardware(f, *hardware)
            }
            End::FailedEntry { cpu, reason, host_cpu, hardware } => {
                write!(
                    f,
                    "vCPU {cpu} could not enter the guest on host CPU {host_cpu}: hardware reason {reason:#x}"
                )?;
                no_hardware(f, *hardware)
            }
            End::VcpuFailed { cpu, source } => write!(f, "vCPU {cpu} cannot run: {source}"),
            End::Pager { path, why } => write!(f, "pager {}: {why}", path.display()),
            End::Pages { why } => write!(f, "pages of the guest's memory are lost: {why}"),
            End::Migrated { destination } => write!(f, "the machine goes on at {destination}"),
            End::Parted { destination } => write!(
                f,
                "the machine was handed over to {destination}, which has not said that it runs; it does not go on here"
            ),
            End::NotShut { source } => write!(
                f,
                "the host did not let threads be shut in before the guest runs: {source}; without filters (--seccomp off, or --no-seccomp of firecracker) it might"
            ),
            End::Signal(number) => {
                let name = match *number {
                    libc::SIGHUP => "SIGHUP",
                    libc::SIGINT => "SIGINT",
                    libc::SIGQUIT => "SIGQUIT",
                    libc::SIGTERM => "SIGTERM",
                    _ => "a signal",
                };
                write!(f, "stopped by {name}; the guest had not powered off")
            }
        }
    }
}

/// Names of `KVM_INTERNAL_ERROR_*`.
fn suberror_name(suberror: u32) -> &'static str {
    match suberror {
        1 => "emulation failed",
        2 => "simultaneous exceptions",
        3 => "exit while delivering an event",
        4 => "unexpected exit reason",
        _ => "unknown",
    }
}

fn no_hardware(f: &mut fmt::Formatter<'_>, hardware: bool) -> fmt::Result {
    if hardware {
        return Ok(());
    }
    write!(
        f,
        "; this host has no hardware virtualization (its KVM emulates the kernel mode of guests, incompletely), and that is why"
    )
}

/// Where any thread reports that the machine is over. The first report counts.
pub struct Ends {
    first: Mutex<Option<End>>,
    /// Readable after a report or a nudge.
    pub(crate) event: EventFd,
}

impl Ends {
    /// Nobody has reported anything; fails without a descriptor to spare.
    pub fn new() -> io::Result<Arc<Ends>> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Arc::new(Ends { first: Mutex::default(), event }))
    }

    /// The machine is over, for this reason unless there was one before.
    pub fn report(&self, end: End) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        // It can fail only if full, and then it is readable.
        let _ = self.event.write(1);
    }

    /// Something happened that who waits for the end wants to look at, and no end.
    pub fn nudge(&self) {
        // As above.
        let _ = self.event.write(1);
    }

    /// The first report since this was asked last.
    pub(crate) fn take(&self) -> Option<End> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_says_where_on_which_bytes_and_why_on_a_host_without_hardware() {
        let end = End::InternalError {
            cpu: 1,
            suberror: 1,
            rip: 0x1234,
            instruction: vec![0x0f, 0xc7],
            hardware: false,
        };
        let line = end.to_string();
        assert!(
            line.contains("suberror 1 (emulation failed), RIP 0x1234, instruction bytes 0f c7")
        );
        assert!(line.contains("no hardware virtualization"));
        assert!(!line.contains('\n'));
        assert_eq!(end.exit_code(), 5);
    }

    #[test]
    fn signals_have_the_shells_codes() {
        assert_eq!(End::Signal(libc::SIGTERM).exit_code(), 143);
        assert_eq!(End::Signal(libc::SIGINT).exit_code(), 130);
    }
}
