//! A small ENA driver: the handshakes, rings and commands of the real ones, each at a test's call.

use device_core::bus::Width;

use super::bench::Bench;

/// Registers by offset (specification 2.2; Linux `drivers/net/ethernet/amazon/ena/ena_regs_defs.h`).
/// Addresses of 64 bits are two registers, the low half first.
pub mod reg {
    /// Version of the interface.
    pub const VERSION: u64 = 0x00;
    /// Version of the controller.
    pub const CONTROLLER_VERSION: u64 = 0x04;
    /// Capabilities: DMA address width and reset timeout.
    pub const CAPS: u64 = 0x08;
    /// Address of the admin queue.
    pub const AQ_BASE: u64 = 0x10;
    /// Depth and entry size of the admin queue.
    pub const AQ_CAPS: u64 = 0x18;
    /// Address of the admin completion queue.
    pub const ACQ_BASE: u64 = 0x20;
    /// Depth and entry size of the admin completion queue.
    pub const ACQ_CAPS: u64 = 0x28;
    /// Doorbell of the admin queue.
    pub const AQ_DB: u64 = 0x2c;
    /// Depth and entry size of the event queue.
    pub const AENQ_CAPS: u64 = 0x34;
    /// Address of the event queue.
    pub const AENQ_BASE: u64 = 0x38;
    /// Doorbell of the event queue: up to where it is free.
    pub const AENQ_HEAD: u64 = 0x40;
    /// Mask of the management interrupt.
    pub const INTR_MASK: u64 = 0x4c;
    /// Device control: reset and its reason.
    pub const DEV_CTL: u64 = 0x54;
    /// Device status, such as [`READY`](super::READY).
    pub const DEV_STS: u64 = 0x58;
    /// Asks for a readless read: offset and sequence number.
    pub const MMIO_READ: u64 = 0x5c;
    /// Address where readless answers go.
    pub const MMIO_RESP: u64 = 0x60;
}

/// Bits of DEV_STS: the card can be used.
pub const READY: u32 = 1 << 0;
/// A reset is going on.
pub const RESETTING: u32 = 1 << 3;
/// A reset has ended.
pub const RESET_FINISHED: u32 = 1 << 4;
/// The card must be reset.
pub const FATAL: u32 = 1 << 5;

/// Entries of the admin queue, and of its completion queue, that Linux, FreeBSD and DPDK use.
pub const AQ_DEPTH: u16 = 32;
/// Entries of the event queue that they use.
pub const AENQ_DEPTH: u16 = 16;
const ENTRY: u32 = 64;

/// What a command got for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Id of the command.
    pub id: u16,
    /// 0 for success, else the class of the failure (`ena_admin_aq_completion_status`).
    pub status: u8,
    /// Phase bit as it was found.
    pub phase: bool,
    /// All 16 words of the entry.
    pub words: [u32; 16],
}

impl Answer {
    /// Word of the payload at byte `at` of it.
    pub fn word(&self, at: usize) -> u32 {
        self.words[2 + at / 4]
    }

    /// Half-word of the payload at byte `at` of it, which is even.
    pub fn half(&self, at: usize) -> u16 {
        (self.word(at & !3) >> (8 * (at & 3))) as u16
    }

    /// Byte `at` of the payload.
    pub fn byte(&self, at: usize) -> u8 {
        (self.word(at & !3) >> (8 * (at & 3))) as u8
    }

    /// Double word of the payload at byte `at` of it, which is a multiple of 4.
    pub fn double(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    /// Of a command that must not fail.
    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(self.status, 0, "status of {self:x?}");
        self
    }
}

/// An event as posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it tells of (`ena_admin_aenq_group`).
    pub group: u16,
    /// What it is within its group.
    pub syndrome: u16,
    /// Phase bit as it was found.
    pub phase: bool,
    /// From byte 16 on.
    pub data: [u32; 12],
}

