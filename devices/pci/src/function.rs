//! Any [`PciDevice`] made addressable: configuration space, BARs on the bus, MSI-X, reset.
//!
//! ```text
//! config write ─► turn ─► config (bytes) ─► bus master, MSI-X, BARs, reset, hooks ─► card
//! config read  ─────────► config (bytes) ─► hook ─► card
//! BAR access   ─────────────────────────────────► card or MSI-X
//! ```
//! `turn` admits one writer at a time and is held while the card hears what changed; `config` only
//! guards bytes. A card never calls its function, so waiting cannot circle.

pub mod saved;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::bus::{Bus, BusDevice, BusError, Width};
use device_core::guest_log::LogLimit;
use device_core::guest_warn;

use crate::capability::{CapabilityList, MsixControl, NoRoom};
use crate::config::{
    BARS, COMMAND, COMMAND_MASTER, COMMAND_MEMORY, ConfigSpace, SPACE, bar_register,
};
use crate::device::{BarKind, BarSpec, PciDevice};
use crate::msix::{MAX_VECTORS, Msix};
use crate::windows::Windows;

/// Base class of bridges, which have no PCI Express capability and no reset here.
const CLASS_BRIDGE: u32 = 0x06;

/// A card that cannot be a PCI function.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FunctionError {
    /// Its size is no power of two or out of range, or its index leaves no room for it.
    #[error("card {id} has a BAR {index} of {size:#x} bytes, which no function can have")]
    BadBar {
        /// The card's id.
        id: String,
        /// Index of the BAR.
        index: u8,
        /// Bytes of the BAR.
        size: u64,
    },
    /// Two BARs take one register.
    #[error("card {id} uses BAR {index} twice")]
    BarTwice {
        /// The card's id.
        id: String,
        /// Index of the second of them.
        index: u8,
    },
    /// No MSI-X table has so many vectors (PCI Local Bus 3.0, 6.8.2.3).
    #[error("card {id} has {count} MSI-X vectors; a function has 1 to {MAX_VECTORS}")]
    BadVectorCount {
        /// The card's id.
        id: String,
        /// Vectors that the card asks for.
        count: u16,
    },
    /// They take more than the 192 bytes behind the header.
    #[error("the capabilities of card {id} do not fit in its configuration space")]
    CapabilitiesTooLong {
        /// The card's id.
        id: String,
    },
}

/// One function on the bus.
pub struct PciFunction {
    device: Arc<dyn PciDevice>,
    mmio: Arc<Bus>,
    windows: Windows,
    /// All BARs, the one of MSI-X included.
    bars: Vec<BarSpec>,
    capabilities: CapabilityList,
    msix: Option<Arc<Msix>>,
    msix_bar: u8,
    config: Mutex<ConfigSpace>,
    turn: Mutex<InForce>,
    log: LogLimit,
}

/// What the card was last told.
#[derive(Default)]
struct InForce {
    /// Where each of `bars` is on the MMIO bus.
    placed: Vec<Option<u64>>,
    bus_master: bool,
    msix: MsixControl,
    /// It is out of its slot: who still writes to it writes to nothing.
    removed: bool,
}

impl PciFunction {
    /// Makes `device` a function whose BARs appear on `mmio`, within `windows`, once the guest
    /// enables them. Fails if its BARs, vectors or capabilities are not such as a function can have.
    pub fn new(
        device: Arc<dyn PciDevice>,
        mmio: Arc<Bus>,
        windows: Windows,
    ) -> Result<PciFunction, FunctionError> {
        let identity = device.identity();
        let mut config = ConfigSpace::new(&identity);
        let mut capabilities = CapabilityList::new();
        let mut bars = device.bars().to_vec();
        let msix_bar = device.msix_bar();
        let no_room = |NoRoom| FunctionError::CapabilitiesTooLong { id: device.id().to_owned() };

        let msix = device.msix().map(|set| (set.count(), Msix::new(device.id(), set)));
        if let Some((count, _)) = &msix {
            let count = *count;
            if count == 0 || count > MAX_VECTORS {
                return Err(FunctionError::BadVectorCount { id: device.id().to_owned(), count });
            }
            let size = Msix::bar_size(count);
            bars.push(BarSpec { index: msix_bar, kind: BarKind::Memory32, size });
            capabilities
                .add_msix(&mut config, count, msix_bar, Msix::pending_offset(count))
                .map_err(no_room)?;
        }
        if identity.class >> 16 != CLASS_BRIDGE {
            capabilities.add_pci_express(&mut config).map_err(no_room)?;
        }
        for capability in device.capabilities() {
            capabilities.add_own(&mut config, &capability).map_err(no_room)?;
        }
        check_bars(device.id(), &bars)?;
        bars.iter().for_each(|bar| config.add_bar(bar));

        let turn = InForce { placed: vec![None; bars.len()], ..InForce::default() };
        Ok(PciFunction {
            mmio,
            windows,
            bars,
            capabilities,
            msix: msix.map(|(_, msix)| Arc::new(msix)),
            msix_bar,
            config: Mutex::new(config),
            turn: Mutex::new(turn),
            log: LogLimit::default(),
            device,
        })
    }

