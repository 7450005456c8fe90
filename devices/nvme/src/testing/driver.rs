//! A small NVMe driver: the handshakes, queues and commands of the real ones, each at a test's call.

use device_core::bus::Width;

use super::bench::Bench;

/// Registers by offset (NVMe base specification 1.4, 3.1).
pub mod reg {
    /// Capabilities, 8 bytes.
    pub const CAP: u64 = 0x00;
    /// Version.
    pub const VS: u64 = 0x08;
    /// Configuration.
    pub const CC: u64 = 0x14;
    /// Status.
    pub const CSTS: u64 = 0x1c;
    /// Sizes of the admin queues.
    pub const AQA: u64 = 0x24;
    /// Address of the admin submission queue, 8 bytes.
    pub const ASQ: u64 = 0x28;
    /// Address of the admin completion queue, 8 bytes.
    pub const ACQ: u64 = 0x30;
}

/// Bit of CSTS: the controller is ready.
pub const READY: u32 = 1;
/// Bit of CSTS: it has failed.
pub const FATAL: u32 = 2;
/// Field of CSTS: being shut down.
pub const SHUTTING_DOWN: u32 = 1 << 2;
/// Field of CSTS: shut down.
pub const SHUT_DOWN: u32 = 2 << 2;
/// What Linux writes to CC to enable.
pub const ENABLE: u32 = 0x0046_0001;
/// The same, with normal shutdown.
pub const SHUTDOWN: u32 = ENABLE | 1 << 14;

/// Bit of a status: do not retry.
pub const DNR: u16 = 1 << 14;
/// Bit of a status: the error log says more.
pub const MORE: u16 = 1 << 13;

/// A completion as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Doubleword 0.
    pub result: u32,
    /// Head of the submission queue.
    pub head: u16,
    /// Which submission queue.
    pub queue: u16,
    /// Id of the command.
    pub id: u16,
    /// Status without its phase.
    pub status: u16,
    /// Phase bit as found.
    pub phase: bool,
}

impl Answer {
    fn of([result, queue, id, status]: [u32; 4]) -> Answer {
        // The last two are one word.
        let _ = status;
        Answer {
            result,
            head: queue as u16,
            queue: (queue >> 16) as u16,
            id: id as u16,
            status: (status >> 17) as u16,
            phase: status >> 16 & 1 != 0,
        }
    }

    /// Status code type and code.
    pub fn code(&self) -> u16 {
        self.status & 0x7ff
    }

    /// Of a command that must not fail.
    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(self.status, 0, "status of {self:x?}");
        self
    }

    /// Of a command that must be refused so, and not be retried.
    #[track_caller]
    pub fn refused(self, code: u16) -> Answer {
        assert_eq!(self.status, code | DNR | MORE, "status of {self:x?}, not {code:#x}");
        self
    }
}

/// A submission queue and its completion queue, as their driver sees them.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Number of the submission queue.
    pub sq: u16,
    /// Number of the completion queue.
    pub cq: u16,
    /// Entries of the submission queue.
    pub size: u16,
    /// Entries of the completion queue.
    pub cq_size: u16,
    /// Guest-physical address of the submission queue.
    pub commands: u64,
    /// Guest-physical address of the completion queue.
    pub answers: u64,
    /// The next entry to be filled.
    pub tail: u16,
    /// The next entry to be looked at.
    pub head: u16,
    /// The phase of a new entry there.
    pub phase: bool,
}

impl Pair {
    fn new(sq: u16, cq: u16, sizes: [u16; 2], places: [u64; 2]) -> Pair {
        let ([size, cq_size], [commands, answers]) = (sizes, places);
        Pair { sq, cq, size, cq_size, commands, answers, tail: 0, head: 0, phase: true }
    }
}

/// A driver and its controller.
pub struct Driver {
    /// The controller, and all around it.
    pub bench: Bench,
    /// The admin queues.
    pub admin: Pair,
    next_id: u16,
    /// A page for data.
    pub page: u64,
}

