//! What a storm goes for.

/// A table in memory that a device reads or writes: slots of equal length, and which of their bytes hold addresses or
/// numbers.
#[derive(Clone, Copy)]
pub struct Table {
    pub at: u64,
    pub slots: u64,
    pub slot_len: u64,
    /// Bytes of addresses in each slot, from and to; a storm writes none there that leads to this program.
    pub addresses: (u64, u64),
    /// Bytes of numbers.
    pub numbers: (u64, u64),
}

impl Table {
    /// Of which nothing is known but its place.
    pub const fn new(at: u64, slots: u64, slot_len: u64) -> Table {
        Table { at, slots, slot_len, addresses: (0, 0), numbers: (0, 0) }
    }
}

/// Most registers, or groups of them, that hold addresses.
pub const ADDRESS_REGISTERS: usize = 4;

/// All that a device has.
pub struct Targets {
    pub tables: [Table; 6],
    /// Doorbells, and how many bytes one takes.
    pub bells: [u64; 2],
    pub bell_len: u32,
    /// Registers that hold an address, from and to.
    pub address_registers: [(u64, u64); ADDRESS_REGISTERS],
}
