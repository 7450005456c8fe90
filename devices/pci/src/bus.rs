//! The slots of bus 0, reached through ECAM and through the ports at 0xcf8.

pub mod saved;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use device_core::bus::{Bus, BusDevice, Width};

use crate::device::{BarSpec, PciDevice};
use crate::function::{FunctionError, PciFunction};
use crate::host_bridge::HostBridge;
use crate::windows::{Unassigned, Windows};

/// Devices on one bus; each is function 0.
pub const SLOTS: u8 = 32;
/// Slot of the host bridge.
const HOST_BRIDGE: u8 = 0;
/// Bytes of the ECAM region of one bus (PCI Express Base 4.0, 7.2.2).
pub const ECAM_SIZE: u64 = 1 << 20;
/// First of the ports of configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2).
pub const PORTS: u64 = 0xcf8;
/// How many ports there are from [`PORTS`] on.
pub const PORTS_LEN: u64 = 8;

/// Why a card could not be put into a slot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AttachError {
    /// All slots are taken.
    #[error(
        "no slot is left for card {id}: the PCI bus has {SLOTS}, one of them for the host bridge"
    )]
    NoSlot {
        /// The card's id.
        id: String,
    },
    /// The windows for BARs are used up.
    #[error("no address space is left for BAR {bar} of card {id} ({size:#x} bytes)")]
    NoSpace {
        /// The card's id.
        id: String,
        /// Index of the BAR, 0 to 5.
        bar: u8,
        /// Bytes of the BAR.
        size: u64,
    },
    /// The card describes no possible function.
    #[error(transparent)]
    Function(#[from] FunctionError),
}

/// Bus 0 with its host bridge in slot 0.
pub struct PciBus {
    mmio: Arc<Bus>,
    windows: Windows,
    slots: RwLock<[Option<Slot>; SLOTS as usize]>,
    unassigned: Mutex<Unassigned>,
    /// What the address port of configuration mechanism 1 holds.
    address: AtomicU32,
}

#[derive(Clone)]
struct Slot {
    /// None in a slot whose card is gone, and which is not free yet.
    function: Option<Arc<PciFunction>>,
    /// Where the BARs are when a guest starts; nowhere if the card came later.
    assigned: Vec<(u8, u64)>,
}

impl PciBus {
    /// A bus whose cards' BARs appear on `mmio`, within `windows` only. Fails only if the
    /// host bridge cannot be attached.
    pub fn new(mmio: Arc<Bus>, windows: Windows) -> Result<Arc<PciBus>, AttachError> {
        let bus = Arc::new(PciBus {
            mmio,
            unassigned: Mutex::new(Unassigned::new(windows.clone())),
            windows,
            slots: RwLock::default(),
            address: AtomicU32::new(0),
        });
        bus.attach(Arc::new(HostBridge))?;
        Ok(bus)
    }

    /// Puts a card into the first free slot and gives its BARs addresses, as firmware does; returns the slot. Fails
    /// if no slot or address space is left, or if the card describes no possible function.
    pub fn attach(&self, device: Arc<dyn PciDevice>) -> Result<u8, AttachError> {
        self.put(device, |id, bars| self.assign(id, bars))
    }

    /// Puts a card into the first free slot of a bus whose guest runs, which will give its BARs addresses; returns the
    /// slot. Fails if no slot is left, or if the card describes no possible function.
    pub fn plug(&self, device: Arc<dyn PciDevice>) -> Result<u8, AttachError> {
        self.put(device, |_, _| Ok(Vec::new()))
    }

    fn put(
        &self,
        device: Arc<dyn PciDevice>,
        assign: impl FnOnce(&str, &[BarSpec]) -> Result<Vec<(u8, u64)>, AttachError>,
    ) -> Result<u8, AttachError> {
        let id = device.id().to_owned();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let (slot, place) = (0..SLOTS)
            .zip(slots.iter_mut())
            .find(|(_, place)| place.is_none())
            .ok_or_else(|| AttachError::NoSlot { id: id.clone() })?;
        let function = PciFunction::new(device, self.mmio.clone(), self.windows.clone())?;
        let assigned = assign(&id, function.bars())?;
        place.insert(Slot { function: Some(Arc::new(function)), assigned }).power_on();
        Ok(slot)
    }

