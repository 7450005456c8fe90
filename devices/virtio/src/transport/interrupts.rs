//! The two ways in which a transport interrupts its driver: vectors, or one line with a status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

use device_core::interrupt::{Interrupt, IrqLine, MsiVector};
use serde::{Deserialize, Serialize};

/// VIRTIO_MSI_NO_VECTOR: no interrupt for this event.
pub const NO_VECTOR: u16 = 0xffff;
/// Used buffers, in the status of a line (virtio 1.2, 4.2.2).
const USED_BUFFER: u32 = 1 << 0;
/// A changed configuration, in the same place of both statuses (virtio 1.2, 4.1.4.5 and 4.2.2).
const CONFIG_CHANGE: u8 = 1 << 1;

/// How a transport interrupts its driver.
pub enum Interrupts {
    /// By vectors, which the driver gives to queues and to configuration changes.
    Vectors(Arc<Vectors>),
    /// By a line for all.
    Line(Arc<StatusLine>),
}

/// What of them outlives its process; the vectors themselves are the function's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InterruptState {
    /// Of a card on the PCI bus.
    Vectors {
        /// The vector for configuration changes, or [`NO_VECTOR`].
        config: u16,
        /// The ISR status.
        isr: u8,
    },
    /// Of a device with a line.
    Line {
        /// InterruptStatus.
        status: u32,
    },
}

/// The MSI-X vectors of a card.
pub struct Vectors {
    all: Vec<Arc<dyn MsiVector>>,
    config: AtomicU16,
    isr: AtomicU8,
}

/// An edge-triggered line, and the register that says why it was raised.
///
/// No interrupt is lost: a bit is set before the line is raised, so that whoever takes the bit back
/// sees what came before it, and whoever does not is interrupted once more.
pub struct StatusLine {
    line: Arc<dyn IrqLine>,
    status: AtomicU32,
}

impl Interrupts {
    /// What a vector register holds after `number` was written to it.
    pub fn accepted(&self, number: u16) -> u16 {
        match self {
            Interrupts::Vectors(vectors) => vectors.accepted(number),
            Interrupts::Line(_) => NO_VECTOR,
        }
    }

    /// The vector for configuration changes, or [`NO_VECTOR`].
    pub fn config_vector(&self) -> u16 {
        match self {
            Interrupts::Vectors(vectors) => vectors.config.load(Ordering::Relaxed),
            Interrupts::Line(_) => NO_VECTOR,
        }
    }

    /// Sets it; what is no vector of the card becomes [`NO_VECTOR`].
    pub fn set_config_vector(&self, number: u16) {
        if let Interrupts::Vectors(vectors) = self {
            vectors.config.store(vectors.accepted(number), Ordering::Relaxed);
        }
    }

    /// The interrupt of a queue whose vector register holds `vector`.
    pub fn of_queue(&self, vector: u16) -> Option<Arc<dyn Interrupt>> {
        match self {
            Interrupts::Vectors(vectors) => Some(vectors.get(vector)?.clone()),
            Interrupts::Line(line) => Some(line.clone()),
        }
    }

    /// Tells the driver of a changed configuration.
    pub fn config_changed(&self) {
        match self {
            Interrupts::Vectors(vectors) => vectors.config_changed(),
            Interrupts::Line(line) => line.raise(CONFIG_CHANGE.into()),
        }
    }

    /// What is kept of it.
    pub fn saved(&self) -> InterruptState {
        match self {
            Interrupts::Vectors(vectors) => InterruptState::Vectors {
                config: vectors.config.load(Ordering::Relaxed),
                isr: vectors.isr.load(Ordering::Relaxed),
            },
            Interrupts::Line(line) => InterruptState::Line { status: line.status() },
        }
    }

    /// Becomes what `state` says. A line that was raised is raised once more: its edge may have been on its way, and
    /// one too many does no harm. Fails, with nothing changed, if a driver could not have brought it about here.
    pub fn restore(&self, state: &InterruptState) -> Result<(), &'static str> {
        match (self, state) {
            (Interrupts::Vectors(vectors), &InterruptState::Vectors { config, isr }) => {
                if vectors.accepted(config) != config {
                    return Err("there is no such vector for configuration changes");
                }
                if isr & !CONFIG_CHANGE != 0 {
                    return Err("the ISR status has bits that are never set");
                }
                vectors.config.store(config, Ordering::Relaxed);
                vectors.isr.store(isr, Ordering::Relaxed);
            }
            (Interrupts::Line(line), &InterruptState::Line { status }) => {
                if status & !(USED_BUFFER | u32::from(CONFIG_CHANGE)) != 0 {
                    return Err("the interrupt status has bits that are never set");
                }
                if status != 0 {
                    line.raise(status);
                }
            }
            _ => return Err("they are those of another bus"),
        }
        Ok(())
    }

    /// As after power-on.
    pub fn reset(&self) {
        match self {
            Interrupts::Vectors(vectors) => {
                vectors.config.store(NO_VECTOR, Ordering::Relaxed);
                vectors.isr.store(0, Ordering::Relaxed);
            }
            Interrupts::Line(line) => line.status.store(0, Ordering::Relaxed),
        }
    }
}

impl Vectors {
    /// These vectors, none given to anything yet.
    pub fn new(all: Vec<Arc<dyn MsiVector>>) -> Vectors {
        Vectors { all, config: AtomicU16::new(NO_VECTOR), isr: AtomicU8::new(0) }
    }

    /// The ISR status; reading clears it. There is no INTx, so the bit for queues never shows.
    pub fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::Relaxed)
    }

    fn get(&self, number: u16) -> Option<&Arc<dyn MsiVector>> {
        self.all.get(usize::from(number))
    }

    fn accepted(&self, number: u16) -> u16 {
        self.get(number).map_or(NO_VECTOR, |_| number)
    }

    fn config_changed(&self) {
        self.isr.fetch_or(CONFIG_CHANGE, Ordering::Relaxed);
        if let Some(vector) = self.get(self.config.load(Ordering::Relaxed)) {
            vector.fire();
        }
    }
}

impl StatusLine {
    /// A line with nothing to tell.
    pub fn new(line: Arc<dyn IrqLine>) -> StatusLine {
        StatusLine { line, status: AtomicU32::new(0) }
    }

    /// InterruptStatus: why the line was raised since the driver took it back.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::Acquire) // pairs with `raise`
    }

    /// InterruptACK: the driver takes these bits back, and looks at what they told of.
    pub fn acknowledge(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::AcqRel); // pairs with `raise`
    }

    /// Raised each time, whatever is set already: a pulse is lost on a line that the guest has masked.
    fn raise(&self, bits: u32) {
        self.status.fetch_or(bits, Ordering::AcqRel);
        self.line.pulse();
    }
}

/// Used buffers, which are visible already.
impl Interrupt for StatusLine {
    fn fire(&self) {
        self.raise(USED_BUFFER);
    }
}