impl Driver {
    /// For a controller of so many I/O queues, its driver not yet loaded.
    pub fn new(queues: u16) -> Driver {
        Driver::on(Bench::new(queues))
    }

    /// For the controller of `bench`, its driver not yet loaded; admin queues as Linux makes them.
    pub fn on(bench: Bench) -> Driver {
        Driver::with_admin(bench, [32, 32])
    }

    /// The same, with admin queues of these sizes.
    pub fn with_admin(mut bench: Bench, sizes: [u16; 2]) -> Driver {
        let commands = bench.allocate(u64::from(sizes[0]) * 64);
        let answers = bench.allocate(u64::from(sizes[1]) * 16);
        let admin = Pair::new(0, 0, sizes, [commands, answers]);
        let page = bench.allocate(0x1000);
        Driver { bench, admin, next_id: 0x100, page }
    }

    /// A driver whose controller is ready.
    pub fn ready(queues: u16) -> Driver {
        Driver::new(queues).enabled()
    }

    /// This driver, once its controller is ready.
    pub fn enabled(mut self) -> Driver {
        self.bench.enable();
        self.enable();
        self
    }

    /// CSTS.
    pub fn status(&mut self) -> u32 {
        self.bench.read(reg::CSTS)
    }

    /// Tells where the admin queues are, as Linux does: by halves.
    pub fn set_admin_queues(&mut self) {
        let Pair { size, cq_size, commands, answers, .. } = self.admin;
        self.bench.write(reg::AQA, u32::from(size - 1) | u32::from(cq_size - 1) << 16);
        for (register, address) in [(reg::ASQ, commands), (reg::ACQ, answers)] {
            self.bench.write(register, address as u32);
            self.bench.write(register + 4, (address >> 32) as u32);
        }
        self.bench.store(commands, &vec![0; usize::from(size) * 64]);
        self.bench.store(answers, &vec![0; usize::from(cq_size) * 16]);
        (self.admin.tail, self.admin.head, self.admin.phase) = (0, 0, true);
    }

    /// The handshake of Linux, from whatever state.
    #[track_caller]
    pub fn enable(&mut self) {
        self.bench.write(reg::CC, 0);
        self.bench.settle();
        assert_eq!(self.status() & READY, 0, "CSTS after a reset");
        self.set_admin_queues();
        self.bench.write(reg::CC, ENABLE & !1);
        assert_eq!(self.bench.peek(reg::CAP, Width::B8) & 0xffff, 1023);
        self.bench.write(reg::CC, ENABLE);
        assert_eq!(self.status(), READY, "CSTS after CC.EN");
    }