/// A queue pair's submission ring and its completion ring.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Index of the submission queue, as CREATE_SQ told.
    pub sq: u16,
    /// Index of the completion queue, as CREATE_CQ told.
    pub cq: u16,
    /// Entries of either ring.
    pub depth: u16,
    /// Where the submission ring is: a guest-physical address, or an offset in BAR 2 for a low-latency
    /// queue.
    pub ring: u64,
    /// Guest-physical address of the completion ring.
    pub completions: u64,
    /// Bytes of a completion.
    pub completion_len: u64,
    /// Offset of the doorbell in BAR 0.
    pub doorbell: u64,
    /// Offset of the unmask register in BAR 0.
    pub unmask: u64,
    /// Counter of the descriptors posted.
    pub posted: u16,
    /// Counter of the completions taken.
    pub consumed: u16,
}

/// A driver and its card.
pub struct Driver {
    /// The card, and all around it.
    pub bench: Bench,
    /// Guest-physical address of the admin queue.
    pub aq: u64,
    /// Guest-physical address of the admin completion queue.
    pub acq: u64,
    /// Guest-physical address of the event queue.
    pub aenq: u64,
    cell: u64,
    sequence: u16,
    /// Counter of the commands put into the admin queue.
    pub submitted: u16,
    answered: u16,
    events: u16,
    /// Ids go on counting over all commands.
    next_id: u16,
}

impl Driver {
    /// For a card of `pairs` queue pairs, its driver not yet loaded.
    pub fn new(pairs: u16) -> Driver {
        Driver::on(Bench::new(pairs))
    }

    /// For the card of `bench`, its driver not yet loaded.
    pub fn on(mut bench: Bench) -> Driver {
        let cell = bench.allocate(8);
        let (aq, acq) = (bench.allocate(0x1000), bench.allocate(0x1000));
        let aenq = bench.allocate(0x1000);
        Driver {
            bench,
            aq,
            acq,
            aenq,
            cell,
            sequence: 0,
            submitted: 0,
            answered: 0,
            events: 0,
            next_id: 0,
        }
    }

    /// A driver through its probe, ready to create queues.
    pub fn probed(pairs: u16) -> Driver {
        let mut driver = Driver::new(pairs);
        driver.probe();
        driver
    }

    fn write_address(&mut self, register: u64, address: u64) {
        self.bench.write(register, address as u32);
        self.bench.write(register + 4, (address >> 32) as u32);
    }

    /// Tells the card where readless answers go.
    pub fn set_response(&mut self, address: u64) {
        self.write_address(reg::MMIO_RESP, address);
    }

    /// Guest-physical address of the readless answer, 8 bytes.
    pub fn cell(&self) -> u64 {
        self.cell
    }

