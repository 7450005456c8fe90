//! The devices that need little of a driver, entropy, balloon, persistent memory and memory that is plugged: rings and chains of any kind,
//! an owner that changes his mind, and a good driver afterwards.
//!
//! No thread takes part: [`Machine::settle`] gives the device's worker one turn.

use std::sync::{Arc, OnceLock};

use block::image::Image;
use device_core::GuestRam;
use device_core::bus::Width;
use device_core::hot_region::HotRegion;
use device_core::limiter::Limits;
use device_core::rate::Quota;
use device_core::testing::TestHotRegion;
use virtio::balloon::Balloon;
use virtio::device::{LiveQueue, VirtioDevice};
use virtio::entropy::{Entropy, EntropySpec};
use virtio::memory::{HotMemory, HotMemorySpec, UNPLUGGED_INACCESSIBLE};
use virtio::pmem::{Pmem, PmemSpec};
use virtio::testing::balloon::{ALL, everything};
use virtio::testing::guest::TestGuest;
use virtio::testing::memory::{UNPLUG_ALL, request as memory_request};
use virtio::testing::ring::{Descriptor, writable};
use vm_memory::{Bytes, GuestAddress};

use crate::input::{Input, Output, width, width_bits};
use crate::memory::{clear, moated_ram_with_hot};

const RAM: [(u64, usize); 2] = [(0, 0x20_0000), (0x40_0000, 0x4_0000)];
/// Memory that is plugged, and its blocks; four make a slot.
pub const HOT: u32 = 0x80_0000;
const HOT_LEN: usize = 16 << 20;
const BLOCK: u64 = 2 << 20;
/// Where chains of seeds have their buffers.
pub const BUFFERS: u32 = 0x10_0000;
const QUEUES: u16 = 5;

/// Which device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Entropy,
    Balloon,
    Pmem,
    HotMemory,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The driver is loaded with these features, after a reset.
    Start {
        features: u64,
        event_idx: bool,
    },
    Describe {
        queue: u8,
        index: u8,
        descriptor: Descriptor,
    },
    Offer {
        queue: u8,
        head: u16,
    },
    SetAvailable {
        queue: u8,
        index: u16,
    },
    WriteMemory {
        at: u32,
        bytes: Vec<u8>,
    },
    /// A kick, and a turn of the device.
    Kick {
        queue: u8,
    },
    ReadConfig {
        offset: u8,
        width: Width,
    },
    WriteConfig {
        offset: u8,
        width: Width,
        value: u32,
    },
    /// A pause ends, or begins.
    Pause,
    /// The owner wants something; see [`Machine::ask`].
    Ask {
        what: u8,
        value: u32,
    },
}

impl Step {
    fn read(input: &mut Input<'_>) -> Option<Step> {
        let kind = input.u8()?;
        Some(match kind & 0xf {
            0 => Step::Start { features: input.u64()?, event_idx: kind & 0x10 != 0 },
            1 | 2 => {
                let (queue, index) = (input.u8()?, input.u8()?);
                let (addr, len) = (input.u32()?, input.u32()?);
                let (flags, next) = (input.u8()?, input.u8()?);
                // A few are far away.
                let addr = u64::from(addr) | if kind & 0x10 == 0 { 0 } else { 0xffff_fff0 << 32 };
                let (flags, next) = (flags.into(), next.into());
                Step::Describe { queue, index, descriptor: Descriptor { addr, len, flags, next } }
            }
            3 => Step::Offer { queue: input.u8()?, head: input.u16()? },
            4 => Step::SetAvailable { queue: input.u8()?, index: input.u16()? },
            5 => {
                let (at, len) = (input.u32()?, input.u8()?);
                Step::WriteMemory { at, bytes: input.bytes(len.into()).to_vec() }
            }
            6 | 7 => Step::Kick { queue: input.u8()? },
            8 => Step::ReadConfig { offset: input.u8()?, width: width(kind >> 4) },
            9 => Step::WriteConfig {
                offset: input.u8()?,
                width: width(kind >> 4),
                value: input.u32()?,
            },
            10 => Step::Pause,
            _ => Step::Ask { what: input.u8()?, value: input.u32()? },
        })
    }

