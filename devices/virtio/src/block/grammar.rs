//! What a chain of buffers asks of a disk (virtio 1.2, 5.2.6).
//!
//! A driver may cut a request into buffers as it likes: what can be read of it is one stream, 16 bytes of
//! header and then data, and what can be written another, data and then one byte of status.

use block::request::{Operation, Range, Request, SECTOR};
use device_core::Ram;
use device_core::memory::slice;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::{Bytes, GuestAddress};

use super::features;
use crate::ring::Buffer;

/// Ranges of one discard.
pub(super) const MAX_RANGES: usize = 32;
/// Bytes of the disk's name.
pub(super) const ID_LEN: usize = VIRTIO_BLK_ID_BYTES as usize;

const HEADER: usize = 16;
const RANGE: usize = 16;
/// Most bytes of data of one request.
const MAX_DATA: u64 = 1 << 30;

const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
const UNSUPP: u8 = VIRTIO_BLK_S_UNSUPP as u8;

/// What is to be done about a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The request that was filled in.
    Disk,
    /// The disk's name is to be written to the request's buffers.
    Id,
    /// To answer with this status.
    Refused(u8),
}

/// Where the status goes: the last byte that may be written. `None` if there is none, or it is not in RAM.
pub(super) fn status(buffers: &[Buffer], memory: &Ram) -> Option<u64> {
    let last = buffers.iter().rev().find(|buffer| buffer.writable && buffer.len > 0)?;
    let at = last.addr.checked_add(u64::from(last.len).wrapping_sub(1))?;
    slice(memory, at, 1).map(|_| at)
}

/// Reads a chain whose status has a place; the header is read once. `request` is clear.
pub(super) fn parse(
    buffers: &[Buffer],
    memory: &Ram,
    negotiated: u64,
    request: &mut Request,
) -> Wish {
    wish(buffers, memory, negotiated, request).unwrap_or_else(Wish::Refused)
}

fn wish(
    buffers: &[Buffer],
    memory: &Ram,
    negotiated: u64,
    request: &mut Request,
) -> Result<Wish, u8> {
    let at = buffers.iter().position(|buffer| buffer.writable).unwrap_or(buffers.len());
    let (readable, writable) = buffers.split_at_checked(at).ok_or(IOERR)?;
    if writable.iter().any(|buffer| !buffer.writable) {
        return Err(IOERR);
    }
    let header = header(readable, memory).ok_or(IOERR)?;
    let (kind, sector) = (word(&header, 0), double(&header, 8));
    let out = || len(readable).saturating_sub(HEADER as u64);
    let into = || len(writable).saturating_sub(1);
    match kind {
        VIRTIO_BLK_T_IN => {
            request.operation = Operation::Read;
            transfer(writable, 0, into(), sector, request)
        }
        VIRTIO_BLK_T_OUT => {
            request.operation = Operation::Write;
            transfer(readable, HEADER as u64, out(), sector, request)
        }
        // Some firmware leaves a stale buffer in the chain; the sector means nothing either.
        VIRTIO_BLK_T_FLUSH => {
            request.operation = Operation::Flush;
            Ok(Wish::Disk)
        }
        VIRTIO_BLK_T_GET_ID => {
            if into() < ID_LEN as u64 {
                return Err(IOERR);
            }
            push(writable, 0, ID_LEN as u64, request)?;
            Ok(Wish::Id)
        }
        VIRTIO_BLK_T_DISCARD if negotiated & features::DISCARD != 0 => {
            request.operation = Operation::Discard;
            ranges(readable, out(), 0, request).map(|_| Wish::Disk)
        }
        VIRTIO_BLK_T_WRITE_ZEROES if negotiated & features::WRITE_ZEROES != 0 => {
            let unmap = ranges(readable, out(), VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, request)?;
            request.operation = Operation::WriteZeroes { unmap };
            Ok(Wish::Disk)
        }
        _ => Err(UNSUPP),
    }
}

/// A read or write of `len` bytes, which begin behind `skip` others in `buffers`.
fn transfer(
    buffers: &[Buffer],
    skip: u64,
    len: u64,
    sector: u64,
    request: &mut Request,
) -> Result<Wish, u8> {
    if len == 0 || len > MAX_DATA || !len.is_multiple_of(SECTOR) {
        return Err(IOERR);
    }
    request.offset = sector.checked_mul(SECTOR).ok_or(IOERR)?;
    push(buffers, skip, len, request)?;
    Ok(Wish::Disk)
}

/// Appends the `len` bytes behind the first `skip` of `buffers` to the request's. Fails if they are not RAM, or
/// in too many pieces.
fn push(buffers: &[Buffer], skip: u64, len: u64, request: &mut Request) -> Result<(), u8> {
    let (mut skip, mut left) = (skip, len);
    for buffer in buffers {
        let skipped = skip.min(buffer.len.into());
        skip = skip.saturating_sub(skipped);
        let here = u64::from(buffer.len).saturating_sub(skipped).min(left);
        left = left.saturating_sub(here);
        let addr = buffer.addr.checked_add(skipped).ok_or(IOERR)?;
        let here = u32::try_from(here).map_err(|_| IOERR)?;
        request.buffers.push(addr, here).map_err(|_| IOERR)?;
    }
    if left == 0 { Ok(()) } else { Err(IOERR) }
}

/// Reads the ranges behind the header, of `len` bytes together. Only flags of `allowed` may be set; whether any
/// is. What flags say holds for all ranges, so they must say the same.
fn ranges(buffers: &[Buffer], len: u64, allowed: u32, request: &mut Request) -> Result<bool, u8> {
    let count = usize::try_from(len).map_err(|_| IOERR)? / RANGE;
    if !(1..=MAX_RANGES).contains(&count) || !len.is_multiple_of(RANGE as u64) {
        return Err(IOERR);
    }
    push(buffers, HEADER as u64, len, request)?;
    let mut all = 0;
    let mut each = u32::MAX;
    for _ in 0..count {
        let mut range = [0; RANGE];
        if !request.buffers.pull(&mut range) {
            return Err(IOERR);
        }
        let (sector, sectors, flags) = (double(&range, 0), word(&range, 8), word(&range, 12));
        if flags & !allowed != 0 {
            return Err(UNSUPP);
        }
        (all, each) = (all | flags, each & flags);
        let offset = sector.checked_mul(SECTOR).ok_or(IOERR)?;
        request.ranges.push(Range { offset, len: u64::from(sectors).saturating_mul(SECTOR) });
    }
    // Where some may be given back and others may not, all keep their space: it is the lesser promise to break.
    Ok(all == each && all != 0)
}

fn header(readable: &[Buffer], memory: &Ram) -> Option<[u8; HEADER]> {
    let mut header = [0; HEADER];
    let mut rest = header.as_mut_slice();
    for buffer in readable {
        let here = rest.len().min(buffer.len as usize);
        let (now, later) = rest.split_at_mut_checked(here)?;
        memory.read_slice(now, GuestAddress(buffer.addr)).ok()?;
        rest = later;
        if rest.is_empty() {
            return Some(header);
        }
    }
    None
}

fn len(buffers: &[Buffer]) -> u64 {
    buffers.iter().fold(0, |sum: u64, buffer| sum.saturating_add(buffer.len.into()))
}

fn word(bytes: &[u8; 16], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

fn double(bytes: &[u8; 16], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}
