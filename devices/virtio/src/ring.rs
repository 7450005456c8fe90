//! One live split ring (virtio 1.2, 2.7) over `virtio_queue::Queue`, which holds its state.
//!
//! Chains are walked here and not by the crate's iterator, since that shows a broken chain as a
//! short one; used entries are shown in batches, since the buffers of one frame must appear at once.

use std::sync::atomic::{Ordering, fence};

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::memory::slice;
use virtio_bindings::virtio_ring::{
    VIRTIO_RING_F_INDIRECT_DESC, VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT,
    VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::Bytes;

/// Most descriptors of one chain. Linux may exceed the ring's size with an indirect table.
pub const MAX_CHAIN: u16 = 1024;
const DESCRIPTOR_LEN: u64 = 16;
const AVAIL_HEADER: u64 = 4;
const USED_HEADER: u64 = 4;
const USED_LEN: u64 = 8;

const NO_MEMORY: GuestFault = GuestFault("a part of the ring is not in memory");
const WILD_INDEX: GuestFault = GuestFault("the available index is further than the ring is long");
const BAD_HEAD: GuestFault = GuestFault("an available entry is past the end of the table");
const BAD_NEXT: GuestFault = GuestFault("a descriptor's next is past the end of the table");
const TOO_LONG: GuestFault = GuestFault("a chain loops or has too many descriptors");
const TOO_LARGE: GuestFault = GuestFault("a chain has more than 2^32 bytes");
const OUT_OF_ORDER: GuestFault = GuestFault("a readable descriptor follows a writable one");
const NO_INDIRECT: GuestFault = GuestFault("an indirect table was not negotiated");
const NESTED: GuestFault = GuestFault("an indirect table is in an indirect table or in a chain");
const BAD_TABLE: GuestFault = GuestFault("an indirect table has an impossible length");
const UNREADABLE: GuestFault = GuestFault("an indirect table is not in memory");

/// One buffer of a chain, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address of the first byte.
    pub addr: u64,
    /// Bytes, possibly 0.
    pub len: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

/// A chain that was taken, with what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popped {
    /// Index of its first descriptor, which names it.
    pub head: u16,
    /// Why it was not shown to its end.
    pub fault: Option<GuestFault>,
}

/// A ring in work.
pub struct SplitRing {
    queue: Queue,
    memory: GuestRam,
    indirect: bool,
    /// The available index as last seen.
    available: u16,
    /// Used entries written and not yet shown.
    unshown: u16,
    /// The used index at the last decision on an interrupt.
    decided: u16,
    /// The guest was asked to kick for the next chain and has not been told otherwise.
    armed: bool,
}

impl SplitRing {
    /// Takes over a checked ring; `features` are the negotiated ones. Fails if the ring is not in
    /// memory.
    pub fn new(queue: Queue, memory: GuestRam, features: u64) -> Result<SplitRing, GuestFault> {
        let (available, decided) = (queue.next_avail(), queue.next_used());
        let indirect = features & (1 << VIRTIO_RING_F_INDIRECT_DESC) != 0;
        let mut ring =
            SplitRing { queue, memory, indirect, available, unshown: 0, decided, armed: true };
        ring.disarm()?;
        Ok(ring)
    }

    /// The queue as it is now, to go on later; shows all used entries.
    pub fn into_queue(mut self) -> Queue {
        // The ring was in memory when it was taken over, and memory does not change.
        let _ = self.show();
        self.queue
    }

    /// Entries of the ring, a power of two.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next chain and shows each of its buffers in order; returns its head, or `None` if there
    /// is no chain. Fails if the index, the chain or a place of them is impossible, or with what `visit`
    /// said; then the ring is to be given up.
    pub fn pop(
        &mut self,
        mut visit: impl FnMut(Buffer) -> Result<(), GuestFault>,
    ) -> Result<Option<u16>, GuestFault> {
        let (mut total, mut writable) = (0u32, false);
        let popped = self.pop_any(|buffer| {
            if writable && !buffer.writable {
                return Err(OUT_OF_ORDER);
            }
            writable = buffer.writable;
            total = total.checked_add(buffer.len).ok_or(TOO_LARGE)?;
            visit(buffer)
        })?;
        let Some(popped) = popped else { return Ok(None) };
        match popped.fault {
            None => Ok(Some(popped.head)),
            Some(fault) => {
                self.unpop(1);
                Err(fault)
            }
        }
    }

