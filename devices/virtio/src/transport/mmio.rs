//! `VirtioMmio`: a virtio device on a page of its own, with one line (virtio 1.2, 4.2; version 2).
//!
//! ```text
//! 0x000  magic, version, identity      the same at all times
//! 0x010  features, queues, status      registers, behind the transport's lock
//! 0x050  notify                        ioeventfd per queue; a trapped write signals the same eventfd
//! 0x060  interrupt status, acknowledge atomic: two accesses of each interrupt wait for nobody
//! 0x0ac  shared memory regions         none
//! 0x100  device configuration          the device
//! ```
//! Registers are read and written in words of 32 bits, the configuration in up to 32; every other
//! access is ignored and counted.

use std::io;
use std::sync::Arc;

use device_core::bus::{BusDevice, Width};
use device_core::counters::SharedCounter;
use device_core::device::{Device, Kit, MmioSlot};
use device_core::kick::{Binding, KickBinder};
use device_core::registers::RegisterMap;
use device_core::snapshot::{LoadError, SaveError, Saved};

use super::common::{Look, Transport};
use super::interrupts::{Interrupts, StatusLine};
use super::registers::Register;
use crate::device::VirtioDevice;

/// Bytes of the address space that a device takes.
pub const LEN: u64 = 0x1000;

/// What its state is called.
const KIND: &str = "virtio-mmio";

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// The layout without the legacy parts.
const VERSION: u32 = 2;
/// The vendor that PCI cards of virtio have.
const VENDOR: u32 = 0x1af4;
/// Length and address of a shared memory region that is not there.
const NO_REGION: u32 = u32::MAX;

const NOTIFY_AT: u64 = 0x50;
/// Where the device's configuration begins.
const CONFIG_AT: u64 = 0x100;

/// What an offset below the configuration means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Always reads as this; read-only.
    Fixed(u32),
    /// The device's id; read-only.
    DeviceId,
    ReadOnly(Register),
    /// Reads as zero.
    WriteOnly(Register),
    ReadWrite(Register),
    /// Notifies the queue whose number is written.
    Notify,
    /// Why the line was raised; read-only.
    InterruptStatus,
    /// Takes bits of that back.
    InterruptAck,
    /// Which shared memory region to show: there is none. Reads as zero.
    RegionSelect,
}

/// The registers' places (virtio 1.2, 4.2.2).
const WORDS: RegisterMap<Word> = RegisterMap::new(&[
    (0x000, Width::B4, Word::Fixed(MAGIC)),
    (0x004, Width::B4, Word::Fixed(VERSION)),
    (0x008, Width::B4, Word::DeviceId),
    (0x00c, Width::B4, Word::Fixed(VENDOR)),
    (0x010, Width::B4, Word::ReadOnly(Register::DeviceFeature)),
    (0x014, Width::B4, Word::WriteOnly(Register::DeviceFeatureSelect)),
    (0x020, Width::B4, Word::WriteOnly(Register::DriverFeature)),
    (0x024, Width::B4, Word::WriteOnly(Register::DriverFeatureSelect)),
    (0x030, Width::B4, Word::WriteOnly(Register::QueueSelect)),
    (0x034, Width::B4, Word::ReadOnly(Register::QueueSizeMax)),
    (0x038, Width::B4, Word::WriteOnly(Register::QueueSize)),
    (0x044, Width::B4, Word::ReadWrite(Register::QueueReady)),
    (NOTIFY_AT, Width::B4, Word::Notify),
    (0x060, Width::B4, Word::InterruptStatus),
    (0x064, Width::B4, Word::InterruptAck),
    (0x070, Width::B4, Word::ReadWrite(Register::DeviceStatus)),
    (0x080, Width::B4, Word::WriteOnly(Register::DescriptorsLow)),
    (0x084, Width::B4, Word::WriteOnly(Register::DescriptorsHigh)),
    (0x090, Width::B4, Word::WriteOnly(Register::AvailableLow)),
    (0x094, Width::B4, Word::WriteOnly(Register::AvailableHigh)),
    (0x0a0, Width::B4, Word::WriteOnly(Register::UsedLow)),
    (0x0a4, Width::B4, Word::WriteOnly(Register::UsedHigh)),
    (0x0ac, Width::B4, Word::RegionSelect),
    (0x0b0, Width::B4, Word::Fixed(NO_REGION)),
    (0x0b4, Width::B4, Word::Fixed(NO_REGION)),
    (0x0b8, Width::B4, Word::Fixed(NO_REGION)),
    (0x0bc, Width::B4, Word::Fixed(NO_REGION)),
    // Queue reset, which is not offered.
    (0x0c0, Width::B4, Word::Fixed(0)),
    (0x0fc, Width::B4, Word::ReadOnly(Register::ConfigGeneration)),
]);

