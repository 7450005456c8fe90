//! The MSI-X table and pending bits of one function, and the routes that follow from them.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use device_core::bus::{BusDevice, Width};
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::interrupt::{MsiMessage, MsiSet, MsiVector, Route};
use serde::{Deserialize, Serialize};

use crate::capability::MsixControl;

/// Bytes of one table entry: address, upper address, data, vector control.
const ENTRY: u64 = 16;
const PAGE: u64 = 0x1000;
/// Most vectors that a table can have. PCI Local Bus 3.0, 6.8.2.3.
pub const MAX_VECTORS: u16 = 2048;

/// One vector, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorState {
    /// Where its message is written, guest-physical; aligned to 4.
    pub address: u64,
    /// What is written there.
    pub data: u32,
    /// Masked by its own bit.
    pub masked: bool,
    /// Its bit in the PBA: a fire waits.
    pub pending: bool,
}

/// The MSI-X BAR of a function: table at 0, pending bits on the page after it.
///
/// Its lock is held over [`MsiSet::route`], so that routes arrive in the order of the writes that
/// caused them; nothing behind `route` comes back here.
pub struct Msix {
    card: String,
    set: Arc<dyn MsiSet>,
    table: Mutex<Table>,
    log: LogLimit,
}

struct Table {
    entries: Vec<Entry>,
    control: MsixControl,
    /// Whether the function may write to memory, as an MSI does.
    bus_master: bool,
    /// What each vector was last routed to.
    routed: Vec<Option<MsiMessage>>,
}

#[derive(Clone, Copy)]
struct Entry {
    message: MsiMessage,
    masked: bool,
}

const UNTOUCHED: Entry = Entry { message: MsiMessage { address: 0, data: 0 }, masked: true };

impl Msix {
    /// The table for the vectors of `set`, all masked; `card` is for messages.
    pub fn new(card: &str, set: &Arc<dyn MsiSet>) -> Msix {
        let count = usize::from(set.count());
        Msix {
            card: card.to_owned(),
            set: set.clone(),
            table: Mutex::new(Table {
                entries: vec![UNTOUCHED; count],
                control: MsixControl::default(),
                bus_master: false,
                routed: vec![None; count],
            }),
            log: LogLimit::default(),
        }
    }

    /// Offset of the pending bits of `count` vectors in the BAR.
    pub fn pending_offset(count: u16) -> u32 {
        (u32::from(count).wrapping_mul(ENTRY as u32)).next_multiple_of(PAGE as u32)
    }

    /// Bytes of the BAR for `count` vectors; a power of two.
    pub fn bar_size(count: u16) -> u64 {
        let pending_bytes = u64::from(count).div_ceil(64).wrapping_mul(8);
        u64::from(Msix::pending_offset(count))
            .wrapping_add(pending_bytes.next_multiple_of(PAGE))
            .next_power_of_two()
    }

    /// The guest set the capability's control bits.
    pub fn set_control(&self, control: MsixControl) {
        self.change(|table| table.control = control);
    }

    /// Bus mastering went on or off; MSIs are writes of a bus master.
    pub fn set_bus_master(&self, on: bool) {
        self.change(|table| table.bus_master = on);
    }

    /// All vectors masked and none pending, the table zero, MSI-X off.
    pub fn reset(&self) {
        self.change(|table| {
            table.entries.fill(UNTOUCHED);
            table.control = MsixControl::default();
            table.bus_master = false;
        });
        (0..self.set.count()).filter_map(|index| self.set.vector(index)).for_each(forget);
    }

