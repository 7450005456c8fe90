//! Requests of all sizes and alignments whose outcome is known: what each sector has is a function of its number and
//! of how often it was written.
//!
//! Sectors that nobody wrote are zeroes: so the disk has to be when a task begins, or all of it is written first.

use super::report::Results;
use super::{
    Disk, Geometry, MOST_IN_FLIGHT, MOST_PIECES, MOST_QUEUES, Operation, Piece, Request, SECTOR,
};
use crate::memory::{BUFFERS, barrier, copy, fill, read, write};
use crate::random::Random;

/// Requests that can be in flight in all queues.
pub const MOST: usize = 512;
const _: () = assert!(MOST <= MOST_QUEUES as usize * MOST_IN_FLIGHT as usize);

/// Most bytes of a request here.
const LARGEST: u64 = 128 << 10;
/// The memory of a request: there is room between its pieces.
const REGION: u64 = 2 * LARGEST;
/// Where data is made and compared, in one piece.
const DESK: u64 = BUFFERS + 4096;
const REGIONS: u64 = DESK + LARGEST;
const PAGE: u64 = 4096;

/// Before the first and behind the last piece of a request stands this.
const FENCE: u64 = 0x5afe_5afe_5afe_5afe;
/// What buffers have before they are read to.
const BLANK: u8 = 0xb5;

/// A request in flight.
#[derive(Clone, Copy)]
pub struct Flight {
    operation: Operation,
    sector: u64,
    sectors: u64,
    /// What it writes.
    generation: u32,
    /// What its pieces were made from.
    seed: u64,
}

/// Where the pieces of a request are.
struct Layout {
    pieces: [Piece; MOST_PIECES * 4],
    count: usize,
}

impl Layout {
    /// Of `len` bytes, in one of many ways, the same for the same seed; in the memory of request `index`, the first and
    /// last 16 bytes of which stay free. Half of them have pieces whose order in memory is not theirs on the disk.
    fn new(geometry: &Geometry, index: usize, len: u64, seed: u64) -> Layout {
        let mut random = Random(seed);
        let (from, to) = region(index);
        let mut layout = Layout { pieces: [Piece::default(); MOST_PIECES * 4], count: 0 };
        let is_reversed = random.one_in(2);
        match geometry.pieces {
            Some(most) => {
                let pieces = 1 + random.below(most as u64);
                let gap = random.of_any_size(7).min((REGION - len - 64) / pieces);
                let (mut at, mut end, mut rest) = (from + 16 + random.below(16), to - 32, len);
                for number in 1..=pieces {
                    let is_last = number == pieces;
                    let part = if is_last { rest } else { random.of_any_size(17).min(rest) };
                    end -= part + gap;
                    if part > 0 {
                        layout.add(if is_reversed { end } else { at }, part);
                    }
                    at += part + gap;
                    rest -= part;
                }
            }
            None => {
                let offset = random.below(PAGE / 4) * 4;
                let first = len.min(PAGE - offset);
                let (mut at, mut rest) = (from + PAGE, len - first);
                let mut last = to - 2 * PAGE;
                layout.add(if is_reversed { last } else { at } + offset, first);
                while rest > 0 {
                    (at, last) = (at + PAGE, last - PAGE);
                    let part = rest.min(PAGE);
                    layout.add(if is_reversed { last } else { at }, part);
                    rest -= part;
                }
            }
        }
        layout
    }

    fn add(&mut self, at: u64, len: u64) {
        self.pieces[self.count] = Piece { at, len: len as u32 };
        self.count += 1;
    }

    fn pieces(&self) -> &[Piece] {
        &self.pieces[..self.count]
    }

    /// From the desk to the pieces.
    fn scatter(&self) {
        let mut from = DESK;
        for piece in self.pieces() {
            copy(piece.at, from, piece.len.into());
            from += u64::from(piece.len);
        }
    }

    /// And back.
    fn gather(&self) {
        let mut to = DESK;
        for piece in self.pieces() {
            copy(to, piece.at, piece.len.into());
            to += u64::from(piece.len);
        }
    }

    /// Just before the lowest byte, and just behind the highest.
    fn fences(&self) -> [u64; 2] {
        let lowest = self.pieces().iter().map(|piece| piece.at).min().unwrap_or(0);
        let highest = self.pieces().iter().map(|piece| piece.at + u64::from(piece.len)).max();
        [lowest - 8, highest.unwrap_or(0)]
    }

    fn blank(&self) {
        for piece in self.pieces() {
            fill(piece.at, piece.len.into(), BLANK);
        }
    }
}

fn region(index: usize) -> (u64, u64) {
    let from = REGIONS + index as u64 * REGION;
    (from, from + REGION)
}

