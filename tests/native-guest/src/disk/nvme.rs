//! NVMe (base specification 1.4), polled: completion queues have no interrupts.

use super::{Disk, Geometry, MOST_QUEUES, Operation, Request, SECTOR};
use crate::memory::{Arena, barrier, read, write};
use crate::options::Options;
use crate::targets::{Table, Targets};

/// Registers of the controller (3.1).
mod register {
    pub const CAPABILITIES: u64 = 0x00;
    pub const INTERRUPT_MASK_SET: u64 = 0x0c;
    pub const CONFIGURATION: u64 = 0x14;
    pub const STATUS: u64 = 0x1c;
    pub const ADMIN_SIZES: u64 = 0x24;
    pub const ADMIN_SUBMISSIONS: u64 = 0x28;
    pub const ADMIN_COMPLETIONS: u64 = 0x30;
    pub const DOORBELLS: u64 = 0x1000;
}

/// Of the configuration: enabled, entries of 64 and of 16 bytes, pages of 4 KiB.
const ENABLE: u32 = 1 | 6 << 16 | 4 << 20;
const READY: u32 = 1;

/// Admin commands (5).
const CREATE_SUBMISSIONS: u32 = 0x01;
const CREATE_COMPLETIONS: u32 = 0x05;
const IDENTIFY: u32 = 0x06;
const SET_FEATURES: u32 = 0x09;
const DOORBELL_BUFFERS: u32 = 0x7c;
const NUMBER_OF_QUEUES: u32 = 7;
const NAMESPACE: u32 = 1;

/// Of what Identify tells of a controller and a namespace (5.15.2).
const MAX_TRANSFER: u64 = 77;
const OPTIONAL_COMMANDS: u64 = 256;
const HAS_DOORBELL_BUFFERS: u16 = 1 << 8;
const FORMAT: u64 = 26;
const FORMATS: u64 = 128;

/// Commands of the NVM command set (6).
const FLUSH: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

const ADMIN_DEPTH: u16 = 32;
const ENTRY: u64 = 64;
const COMPLETION: u64 = 16;
const PAGE: u64 = 4096;
/// Pages for the list of a tag: it may begin anywhere in the first, and goes on in the second.
const LIST: u64 = 2 * PAGE;
/// Bytes of one request, unless the controller takes less; a list has room for that.
const MOST: u64 = 1 << 20;
/// Where the list of a request begins is as far behind that of the one before it.
const STRIDE: u64 = 37 * 8;

/// A submission queue and its completion queue.
struct Queue {
    submissions: u64,
    completions: u64,
    size: u16,
    tail: u16,
    head: u16,
    /// Of the completions of this round.
    phase: u32,
    bells: [Bell; 2],
}

/// A doorbell.
struct Bell {
    at: u64,
    /// Its place in the doorbell buffers, and that of what the controller last looked for, if there are such.
    shadow: Option<(u64, u64)>,
    rung: u16,
}

impl Bell {
    fn ring(&mut self, value: u16) {
        let before = core::mem::replace(&mut self.rung, value);
        if before == value {
            return;
        }
        barrier();
        if let Some((shadow, event)) = self.shadow {
            write(shadow, u32::from(value));
            barrier();
            let event = read::<u32>(event) as u16;
            // Within a round of the queue, as for virtio's EVENT_IDX (5.8 leaves it to the host).
            if value.wrapping_sub(event).wrapping_sub(1) >= value.wrapping_sub(before) {
                return;
            }
        }
        write(self.at, u32::from(value));
    }
}

impl Queue {
    /// On memory of its own; `number` and `stride` make its doorbells, and `shadows` are doorbell buffers, if there
    /// are any.
    fn new(
        registers: u64,
        (number, stride): (u16, u64),
        size: u16,
        shadows: Option<(u64, u64)>,
        arena: &mut Arena,
    ) -> Queue {
        let bell = |which: u64| {
            let offset = (2 * u64::from(number) + which) * stride;
            let shadow = shadows.map(|(bells, events)| (bells + offset, events + offset));
            Bell { at: registers + register::DOORBELLS + offset, shadow, rung: 0 }
        };
        Queue {
            submissions: arena.take_zeroed(u64::from(size) * ENTRY),
            completions: arena.take_zeroed(u64::from(size) * COMPLETION),
            size,
            tail: 0,
            head: 0,
            phase: 1,
            bells: [bell(0), bell(1)],
        }
    }

    fn put(&mut self, words: [u32; 16]) {
        write(self.submissions + u64::from(self.tail) * ENTRY, words);
        self.tail = (self.tail + 1) % self.size;
    }

    fn show(&mut self) {
        self.bells[1].ring(self.head);
        self.bells[0].ring(self.tail);
    }

