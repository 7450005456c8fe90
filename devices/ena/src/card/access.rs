//! A guest's accesses to the card: fixed registers, reads by the readless way, the window of
//! low-latency queues.

use std::sync::atomic::Ordering;
use std::time::Instant;

use device_core::bus::Width;
use device_core::guest_warn;
use vm_memory::{Bytes, GuestAddress};

use super::{Card, Control};
use crate::admin::queue::Ring;
use crate::registers::{self, FIXED, Reg, ResetReason, status};

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}

impl Card {
    /// Reads a fixed register.
    pub(crate) fn read_register(&self, register: Reg) -> u32 {
        self.peek(&self.control(), register)
    }

    fn peek(&self, control: &Control, register: Reg) -> u32 {
        match register {
            Reg::Version => registers::VERSION,
            Reg::ControllerVersion => registers::CONTROLLER_VERSION,
            Reg::Caps => registers::CAPS,
            Reg::AcqTail => control.admin.produced().into(),
            Reg::AenqTail => control.events.produced().into(),
            Reg::InterruptMask => control.interrupts_masked.into(),
            Reg::DeviceStatus => {
                let bit = |set: bool, bit: u32| if set { bit } else { 0 };
                status::READY
                    | bit(control.resetting, status::RESET_IN_PROGRESS)
                    | bit(control.reset_finished, status::RESET_FINISHED)
                    | bit(self.alarm.is_raised(), status::FATAL_ERROR)
            }
            _ => 0,
        }
    }

    /// Writes a fixed register; what it asks for has happened when this returns.
    pub(crate) fn write_register(&self, register: Reg, value: u32, now: Instant) {
        self.with(|control| self.poke(control, register, value, now));
    }

    fn poke(&self, control: &mut Control, register: Reg, value: u32, now: Instant) {
        match register {
            Reg::AqBaseLow => set_low(&mut control.bases.commands, value),
            Reg::AqBaseHigh => set_high(&mut control.bases.commands, value),
            Reg::AcqBaseLow => set_low(&mut control.bases.answers, value),
            Reg::AcqBaseHigh => set_high(&mut control.bases.answers, value),
            Reg::AenqBaseLow => set_low(&mut control.bases.events, value),
            Reg::AenqBaseHigh => set_high(&mut control.bases.events, value),
            Reg::AqCaps => {
                let ring = self.latch(control.bases.commands, value);
                control.admin.set_commands(ring);
            }
            Reg::AcqCaps => {
                let ring = self.latch(control.bases.answers, value);
                control.admin.set_answers(ring);
            }
            Reg::AenqCaps => {
                let ring = self.latch(control.bases.events, value);
                control.events.set_ring(ring);
            }
            Reg::AqDoorbell if !control.resetting => {
                control.admin.ring(value);
                self.run_commands(control, now);
                self.post_events(control, now);
            }
            Reg::AenqHead => {
                control.events.grant(value, now);
                self.post_events(control, now);
            }
            Reg::InterruptMask => {
                control.interrupts_masked = value & 1 != 0;
                if !control.interrupts_masked && std::mem::take(&mut control.interrupt_owed) {
                    self.interrupt_management(control);
                }
            }
            Reg::DeviceControl if value & registers::CONTROL_RESET != 0 => {
                self.begin_reset(control, ResetReason::of(value), now);
            }
            Reg::DeviceControl => self.finish_reset(control),
            Reg::MmioRead => self.answer_readless(control, value),
            Reg::MmioResponseLow => set_low(&mut control.response, value),
            Reg::MmioResponseHigh => {
                set_high(&mut control.response, value);
                if control.response != 0 {
                    control.had_response = true;
                } else if control.had_response && !control.resetting {
                    control.events.abandon();
                }
            }
            // No driver sets single entries here, and the admin command does as well.
            _ => {}
        }
    }

    fn latch(&self, base: u64, caps: u32) -> Option<Ring> {
        match Ring::latch(base, caps, &self.memory) {
            Ok(ring) => ring,
            Err(why) => {
                self.fail(&why);
                None
            }
        }
    }

    /// Answers a register read by a write to the driver's cell: value and offset are visible no
    /// later than the id (2.3). Works in every state.
    fn answer_readless(&self, control: &Control, request: u32) {
        if control.response == 0 || !control.started || !control.bus_master {
            return;
        }
        let offset = u64::from(request >> 16);
        let register = FIXED.find(offset, Width::B4);
        let value = register.map_or(u32::MAX, |register| self.peek(control, register));
        // The request is laid out as its echo.
        let cell = u64::from(request) | u64::from(value) << 32;
        let at = GuestAddress(control.response);
        if self.memory.store(cell.to_le(), at, Ordering::Release).is_err() {
            // Not aligned, or not all in RAM: then the parts that are, the id last.
            let (value, id) = (value.to_le_bytes(), request.to_le_bytes());
            let value_at = GuestAddress(control.response.wrapping_add(4));
            if self.memory.write_slice(&value, value_at).is_ok() {
                drop(self.memory.write_slice(&id, at));
            }
        }
    }

    /// Shows the window to the guest at `at`. Where that cannot be, each access is an exit: slower,
    /// but the same.
    pub(crate) fn place_window(&self, at: Option<u64>) {
        if let Some(window) = &self.window
            && let Err(error) = window.place(at)
        {
            guest_warn!(self.log, "network card {}: BAR 2 is slow: {error}", self.id);
        }
    }

    /// A guest's access to the window that came as an exit.
    pub(crate) fn read_window(&self, offset: u64, width: Width) -> u64 {
        let mut bytes = [0; 8];
        let (wanted, _) = bytes.split_at_mut(width.bytes() as usize);
        if let Some(window) = &self.window {
            // The access lies within the BAR, and the window is as large.
            drop(window.memory().read_slice(wanted, GuestAddress(offset)));
        }
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn write_window(&self, offset: u64, width: Width, value: u64) {
        let bytes = value.to_le_bytes();
        let (given, _) = bytes.split_at(width.bytes() as usize);
        if let Some(window) = &self.window {
            drop(window.memory().write_slice(given, GuestAddress(offset)));
        }
    }
}
