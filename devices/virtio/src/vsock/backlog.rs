//! Bytes of one connection that the host's reader had no room for.

use std::collections::VecDeque;
use std::iter::repeat_n;

use device_core::scatter::Scatter;

/// A bounded queue of bytes: credit keeps it within the connection's window. Memory is taken when a reader
/// is slow, and given back when he has caught up.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: VecDeque<u8>,
}

impl Backlog {
    /// Adds what `from` holds behind its first `skip` bytes.
    pub fn push(&mut self, from: &Scatter, skip: usize) {
        let (before, mut skip) = (self.bytes.len(), skip);
        self.bytes.extend(repeat_n(0, from.len().saturating_sub(skip)));
        let (first, second) = self.bytes.as_mut_slices();
        let in_second = before.saturating_sub(first.len());
        for place in [first.get_mut(before..), second.get_mut(in_second..)].into_iter().flatten() {
            from.read_at(skip, place);
            skip = skip.saturating_add(place.len());
        }
    }

    /// What goes next.
    pub fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// So many of them went.
    pub fn advance(&mut self, bytes: usize) {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        if self.is_empty() {
            *self = Backlog::default();
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// None wait.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets all; returns how many there were.
    pub fn discard(&mut self) -> usize {
        std::mem::take(self).len()
    }
}

#[cfg(test)]
mod tests {
    use device_core::testing::ram;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_memory_is_given_back() {
        let memory = ram(0x1000);
        memory.write_slice(b"0123456789", GuestAddress(0)).unwrap();
        let mut list = Scatter::growing(memory);
        list.push(0, 10).unwrap();
        let mut backlog = Backlog::default();
        backlog.push(&list, 4);
        assert_eq!(backlog.front(), b"456789");
        backlog.advance(2);
        backlog.push(&list, 8);
        assert_eq!((backlog.front(), backlog.len()), (&b"678989"[..], 6));
        backlog.advance(6);
        assert!(backlog.is_empty() && backlog.bytes.capacity() == 0);
        backlog.push(&list, 0);
        assert_eq!((backlog.discard(), backlog.len()), (10, 0));
    }

    #[test]
    fn it_goes_round_in_its_memory() {
        let memory = ram(0x1000);
        let (mut backlog, mut wanted) = (Backlog::default(), VecDeque::<u8>::new());
        for turn in 0..200u32 {
            let bytes: Vec<u8> = (0..turn % 37).map(|nth| (turn + nth) as u8).collect();
            memory.write_slice(&bytes, GuestAddress(0)).unwrap();
            let mut list = Scatter::growing(memory.clone());
            list.push(0, bytes.len() as u32).unwrap();
            let skip = bytes.len() / 3;
            backlog.push(&list, skip);
            wanted.extend(&bytes[skip..]);
            let gone = backlog.front().len().min(turn as usize % 31);
            assert!(backlog.front().iter().eq(wanted.iter().take(backlog.front().len())));
            backlog.advance(gone);
            wanted.drain(..gone);
            assert_eq!(backlog.len(), wanted.len());
        }
    }
}