    /// Identifier of the next command that is done, and whether that went well.
    fn take(&mut self) -> Option<(u16, bool)> {
        let last = read::<u32>(self.completions + u64::from(self.head) * COMPLETION + 12);
        if last >> 16 & 1 != self.phase {
            return None;
        }
        self.head = (self.head + 1) % self.size;
        if self.head == 0 {
            self.phase ^= 1;
        }
        Some((last as u16, last >> 17 == 0))
    }

    /// As commands that have nothing else to do.
    fn command(&mut self, words: [u32; 16]) {
        self.put(words);
        self.show();
        let done = loop {
            if let Some((_, done)) = self.take() {
                break done;
            }
        };
        // Anything but success is the end of this guest.
        assert!(done);
    }
}

/// An NVMe controller with one namespace.
pub struct Nvme {
    registers: u64,
    admin: u64,
    geometry: Geometry,
    queues: [Option<Queue>; MOST_QUEUES as usize],
    lists: u64,
    /// Bytes of a logical block.
    block: u64,
    /// Where the next list begins in its first page; only at 0 unless `scatters`.
    list_at: u64,
    scatters: bool,
}

impl Nvme {
    /// Reset and enabled, with as many queues as the options say.
    pub fn open(registers: u64, options: &Options) -> Nvme {
        let at = registers;
        let capabilities = u64::from(read::<u32>(at + register::CAPABILITIES))
            | u64::from(read::<u32>(at + register::CAPABILITIES + 4)) << 32;
        let stride = 4 << (capabilities >> 32 & 0xf);
        write(at + register::CONFIGURATION, 0u32);
        while read::<u32>(at + register::STATUS) & READY != 0 {}
        write(at + register::INTERRUPT_MASK_SET, u32::MAX);
        let mut arena = options.arena();
        let mut admin = Queue::new(at, (0, stride), ADMIN_DEPTH, None, &mut arena);
        let depth = u32::from(ADMIN_DEPTH - 1);
        write(at + register::ADMIN_SIZES, depth << 16 | depth);
        for (register, address) in [
            (register::ADMIN_SUBMISSIONS, admin.submissions),
            (register::ADMIN_COMPLETIONS, admin.completions),
        ] {
            write(at + register, address as u32);
            write(at + register + 4, (address >> 32) as u32);
        }
        write(at + register::CONFIGURATION, ENABLE);
        while read::<u32>(at + register::STATUS) & READY == 0 {}

        let page = arena.take(PAGE);
        let mut identify = |namespace, what| {
            let mut words = [0; 16];
            words[0] = IDENTIFY;
            words[1] = namespace;
            words[6] = page as u32;
            words[10] = what;
            admin.command(words);
        };
        identify(0, 1);
        let optional = read::<u16>(page + OPTIONAL_COMMANDS);
        let most = match read::<u8>(page + MAX_TRANSFER) {
            0 => MOST,
            exponent => PAGE << exponent.min(16),
        };
        identify(NAMESPACE, 0);
        let blocks = read::<u64>(page);
        let format = read::<u8>(page + FORMAT) & 0xf;
        let block = 1 << (read::<u32>(page + FORMATS + 4 * u64::from(format)) >> 16 & 0xff);

        let mut words = [0; 16];
        words[0] = SET_FEATURES;
        words[10] = NUMBER_OF_QUEUES;
        words[11] = u32::from(options.queues - 1) << 16 | u32::from(options.queues - 1);
        admin.command(words);
        let shadows = (options.shadows && optional & HAS_DOORBELL_BUFFERS != 0)
            .then(|| (arena.take_zeroed(PAGE), arena.take_zeroed(PAGE)));
        if let Some((bells, events)) = shadows {
            let mut words = [0; 16];
            words[0] = DOORBELL_BUFFERS;
            (words[6], words[8]) = (bells as u32, events as u32);
            admin.command(words);
        }
        let mut queues = [const { None }; MOST_QUEUES as usize];
        for (number, place) in (1..=options.queues).zip(&mut queues) {
            // One entry stays free.
            let size = options.in_flight + 1;
            assert!(u64::from(size) <= (capabilities & 0xffff) + 1);
            let queue = Queue::new(at, (number, stride), size, shadows, &mut arena);
            let mut create = |command, ring: u64, flags| {
                let mut words = [0; 16];
                words[0] = command;
                (words[6], words[7]) = (ring as u32, (ring >> 32) as u32);
                words[10] = u32::from(size - 1) << 16 | u32::from(number);
                words[11] = flags;
                admin.command(words);
            };
            // Physically contiguous; without interrupts, and by the completion queue of the same number.
            create(CREATE_COMPLETIONS, queue.completions, 1);
            create(CREATE_SUBMISSIONS, queue.submissions, u32::from(number) << 16 | 1);
            *place = Some(queue);
        }
        let tags = u64::from(options.queues) * u64::from(options.in_flight);
        let geometry = Geometry {
            sectors: blocks * (block / SECTOR),
            block: block / SECTOR,
            most: most.min(MOST),
            pieces: None,
            queues: options.queues,
            in_flight: options.in_flight,
        };
        let (admin, lists) = (admin.submissions, arena.take(tags * LIST));
        let scatters = options.disk.is_some_and(|task| !matches!(task, super::Task::Measure(_)));
        Nvme { registers, admin, geometry, queues, lists, block, list_at: 0, scatters }
    }