    /// Puts a command into a queue without telling; its id is chosen.
    pub fn enqueue(&mut self, pair: &mut Pair, mut words: [u32; 16]) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        words[0] = words[0] & 0xffff | u32::from(id) << 16;
        self.bench.store_words(pair.commands + u64::from(pair.tail) * 64, &words);
        pair.tail = (pair.tail + 1) % pair.size;
        id
    }

    /// Rings a submission queue's doorbell.
    pub fn ring(&mut self, pair: &Pair) {
        self.bench.write(sq_doorbell(pair.sq), pair.tail.into());
    }

    /// Takes the next completion off a queue without telling.
    pub fn look(&mut self, pair: &mut Pair) -> Option<Answer> {
        let at = pair.answers + u64::from(pair.head) * 16;
        let [result, queue, word] = {
            let [result, _, queue, word] = self.bench.load_words::<4>(at);
            [result, queue, word]
        };
        let answer = Answer::of([result, queue, word, word]);
        if answer.phase != pair.phase {
            return None;
        }
        pair.head += 1;
        if pair.head == pair.cq_size {
            (pair.head, pair.phase) = (0, !pair.phase);
        }
        Some(answer)
    }

    /// Tells how far completions were taken.
    pub fn acknowledge(&mut self, pair: &Pair) {
        self.bench.write(cq_doorbell(pair.cq), pair.head.into());
    }

    /// Takes the next completion off a queue and tells so.
    pub fn take(&mut self, pair: &mut Pair) -> Option<Answer> {
        let answer = self.look(pair)?;
        self.acknowledge(pair);
        Some(answer)
    }

    /// Puts an admin command into its queue and rings; returns its id.
    pub fn submit(&mut self, words: [u32; 16]) -> u16 {
        let mut admin = self.admin;
        let id = self.enqueue(&mut admin, words);
        self.ring(&admin);
        self.admin = admin;
        id
    }

    /// The next admin completion.
    pub fn take_answer(&mut self) -> Option<Answer> {
        let mut admin = self.admin;
        let answer = self.take(&mut admin);
        self.admin = admin;
        answer
    }

    /// One admin command, answered at once.
    #[track_caller]
    pub fn command(&mut self, words: [u32; 16]) -> Answer {
        let id = self.submit(words);
        let answer = self.take_answer().expect("an answer");
        assert_eq!((answer.id, answer.queue), (id, 0));
        answer
    }

    /// Identify into a page at `prps`.
    #[track_caller]
    pub fn identify(&mut self, structure: u32, namespace: u32, prps: [u64; 2]) -> Answer {
        let mut words = command(0x06, namespace, prps);
        words[10] = structure;
        self.command(words)
    }

    /// Identify, which must not fail; the page.
    #[track_caller]
    pub fn identified(&mut self, structure: u32, namespace: u32) -> Vec<u8> {
        let page = self.page;
        self.bench.store(page, &[0xaa; 4096]);
        self.identify(structure, namespace, [page, 0]).ok();
        self.bench.load(page, 4096)
    }

    /// Get Log Page: doublewords 10 to 13.
    #[track_caller]
    pub fn log(&mut self, arguments: [u32; 4], prps: [u64; 2]) -> Answer {
        let mut words = command(0x02, u32::MAX, prps);
        words[10..14].copy_from_slice(&arguments);
        self.command(words)
    }

    /// The first `len` bytes of a log page, which is read whole.
    #[track_caller]
    pub fn logged(&mut self, page: u32, len: usize) -> Vec<u8> {
        let at = self.page;
        let count = (len / 4 - 1) as u32;
        self.log([page | count << 16, 0, 0, 0], [at, 0]).ok();
        self.bench.load(at, len)
    }

    /// Abort of command `id` of queue `queue`, without telling how it went.
    pub fn submit_abort(&mut self, queue: u16, id: u16) -> u16 {
        let mut words = command(0x08, 0, [0; 2]);
        words[10] = u32::from(queue) | u32::from(id) << 16;
        self.submit(words)
    }

    /// Get Features: doublewords 10 and 11.
    #[track_caller]
    pub fn get(&mut self, which: u32, argument: u32) -> Answer {
        let mut words = command(0x0a, 0, [0; 2]);
        (words[10], words[11]) = (which, argument);
        self.command(words)
    }

    /// Set Features: doublewords 10 and 11.
    #[track_caller]
    pub fn set(&mut self, which: u32, value: u32) -> Answer {
        self.command(set_command(which, value))
    }

    /// Create I/O Completion Queue; no vector for one that is polled.
    #[track_caller]
    pub fn create_cq(&mut self, id: u16, size: u16, vector: Option<u16>, at: u64) -> Answer {
        let mut words = command(0x05, 0, [at, 0]);
        words[10] = u32::from(id) | u32::from(size.wrapping_sub(1)) << 16;
        words[11] = 1 | vector.map_or(0, |vector| 2 | u32::from(vector) << 16);
        self.command(words)
    }

    /// Create I/O Submission Queue.
    #[track_caller]
    pub fn create_sq(&mut self, id: u16, size: u16, cq: u16, at: u64) -> Answer {
        let mut words = command(0x01, 0, [at, 0]);
        words[10] = u32::from(id) | u32::from(size.wrapping_sub(1)) << 16;
        words[11] = 1 | u32::from(cq) << 16;
        self.command(words)
    }

    /// A pair of number `id` and so many entries, whose completions interrupt by its vector.
    #[track_caller]
    pub fn create_pair(&mut self, id: u16, size: u16) -> Pair {
        let answers = self.bench.allocate(u64::from(size) * 16);
        self.create_cq(id, size, Some(id), answers).ok();
        self.create_on(id, size, &Pair::new(id, id, [size; 2], [0, answers]))
    }

    /// Submission queue `id` on the completion queue of `other`.
    #[track_caller]
    pub fn create_on(&mut self, id: u16, size: u16, other: &Pair) -> Pair {
        let commands = self.bench.allocate(u64::from(size) * 64);
        self.create_sq(id, size, other.cq, commands).ok();
        Pair { sq: id, size, commands, tail: 0, ..*other }
    }

    /// Delete I/O Submission Queue; returns its id.
    pub fn delete_sq(&mut self, id: u16) -> u16 {
        let mut words = command(0x00, 0, [0; 2]);
        words[10] = id.into();
        self.submit(words)
    }

    /// Delete I/O Completion Queue.
    #[track_caller]
    pub fn delete_cq(&mut self, id: u16) -> Answer {
        let mut words = command(0x04, 0, [0; 2]);
        words[10] = id.into();
        self.command(words)
    }

    /// One I/O command, rung and done.
    #[track_caller]
    pub fn io(&mut self, pair: &mut Pair, words: [u32; 16]) -> Answer {
        let id = self.enqueue(pair, words);
        self.ring(pair);
        self.bench.settle();
        let answer = self.take(pair).expect("a completion");
        assert_eq!((answer.id, answer.queue), (id, pair.sq));
        answer
    }

    /// An asynchronous event request; returns its id.
    pub fn request_event(&mut self) -> u16 {
        self.submit(command(0x0c, 0, [0; 2]))
    }

    /// Doorbell Buffer Config with two new pages; where they are: indices, and events.
    #[track_caller]
    pub fn shadow_doorbells(&mut self) -> [u64; 2] {
        let pages = [self.bench.allocate(0x1000), self.bench.allocate(0x1000)];
        self.command(command(0x7c, 0, pages)).ok();
        pages
    }
}

