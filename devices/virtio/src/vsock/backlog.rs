//! Bytes of one connection that the host's reader had no room for.

use device_core::scatter::Scatter;

/// A bounded queue of bytes: credit keeps it within the connection's window. Memory is taken when a reader
/// is slow, and given back when he has caught up.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    /// Bytes of them that are gone.
    start: usize,
}

impl Backlog {
    /// Adds what `from` holds behind its first `skip` bytes.
    pub fn push(&mut self, from: &Scatter, skip: usize) {
        self.bytes.drain(..self.start.min(self.bytes.len()));
        self.start = 0;
        let before = self.bytes.len();
        let more = from.len().saturating_sub(skip);
        self.bytes.resize(before.saturating_add(more), 0);
        if let Some(place) = self.bytes.get_mut(before..) {
            from.read_at(skip, place);
        }
    }

    /// What goes next.
    pub fn front(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// So many of them went.
    pub fn advance(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes);
        if self.is_empty() {
            *self = Backlog::default();
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// None wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
}