    /// Each vector as it is now.
    pub fn saved(&self) -> Vec<VectorState> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let vector = |(index, entry): (u16, &Entry)| VectorState {
            address: entry.message.address,
            data: entry.message.data,
            masked: entry.masked,
            pending: self.is_pending(&table, index),
        };
        (0..).zip(&table.entries).map(vector).collect()
    }

    /// The table becomes `vectors`, before anything opens a vector: what is pending is fired while it is masked, and
    /// so kept. Fails, with nothing changed, if no table of this function can be so.
    pub fn restore(&self, vectors: &[VectorState]) -> Result<(), String> {
        let count = usize::from(self.set.count());
        if vectors.len() != count {
            return Err(format!("there are {}; this card has {count}", vectors.len()));
        }
        if let Some(index) = vectors.iter().position(|vector| vector.address & 3 != 0) {
            return Err(format!("the address of vector {index} is not aligned"));
        }
        self.change(|table| {
            for (entry, vector) in table.entries.iter_mut().zip(vectors) {
                let message = MsiMessage { address: vector.address, data: vector.data };
                *entry = Entry { message, masked: vector.masked };
            }
        });
        let pending = (0..).zip(vectors).filter(|(_, vector)| vector.pending);
        pending.filter_map(|(index, _)| self.set.vector(index)).for_each(|vector| vector.fire());
        Ok(())
    }

    /// Whether each vector goes where the table says.
    pub fn is_settled(&self) -> bool {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).changes().is_empty()
    }

    /// Applies `edit`, then tells the set which routes differ from before, if any.
    fn change(&self, edit: impl FnOnce(&mut Table)) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut table);
        let changes = table.changes();
        if changes.is_empty() {
            return;
        }
        match self.set.route(&changes) {
            Ok(()) => table.note(&changes),
            // What was routed stays noted as it was, so the next change tries again.
            Err(error) => {
                guest_warn!(
                    self.log,
                    "cannot route {} MSIs of {}: {error}",
                    changes.len(),
                    self.card
                );
            }
        }
    }

    fn read_entry(&self, offset: u64) -> u32 {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = table.entries.get(entry_index(offset)) else { return 0 };
        match offset % ENTRY {
            0 => entry.message.address as u32,
            4 => (entry.message.address >> 32) as u32,
            8 => entry.message.data,
            _ => entry.masked.into(),
        }
    }

    /// Writes one or both words of an aligned access as one change.
    fn write_entry(&self, offset: u64, width: Width, value: u64) {
        self.change(|table| {
            table.write_word(offset, value as u32);
            if width == Width::B8 {
                table.write_word(offset.wrapping_add(4), (value >> 32) as u32);
            }
        });
    }

    /// 64 pending bits, the first of vector `first`.
    fn pending(&self, first: u64) -> u64 {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        (0..64u64).fold(0, |bits, bit| {
            let index = u16::try_from(first.wrapping_add(bit)).unwrap_or(u16::MAX);
            bits | u64::from(self.is_pending(&table, index)) << bit
        })
    }

    /// Whether a vector was fired while it went nowhere, and waits.
    fn is_pending(&self, table: &Table, index: u16) -> bool {
        let masked = matches!(table.routed.get(usize::from(index)), Some(None));
        masked && self.set.vector(index).is_some_and(|vector| vector.is_pending())
    }
}

/// Drivers must use aligned accesses of 4 or 8 bytes (PCI Local Bus 3.0, 6.8.2); others read all
/// ones and change nothing.
impl BusDevice for Msix {
    fn read(&self, offset: u64, width: Width) -> u64 {
        if !is_allowed(offset, width) {
            return width.mask();
        }
        let pending = u64::from(Msix::pending_offset(self.set.count()));
        if let Some(within) = offset.checked_sub(pending) {
            let bits = self.pending((within & !7).wrapping_mul(8));
            return bits >> (within & 7).wrapping_mul(8) & width.mask();
        }
        let low = u64::from(self.read_entry(offset));
        match width {
            Width::B8 => low | u64::from(self.read_entry(offset.wrapping_add(4))) << 32,
            _ => low,
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        // The pending bits are read-only, and past the table there is nothing.
        if is_allowed(offset, width) && entry_index(offset) < usize::from(self.set.count()) {
            self.write_entry(offset, width, value);
        }
    }
}

impl Table {
    fn write_word(&mut self, offset: u64, value: u32) {
        let Some(entry) = self.entries.get_mut(entry_index(offset)) else { return };
        let address = entry.message.address;
        match offset % ENTRY {
            // The address is of a whole dword; its lowest bits are read-only zeroes.
            0 => entry.message.address = address & !0xffff_ffff | u64::from(value & !3),
            4 => entry.message.address = address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.message.data = value,
            _ => entry.masked = value & 1 != 0,
        }
    }

    fn changes(&self) -> Vec<Route> {
        let MsixControl { enabled, all_masked } = self.control;
        let open = enabled && !all_masked && self.bus_master;
        let wanted = |entry: &Entry| (open && !entry.masked).then_some(entry.message);
        (0u16..)
            .zip(self.entries.iter().map(wanted).zip(&self.routed))
            .filter(|(_, (to, routed))| to != *routed)
            .map(|(index, (to, _))| Route { index, to })
            .collect()
    }

    fn note(&mut self, changes: &[Route]) {
        for change in changes {
            if let Some(routed) = self.routed.get_mut(usize::from(change.index)) {
                *routed = change.to;
            }
        }
    }
}

/// Takes back fires of a masked vector that were not delivered.
fn forget(vector: Arc<dyn MsiVector>) {
    if vector.is_pending()
        && let Some(Ok(event)) = vector.eventfd().map(|event| event.try_clone_to_owned())
    {
        // A counter that went to zero meanwhile is an error here, and as good.
        drop(File::from(event).read(&mut [0; 8]));
    }
}

fn is_allowed(offset: u64, width: Width) -> bool {
    matches!(width, Width::B4 | Width::B8) && offset.is_multiple_of(width.bytes())
}

fn entry_index(offset: u64) -> usize {
    usize::try_from(offset / ENTRY).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "msix_test.rs"]
mod tests;