/// Offset of a submission queue's doorbell.
pub fn sq_doorbell(queue: u16) -> u64 {
    0x1000 + u64::from(queue) * 8
}

/// Offset of a completion queue's doorbell.
pub fn cq_doorbell(queue: u16) -> u64 {
    sq_doorbell(queue) + 4
}

/// A command: opcode, namespace, where its data is.
pub fn command(opcode: u8, namespace: u32, prps: [u64; 2]) -> [u32; 16] {
    let mut words = [0; 16];
    (words[0], words[1]) = (opcode.into(), namespace);
    for (n, prp) in prps.into_iter().enumerate() {
        (words[6 + 2 * n], words[7 + 2 * n]) = (prp as u32, (prp >> 32) as u32);
    }
    words
}

/// Set Features: doublewords 10 and 11.
pub fn set_command(which: u32, value: u32) -> [u32; 16] {
    let mut words = command(0x09, 0, [0; 2]);
    (words[10], words[11]) = (which, value);
    words
}

/// A command about `count` blocks from `first` on; `flags` are those of doubleword 12.
pub fn blocks(opcode: u8, prps: [u64; 2], first: u64, count: u32, flags: u32) -> [u32; 16] {
    let mut words = command(opcode, 1, prps);
    (words[10], words[11]) = (first as u32, (first >> 32) as u32);
    words[12] = count.wrapping_sub(1) & 0xffff | flags;
    words
}