    /// The card behind it.
    pub fn device(&self) -> &Arc<dyn PciDevice> {
        &self.device
    }

    /// All BARs, the one of MSI-X included.
    pub fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    /// Sets where BAR `index` is, as firmware does before it enables memory space. `address` is
    /// guest-physical; a BAR that the card has not is ignored.
    pub fn assign(&self, index: u8, address: u64) {
        let mut in_force = self.turn();
        if let Some(bar) = self.bars.iter().find(|bar| bar.index == index) {
            self.config().set_bar_address(bar, address);
        }
        self.place_bars(&mut in_force);
    }

    /// Whether the guest lets it do DMA, as all drivers do and nobody else.
    pub fn is_bus_master(&self) -> bool {
        self.turn().bus_master
    }

    /// Takes it off the bus for good: as [`PciFunction::reset`], and nothing that the guest writes changes it any
    /// more. Afterwards the card does no DMA, sends no interrupt, and is nowhere in the guest's address space.
    pub fn remove(&self) {
        let mut in_force = self.turn();
        in_force.removed = true;
        self.reset_in_turn(&mut in_force);
    }

    /// A read of configuration space. Accesses that are not aligned to their width, or not within
    /// the 4 KiB, read all ones.
    pub fn read_config(&self, offset: u16, width: Width) -> u64 {
        if !is_within(offset, width) {
            return width.mask();
        }
        let Some((index, body, within)) = self.capabilities.own_at(offset, width) else {
            return self.config().read(offset, width);
        };
        let (plain, body) = {
            let config = self.config();
            (config.read(offset, width), config.bytes(body).to_vec())
        };
        self.device
            .capability_read(index, within, width, &body)
            .map_or(plain, |value| value & width.mask())
    }

    /// A write to configuration space; once it returns, what it asked for has happened. Accesses
    /// that are not aligned to their width, or not within the 4 KiB, do nothing.
    pub fn write_config(&self, offset: u16, width: Width, value: u64) {
        if !is_within(offset, width) {
            return;
        }
        let mut in_force = self.turn();
        if in_force.removed {
            return;
        }
        let reset = {
            let mut config = self.config();
            config.write(offset, width, value);
            self.capabilities.take_function_reset(&mut config)
        };
        if reset {
            self.reset_in_turn(&mut in_force);
            return;
        }
        self.settle_msix(&mut in_force);
        if (COMMAND..bar_register(BARS)).contains(&offset) {
            self.place_bars(&mut in_force);
            self.settle_bus_master(&mut in_force);
        }
        if let Some((index, body, within)) = self.capabilities.own_at(offset, width) {
            let body = self.config().bytes(body).to_vec();
            self.device.capability_written(index, within, width, &body);
        }
    }

    /// As after power-on: no BAR is mapped or holds an address, bus mastering and MSI-X are off,
    /// and the card is reset.
    pub fn reset(&self) {
        self.reset_in_turn(&mut self.turn());
    }

    fn reset_in_turn(&self, in_force: &mut InForce) {
        self.config().reset();
        self.settle_bus_master(in_force);
        if let Some(msix) = &self.msix {
            msix.reset();
        }
        self.settle_msix(in_force);
        self.place_bars(in_force);
        self.device.reset();
    }