    /// A readless read (2.3); `None` if the card did not answer.
    pub fn read(&mut self, offset: u64) -> Option<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let awaited = self.sequence.wrapping_add(0xdead);
        self.bench.store(self.cell, &awaited.to_le_bytes());
        self.bench.write(reg::MMIO_READ, (offset as u32) << 16 | u32::from(self.sequence));
        let [echo, value] = self.bench.load_words::<2>(self.cell);
        (echo as u16 == self.sequence && u64::from(echo >> 16) == offset).then_some(value)
    }

    /// DEV_STS by a readless read.
    pub fn status(&mut self) -> u32 {
        self.read(reg::DEV_STS).unwrap()
    }

    /// The reset handshake (2.4), as Linux does it.
    pub fn reset(&mut self, reason: u32) {
        assert_eq!(self.status() & READY, READY);
        assert_ne!(self.read(reg::CAPS).unwrap() >> 1 & 0x1f, 0);
        self.bench.write(reg::DEV_CTL, 1 | reason << 28);
        self.set_response(self.cell);
        assert_eq!(self.status() & RESETTING, RESETTING);
        self.bench.write(reg::DEV_CTL, 0);
        assert_eq!(self.status() & RESETTING, 0);
        (self.submitted, self.answered, self.events) = (0, 0, 0);
    }

    /// Tells the card where the admin rings are, zeroed, in the order of Linux.
    pub fn set_rings(&mut self) {
        for (ring, depth) in [(self.aq, AQ_DEPTH), (self.acq, AQ_DEPTH), (self.aenq, AENQ_DEPTH)] {
            self.bench.store(ring, &vec![0; usize::from(depth) * ENTRY as usize]);
        }
        self.write_address(reg::AQ_BASE, self.aq);
        self.write_address(reg::ACQ_BASE, self.acq);
        self.bench.write(reg::AQ_CAPS, ENTRY << 16 | u32::from(AQ_DEPTH));
        self.bench.write(reg::ACQ_CAPS, ENTRY << 16 | u32::from(AQ_DEPTH));
        self.write_address(reg::AENQ_BASE, self.aenq);
        self.bench.write(reg::AENQ_CAPS, ENTRY << 16 | u32::from(AENQ_DEPTH));
        (self.submitted, self.answered, self.events) = (0, 0, 0);
    }

    /// Phases A and B of the probe (3.1): up to the admin queue in polling mode.
    pub fn attach(&mut self) {
        self.bench.enable();
        self.set_response(self.cell);
        self.reset(0);
        assert_eq!(self.read(reg::VERSION), Some(0xa));
        assert!(self.read(reg::CONTROLLER_VERSION).unwrap() & 0xff_ffff >= 1);
        let width = self.read(reg::CAPS).unwrap() >> 8 & 0xff;
        assert!((32..=48).contains(&width));
        assert_eq!(self.status() & READY, READY);
        self.set_rings();
        self.bench.write(reg::INTR_MASK, 1);
    }

    /// The whole probe of Linux 6.1 (3.1), phases A to E, in its order.
    pub fn probe(&mut self) {
        self.attach();
        let host_info = self.bench.allocate(0x1000);
        self.set(28, &[host_info as u32, (host_info >> 32) as u32, 0, 0, 0]).ok();
        let attributes = self.get(1, 0).ok();
        let features = attributes.word(8);
        let offered = |feature: u8| features >> feature & 1 != 0;
        assert!(offered(7) && offered(11) && offered(26));
        assert_eq!(self.get(7, 1).ok().byte(0), 1);
        let groups = self.get(26, 0).ok().word(0);
        self.get(11, 0).ok();
        self.get(3, 0).ok();
        let llq = offered(4).then(|| self.get(4, 0).ok());
        self.get(26, 0).ok();
        self.set(26, &[0, groups & 0x1f]).ok();
        if llq.is_some_and(|llq| llq.word(0) != 0) {
            self.set_llq(128);
        }
        if offered(20) {
            assert_ne!(self.get(20, 0).ok().half(0), 0);
        }
        self.bench.write(reg::INTR_MASK, 0);
        self.bench.write(reg::AENQ_HEAD, AENQ_DEPTH.into());
        assert_eq!(self.get(12, 0).ok().half(0), 7);
        let key = self.bench.allocate(48);
        self.get_into(10, 0, key, 48).ok();
        assert_ne!(self.get(10, 0).ok().word(0) & 2, 0);
        self.set_key(key, &[0x5a; 40], u32::MAX).ok();
        let fields = self.bench.allocate(256);
        self.get_into(18, 0, fields, 256).ok();
        let supported: [u32; 16] = self.bench.load_words(fields);
        for (wanted, supported) in [0x3c, 0x3c, 0x3c, 0x3c, 0xc, 0xc, 0xc, 3].iter().zip(supported)
        {
            assert_eq!(wanted & !supported, 0);
        }
        self.set_from(18, &[6 << 16], fields, 256).ok();
        self.set(28, &[host_info as u32, 0, 0, 0, 0]).ok();
    }

    /// SET feature 4: the header inline, two descriptors before it, several per entry.
    pub fn set_llq(&mut self, entry: u32) -> Answer {
        let size = if entry == 256 { 4 } else { 1 };
        self.set(4, &[0, 0, 1 << 16, size << 16, 2 << 16, 2 << 16, 0, 3, 0])
    }

    /// SET feature 10: Toeplitz with this key and initial value; the key goes through `buffer`.
    pub fn set_key(&mut self, buffer: u64, key: &[u8; 40], initial: u32) -> Answer {
        self.bench.store_words(buffer, &[10, 0]);
        self.bench.store(buffer + 8, key);
        self.set_from(10, &[0, 2, initial], buffer, 48)
    }

    /// Puts an entry into the admin ring without telling.
    pub fn enqueue(&mut self, mut words: [u32; 16]) -> u16 {
        let id = self.next_id & 0xfff;
        self.next_id = self.next_id.wrapping_add(1);
        let phase = u32::from(self.submitted & AQ_DEPTH == 0);
        words[0] = words[0] & 0x00ff_0000 | words[0] & 0xfe00_0000 | u32::from(id) | phase << 24;
        let slot = u64::from(self.submitted % AQ_DEPTH);
        self.bench.store_words(self.aq + slot * 64, &words);
        self.submitted = self.submitted.wrapping_add(1);
        id
    }

    /// Rings the admin queue's doorbell.
    pub fn kick(&mut self) {
        self.bench.write(reg::AQ_DB, self.submitted.into());
    }

    /// The next answer, if there is one.
    pub fn take_answer(&mut self) -> Option<Answer> {
        let slot = u64::from(self.answered % AQ_DEPTH);
        let words: [u32; 16] = self.bench.load_words(self.acq + slot * 64);
        let phase = words[0] >> 24 & 1 != 0;
        if phase != (self.answered & AQ_DEPTH == 0) {
            return None;
        }
        self.answered = self.answered.wrapping_add(1);
        Some(Answer { id: words[0] as u16, status: (words[0] >> 16) as u8, phase, words })
    }

    /// One command, answered at once. `words[0]` holds opcode and flags only.
    #[track_caller]
    pub fn command(&mut self, words: [u32; 16]) -> Answer {
        let id = self.enqueue(words);
        self.kick();
        let answer = self.take_answer().expect("an answer");
        assert_eq!(answer.id, id);
        answer
    }

    /// GET_FEATURE without a buffer.
    #[track_caller]
    pub fn get(&mut self, feature: u8, version: u8) -> Answer {
        self.get_into(feature, version, 0, 0)
    }

    /// GET_FEATURE with a buffer of `len` bytes at `buffer`.
    #[track_caller]
    pub fn get_into(&mut self, feature: u8, version: u8, buffer: u64, len: u32) -> Answer {
        self.command(feature_command(8, feature, version, &[], buffer, len))
    }

    /// SET_FEATURE without a buffer; `payload` begins at word 5.
    #[track_caller]
    pub fn set(&mut self, feature: u8, payload: &[u32]) -> Answer {
        self.set_from(feature, payload, 0, 0)
    }

    /// SET_FEATURE with a buffer of `len` bytes at `buffer`.
    #[track_caller]
    pub fn set_from(&mut self, feature: u8, payload: &[u32], buffer: u64, len: u32) -> Answer {
        self.command(feature_command(9, feature, 0, payload, buffer, len))
    }

    /// GET_STATS of a kind, into a buffer of `len` bytes; `metrics` are the bits of those asked for.
    #[track_caller]
    pub fn stats(&mut self, kind: u32, buffer: u64, len: u32, metrics: u64) -> Answer {
        let mut words = [0; 16];
        words[0] = 11 << 16;
        (words[1], words[2], words[3]) = (len, buffer as u32, (buffer >> 32) as u32);
        words[4] = kind;
        (words[6], words[7]) = (metrics as u32, (metrics >> 32) as u32);
        self.command(words)
    }

    /// CREATE_CQ: a ring of `depth` entries of `words` words at `ring`, on MSI-X vector `vector`.
    #[track_caller]
    pub fn create_cq(&mut self, words: u32, depth: u16, vector: u32, ring: u64) -> Answer {
        let mut command = [0; 16];
        command[0] = 3 << 16;
        command[1] = 0x20 | words << 8 | u32::from(depth) << 16;
        command[2] = vector;
        (command[3], command[4]) = (ring as u32, (ring >> 32) as u32);
        self.command(command)
    }

    /// DESTROY_CQ.
    #[track_caller]
    pub fn destroy_cq(&mut self, cq: u16) -> Answer {
        let mut command = [0; 16];
        (command[0], command[1]) = (4 << 16, cq.into());
        self.command(command)
    }

    /// CREATE_SQ: a ring of `depth` entries at `ring`, completed in queue `cq`. `direction` 1 is
    /// transmit, 2 receive; `placement` 1 is RAM, 3 the card's memory.
    #[track_caller]
    pub fn create_sq(
        &mut self,
        direction: u32,
        placement: u32,
        cq: u16,
        depth: u16,
        ring: u64,
    ) -> Answer {
        let mut command = [0; 16];
        command[0] = 1 << 16;
        command[1] = direction << 5 | placement << 16 | 1 << 24;
        command[2] = u32::from(cq) | u32::from(depth) << 16;
        (command[3], command[4]) = (ring as u32, (ring >> 32) as u32);
        self.command(command)
    }

    /// DESTROY_SQ; `direction` as in `create_sq`.
    #[track_caller]
    pub fn destroy_sq(&mut self, direction: u32, sq: u16) -> Answer {
        let mut command = [0; 16];
        (command[0], command[1]) = (2 << 16, u32::from(sq) | direction << 21);
        self.command(command)
    }

    /// A transmit queue in RAM, its completions on `vector`.
    #[track_caller]
    pub fn create_tx(&mut self, depth: u16, vector: u32) -> Queue {
        self.create(1, 1, 2, depth, vector)
    }

    /// A low-latency transmit queue.
    #[track_caller]
    pub fn create_llq(&mut self, depth: u16, vector: u32) -> Queue {
        self.create(1, 3, 2, depth, vector)
    }

    /// A receive queue in RAM, its completions on `vector`.
    #[track_caller]
    pub fn create_rx(&mut self, depth: u16, vector: u32) -> Queue {
        self.create(2, 1, 4, depth, vector)
    }

    #[track_caller]
    fn create(
        &mut self,
        direction: u32,
        placement: u32,
        words: u32,
        depth: u16,
        vector: u32,
    ) -> Queue {
        let completion_len = u64::from(words) * 4;
        let completions = self.bench.allocate(u64::from(depth) * completion_len);
        let cq = self.create_cq(words, depth, vector, completions).ok();
        let host = if placement == 1 { self.bench.allocate(u64::from(depth) * 16) } else { 0 };
        let sq = self.create_sq(direction, placement, cq.half(0), depth, host).ok();
        Queue {
            sq: sq.half(0),
            cq: cq.half(0),
            depth,
            ring: if placement == 1 { host } else { sq.word(8).into() },
            completions,
            completion_len,
            doorbell: sq.word(4).into(),
            unmask: cq.word(12).into(),
            posted: 0,
            consumed: 0,
        }
    }

    /// Destroys a queue and its completion queue; `direction` as in `create_sq`.
    #[track_caller]
    pub fn destroy(&mut self, direction: u32, queue: &Queue) {
        self.destroy_sq(direction, queue.sq).ok();
        self.destroy_cq(queue.cq).ok();
    }

    /// Puts one descriptor into a ring in RAM, its phase set; the doorbell is not rung.
    pub fn post(&mut self, queue: &mut Queue, mut words: [u32; 4]) {
        let phase = u32::from(queue.posted & queue.depth == 0);
        words[0] |= phase << 24;
        let slot = u64::from(queue.posted % queue.depth);
        self.bench.store_words(queue.ring + slot * 16, &words);
        queue.posted = queue.posted.wrapping_add(1);
    }

    /// Rings the queue's doorbell, and lets the card do what there is.
    pub fn ring(&mut self, queue: &Queue) {
        self.bench.write(queue.doorbell, queue.posted.into());
        self.bench.settle();
    }

    /// Sends a frame in one buffer, without offloads; the request id comes back as completion.
    pub fn send(&mut self, queue: &mut Queue, id: u16, frame: &[u8]) {
        let at = self.bench.allocate(frame.len() as u64);
        self.bench.store(at, frame);
        self.post(queue, transmit(id, at, frame.len() as u16));
        self.ring(queue);
    }

    /// Posts a receive buffer of `len` bytes; returns where it lies.
    pub fn post_buffer(&mut self, queue: &mut Queue, id: u16, len: u16) -> u64 {
        let at = self.bench.allocate(len.into());
        let words = [u32::from(len) | 0x1c << 24, id.into(), at as u32, (at >> 32) as u32];
        self.post(queue, words);
        at
    }

    /// The next completion, if there is one: its first four words.
    pub fn take_completion(&mut self, queue: &mut Queue) -> Option<[u32; 4]> {
        let slot = u64::from(queue.consumed % queue.depth);
        let at = queue.completions + slot * queue.completion_len;
        let words = self.bench.load(at, queue.completion_len as usize);
        let mut entry = [0; 4];
        for (to, from) in entry.iter_mut().zip(words.chunks_exact(4)) {
            *to = u32::from_le_bytes(from.try_into().unwrap());
        }
        if (entry[0] >> 24 & 1 != 0) != (queue.consumed & queue.depth == 0) {
            return None;
        }
        queue.consumed = queue.consumed.wrapping_add(1);
        Some(entry)
    }

    /// Unmasks a queue's vector, with no delays.
    pub fn unmask(&mut self, queue: &Queue) {
        self.bench.write(queue.unmask, 1 << 30);
    }

    /// Unmasks a queue's vector, with delays in microseconds, as Linux does.
    pub fn unmask_later(&mut self, queue: &Queue, rx_us: u32, tx_us: u32) {
        self.bench.write(queue.unmask, 1 << 30 | tx_us << 15 | rx_us);
    }

    /// The next event, if there is one; the card is not told that it was taken.
    pub fn take_event(&mut self) -> Option<Event> {
        let slot = u64::from(self.events % AENQ_DEPTH);
        let words: [u32; 16] = self.bench.load_words(self.aenq + slot * 64);
        let phase = words[1] & 1 != 0;
        if phase != (self.events & AENQ_DEPTH == 0) {
            return None;
        }
        self.events = self.events.wrapping_add(1);
        let (group, syndrome) = (words[0] as u16, (words[0] >> 16) as u16);
        Some(Event { group, syndrome, phase, data: words[4..].try_into().unwrap() })
    }

    /// Tells the card that all events taken so far are free again.
    pub fn free_events(&mut self) {
        let head = self.events.wrapping_add(AENQ_DEPTH);
        self.bench.write(reg::AENQ_HEAD, head.into());
    }

    /// An access of any width to BAR 0.
    pub fn poke(&mut self, offset: u64, width: Width, value: u64) {
        self.bench.poke(offset, width, value);
    }
}

/// An entry for GET_FEATURE (8) or SET_FEATURE (9).
pub fn feature_command(
    opcode: u32,
    feature: u8,
    version: u8,
    payload: &[u32],
    buffer: u64,
    len: u32,
) -> [u32; 16] {
    let mut words = [0; 16];
    // Real drivers set the flag for indirect data, which it is not.
    words[0] = opcode << 16 | if len == 0 { 0 } else { 1 << 26 };
    (words[1], words[2], words[3]) = (len, buffer as u32, (buffer >> 32) as u32);
    words[4] = u32::from(feature) << 8 | u32::from(version) << 16;
    words[5..][..payload.len()].copy_from_slice(payload);
    words
}

/// A transmit descriptor for a whole packet in one buffer.
pub fn transmit(id: u16, at: u64, len: u16) -> [u32; 4] {
    let id = u32::from(id);
    [
        u32::from(len) | (id >> 10) << 16 | 1 << 26 | 1 << 27 | 1 << 28,
        (id & 0x3ff) << 22,
        at as u32,
        (at >> 32) as u32,
    ]
}