/// Word `word` of a sector that was written for the `generation`th time.
fn pattern(sector: u64, generation: u32, word: u64) -> u64 {
    if generation == 0 {
        return 0;
    }
    let seed = sector << 32 ^ u64::from(generation) << 8 ^ word;
    let mixed = (seed ^ seed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

const WORDS: u64 = SECTOR / 8;

/// A disk at exercise.
pub struct Exercise<D> {
    pub disk: D,
    pub geometry: Geometry,
    pub random: Random,
    pub results: Results,
    /// Sectors that it has from the disk's begin on, and where it keeps how often each was written.
    area: u64,
    generations: u64,
    flights: [Option<Flight>; MOST],
    next: u32,
}

impl<D: Disk> Exercise<D> {
    /// On so many bytes from the begin of the disk on, or all but the last that a report needs.
    pub fn new(disk: D, area: u64, seed: u64) -> Exercise<D> {
        let geometry = disk.geometry();
        let most = super::report::place(&disk);
        let area = (area / SECTOR).min(most) / geometry.block * geometry.block;
        let requests = u64::from(geometry.queues) * u64::from(geometry.in_flight);
        assert!(requests as usize <= MOST && area >= LARGEST / SECTOR);
        let generations = region(requests as usize).0;
        fill(generations, area * 4, 0);
        Exercise {
            disk,
            geometry,
            random: Random(seed),
            results: Results::default(),
            area,
            generations,
            flights: [None; MOST],
            next: 1,
        }
    }

    fn generation(&self, sector: u64) -> u32 {
        read(self.generations + sector * 4)
    }

    fn set_generation(&self, sector: u64, generation: u32) {
        write(self.generations + sector * 4, generation);
    }

    fn index(&self, queue: u16, tag: u16) -> usize {
        usize::from(queue) * usize::from(self.geometry.in_flight) + usize::from(tag)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.iter().flatten().count()
    }

    /// Whether a request there would meet one in flight, and one of them writes.
    fn collides(&self, operation: Operation, sector: u64, sectors: u64) -> bool {
        self.flights.iter().flatten().any(|other| {
            let writes = operation == Operation::Write || other.operation == Operation::Write;
            writes && sector < other.sector + other.sectors && other.sector < sector + sectors
        })
    }

    /// Puts some request into a queue, if there is a tag, and a place for it.
    pub fn put_any(&mut self, queue: u16) {
        let largest = (self.geometry.most.min(LARGEST) / SECTOR) / self.geometry.block;
        let blocks = 1 + self.random.of_any_size(8).min(largest - 1);
        let sectors = blocks * self.geometry.block;
        let places = (self.area - sectors) / self.geometry.block + 1;
        let sector = self.random.below(places) * self.geometry.block;
        let operation = match self.random.below(32) {
            0 => Operation::Flush,
            n if n < 16 => Operation::Read,
            _ => Operation::Write,
        };
        self.put(queue, operation, sector, sectors);
    }

    /// Puts this request into a queue as [`Exercise::put`] does; what it writes is of this generation.
    pub fn put_as(
        &mut self,
        generation: u32,
        queue: u16,
        operation: Operation,
        sector: u64,
        sectors: u64,
    ) -> bool {
        self.next = generation;
        self.put(queue, operation, sector, sectors)
    }

    /// Puts this request into a queue, if there is a tag and nothing in its way. Whether that was so.
    pub fn put(&mut self, queue: u16, operation: Operation, sector: u64, sectors: u64) -> bool {
        let tags = 0..self.geometry.in_flight;
        let free = tags.into_iter().find(|tag| self.flights[self.index(queue, *tag)].is_none());
        let Some(tag) = free else { return false };
        if self.collides(operation, sector, sectors) {
            return false;
        }
        let index = self.index(queue, tag);
        let seed = self.random.next();
        if operation == Operation::Flush {
            self.disk.put(queue, tag, Request { operation, sector: 0, pieces: &[] });
            let flight = Flight { operation, sector: 0, sectors: 0, generation: 0, seed };
            self.flights[index] = Some(flight);
            return true;
        }
        let layout = Layout::new(&self.geometry, index, sectors * SECTOR, seed);
        for at in layout.fences() {
            write(at, FENCE.to_ne_bytes());
        }
        let generation = self.next;
        if operation == Operation::Write {
            self.next += 1;
            for word in 0..sectors * WORDS {
                let value = pattern(sector + word / WORDS, generation, word % WORDS);
                write(DESK + word * 8, value);
            }
            layout.scatter();
        } else {
            layout.blank();
        }
        barrier();
        self.disk.put(queue, tag, Request { operation, sector, pieces: layout.pieces() });
        self.flights[index] = Some(Flight { operation, sector, sectors, generation, seed });
        true
    }

    /// Shows the disk what was put into all queues.
    pub fn show(&mut self) {
        for queue in 0..self.geometry.queues {
            self.disk.show(queue);
        }
    }

    /// Takes and checks what is done.
    pub fn take_all(&mut self) {
        for queue in 0..self.geometry.queues {
            while let Some((tag, done)) = self.disk.take(queue) {
                barrier();
                let index = self.index(queue, tag.min(self.geometry.in_flight));
                let is_ours = tag < self.geometry.in_flight;
                match is_ours.then(|| self.flights[index].take()).flatten() {
                    Some(flight) => self.check(index, &flight, done),
                    None => self.results.stray += 1,
                }
            }
        }
    }

    fn check(&mut self, index: usize, flight: &Flight, done: bool) {
        self.results.requests += 1;
        if !done {
            self.results.refused += 1;
            return;
        }
        if flight.operation == Operation::Flush {
            return;
        }
        self.results.bytes += flight.sectors * SECTOR;
        let layout = Layout::new(&self.geometry, index, flight.sectors * SECTOR, flight.seed);
        let mut is_right = fences_stand(&layout);
        if flight.operation == Operation::Write {
            for sector in flight.sector..flight.sector + flight.sectors {
                self.set_generation(sector, flight.generation);
            }
        } else {
            layout.gather();
            for number in 0..flight.sectors {
                let sector = flight.sector + number;
                is_right &= on_desk(number, sector, self.generation(sector));
            }
        }
        self.results.wrong += u64::from(!is_right);
    }

    /// Waits until nothing is in flight.
    pub fn drain(&mut self) {
        self.show();
        while self.in_flight() > 0 {
            self.take_all();
        }
    }

    /// Writes all of the area.
    pub fn write_all(&mut self) {
        self.all(Operation::Write);
    }

    /// Reads and checks all of the area.
    pub fn read_all(&mut self) {
        self.all(Operation::Read);
    }

    fn all(&mut self, operation: Operation) {
        let step = self.geometry.most.min(LARGEST) / SECTOR;
        let mut sector = 0;
        while sector < self.area {
            let sectors = step.min(self.area - sector);
            while !self.put(0, operation, sector, sectors) {
                self.disk.show(0);
                self.take_all();
            }
            sector += sectors;
        }
        self.drain();
    }

    /// A reset took what was in flight. Its memory must not be touched any more, as
    /// [`Exercise::count_late`] tells later; what it wrote may be there or not, sector by sector, as
    /// [`Exercise::settle`] finds out.
    pub fn forget(&mut self, disk: D) -> [Option<Flight>; MOST] {
        self.disk = disk;
        let forgotten = core::mem::replace(&mut self.flights, [None; MOST]);
        for (index, flight) in forgotten.iter().enumerate() {
            if let Some(flight) = flight.filter(|flight| flight.operation == Operation::Read) {
                self.layout_of(index, &flight).blank();
            }
        }
        forgotten
    }

    fn layout_of(&self, index: usize, flight: &Flight) -> Layout {
        Layout::new(&self.geometry, index, flight.sectors * SECTOR, flight.seed)
    }

    /// Counts requests that wrote to memory after a reset had taken them.
    pub fn count_late(&mut self, forgotten: &[Option<Flight>; MOST]) {
        for (index, flight) in forgotten.iter().enumerate() {
            let Some(flight) = flight.filter(|flight| flight.operation == Operation::Read) else {
                continue;
            };
            let layout = self.layout_of(index, &flight);
            layout.gather();
            let blank = u64::from_ne_bytes([BLANK; 8]);
            let is_blank =
                (0..flight.sectors * WORDS).all(|word| read::<u64>(DESK + word * 8) == blank);
            self.results.wrong += u64::from(!is_blank || !fences_stand(&layout));
        }
    }

    /// Reads what writes that a reset took have left: each sector is what it was, or what it was to be.
    pub fn settle(&mut self, forgotten: &[Option<Flight>; MOST]) {
        for flight in forgotten.iter().flatten().filter(|f| f.operation == Operation::Write) {
            let pieces = [Piece { at: DESK, len: (flight.sectors * SECTOR) as u32 }];
            let request =
                Request { operation: Operation::Read, sector: flight.sector, pieces: &pieces };
            self.disk.put(0, 0, request);
            self.disk.show(0);
            let done = loop {
                if let Some((0, done)) = self.disk.take(0) {
                    break done;
                }
            };
            barrier();
            self.results.refused += u64::from(!done);
            for number in 0..flight.sectors {
                let sector = flight.sector + number;
                if on_desk(number, sector, flight.generation) {
                    self.set_generation(sector, flight.generation);
                } else if !on_desk(number, sector, self.generation(sector)) {
                    self.results.wrong += 1;
                }
            }
        }
    }

    /// Says what the disk should have now: a digest of all words of the area.
    pub fn sum_up(&mut self) {
        let mut digest = 0u64;
        for sector in 0..self.area {
            let generation = self.generation(sector);
            for word in 0..WORDS {
                let value = pattern(sector, generation, word);
                digest = (digest.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
            }
        }
        (self.results.digest, self.results.sectors) = (digest, self.area);
    }
}

fn fences_stand(layout: &Layout) -> bool {
    layout.fences().into_iter().all(|at| u64::from_ne_bytes(read(at)) == FENCE)
}

/// Whether the desk's sector `number` is `sector` of this generation.
fn on_desk(number: u64, sector: u64, generation: u32) -> bool {
    (0..WORDS).all(|word| {
        read::<u64>(DESK + (number * WORDS + word) * 8) == pattern(sector, generation, word)
    })
}
