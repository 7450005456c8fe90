//! Network cards, each as one pair of rings that are polled.

pub mod ena;
pub mod virtio;

/// Where a virtio-net card has its registers.
#[derive(Clone, Copy)]
pub struct VirtioPlace {
    /// Common configuration (virtio 1.2, 4.1.4.3).
    pub common: u64,
    /// Doorbells, and the bytes between two of them.
    pub notify: u64,
    pub multiplier: u32,
}

/// Where an ENA card has its registers.
#[derive(Clone, Copy)]
pub struct EnaPlace {
    /// BAR 0.
    pub registers: u64,
    /// BAR 2, the low-latency window, if there is one.
    pub window: Option<u64>,
}

/// A card as found.
#[derive(Clone, Copy)]
pub enum Found {
    Virtio(VirtioPlace),
    Ena(EnaPlace),
}

/// The address that the guest sends from.
pub const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Bytes of a receive buffer, and of a send buffer of ordinary frames.
pub const BUFFER: u32 = 2048;

/// A table in memory that a card reads or writes, as a storm sees it: slots of equal length, and which of their bytes
/// hold an address or a number.
#[derive(Clone, Copy)]
pub struct Table {
    pub at: u64,
    pub slots: u64,
    pub slot_len: u64,
    /// Where a slot's address is; a storm writes no address there that leads to this program.
    pub address: Option<u64>,
    /// Bytes of numbers in each slot, from where on.
    pub numbers: (u64, u64),
}

/// What a storm goes for.
pub struct Targets {
    pub tables: [Table; 6],
    /// Doorbells, and how many bytes one takes.
    pub bells: [u64; 2],
    pub bell_len: u32,
    /// Registers that hold an address, from and to.
    pub address_registers: [(u64, u64); 4],
}

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

    /// Where it may be hit.
    fn targets(&self) -> Targets;
}