    /// Writes the list of a tag: all pages of a request but the first. Returns what the second pointer of the command
    /// says: nothing, the second page, or where the list is.
    fn list(&mut self, list: u64, request: &Request<'_>) -> u64 {
        let pages = |piece: &super::Piece| {
            let (from, to) = (piece.at & !(PAGE - 1), piece.at + u64::from(piece.len));
            (from..to).step_by(PAGE as usize)
        };
        let mut rest = request.pieces.iter().flat_map(pages).skip(1);
        let count = rest.clone().count() as u64;
        if count < 2 {
            return rest.next().unwrap_or(0);
        }
        let begin = list + self.list_at;
        if self.scatters {
            self.list_at = (self.list_at + STRIDE) % PAGE;
        }
        let mut at = begin;
        for (number, page) in (1..=count).zip(rest) {
            // The last entry of a page leads on to the next, unless it is the last of all.
            if at == list + PAGE - 8 && number < count {
                write(at, list + PAGE);
                at = list + PAGE;
            }
            write(at, page);
            at += 8;
        }
        begin
    }
}

impl Disk for Nvme {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn put(&mut self, queue: u16, tag: u16, request: Request<'_>) {
        let bytes: u64 = request.pieces.iter().map(|piece| u64::from(piece.len)).sum();
        let place = u64::from(queue) * u64::from(self.geometry.in_flight) + u64::from(tag);
        let second = self.list(self.lists + place * LIST, &request);
        let first = request.pieces.first().map_or(0, |piece| piece.at);
        let opcode = match request.operation {
            Operation::Read => READ,
            Operation::Write => WRITE,
            Operation::Flush => FLUSH,
        };
        let mut words = [0; 16];
        words[0] = opcode | u32::from(tag) << 16;
        words[1] = NAMESPACE;
        if request.operation != Operation::Flush {
            (words[6], words[7]) = (first as u32, (first >> 32) as u32);
            (words[8], words[9]) = (second as u32, (second >> 32) as u32);
            let block = request.sector / self.geometry.block;
            (words[10], words[11]) = (block as u32, (block >> 32) as u32);
            words[12] = (bytes / self.block) as u32 - 1;
        }
        if let Some(queue) = &mut self.queues[usize::from(queue)] {
            queue.put(words);
        }
    }

    fn show(&mut self, queue: u16) {
        if let Some(queue) = &mut self.queues[usize::from(queue)] {
            queue.show();
        }
    }

    fn take(&mut self, queue: u16) -> Option<(u16, bool)> {
        self.queues[usize::from(queue)].as_mut()?.take()
    }

    fn targets(&self, queue: u16) -> Targets {
        let Some(queue) = &self.queues[usize::from(queue)] else {
            unreachable!("geometry says how many there are")
        };
        let commands = |at, depth: u16, numbers| Table {
            // Both pointers to data; that to metadata is left alone.
            addresses: (24, 40),
            numbers,
            ..Table::new(at, depth.into(), ENTRY)
        };
        let tags = u64::from(self.geometry.in_flight);
        let pages = tags * LIST / PAGE;
        let lists = Table { addresses: (0, PAGE), ..Table::new(self.lists, pages, PAGE) };
        let completions = Table {
            numbers: (0, COMPLETION),
            ..Table::new(queue.completions, queue.size.into(), COMPLETION)
        };
        let address = |register: u64| (self.registers + register, self.registers + register + 8);
        Targets {
            tables: [
                commands(queue.submissions, queue.size, (0, 8)),
                commands(queue.submissions, queue.size, (40, ENTRY)),
                commands(self.admin, ADMIN_DEPTH, (0, 8)),
                commands(self.admin, ADMIN_DEPTH, (40, ENTRY)),
                lists,
                completions,
            ],
            bells: [queue.bells[0].at, self.registers + register::DOORBELLS],
            bell_len: 4,
            address_registers: [
                address(register::ADMIN_SUBMISSIONS),
                address(register::ADMIN_COMPLETIONS),
                (0, 0),
                (0, 0),
            ],
        }
    }
}
