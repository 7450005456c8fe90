//! Network cards, each as one pair of rings that are polled.

pub mod ena;
pub mod virtio;

/// Where a virtio-net card has its registers.
pub struct VirtioPlace {
    /// Common configuration (virtio 1.2, 4.1.4.3).
    pub common: u64,
    /// Doorbells, and the bytes between two of them.
    pub notify: u64,
    pub multiplier: u32,
}

/// Where an ENA card has its registers.
pub struct EnaPlace {
    /// BAR 0.
    pub registers: u64,
    /// BAR 2, the low-latency window, if there is one.
    pub window: Option<u64>,
}

/// A card as found.
pub enum Found {
    Virtio(VirtioPlace),
    Ena(EnaPlace),
}

/// The address that the guest sends from.
pub const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Bytes of a receive buffer, and of a send buffer of ordinary frames.
pub const BUFFER: u32 = 2048;

/// A card in use. Frames are completed in order, as all these cards do.
pub trait Nic {
    /// How many frames can be put, as far as the card has sent those before.
    fn room(&mut self) -> u16;

    /// Where the next frame to be put lies, and the most bytes it may have. What was written there stays
    /// until the ring comes around.
    fn next(&self) -> (u64, u32);

    /// Puts the next frame, of `len` bytes.
    fn put(&mut self, len: u32);

    /// Frames put from now on are not cut, whatever the options ask for.
    fn stop_cutting(&mut self);

    /// Shows the card what was put.
    fn show(&mut self);

    /// The next frame received, if there is one: where it lies, and its bytes.
    fn take(&mut self) -> Option<(u64, u32)>;

    /// Gives the buffer of the frame that was taken first back.
    fn give(&mut self);

    /// Shows the card what was given.
    fn show_given(&mut self);
}
