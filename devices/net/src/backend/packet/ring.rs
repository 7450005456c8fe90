//! The ring of received frames (Documentation/networking/packet_mmap.rst, TPACKET_V2): memory that the kernel
//! fills and we read, with no system call for a frame.
//!
//! ```text
//! slot:  ┌ tpacket2_hdr ─ address ─ vnet header ┬ frame ────────── ┐
//!        status word: whose the slot is         └ at `tp_mac`
//! ```
//! Slots are filled and given back in order. A frame longer than a slot is cut there, and waits whole in the
//! socket's own queue.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use libc::{
    TP_STATUS_COPY, TP_STATUS_KERNEL, TP_STATUS_LOSING, TP_STATUS_USER, TP_STATUS_VLAN_VALID,
};

use super::socket::{HEADER, Socket};
use crate::wire::ethernet::TAG;

/// Bytes of a ring, whatever its slots are: what a queue of a card costs on the host.
pub const RING: usize = 2 * 1024 * 1024;
/// What the kernel takes at once; large pieces are hard to find on a host that has run for long.
const BLOCK: usize = 64 * 1024;
/// Bytes of the smallest slots, for frames of 1500 bytes and all before them, and of the largest.
const SLOTS: std::ops::RangeInclusive<usize> = 2048..=16 * 1024;
/// Most bytes of a slot before its frame: the kernel's header, an address, and alignment.
const FRONT: usize = 128;
/// Type of a tag that the kernel does not tell (IEEE 802.1Q).
const CUSTOMER_TAG: u16 = 0x8100;

/// A ring and who reads it.
pub struct Ring {
    memory: NonNull<u8>,
    slot_len: usize,
    slots: u32,
    /// The slot that is filled next.
    next: AtomicU32,
    /// Somebody has a slot. Two never read by intention; this makes it certain.
    lent: AtomicBool,
}

// SAFETY: a slot is touched by the kernel or by the one that has it lent, as its status says.
unsafe impl Send for Ring {}
// SAFETY: as above; all else is atomic.
unsafe impl Sync for Ring {}

/// The bytes of a slot that holds a frame for `mtu`, as far as slots go.
fn slot_len(mtu: usize) -> usize {
    let frame = mtu.saturating_add(crate::wire::ethernet::HEADER).saturating_add(TAG);
    let len = frame.saturating_add(FRONT).checked_next_power_of_two();
    len.unwrap_or(usize::MAX).clamp(*SLOTS.start(), *SLOTS.end())
}

impl Ring {
    /// A ring of `socket`, which is bound to nothing yet, for packets of at most `mtu` bytes; longer ones come
    /// beside it. Fails if the host has not so much memory.
    pub fn new(socket: &Socket, mtu: usize) -> io::Result<Ring> {
        let slot_len = slot_len(mtu);
        let count = |of: usize, by: usize| of.checked_div(by).unwrap_or_default() as u32; // of 2 MiB
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: count(RING, BLOCK),
            tp_frame_size: slot_len as u32, // at most 16 KiB
            tp_frame_nr: count(RING, slot_len),
        };
        let memory = socket.map_ring(&request)?;
        let (next, lent) = (AtomicU32::new(0), AtomicBool::new(false));
        Ok(Ring { memory, slot_len, slots: request.tp_frame_nr, next, lent })
    }

    /// The next frame, if there is one and nobody else has it.
    #[inline]
    pub fn next(&self) -> Option<Slot<'_>> {
        if !self.is_filled(self.next.load(Ordering::Relaxed)) {
            return None;
        }
        // Pairs with the end of a slot: its reader is done with it, and `next` is behind it.
        if self.lent.swap(true, Ordering::Acquire) {
            return None;
        }
        let index = self.next.load(Ordering::Relaxed);
        if !self.is_filled(index) {
            self.lent.store(false, Ordering::Release); // as if it had not been taken
            return None;
        }
        Some(Slot::new(self, index))
    }

    /// How many frames it holds.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    fn is_filled(&self, index: u32) -> bool {
        // Pairs with the kernel's barrier before it sets the status: the frame is there.
        self.status(index).load(Ordering::Acquire) & TP_STATUS_USER != 0
    }

    fn at(&self, index: u32) -> NonNull<u8> {
        let offset = (index as usize).wrapping_mul(self.slot_len); // below RING
        // SAFETY: indices are below `slots`, and so is the slot within the mapping.
        unsafe { self.memory.add(offset) }
    }

    fn status(&self, index: u32) -> &AtomicU32 {
        // SAFETY: a slot begins with its status, aligned to a slot's length, and is mapped as long as the ring;
        // the kernel and we only touch it whole.
        unsafe { self.at(index).cast::<AtomicU32>().as_ref() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made for this ring, and nobody has a slot any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), RING) };
    }
}