    pub fn write(&self, output: &mut Output) {
        match self {
            Step::Start { features, event_idx } => {
                output.u8(u8::from(*event_idx) << 4).u64(*features);
            }
            Step::Describe { queue, index, descriptor } => {
                let Descriptor { addr, len, flags, next } = *descriptor;
                let is_far = u8::from(addr >> 32 != 0);
                output.u8(1 | is_far << 4).u8(*queue).u8(*index).u32(addr as u32).u32(len);
                output.u8(flags as u8).u8(next as u8);
            }
            Step::Offer { queue, head } => {
                output.u8(3).u8(*queue).u16(*head);
            }
            Step::SetAvailable { queue, index } => {
                output.u8(4).u8(*queue).u16(*index);
            }
            Step::WriteMemory { at, bytes } => {
                output.u8(5).u32(*at).u8(bytes.len() as u8).bytes(bytes);
            }
            Step::Kick { queue } => {
                output.u8(6).u8(*queue);
            }
            Step::ReadConfig { offset, width } => {
                output.u8(8 | width_bits(*width) << 4).u8(*offset);
            }
            Step::WriteConfig { offset, width, value } => {
                output.u8(9 | width_bits(*width) << 4).u8(*offset).u32(*value);
            }
            Step::Pause => {
                output.u8(10);
            }
            Step::Ask { what, value } => {
                output.u8(11).u8(*what).u32(*value);
            }
        }
    }
}

/// A device without its transport.
enum Device {
    Entropy(Arc<Entropy>),
    Balloon(Arc<Balloon>),
    Pmem(Arc<Pmem>),
    HotMemory(Arc<HotMemory>),
}

impl Device {
    fn virtio(&self) -> &dyn VirtioDevice {
        match self {
            Device::Entropy(device) => &**device,
            Device::Balloon(device) => &**device,
            Device::Pmem(device) => &**device,
            Device::HotMemory(device) => &**device,
        }
    }

    /// Features without which it does not take a driver.
    fn needs(&self) -> u64 {
        match self {
            Device::HotMemory(_) => UNPLUGGED_INACCESSIBLE,
            _ => 0,
        }
    }
}

/// A device, its driver's rings, and memory with nothing beside it.
pub struct Machine {
    guest: TestGuest,
    device: Device,
    features: u64,
    /// During a pause.
    home: Option<Vec<LiveQueue>>,
}

impl Machine {
    pub fn new(kind: Kind) -> Machine {
        static MEMORY: OnceLock<GuestRam> = OnceLock::new();
        let hot = (HOT.into(), HOT_LEN, BLOCK);
        let memory = MEMORY.get_or_init(|| moated_ram_with_hot(&RAM, hot)).clone();
        clear(&memory);
        let guest = TestGuest::on(memory, QUEUES, false);
        let region = guest.machine.hot.as_ref().expect("it has one");
        for (first, count) in region.blocks().runs().collect::<Vec<_>>() {
            region.unplug(first, count).expect("it is memory");
        }
        let kit = guest.machine.kit();
        let device = match kind {
            Kind::Entropy => Device::Entropy(Entropy::build(&EntropySpec::default(), &kit)),
            Kind::Balloon => Device::Balloon(Balloon::build(&everything(), &kit)),
            Kind::Pmem => {
                let spec = PmemSpec { id: "fuzz".into(), ..PmemSpec::default() };
                let image = Image::in_memory(2 << 20, false, None);
                Device::Pmem(Pmem::on(&spec, image, &kit).expect("a window and a thread"))
            }
            Kind::HotMemory => {
                let spec =
                    HotMemorySpec { total_mib: 16, block_mib: 2, slot_mib: 8, requested_mib: 6 };
                Device::HotMemory(HotMemory::build(&spec, &kit).expect("a region"))
            }
        };
        let mut machine = Machine { guest, device, features: 0, home: None };
        machine.start(ALL, false);
        machine
    }

    /// As many as the device has.
    fn live(&self) -> Vec<LiveQueue> {
        let mut queues = self.guest.live();
        queues.truncate(self.device.virtio().queue_sizes().len());
        queues
    }

    fn start(&mut self, features: u64, event_idx: bool) {
        drop(self.device.virtio().unplug());
        self.home = None;
        self.device.virtio().reset();
        self.guest.new_rings(QUEUES, event_idx);
        let known = features & self.device.virtio().features();
        self.features = known | self.device.needs() | features & 1 << 28;
        self.plug(self.live());
    }

    fn plug(&self, queues: Vec<LiveQueue>) {
        let notice = self.guest.notice.clone();
        let plugged = self.device.virtio().plug(self.features, queues, notice);
        plugged.expect("rings that are in memory");
    }

