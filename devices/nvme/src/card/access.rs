//! A guest's accesses to BAR 0.

use std::sync::atomic::Ordering;

use device_core::bus::Width;

use super::{Card, Control, Phase, Shutdown};
use crate::alarm::BadDoorbell;
use crate::registers::{self, CAP, Configuration, Place, Reg, status};

/// All of AQA that is no zero.
pub(super) const ADMIN_SIZES: u32 = 0x0fff_0fff;

fn set_low(address: &mut u64, value: u32) {
    // Both queues begin on a page.
    *address = *address & !0xffff_ffff | u64::from(value & !0xfff);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}

impl Card {
    /// Reads from BAR 0.
    pub(crate) fn read(&self, offset: u64, width: Width) -> u64 {
        if self.is_gone() {
            return width.mask();
        }
        match Place::at(offset, width) {
            Some(Place::Fixed(register)) => {
                self.with(|control| self.peek(control, register)).into()
            }
            Some(Place::Wide(low, high)) => self.with(|control| {
                u64::from(self.peek(control, low)) | u64::from(self.peek(control, high)) << 32
            }),
            _ => 0,
        }
    }

    fn peek(&self, control: &Control, register: Reg) -> u32 {
        match register {
            Reg::CapLow => CAP as u32,
            Reg::CapHigh => (CAP >> 32) as u32,
            Reg::Version => registers::VERSION,
            Reg::MaskSet | Reg::MaskClear => control.interrupt_mask,
            Reg::Configuration => control.configuration.0,
            Reg::Status => self.status(control),
            Reg::AdminSizes => control.admin_sizes,
            Reg::AdminSqLow => control.admin_sq as u32,
            Reg::AdminSqHigh => (control.admin_sq >> 32) as u32,
            Reg::AdminCqLow => control.admin_cq as u32,
            Reg::AdminCqHigh => (control.admin_cq >> 32) as u32,
        }
    }

    fn status(&self, control: &Control) -> u32 {
        let ready = match control.phase {
            Phase::Ready | Phase::Draining { looks_ready: true } => status::READY,
            Phase::Disabled | Phase::Draining { looks_ready: false } => 0,
        };
        let shutdown = match control.shutdown {
            Shutdown::None => 0,
            Shutdown::Going => status::SHUTTING_DOWN,
            Shutdown::Over => status::SHUT_DOWN,
        };
        ready | shutdown | if self.alarm.has_failed() { status::FATAL } else { 0 }
    }

    /// Writes to BAR 0; what can be done at once has happened when this returns.
    pub(crate) fn write(&self, offset: u64, width: Width, value: u64) {
        if self.is_gone() {
            return;
        }
        let word = value as u32;
        match Place::at(offset, width) {
            Some(Place::Fixed(register)) => {
                self.with(|control| self.poke(control, register, word));
            }
            Some(Place::Wide(low, high)) => self.with(|control| {
                self.poke(control, low, word);
                self.poke(control, high, (value >> 32) as u32);
            }),
            // The upper half is reserved.
            Some(doorbell) => self.ring(doorbell, word as u16),
            None => {}
        }
    }

    fn poke(&self, control: &mut Control, register: Reg, value: u32) {
        // While the controller works its admin queues stay where they are.
        let may_move = !control.configuration.enabled();
        match register {
            Reg::MaskSet => control.interrupt_mask |= value,
            Reg::MaskClear => control.interrupt_mask &= !value,
            Reg::Configuration => self.configure(control, Configuration(value)),
            Reg::AdminSizes if may_move => control.admin_sizes = value & ADMIN_SIZES,
            Reg::AdminSqLow if may_move => set_low(&mut control.admin_sq, value),
            Reg::AdminSqHigh if may_move => set_high(&mut control.admin_sq, value),
            Reg::AdminCqLow if may_move => set_low(&mut control.admin_cq, value),
            Reg::AdminCqHigh if may_move => set_high(&mut control.admin_cq, value),
            _ => {}
        }
    }

    /// A write to a doorbell. Those of I/O queues take no lock.
    fn ring(&self, doorbell: Place, value: u16) {
        let written = match doorbell {
            Place::SqTail(0) | Place::CqHead(0) => {
                self.with(|control| self.ring_admin(control, doorbell, value))
            }
            Place::SqTail(queue) => {
                self.bells.get(queue).ok_or(BadDoorbell::NoQueue).and_then(|bell| bell.write(value))
            }
            Place::CqHead(queue) => {
                let completions = self.completions.get(usize::from(queue));
                let completions = completions.ok_or(BadDoorbell::NoQueue);
                completions.and_then(|completions| completions.write_head(value))
            }
            Place::Fixed(_) | Place::Wide(..) => Ok(()),
        };
        if let Err(bad) = written {
            self.alarm.note(bad);
        }
    }

    fn ring_admin(
        &self,
        control: &mut Control,
        doorbell: Place,
        value: u16,
    ) -> Result<(), BadDoorbell> {
        if control.phase != Phase::Ready {
            return Err(BadDoorbell::NoQueue);
        }
        match doorbell {
            Place::SqTail(_) => control.admin.ring(value)?,
            _ => {
                let completions = self.completions.first().ok_or(BadDoorbell::NoQueue)?;
                completions.write_head(value)?;
            }
        }
        self.run_commands(control);
        Ok(())
    }

    /// The guest has BAR 0 at `at` now, or nowhere.
    pub(crate) fn mapped(&self, at: Option<u64>) {
        self.with(|control| {
            control.mapped = at;
            self.bind_kicks(control);
        });
    }

    /// Has the kernel signal lanes in place of writes to doorbells whose value is in memory. Where that
    /// cannot be, each write is an exit: slower, but the same.
    pub(crate) fn bind_kicks(&self, control: &mut Control) {
        let mapped = control.mapped;
        for (id, sq) in control.queues.iter_mut() {
            let Some(bell) = self.bells.get(id).filter(|bell| bell.shadow.is_placed()) else {
                sq.binding = None;
                continue;
            };
            let address = mapped.and_then(|at| at.checked_add(registers::sq_doorbell(id)));
            // Away from the old address first.
            sq.binding = None;
            sq.binding = address.and_then(|address| self.kicks.bind(address, bell.waker()).ok());
        }
    }

    /// The controller answers no more, or does again.
    pub(crate) fn set_gone(&self, gone: bool) {
        if self.gone.swap(gone, Ordering::Relaxed) == gone {
            return;
        }
        self.with(|control| {
            let bus_master = control.bus_master;
            self.reset_registers(control);
            // That is the function's.
            control.bus_master = bus_master;
        });
    }
}