/// A frame in the ring; given back to the kernel when dropped.
pub struct Slot<'a> {
    ring: &'a Ring,
    index: u32,
    bytes: &'a mut [u8],
    /// What the kernel says of it.
    about: libc::tpacket2_hdr,
}

impl<'a> Slot<'a> {
    /// The slot is filled, and nobody else has it.
    fn new(ring: &'a Ring, index: u32) -> Slot<'a> {
        let at = ring.at(index);
        // SAFETY: a filled slot begins with this header, which is plain numbers. The kernel leaves a filled slot
        // alone, and `lent` keeps all others of us away.
        let about = unsafe { at.cast::<libc::tpacket2_hdr>().read() };
        let status = size_of::<u32>();
        let len = ring.slot_len.wrapping_sub(status); // slots are longer
        // SAFETY: all of the slot but its status, for as long as it is lent, as above.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at.add(status).as_ptr(), len) };
        Slot { ring, index, bytes, about }
    }

    /// Bytes of the whole frame, without a tag that was taken off.
    pub fn len(&self) -> usize {
        self.about.tp_len as usize
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.about.tp_snaplen == self.about.tp_len
    }

    /// Whether it waits in the socket's queue.
    pub fn is_beside(&self) -> bool {
        self.about.tp_status & TP_STATUS_COPY != 0
    }

    /// Whether frames were lost for want of room, and nobody has asked yet how many.
    pub fn is_after_loss(&self) -> bool {
        self.about.tp_status & TP_STATUS_LOSING != 0
    }

    /// The VLAN tag that the kernel took off.
    pub fn tag(&self) -> Option<[u8; TAG]> {
        if self.about.tp_status & TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let kind = match self.about.tp_vlan_tpid {
            0 => CUSTOMER_TAG,
            kind => kind,
        };
        let [k0, k1] = kind.to_be_bytes();
        let [t0, t1] = self.about.tp_vlan_tci.to_be_bytes();
        Some([k0, k1, t0, t1])
    }

    /// Vnet header, and the frame as far as it is here; `None` if that is not within the slot, which the kernel
    /// never says.
    #[inline]
    pub fn parts(&mut self) -> Option<(&[u8; HEADER], &mut [u8])> {
        let at = usize::from(self.about.tp_mac).checked_sub(size_of::<u32>())?;
        let (front, frame) = self.bytes.split_at_mut_checked(at)?;
        let header = front.last_chunk()?;
        Some((header, frame.get_mut(..self.about.tp_snaplen as usize)?))
    }

    /// The frame with its tag put in again, in place of the vnet header's end.
    pub fn tagged(&mut self, tag: [u8; TAG]) -> Option<&mut [u8]> {
        const ADDRESSES: usize = 12;
        let mac = usize::from(self.about.tp_mac).checked_sub(size_of::<u32>())?;
        let begin = mac.checked_sub(TAG)?;
        let end = mac.checked_add(self.about.tp_snaplen as usize)?;
        let frame = self.bytes.get_mut(begin..end)?;
        if frame.len() < ADDRESSES.saturating_add(TAG) {
            return None;
        }
        frame.copy_within(TAG..ADDRESSES.saturating_add(TAG), 0);
        frame.get_mut(ADDRESSES..)?.first_chunk_mut().map(|place| *place = tag)?;
        Some(frame)
    }
}

impl Drop for Slot<'_> {
    #[inline]
    fn drop(&mut self) {
        let after = self.index.wrapping_add(1);
        self.ring.next.store(if after == self.ring.slots { 0 } else { after }, Ordering::Relaxed);
        // Pairs with the kernel's look at the status: we are done with the bytes.
        self.ring.status(self.index).store(TP_STATUS_KERNEL, Ordering::Release);
        self.ring.lent.store(false, Ordering::Release); // pairs with `next`
    }
}

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;
