//! The 16550 serial port: eight byte-wide registers between guest and console.

pub mod saved;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::bus::{BusDevice, Width};
use device_core::interrupt::IrqLine;
use vm_superio::Trigger;
use vm_superio::serial::SerialEvents;

use crate::line::Line;
use crate::ports::{read_bytes, write_bytes};

const IER: u8 = 1;
const IIR: u8 = 2;
const LCR: u8 = 3;
/// Modem control register, which holds the loopback bit.
const MCR: u8 = 4;
const LSR: u8 = 5;

/// Interrupt enable: input is there, the transmitter is empty.
const IER_RECEIVE: u8 = 1 << 0;
const IER_TRANSMIT: u8 = 1 << 1;
/// Line control: the divisor is in the place of data and interrupt enable.
const LCR_DIVISOR: u8 = 1 << 7;
/// Interrupt identification: nothing is pending, input is there, the FIFOs are on.
const IIR_NONE: u8 = 1 << 0;
const IIR_RECEIVE: u8 = 1 << 2;
const IIR_FIFOS: u8 = 0b11 << 6;
const LSR_DATA_READY: u8 = 1 << 0;

/// The register core by `vm-superio`, with every effect noted and done after its lock is released.
type Core = vm_superio::Serial<Raised, Drained, Sent>;

/// A 16550A at 8 ports, with a 64-byte input FIFO.
///
/// Output goes to the console's [`Line`], which never makes a vCPU wait; the transmitter is always
/// empty. Accesses wider than a byte go to ports in a row, as on an ISA bus.
pub struct Serial {
    core: Mutex<Core>,
    line: Arc<Line>,
    irq: Arc<dyn IrqLine>,
}

impl Serial {
    /// A port as after power-on, whose output goes to `line`.
    pub fn new(irq: Arc<dyn IrqLine>, line: Arc<Line>) -> Serial {
        let core = Core::with_events(Raised::default(), Drained::default(), Sent::default());
        Serial { core: Mutex::new(core), line, irq }
    }

    /// Puts input of the host into the FIFO; returns how many bytes it took: none if it is full, or
    /// if the guest has the port in loopback mode.
    pub(crate) fn receive(&self, input: &[u8]) -> usize {
        self.with_core(|core| {
            let taken = core.enqueue_raw_bytes(input).unwrap_or(0);
            if taken > 0 && enabled_interrupts(core) & IER_RECEIVE != 0 {
                core.interrupt_evt().0.set(true);
            }
            taken
        })
    }

    fn with_core<R>(&self, access: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = access(&mut core);
        let sent = core.writer().0.take();
        let raised = core.interrupt_evt().0.take();
        let drained = core.events().0.take();
        drop(core);

        if let Some(byte) = sent {
            self.line.send(byte);
        }
        if drained {
            self.line.port_has_room();
        }
        if raised {
            self.irq.pulse();
        }
        result
    }
}

impl BusDevice for Serial {
    fn read(&self, offset: u64, width: Width) -> u64 {
        read_bytes(offset, width, |port| match register(port) {
            Some(IIR) => self.with_core(identify),
            Some(register) => self.with_core(|core| core.read(register)),
            None => 0xff,
        })
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        write_bytes(offset, width, value, |port, byte| {
            let Some(register) = register(port) else { return };
            self.with_core(|core| {
                let before = enabled_interrupts(core);
                // Cannot fail: neither `Sent` nor `Raised` does.
                core.write(register, byte).unwrap_or_default();
                let gained = enabled_interrupts(core) & !before;
                if gained & causes(core) != 0 {
                    core.interrupt_evt().0.set(true);
                }
            });
            if register == MCR {
                // It may have ended a loopback, in which the port takes no input.
                self.line.port_has_room();
            }
        });
    }
}

// A UART holds its line as long as a cause is pending and enabled, so enabling one anew is a new
// edge. The core gives an edge only for the first cause it has not been asked about, and that edge
// is lost if the guest had the line masked: without these it would wait for ever.

/// The interrupts that the guest has enabled; none while it has the divisor in their place.
fn enabled_interrupts(core: &mut Core) -> u8 {
    if core.read(LCR) & LCR_DIVISOR == 0 { core.read(IER) } else { 0 }
}

/// The interrupts whose cause is there, as bits of the enable register.
fn causes(core: &mut Core) -> u8 {
    let has_input = core.read(LSR) & LSR_DATA_READY != 0;
    IER_TRANSMIT | if has_input { IER_RECEIVE } else { 0 }
}

/// The interrupt identification register. In the core any read of data, and of this register, ends
/// the receive interrupt; in a UART it lasts as long as there is data. Drivers take only so many
/// bytes at once and then look here whether there are more.
fn identify(core: &mut Core) -> u8 {
    let identified = core.read(IIR);
    let receives = enabled_interrupts(core) & causes(core) & IER_RECEIVE != 0;
    if identified & IIR_NONE != 0 && receives { IIR_FIFOS | IIR_RECEIVE } else { identified }
}

fn register(port: u64) -> Option<u8> {
    u8::try_from(port).ok().filter(|&register| register < 8)
}

/// Whether the core raised its interrupt.
#[derive(Default)]
struct Raised(Cell<bool>);

impl Trigger for Raised {
    type E = Infallible;
    fn trigger(&self) -> Result<(), Infallible> {
        self.0.set(true);
        Ok(())
    }
}

/// Whether the guest took the last byte of the input FIFO.
#[derive(Default)]
struct Drained(Cell<bool>);

impl SerialEvents for Drained {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}
    fn in_buffer_empty(&self) {
        self.0.set(true);
    }
}

/// The byte that the guest sent, if any: one access sends at most one.
#[derive(Default)]
struct Sent(Cell<Option<u8>>);

impl io::Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(bytes.last().copied());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "serial_test.rs"]
mod tests;
