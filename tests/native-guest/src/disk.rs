//! Disks, each as queues that are polled.

pub mod exercise;
pub mod measure;
pub mod nvme;
pub mod report;
pub mod resets;
pub mod storm;
pub mod sync;
pub mod verify;
pub mod virtio;

use crate::options::Options;
use crate::pci::Ground;
use crate::targets::Targets;
use crate::virtio::Place as VirtioPlace;

/// A disk as found.
#[derive(Clone, Copy)]
pub enum Found {
    Virtio(VirtioPlace),
    /// Where an NVMe controller has its registers.
    Nvme(u64),
}

/// What to do with a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `disk=verify`: writes of all sizes and alignments, read back and compared.
    Verify,
    /// `disk=busy`: the same requests for ever, beside a card that is busy too.
    Busy,
    /// `disk=reset`: resets with requests in flight.
    Reset,
    /// `disk=storm`: whatever a broken or hostile driver may do to it, again and again.
    Storm,
    /// `disk=sync`: writes that are flushed and told of, until the machine ends.
    Sync,
    /// `disk=read`, `disk=write`: as many of one kind as the disk takes.
    Measure(Operation),
}

/// Bytes of a sector, which offsets are told in.
pub const SECTOR: u64 = 512;
/// Most queues of a disk, and most requests of one that are in flight.
pub const MOST_QUEUES: u16 = 16;
pub const MOST_IN_FLIGHT: u16 = 128;
/// Most pieces of memory of a request.
pub const MOST_PIECES: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    /// Of all that was written.
    Flush,
}

/// A piece of memory, of so many bytes.
#[derive(Clone, Copy, Default)]
pub struct Piece {
    pub at: u64,
    pub len: u32,
}

/// What a disk is asked for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub operation: Operation,
    /// Where it begins; a multiple of the disk's block.
    pub sector: u64,
    pub pieces: &'a [Piece],
}

/// What can be asked of a disk.
#[derive(Clone, Copy)]
pub struct Geometry {
    pub sectors: u64,
    /// Sectors of a block, which requests are made of.
    pub block: u64,
    /// Most bytes of a request.
    pub most: u64,
    /// Most pieces of one, if they may begin and end anywhere. With `None` pieces meet at pages of memory, and the
    /// first begins at a multiple of 4.
    pub pieces: Option<usize>,
    pub queues: u16,
    /// Requests of a queue that can be in flight; their tags are below that.
    pub in_flight: u16,
}

/// A disk in use.
pub trait Disk {
    fn geometry(&self) -> Geometry;

    /// Puts a request into a queue, under a tag that is not in use there.
    fn put(&mut self, queue: u16, tag: u16, request: Request<'_>);

    /// Shows the disk what was put into a queue.
    fn show(&mut self, queue: u16);

    /// The next request of a queue that is done: its tag, and whether that went well. A tag may be any number if the
    /// disk does not do as it should.
    fn take(&mut self, queue: u16) -> Option<(u16, bool)>;

    /// Where it may be hit.
    fn targets(&self, queue: u16) -> Targets;
}

/// Does as asked with a disk, which `open` resets and sets up.
pub fn run<D: Disk>(open: impl Fn() -> D, task: Task, ground: &Ground, options: &Options) -> ! {
    match task {
        Task::Verify => verify::run(open(), options),
        // That takes a card as well: see `crate::busy`.
        Task::Busy => crate::end(),
        Task::Reset => resets::run(open, options),
        Task::Storm => storm::run(open, ground, options),
        Task::Sync => sync::run(open(), options),
        Task::Measure(operation) => measure::run(open(), operation, options),
    }
}