    pub fn apply(&mut self, step: &Step) {
        let queues = self.guest.queues.len();
        let at = |queue: u8| usize::from(queue) % queues;
        match step {
            Step::Start { features, event_idx } => self.start(*features, *event_idx),
            Step::Describe { queue, index, descriptor } => {
                let ring = &self.guest.queues[at(*queue)];
                ring.write_descriptor(u16::from(*index) % 64, *descriptor);
            }
            Step::Offer { queue, head } => self.guest.queues[at(*queue)].offer_head(*head),
            Step::SetAvailable { queue, index } => {
                self.guest.queues[at(*queue)].set_available(*index);
            }
            Step::WriteMemory { at, bytes } => {
                // It may be no memory.
                let _ = self.guest.memory.write_slice(bytes, GuestAddress((*at).into()));
            }
            Step::Kick { queue } => {
                self.guest.queues[at(*queue)].force_kick();
                self.settle();
            }
            Step::ReadConfig { offset, width } => {
                self.device.virtio().read_config((*offset).into(), *width);
            }
            Step::WriteConfig { offset, width, value } => {
                self.device.virtio().write_config((*offset).into(), *width, (*value).into());
            }
            Step::Pause => match self.home.take() {
                Some(queues) => self.plug(queues),
                None => self.home = Some(self.device.virtio().unplug()),
            },
            Step::Ask { what, value } => self.ask(*what, *value),
        }
    }

    /// What an owner asks of a device.
    fn ask(&self, what: u8, value: u32) {
        match &self.device {
            Device::Entropy(_) => {}
            Device::Balloon(balloon) => match what {
                0 => balloon.set_target(value),
                1 => balloon.start_hinting(value & 1 != 0).expect("it is enabled"),
                2 => balloon.stop_hinting().expect("it is enabled"),
                3 => {
                    // It cannot be turned off.
                    let _ = balloon.set_interval((value & 0xffff) as u16);
                }
                _ => self.guest.machine.reclaim.refuse(value & 1 != 0),
            },
            Device::Pmem(pmem) => {
                let quota = Quota::per_second(value.into());
                pmem.limit(Limits { bytes: quota, operations: quota });
            }
            Device::HotMemory(memory) => match what {
                0 => {
                    // It may be too much.
                    let _ = memory.request(value);
                }
                _ => self.hot().set_room(value.into()),
            },
        }
    }

    fn hot(&self) -> &TestHotRegion {
        self.guest.machine.hot.as_deref().expect("it has one")
    }

    /// One turn of the device's worker.
    pub fn settle(&self) {
        match &self.device {
            Device::Entropy(device) => device.settle(),
            Device::Balloon(device) => device.settle(),
            Device::Pmem(device) => device.settle(),
            Device::HotMemory(device) => device.settle(),
        }
    }

    /// From whatever it was brought into, a good driver brings the device back.
    fn check_recovery(&mut self) {
        self.guest.machine.reclaim.refuse(false);
        self.guest.machine.reclaim.take();
        if let Device::Pmem(pmem) = &self.device {
            pmem.limit(Limits::default());
        }
        self.hot().set_room(u64::MAX);
        self.start(ALL, false);
        let answer = self.guest.buffer(64);
        let request = self.guest.readable(&0x100u32.to_le_bytes());
        let flush = self.guest.readable(&[0; 4]);
        let none = self.guest.readable(&memory_request(UNPLUG_ALL, 0, 0));
        let (chain, written) = match &self.device {
            Device::Entropy(_) => (vec![writable(answer, 64)], 64),
            Device::Balloon(_) => (vec![request], 0),
            Device::Pmem(_) => (vec![flush, writable(answer, 4)], 4),
            Device::HotMemory(_) => (vec![none, writable(answer, 10)], 10),
        };
        let head = self.guest.queues[0].offer(&chain);
        self.guest.queues[0].kick();
        // Blocks go a few at a time.
        (0..20).for_each(|_| self.settle());
        assert_eq!(self.guest.queues[0].take(), Some((head, written)), "a good chain was lost");
        if let Device::HotMemory(memory) = &self.device {
            assert_eq!((self.guest.read(answer, 10), memory.plugged()), (vec![0; 10], 0));
        }
        if let Device::Balloon(_) = self.device {
            assert_eq!(self.guest.machine.reclaim.take(), [(0x10_0000, 0x1000)]);
        }
        assert!(self.guest.interrupts(0) > 0, "an interrupt was lost");
    }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let kind = match input.u8().unwrap_or(0) % 4 {
        0 => Kind::Entropy,
        1 => Kind::Balloon,
        2 => Kind::Pmem,
        _ => Kind::HotMemory,
    };
    let mut machine = Machine::new(kind);
    while let Some(step) = Step::read(&mut input) {
        machine.apply(&step);
    }
    machine.check_recovery();
}