/// A virtio device in an MMIO slot.
pub struct VirtioMmio {
    transport: Arc<Transport>,
    line: Arc<StatusLine>,
    ignored: SharedCounter,
    /// One per queue, or none: then each kick is a trapped write.
    _bindings: Vec<Binding>,
}

impl VirtioMmio {
    /// A device in `slot`, for the range of [`LEN`] bytes there. Fails if the device has too many
    /// queues, or the host no eventfds.
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        kit: &Kit<'_>,
        slot: &MmioSlot,
    ) -> io::Result<Arc<VirtioMmio>> {
        let line = Arc::new(StatusLine::new(slot.line.clone()));
        // Nothing on this bus stands between a device and memory.
        let transport = Transport::new(device, kit.memory, Interrupts::Line(line.clone()), true)?;
        let bindings = bind_kicks(&transport, &**kit.kicks, slot.address);
        let bindings = bindings.unwrap_or_else(|error| {
            tracing::warn!("kicks of {} cannot be bound: {error}", transport.device().id());
            Vec::new()
        });
        let ignored = SharedCounter::default();
        Ok(Arc::new(VirtioMmio { transport, line, ignored, _bindings: bindings }))
    }

    /// What is the same on every bus.
    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// How many register writes came when they may not, or with a value that may not be.
    pub fn refused_writes(&self) -> u64 {
        self.transport.refused_writes()
    }

    /// How many accesses were of no register, or wider or narrower than they may be.
    pub fn ignored_accesses(&self) -> u64 {
        self.ignored.get()
    }

    /// What the driver has set up, at one moment.
    pub fn look(&self) -> Look {
        self.transport.look()
    }

    fn read_word(&self, word: Word) -> u32 {
        match word {
            Word::Fixed(value) => value,
            Word::DeviceId => self.transport.device().kind().into(),
            Word::ReadOnly(register) | Word::ReadWrite(register) => self.transport.read(register),
            Word::InterruptStatus => self.line.status(),
            Word::WriteOnly(_) | Word::Notify | Word::InterruptAck | Word::RegionSelect => 0,
        }
    }

    fn write_word(&self, word: Word, value: u32) {
        match word {
            // A status of eight bits: more are no reset.
            Word::ReadWrite(Register::DeviceStatus) if value > 0xff => self.transport.refuse(),
            Word::WriteOnly(register) | Word::ReadWrite(register) => {
                self.transport.write(register, value);
            }
            Word::Notify => self.transport.notify(value.into()),
            Word::InterruptAck => self.line.acknowledge(value),
            Word::RegionSelect => {}
            Word::Fixed(_) | Word::DeviceId | Word::ReadOnly(_) | Word::InterruptStatus => {
                self.transport.refuse();
            }
        }
    }

    fn ignore(&self) {
        self.ignored.increment();
    }
}

fn bind_kicks(
    transport: &Transport,
    binder: &dyn KickBinder,
    address: u64,
) -> io::Result<Vec<Binding>> {
    let at = address.saturating_add(NOTIFY_AT);
    (0..).zip(transport.kicks()).map(|(queue, kick)| binder.bind_value(at, queue, kick)).collect()
}

/// The offset in the device's configuration, if the access is one to it that may be.
fn in_config(offset: u64, width: Width) -> Option<u64> {
    offset.checked_sub(CONFIG_AT).filter(|_| width != Width::B8)
}

impl Device for VirtioMmio {
    fn id(&self) -> &str {
        self.transport.device().id()
    }

    fn start(&self) {
        self.transport.start();
    }

    fn stop(&self) {
        self.transport.stop();
    }

    fn reset(&self) {
        self.transport.reset();
    }

    fn save(&self) -> Result<Saved, SaveError> {
        self.transport.save(KIND)
    }

    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        self.transport.load(KIND, saved)
    }
}

impl BusDevice for VirtioMmio {
    fn read(&self, offset: u64, width: Width) -> u64 {
        if let Some(within) = in_config(offset, width) {
            return self.transport.device().read_config(within, width);
        }
        match WORDS.find(offset, width) {
            Some(word) => self.read_word(word).into(),
            None => {
                self.ignore();
                0
            }
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        if let Some(within) = in_config(offset, width) {
            return self.transport.device().write_config(within, width, value);
        }
        match WORDS.find(offset, width) {
            Some(word) => self.write_word(word, (value & 0xffff_ffff) as u32),
            None => self.ignore(),
        }
    }
}

#[cfg(test)]
#[path = "mmio_test.rs"]
mod tests;
