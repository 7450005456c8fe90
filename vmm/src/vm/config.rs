//! The wish while it grows: each setting is checked when it comes, and one that is refused changes
//! nothing.

use std::time::Duration;

use arch::boot::{Cmdline, Initrd, Kernel};
use devices::DeviceSpec;
use devices::legacy::ConsoleSpec;
use devices::net::spec::{BackendSpec, NicSpec};

use super::build::BootError;
use super::spec::{BootSpec, MachineSpec, SettingError, VmSpec};

/// All that has been asked of a machine so far.
#[derive(Clone, Debug)]
pub struct Config {
    /// CPUs and memory.
    pub machine: MachineSpec,
    /// A machine without it cannot be started.
    pub boot: Option<BootSpec>,
    /// Where the serial port goes.
    pub serial: ConsoleSpec,
    /// In the order in which the guest finds them.
    pub nics: Vec<NicSpec>,
    /// Whether a guest can report that it is up.
    pub boot_timer: bool,
    /// How long a guest may take to power off once asked.
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            machine: MachineSpec::default(),
            boot: None,
            serial: ConsoleSpec::default(),
            nics: Vec::new(),
            boot_timer: false,
            grace: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Replaces CPUs and memory. Fails, with nothing changed, if they cannot be.
    pub fn set_machine(&mut self, machine: MachineSpec) -> Result<(), SettingError> {
        machine.validate()?;
        self.machine = machine;
        Ok(())
    }

    /// Opens the files, to see whether a machine could boot from them, and closes them again. Fails,
    /// with nothing changed, if it could not.
    pub fn set_boot(&mut self, boot: BootSpec) -> Result<(), BootError> {
        Kernel::open(&boot.kernel)?;
        boot.initrd.as_deref().map(Initrd::open).transpose()?;
        Cmdline::new(&boot.cmdline)?;
        self.boot = Some(boot);
        Ok(())
    }

    /// Adds a card, or replaces the one with the same id. Fails, with nothing changed, if the card
    /// cannot be, or not beside the others.
    pub fn set_nic(&mut self, nic: NicSpec) -> Result<(), SettingError> {
        nic.validate().map_err(|why| SettingError::Card { id: nic.id.clone(), why })?;
        for other in self.nics.iter().filter(|other| other.id != nic.id) {
            check_apart(&nic, other)?;
        }
        match self.nics.iter_mut().find(|known| known.id == nic.id) {
            Some(known) => *known = nic,
            None => self.nics.push(nic),
        }
        Ok(())
    }

    /// What a machine is built from; `None` as long as there is no kernel.
    pub fn to_spec(&self) -> Option<VmSpec> {
        Some(VmSpec {
            machine: self.machine.clone(),
            boot: self.boot.clone()?,
            serial: self.serial.clone(),
            devices: self.nics.iter().cloned().map(DeviceSpec::Nic).collect(),
            boot_timer: self.boot_timer,
        })
    }
}

/// Whether two cards can be in one machine.
fn check_apart(nic: &NicSpec, other: &NicSpec) -> Result<(), SettingError> {
    let (id, other_id) = (nic.id.clone(), other.id.clone());
    if let Some(mac) = nic.mac.filter(|mac| other.mac == Some(*mac)) {
        return Err(SettingError::MacTwice { mac, id, other: other_id });
    }
    match (&nic.backend, &other.backend) {
        (BackendSpec::Tap(tap), BackendSpec::Tap(taken)) if tap == taken => {
            Err(SettingError::TapTwice { tap: tap.clone(), id, other: other_id })
        }
        (BackendSpec::Dev(dev), BackendSpec::Dev(taken)) if dev == taken => {
            Err(SettingError::DevTwice { dev: dev.clone(), id, other: other_id })
        }
        (BackendSpec::Fd(fds), BackendSpec::Fd(taken)) => {
            match fds.iter().find(|fd| taken.contains(fd)) {
                Some(fd) => Err(SettingError::FdTwice { fd: *fd, id, other: other_id }),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
