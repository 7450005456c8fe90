//! Where a lane keeps the ring's tokens of requests that are on their way.

/// Tokens by number; the numbers are ours, and never a guest's.
pub(super) struct Seats<T> {
    tokens: Vec<Option<T>>,
    free: Vec<u16>,
}

impl<T> Seats<T> {
    pub fn new() -> Seats<T> {
        Seats { tokens: Vec::new(), free: Vec::new() }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.tokens.len().saturating_sub(self.free.len())
    }

    /// Keeps a token; returns its number.
    pub fn take(&mut self, token: T) -> u16 {
        match self.free.pop() {
            Some(seat) => {
                if let Some(place) = self.tokens.get_mut(usize::from(seat)) {
                    *place = Some(token);
                }
                seat
            }
            None => {
                self.tokens.push(Some(token));
                (self.tokens.len() as u16).wrapping_sub(1) // there are never more than a lane has in flight
            }
        }
    }

    /// The token that is kept there.
    pub fn token(&self, seat: u16) -> Option<&T> {
        self.tokens.get(usize::from(seat))?.as_ref()
    }

    /// Gives it back.
    pub fn leave(&mut self, seat: u16) -> Option<T> {
        let token = self.tokens.get_mut(usize::from(seat))?.take()?;
        self.free.push(seat);
        Some(token)
    }
}