    /// Takes the card out of a slot, which nobody gets before [`PciBus::free`]. On return the card does no DMA, sends
    /// no interrupt, and is nowhere in the guest's address space; rings are home. The host bridge stays.
    pub fn vacate(&self, slot: u8) {
        let taken = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            let place = slots.get_mut(usize::from(slot)).filter(|_| slot != HOST_BRIDGE);
            place.and_then(Option::as_mut).and_then(|slot| slot.function.take())
        };
        // Without the lock: a card may wait for its host.
        if let Some(function) = taken {
            function.remove();
        }
    }

    /// A vacated slot may have another card.
    pub fn free(&self, slot: u8) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = slots.get_mut(usize::from(slot)) {
            place.take_if(|slot| slot.function.is_none());
        }
    }

    /// The function in a slot.
    pub fn function(&self, slot: u8) -> Option<Arc<PciFunction>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(usize::from(slot))?.as_ref()?.function.clone()
    }

    /// Resets every function and its card, and gives the BARs their first addresses again.
    pub fn reset(&self) {
        self.address.store(0, Ordering::Relaxed);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner).clone();
        for slot in slots.into_iter().flatten() {
            if let Some(function) = &slot.function {
                function.reset();
            }
            slot.power_on();
        }
    }

    /// The ECAM region, [`ECAM_SIZE`] bytes.
    pub fn ecam(self: &Arc<PciBus>) -> Arc<dyn BusDevice> {
        Arc::new(Ecam(self.clone()))
    }

    /// The ports of configuration mechanism 1, [`PORTS_LEN`] of them at [`PORTS`]. Single bytes of
    /// the address port are not PCI's: they go to `beneath`, with the same offsets.
    pub fn ports(self: &Arc<PciBus>, beneath: Arc<dyn BusDevice>) -> Arc<dyn BusDevice> {
        Arc::new(ConfigPorts { bus: self.clone(), beneath })
    }

    /// Takes an address for each BAR, the largest first, so that less is lost to alignment.
    fn assign(&self, id: &str, bars: &[BarSpec]) -> Result<Vec<(u8, u64)>, AttachError> {
        let mut unassigned = self.unassigned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bars = bars.to_vec();
        bars.sort_by_key(|bar| std::cmp::Reverse(bar.size));
        bars.iter()
            .map(|bar| {
                let no_space =
                    || AttachError::NoSpace { id: id.to_owned(), bar: bar.index, size: bar.size };
                Ok((bar.index, unassigned.take(bar).ok_or_else(no_space)?))
            })
            .collect()
    }

    /// Function 0 of a device number; there are no others.
    fn find(&self, device: u64, function: u64) -> Option<Arc<PciFunction>> {
        let slot = u8::try_from(device).ok().filter(|_| function == 0)?;
        self.function(slot)
    }
}

impl Slot {
    fn power_on(&self) {
        let Some(function) = &self.function else { return };
        for &(bar, address) in &self.assigned {
            function.assign(bar, address);
        }
    }
}

/// Configuration space as memory: device, function and register are bits of the address.
struct Ecam(Arc<PciBus>);

impl Ecam {
    fn find(&self, offset: u64) -> Option<(Arc<PciFunction>, u16)> {
        let register = (offset & 0xfff) as u16;
        Some((self.0.find(offset >> 15, offset >> 12 & 7)?, register))
    }
}

impl BusDevice for Ecam {
    fn read(&self, offset: u64, width: Width) -> u64 {
        let Some((function, register)) = self.find(offset) else { return width.mask() };
        match width {
            Width::B8 => {
                let high = function.read_config(register.wrapping_add(4), Width::B4);
                function.read_config(register, Width::B4) | high << 32
            }
            _ => function.read_config(register, width),
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        let Some((function, register)) = self.find(offset) else { return };
        match width {
            Width::B8 => {
                function.write_config(register, Width::B4, value & 0xffff_ffff);
                function.write_config(register.wrapping_add(4), Width::B4, value >> 32);
            }
            _ => function.write_config(register, width, value),
        }
    }
}

/// The address port at 0 and the data port at 4.
struct ConfigPorts {
    bus: Arc<PciBus>,
    beneath: Arc<dyn BusDevice>,
}

const ADDRESS_ENABLE: u32 = 1 << 31;
/// Bits that the address port keeps: enable, bus, device, function, register.
const ADDRESS_BITS: u32 = 0x80ff_fffc;
const DATA_PORT: u64 = 4;

impl ConfigPorts {
    /// What the data port shows at `offset`, if anything is there.
    fn find(&self, offset: u64, width: Width) -> Option<(Arc<PciFunction>, u16)> {
        let within = offset.checked_sub(DATA_PORT)?;
        let address = self.bus.address.load(Ordering::Relaxed);
        let bus = address >> 16 & 0xff;
        if address & ADDRESS_ENABLE == 0 || bus != 0 || width == Width::B8 {
            return None;
        }
        let register = u16::try_from(address & 0xfc).ok()? | u16::try_from(within).ok()?;
        Some((self.bus.find((address >> 11 & 0x1f).into(), (address >> 8 & 7).into())?, register))
    }
}

impl BusDevice for ConfigPorts {
    fn read(&self, offset: u64, width: Width) -> u64 {
        match self.find(offset, width) {
            Some((function, register)) => function.read_config(register, width),
            None if offset == 0 && width == Width::B4 => {
                self.bus.address.load(Ordering::Relaxed).into()
            }
            None if offset < DATA_PORT && width == Width::B1 => self.beneath.read(offset, width),
            None => width.mask(),
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        if offset == 0 && width == Width::B4 {
            let address = u32::try_from(value).unwrap_or_default() & ADDRESS_BITS;
            self.bus.address.store(address, Ordering::Relaxed);
        } else if offset < DATA_PORT && width == Width::B1 {
            self.beneath.write(offset, width, value);
        } else if let Some((function, register)) = self.find(offset, width) {
            function.write_config(register, width, value);
        }
    }
}

#[cfg(test)]
#[path = "bus_test.rs"]
mod tests;
