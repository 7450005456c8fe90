//! What the command line asks for: `word=value`, by spaces. Words of others are left alone, as VMMs add
//! theirs.

use crate::disk::{self, MOST_IN_FLIGHT, Operation};
use crate::memory::{Arena, read};
use crate::nic::MOST_PAIRS;
use crate::vsock;

/// Most pages of devices without PCI.
pub const MOST_PAGES: usize = 8;
/// Longest command line that is read.
const LONGEST: usize = 2048;

/// What to do with the card.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// `load=send`: as many frames as the card takes.
    Send,
    /// `load=receive`: buffers for as many as come.
    Receive,
    /// `load=both`: both at once.
    Both,
    /// `load=answer`: each frame goes back to whom it came from.
    Answer,
    /// `load=witness`: tells what it finds of its registers, its memory and what it received, frame by frame.
    Witness,
    /// `load=host`: has an IPv4 address, and answers ARP and echoes.
    Host,
    /// `load=storm`: whatever a broken or hostile driver may do to it, again and again.
    Storm,
}

/// All that can be asked for.
pub struct Options {
    /// `load=`.
    pub load: Load,
    /// `len=`: bytes of each frame sent, from the Ethernet header on; 60 unless told.
    pub len: u32,
    /// `batch=`: frames that are shown to the card at once; 1 unless told.
    pub batch: u16,
    /// `depth=`: entries of each ring; 256 unless told.
    pub depth: u16,
    /// `queues=`: pairs of rings, which are served in turn; 1 unless told.
    pub queues: u16,
    /// `count=`: frames after which the results are sent; 0, for never, unless told.
    pub count: u64,
    /// `rest=`: ticks of the CPU's clock for which nothing is done after each thousand frames; 0 unless told.
    pub rest: u64,
    /// `ask=`: ticks from one request to the metadata service to the next, beside the load; 0, for none, unless told.
    pub ask: u64,
    /// `fresh=1`: each request has a connection of its own.
    pub fresh: bool,
    /// `seed=`: which storm; 1 unless told.
    pub seed: u64,
    /// `ecam=`: where vmm has the configuration space of PCI, as a decimal number, for a storm; 0, for nowhere, unless told.
    pub ecam: u64,
    /// `tso=`: payload bytes of each segment that a TCP frame is to be cut to; 0, for not at all, unless told.
    pub tso: u16,
    /// `event-idx=0`: the virtio card is told and asked by flags.
    pub event_idx: bool,
    /// `virtio_mmio.device=SIZE@ADDRESS:LINE`, once for each device of a VMM without PCI: the hexadecimal addresses of
    /// their pages; 0 behind the last one.
    pub pages: [u64; MOST_PAGES],
    /// `groups=`: events that the ENA card is to tell of, as bits; 0 unless told.
    pub groups: u32,
    /// `silence=`: ticks of the CPU's clock without a keep-alive of an ENA card after which it is reset, by the load that
    /// watches for it; 0, for never, unless told.
    pub silence: u64,
    /// `llq=1`: descriptors of the ENA card are pushed to it.
    pub llq: bool,
    /// `disk=`: what to do with the disk, and nothing with the card.
    pub disk: Option<disk::Task>,
    /// `vsock=`: what to do with the vsock, and nothing with the card and the disk.
    pub vsock: Option<vsock::Task>,
    /// `block=`: bytes of each request that is measured; 4096 unless told.
    pub block: u32,
    /// `in-flight=`: requests of each queue of a disk at once; 16 unless told.
    pub in_flight: u16,
    /// `order=sequential`: requests that are measured go on where the one before ended.
    pub sequential: bool,
    /// `area=`: bytes from the disk's begin on that are read and written; all unless told.
    pub area: u64,
    /// `ticks=`: of the CPU's clock, for how long is measured.
    pub ticks: u64,
    /// `balloon=`: pages to give up and take back; 0, for nothing of that, unless told.
    pub balloon: u64,
    /// `shadow=0`: doorbells of an NVMe controller are always rung.
    pub shadows: bool,
}