    /// Takes the next chain as [`SplitRing::pop`] does, whatever is wrong with it, in any order and of any length:
    /// for devices that can answer a broken chain. Fails if the index or a place of the ring is impossible; then
    /// the ring is to be given up.
    pub fn pop_any(
        &mut self,
        mut visit: impl FnMut(Buffer) -> Result<(), GuestFault>,
    ) -> Result<Option<Popped>, GuestFault> {
        let next = self.queue.next_avail();
        if next == self.available && !self.look()? {
            return Ok(None);
        }
        if self.armed {
            self.disarm()?;
        }
        let slot = u64::from(next & self.mask());
        let at = self.queue.avail_ring().wrapping_add(AVAIL_HEADER).wrapping_add(slot << 1);
        let head = self.load(at, Ordering::Relaxed)?;
        if head >= self.size() {
            return Err(BAD_HEAD);
        }
        let fault = self.walk(head, &mut visit).err();
        self.queue.set_next_avail(next.wrapping_add(1));
        Ok(Some(Popped { head, fault }))
    }

    /// Undoes the last `count` pops, whose chains were not pushed.
    pub fn unpop(&mut self, count: u16) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count));
    }

    /// Gives a chain back with `len` bytes written; unseen by the guest until [`SplitRing::show`]. Fails
    /// if the ring is not in memory.
    pub fn push(&mut self, head: u16, len: u32) -> Result<(), GuestFault> {
        let slot = u64::from(self.queue.next_used().wrapping_add(self.unshown) & self.mask());
        let entries = self.queue.used_ring().wrapping_add(USED_HEADER);
        let at = entries.wrapping_add(slot.wrapping_mul(USED_LEN));
        let entry = u64::from(head) | u64::from(len) << 32;
        let place = slice(&self.memory, at, size_of_val(&entry)).ok_or(NO_MEMORY)?;
        place.write_obj(entry.to_le(), 0).map_err(|_| NO_MEMORY)?;
        self.unshown = self.unshown.wrapping_add(1);
        Ok(())
    }

    /// Shows all pushed chains to the guest; true if it wants an interrupt for them. Fails if the ring
    /// is not in memory.
    pub fn publish(&mut self) -> Result<bool, GuestFault> {
        if !self.show()? {
            return Ok(false);
        }
        // The new index must be out before the guest's wish is read (virtio 1.2, 2.7.7.2).
        fence(Ordering::SeqCst);
        let now = self.queue.next_used();
        let before = std::mem::replace(&mut self.decided, now);
        if self.queue.event_idx_enabled() {
            let event = self.load(self.used_event(), Ordering::Relaxed)?;
            let since_event = now.wrapping_sub(event).wrapping_sub(1);
            return Ok(since_event < now.wrapping_sub(before));
        }
        let flags = self.load(self.queue.avail_ring(), Ordering::Relaxed)?;
        Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks the guest to kick for the next chain. False if there is one already. Fails if the ring is
    /// not in memory, or its index is further than it is long.
    pub fn arm(&mut self) -> Result<bool, GuestFault> {
        if !self.armed {
            self.armed = true;
            let more = self.queue.enable_notification(&*self.memory);
            if more.map_err(|_| NO_MEMORY)? {
                return Ok(false);
            }
            return Ok(true);
        }
        Ok(!self.look()?)
    }

    /// Whether there is a chain to pop, or something that [`SplitRing::pop`] fails of.
    pub fn has_next(&mut self) -> bool {
        self.queue.next_avail() != self.available || self.look().unwrap_or(true)
    }

    /// Takes back what [`SplitRing::arm`] asked for; the guest may kick all the same. Fails if the ring is not in
    /// memory.
    pub fn stay_quiet(&mut self) -> Result<(), GuestFault> {
        if !self.armed {
            return Ok(());
        }
        if self.queue.event_idx_enabled() {
            // An index that the guest has passed: it kicks for none of the next 65534.
            let passed = self.queue.next_avail().wrapping_sub(1);
            let place = slice(&self.memory, self.available_event(), size_of_val(&passed));
            let stored = place.ok_or(NO_MEMORY)?.store(passed.to_le(), 0, Ordering::Relaxed);
            stored.map_err(|_| NO_MEMORY)?;
        }
        self.disarm()
    }

    /// Tells the guest that it need not kick. With EVENT_IDX this costs nothing: it kicks once
    /// for the index it was asked for.
    fn disarm(&mut self) -> Result<(), GuestFault> {
        self.armed = false;
        self.queue.disable_notification(&*self.memory).map_err(|_| NO_MEMORY)
    }

    /// Reads the available index; whether there is a chain.
    fn look(&mut self) -> Result<bool, GuestFault> {
        // Acquire: who sees the index sees the entries and the chains.
        let index = self.load(self.queue.avail_ring().wrapping_add(2), Ordering::Acquire)?;
        let ahead = index.wrapping_sub(self.queue.next_avail());
        if ahead > self.size() {
            return Err(WILD_INDEX);
        }
        self.available = index;
        Ok(ahead > 0)
    }

    fn walk(
        &self,
        head: u16,
        visit: &mut impl FnMut(Buffer) -> Result<(), GuestFault>,
    ) -> Result<(), GuestFault> {
        let (mut table, mut entries) = (self.queue.desc_table(), self.size());
        let (mut index, mut nested) = (head, false);
        for _ in 0..MAX_CHAIN {
            let at = table.checked_add(u64::from(index).wrapping_mul(DESCRIPTOR_LEN));
            let missing = if nested { UNREADABLE } else { NO_MEMORY };
            let place = slice(&self.memory, at.ok_or(missing)?, size_of::<Descriptor>());
            let descriptor: Descriptor = place.ok_or(missing)?.read_obj(0).map_err(|_| missing)?;
            let flags = u32::from(descriptor.flags());
            if flags & VRING_DESC_F_INDIRECT != 0 {
                if !self.indirect {
                    return Err(NO_INDIRECT);
                }
                // Neither within a table nor with or after a next (virtio 1.2, 2.7.5.3.1).
                if nested || index != head || flags & VRING_DESC_F_NEXT != 0 {
                    return Err(NESTED);
                }
                let len = u64::from(descriptor.len());
                let count = u16::try_from(len / DESCRIPTOR_LEN).ok();
                let count = count.filter(|count| (1..=MAX_CHAIN).contains(count));
                let whole = len.is_multiple_of(DESCRIPTOR_LEN);
                entries = count.filter(|_| whole).ok_or(BAD_TABLE)?;
                table = descriptor.addr().0;
                (index, nested) = (0, true);
                continue;
            }
            let buffer = Buffer {
                addr: descriptor.addr().0,
                len: descriptor.len(),
                writable: flags & VRING_DESC_F_WRITE != 0,
            };
            visit(buffer)?;
            if flags & VRING_DESC_F_NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next();
            if index >= entries {
                return Err(BAD_NEXT);
            }
        }
        Err(TOO_LONG)
    }

    /// Makes pushed entries visible; whether there were any.
    fn show(&mut self) -> Result<bool, GuestFault> {
        if self.unshown == 0 {
            return Ok(false);
        }
        let next = self.queue.next_used().wrapping_add(self.unshown);
        self.unshown = 0;
        self.queue.set_next_used(next);
        let place = slice(&self.memory, self.queue.used_ring().wrapping_add(2), size_of_val(&next));
        // Release: who sees the index sees the entries and the buffers.
        place.ok_or(NO_MEMORY)?.store(next.to_le(), 0, Ordering::Release).map_err(|_| NO_MEMORY)?;
        Ok(true)
    }

    fn available_event(&self) -> u64 {
        let entries = u64::from(self.size()).wrapping_mul(USED_LEN);
        self.queue.used_ring().wrapping_add(USED_HEADER).wrapping_add(entries)
    }

    fn used_event(&self) -> u64 {
        let entries = u64::from(self.size()) << 1;
        self.queue.avail_ring().wrapping_add(AVAIL_HEADER).wrapping_add(entries)
    }

    fn load(&self, at: u64, order: Ordering) -> Result<u16, GuestFault> {
        let place = slice(&self.memory, at, size_of::<u16>()).ok_or(NO_MEMORY)?;
        place.load(0, order).map(u16::from_le).map_err(|_| NO_MEMORY)
    }

    fn mask(&self) -> u16 {
        self.size().wrapping_sub(1)
    }
}

#[cfg(test)]
#[path = "ring_events_test.rs"]
mod events_tests;

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;