    fn settle_bus_master(&self, in_force: &mut InForce) {
        let on = self.config().command() & COMMAND_MASTER != 0;
        if on == in_force.bus_master {
            return;
        }
        in_force.bus_master = on;
        // Vectors are open whenever the card may fire: on first, off last.
        match (&self.msix, on) {
            (Some(msix), true) => {
                msix.set_bus_master(true);
                self.device.bus_master(true);
            }
            (Some(msix), false) => {
                self.device.bus_master(false);
                msix.set_bus_master(false);
            }
            (None, on) => self.device.bus_master(on),
        }
    }

    fn settle_msix(&self, in_force: &mut InForce) {
        let Some(msix) = &self.msix else { return };
        let control = self.capabilities.msix_control(&self.config());
        if control == in_force.msix {
            return;
        }
        msix.set_control(control);
        if control.enabled != in_force.msix.enabled {
            self.device.msix_enabled(control.enabled);
        }
        in_force.msix = control;
    }

    /// Moves each BAR to where the registers say, or off the bus if it cannot be there.
    fn place_bars(&self, in_force: &mut InForce) {
        for (bar, placed) in self.bars.iter().zip(&mut in_force.placed) {
            let wanted = self.wanted(bar);
            if wanted == *placed {
                continue;
            }
            // First off the card, then off the bus: whoever comes to the old address next finds no
            // trace of this BAR there.
            if let Some(old) = placed.take() {
                self.tell_mapped(bar, None);
                self.mmio.remove(old);
            }
            let Some(address) = wanted else { continue };
            if let Err(error) = self.place(bar, placed, address) {
                let id = self.device.id();
                guest_warn!(self.log, "BAR {} of {id} stays unmapped: {error}", bar.index);
            }
        }
    }

    /// Puts a BAR that is nowhere on the bus. Fails if something else is there.
    fn place(&self, bar: &BarSpec, placed: &mut Option<u64>, address: u64) -> Result<(), BusError> {
        self.mmio.insert(address, bar.size, self.window(bar))?;
        *placed = Some(address);
        self.tell_mapped(bar, Some(address));
        Ok(())
    }

    /// Where the registers say that `bar` is; nowhere if memory space is off or the place is not
    /// ours to use.
    fn wanted(&self, bar: &BarSpec) -> Option<u64> {
        let (enabled, address) = {
            let config = self.config();
            (config.command() & COMMAND_MEMORY != 0, config.bar_address(bar))
        };
        (enabled && self.windows.hold(address, bar.size)).then_some(address)
    }

    fn window(&self, bar: &BarSpec) -> Arc<dyn BusDevice> {
        match &self.msix {
            Some(msix) if bar.index == self.msix_bar => msix.clone(),
            _ => Arc::new(BarWindow { device: self.device.clone(), bar: bar.index }),
        }
    }

    fn tell_mapped(&self, bar: &BarSpec, at: Option<u64>) {
        if self.msix.is_none() || bar.index != self.msix_bar {
            self.device.mapped(bar.index, at);
        }
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, InForce> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A card's BAR on the MMIO bus.
struct BarWindow {
    device: Arc<dyn PciDevice>,
    bar: u8,
}

impl BusDevice for BarWindow {
    fn read(&self, offset: u64, width: Width) -> u64 {
        self.device.read(self.bar, offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        self.device.write(self.bar, offset, width, value);
    }
}

fn is_within(offset: u16, width: Width) -> bool {
    let end = u64::from(offset).saturating_add(width.bytes());
    end <= u64::from(SPACE) && u64::from(offset).is_multiple_of(width.bytes())
}

fn check_bars(id: &str, bars: &[BarSpec]) -> Result<(), FunctionError> {
    let mut taken = [false; BARS as usize];
    for &BarSpec { index, kind, size } in bars {
        let (registers, most) = match kind {
            BarKind::Memory32 => (1, 1 << 31),
            BarKind::Memory64 { .. } => (2, 1 << 63),
        };
        let fits = size.is_power_of_two() && (16..=most).contains(&size);
        let uses = taken.get_mut(usize::from(index)..usize::from(index).saturating_add(registers));
        let Some(uses) = uses.filter(|_| fits) else {
            return Err(FunctionError::BadBar { id: id.to_owned(), index, size });
        };
        if uses.contains(&true) {
            return Err(FunctionError::BarTwice { id: id.to_owned(), index });
        }
        uses.fill(true);
    }
    Ok(())
}

#[cfg(test)]
#[path = "function_test.rs"]
mod tests;