impl Options {
    /// Those of the zero-terminated command line at `line`; 0 is for none.
    pub fn at(line: u64) -> Options {
        let mut options = Options {
            load: Load::Send,
            len: 60,
            batch: 1,
            depth: 256,
            queues: 1,
            count: 0,
            rest: 0,
            ask: 0,
            fresh: false,
            seed: 1,
            ecam: 0,
            tso: 0,
            event_idx: true,
            pages: [0; MOST_PAGES],
            groups: 0,
            silence: 0,
            llq: false,
            disk: None,
            vsock: None,
            block: 4096,
            in_flight: 16,
            sequential: false,
            area: u64::MAX,
            ticks: 0,
            balloon: 0,
            shadows: true,
        };
        let mut text = [0u8; LONGEST];
        if line != 0 {
            for (to, at) in text.iter_mut().zip(line..) {
                *to = read(at);
                if *to == 0 {
                    break;
                }
            }
        }
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(LONGEST);
        for word in text[..end].split(|byte| *byte == b' ') {
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                options.take(name, value);
            }
        }
        options
    }

    /// Where a disk has its rings.
    pub fn arena(&self) -> Arena {
        match self.disk {
            Some(disk::Task::Busy) => Arena::second(),
            _ => Arena::new(),
        }
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        match (name, value) {
            (b"load", b"send") => self.load = Load::Send,
            (b"load", b"receive") => self.load = Load::Receive,
            (b"load", b"both") => self.load = Load::Both,
            (b"load", b"answer") => self.load = Load::Answer,
            (b"load", b"witness") => self.load = Load::Witness,
            (b"load", b"host") => self.load = Load::Host,
            (b"len", _) => self.len = number(value).clamp(14, 65_000) as u32,
            (b"batch", _) => self.batch = number(value).clamp(1, 64) as u16,
            (b"depth", _) => {
                self.depth = (number(value).clamp(16, 1024) as u16).next_power_of_two()
            }
            (b"queues", _) => self.queues = number(value).clamp(1, u64::from(MOST_PAIRS)) as u16,
            (b"count", _) => self.count = number(value),
            (b"load", b"storm") => self.load = Load::Storm,
            (b"ask", _) => self.ask = number(value),
            (b"fresh", _) => self.fresh = number(value) != 0,
            (b"seed", _) => self.seed = number(value).max(1),
            (b"ecam", _) => self.ecam = number(value),
            (b"rest", _) => self.rest = number(value),
            (b"tso", _) => self.tso = number(value).min(9000) as u16,
            (b"event-idx", _) => self.event_idx = number(value) != 0,
            (b"virtio_mmio.device", _) => {
                if let Some(page) = self.pages.iter_mut().find(|page| **page == 0) {
                    *page = address(value);
                }
            }
            (b"disk", b"verify") => self.disk = Some(disk::Task::Verify),
            (b"disk", b"busy") => self.disk = Some(disk::Task::Busy),
            (b"disk", b"reset") => self.disk = Some(disk::Task::Reset),
            (b"disk", b"storm") => self.disk = Some(disk::Task::Storm),
            (b"disk", b"sync") => self.disk = Some(disk::Task::Sync),
            (b"disk", b"read") => self.disk = Some(disk::Task::Measure(Operation::Read)),
            (b"disk", b"write") => self.disk = Some(disk::Task::Measure(Operation::Write)),
            (b"vsock", b"serve") => self.vsock = Some(vsock::Task::Serve),
            (b"vsock", b"storm") => self.vsock = Some(vsock::Task::Storm),
            (b"block", _) => {
                self.block = number(value).clamp(512, 1 << 20).next_power_of_two() as u32
            }
            (b"in-flight", _) => {
                self.in_flight = number(value).clamp(1, u64::from(MOST_IN_FLIGHT)) as u16
            }
            (b"order", _) => self.sequential = value == b"sequential",
            (b"area", _) => self.area = number(value),
            (b"ticks", _) => self.ticks = number(value),
            (b"balloon", _) => self.balloon = number(value).min(1 << 19),
            (b"shadow", _) => self.shadows = number(value) != 0,
            (b"groups", _) => self.groups = number(value) as u32,
            (b"silence", _) => self.silence = number(value),
            (b"llq", _) => self.llq = number(value) != 0,
            _ => {}
        }
    }
}

/// The decimal number at the begin of a text.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

/// The hexadecimal number behind `@0x` in a text; 0 if there is none.
fn address(text: &[u8]) -> u64 {
    let digits = text.iter().skip_while(|byte| **byte != b'@').skip(1);
    let is_prefixed = digits.clone().take(2).eq(b"0x");
    let digits = digits.skip(2).map_while(|byte| char::from(*byte).to_digit(16));
    if is_prefixed { digits.fold(0, |value, digit| value << 4 | u64::from(digit)) } else { 0 }
}
