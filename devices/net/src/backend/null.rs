//! A backend that swallows what is sent and brings frames without end: it measures a front alone.

use std::io;
use std::os::fd::BorrowedFd;

use crate::backend::{NetQueue, QueueError, Room};
use crate::frame::{Csum, HEAD, RxFrame, TxFrame};
use crate::wire::ipv4;

/// Swallows every frame sent; brings UDP over IPv4 to a group address, whose bodies it leaves
/// unwritten.
pub struct Null {
    /// How many it brings.
    pub frames: u64,
    /// Bytes of each, at least those of the headers.
    pub len: usize,
    /// What it vouches for.
    pub csum: Csum,
    head: [u8; HEAD],
}

impl Null {
    /// Brings `frames` frames of `len` bytes with whole headers, of which it knows `csum`.
    pub fn new(frames: u64, len: usize, csum: Csum) -> Null {
        let mut head = [0x2a; HEAD];
        // A group address: no filter of a card without addresses of its own stops it.
        let link = [1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let packet = u16::try_from(len.saturating_sub(link.len())).unwrap_or(u16::MAX);
        let [total0, total1] = packet.to_be_bytes();
        let [udp0, udp1] = packet.saturating_sub(ipv4::HEADER as u16).to_be_bytes();
        let mut network =
            [0x45, 0, total0, total1, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ipv4::set_sum(&mut network);
        let transport = [0x9c, 0x40, 0, 53, udp0, udp1, 0x12, 0x34];
        let headers = link.into_iter().chain(network).chain(transport);
        head.iter_mut().zip(headers).for_each(|(to, from)| *to = from);
        Null { frames, len, csum, head }
    }
}

impl NetQueue for Null {
    fn send(&mut self, _: &TxFrame) -> Result<(), QueueError> {
        Ok(())
    }

    fn recv(&mut self, _: Room<'_>, frame: &mut RxFrame) -> Result<(), QueueError> {
        self.frames = self.frames.checked_sub(1).ok_or(QueueError::NotReady)?;
        frame.len = self.len;
        frame.meta.csum = self.csum;
        frame.head.room().copy_from_slice(&self.head);
        frame.head.set_len(self.len.min(HEAD));
        Ok(())
    }

    fn enable(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
