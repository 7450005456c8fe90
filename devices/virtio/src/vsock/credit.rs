//! How much may be under way (virtio 1.2, 5.10.6.3): bytes counted from 0 and wrapping, each side telling the
//! other how much it can hold and how much it has passed on.

/// What goes to the guest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToGuest {
    /// Bytes sent.
    sent: u32,
    /// Bytes that the guest says it can hold.
    room: u32,
    /// Bytes that the guest says it has passed on.
    passed_on: u32,
}

impl ToGuest {
    /// What a packet of the guest says.
    pub fn heard(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        (self.room, self.passed_on) = (buf_alloc, fwd_cnt);
    }

    /// Bytes that may be sent now. A guest that has passed on what was never sent gets nothing more, as
    /// it would by the specification's own sum.
    pub fn free(&self) -> u32 {
        self.room.saturating_sub(self.sent.wrapping_sub(self.passed_on))
    }

    /// So many were sent.
    pub fn sent(&mut self, bytes: u32) {
        self.sent = self.sent.wrapping_add(bytes);
    }
}

/// What comes from the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct FromGuest {
    /// Bytes that we hold at most.
    window: u32,
    received: u32,
    /// Passed on to the host.
    passed_on: u32,
    /// Passed on, as the guest has been told.
    told: u32,
}

/// The guest sent more than it was given room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl FromGuest {
    /// Nothing has come; `window` bytes may.
    pub fn new(window: u32) -> FromGuest {
        FromGuest { window, received: 0, passed_on: 0, told: 0 }
    }

    /// Bytes came. Fails, with nothing counted, if they are more than there was room for.
    pub fn received(&mut self, bytes: u32) -> Result<(), Overrun> {
        let held = self.received.wrapping_sub(self.passed_on);
        if bytes > self.window.saturating_sub(held) {
            return Err(Overrun);
        }
        self.received = self.received.wrapping_add(bytes);
        Ok(())
    }

    /// Bytes went on to the host, or nowhere.
    pub fn passed_on(&mut self, bytes: u32) {
        self.passed_on = self.passed_on.wrapping_add(bytes);
    }

    /// Whether the guest is to be told without having asked: it takes half of the room for full. What is
    /// held goes on by itself and brings this about, so that a guest never waits for ever.
    pub fn is_news(&self) -> bool {
        self.passed_on.wrapping_sub(self.told) >= self.window / 2
    }

    /// `buf_alloc` and `fwd_cnt` of a packet that is about to go.
    pub fn tell(&mut self) -> (u32, u32) {
        self.told = self.passed_on;
        (self.window, self.passed_on)
    }
}

#[cfg(test)]
#[path = "credit_test.rs"]
mod tests;
