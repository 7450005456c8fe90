//! States of devices with anything wrong in them: each is refused by name, or is of a device that does no harm.
//!
//! A state is that of a device with a driver, mutated as the input says. What loads is started, kicked, looked at,
//! stopped and saved again, in memory with nothing beside it.

use std::sync::Arc;
use std::time::Duration;

use block::image::Image;
use block::port::DiskPort;
use block::spec::DiskSpec;
use device_core::bus::{Bus, BusDevice, Width};
use device_core::device::{Device, MmioSlot};
use device_core::snapshot::{LoadError, Saved, Snapshot};
use device_core::testing::{TestLine, TestMachine, ram_with_hot};
use device_core::worker::Threads;
use legacy::{BoardEvents, ConsoleSpec, I8042, Rtc, Serial};
use net::backend::NetQueue;
use net::backend::script::stage;
use net::port::NetPort;
use pci::bus::PciBus;
use pci::windows::Windows;
use serde_json::{Value, json};
use virtio::balloon::Balloon;
use virtio::block::Block;
use virtio::device::VirtioDevice;
use virtio::entropy::{Entropy, EntropySpec};
use virtio::memory::{HotMemory, HotMemorySpec};
use virtio::net::Net;
use virtio::pmem::{Pmem, PmemSpec};
use virtio::testing::balloon::everything;
use virtio::testing::nic::{ABLE, MAC};
use virtio::testing::ring::DriverRing;
use virtio::transport::mmio::VirtioMmio;
use virtio::transport::pci::VirtioCard;

use crate::input::{Input, Output};
use crate::memory::clear;
use crate::virtio_card::test_machine;

/// Kinds of parts: five virtio devices on either bus, the PCI bus, three of the board, and another virtio device.
pub const KINDS: u8 = 16;
/// Where rings are.
const RINGS_AT: u64 = 0x1000;
const RING: u16 = 16;

/// One change of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which value it is, of all that there are; those come round.
    pub at: u16,
    /// What becomes of it; see [`Change::apply`].
    pub how: u8,
    /// With what.
    pub value: u64,
}

impl Change {
    fn read(input: &mut Input<'_>) -> Option<Change> {
        Some(Change { at: input.u16()?, how: input.u8()?, value: input.u64()? })
    }

    pub fn write(&self, output: &mut Output) {
        output.u16(self.at).u8(self.how).u64(self.value);
    }

    fn apply(self, state: &mut Value) {
        let mut count = 0;
        walk(state, &mut |_| count += 1);
        let (mut left, wanted) = (usize::from(self.at) % count.max(1), self);
        walk(state, &mut |value| {
            if left == 0 {
                wanted.change(value);
            }
            left = left.wrapping_sub(1);
        });
    }

    fn change(self, value: &mut Value) {
        let Change { how, value: with, .. } = self;
        match (value, how % 8) {
            (value, 7) => *value = Value::Null,
            (value, 6) => *value = json!(with),
            (Value::Number(number), 0..=2) => {
                let old = number.as_u64().unwrap_or_default();
                *number = [old.wrapping_add(with), old ^ 1 << (with % 64), with & 0xffff]
                    [usize::from(how % 8)]
                .into();
            }
            (Value::Number(number), _) => *number = with.into(),
            (Value::Bool(on), _) => *on = !*on,
            (Value::String(text), 0..=3) => {
                let at = with as usize % text.len().max(1);
                let digit = char::from_digit((with >> 32) as u32 % 16, 16).unwrap_or('0');
                let letters = text.chars().enumerate();
                *text = letters.map(|(n, letter)| if n == at { digit } else { letter }).collect();
            }
            (Value::String(text), _) => text.push('0'),
            (Value::Array(items), 0 | 1) if !items.is_empty() => {
                items.remove(with as usize % items.len());
            }
            (Value::Array(items), 2 | 3) if !items.is_empty() && items.len() < 1000 => {
                items.push(items[with as usize % items.len()].clone());
            }
            (Value::Array(items), _) => items.reverse(),
            (value @ Value::Null, _) => *value = json!([]),
            (Value::Object(fields), _) => {
                let name = fields.keys().nth(with as usize % fields.len().max(1)).cloned();
                name.and_then(|name| fields.remove(&name));
            }
        }
    }
}

/// Every value of a state, itself included.
fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values_mut().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

struct NoEvents;

impl BoardEvents for NoEvents {
    fn guest_off(&self) {}
    fn guest_reset(&self) {
        panic!("a state resets the machine");
    }
}

/// A device without its transport, and what gives its workers a turn.
struct Virtio {
    device: Arc<dyn VirtioDevice>,
    settle: Box<dyn Fn()>,
}

impl Virtio {
    fn new<D: VirtioDevice + 'static>(device: Arc<D>, settle: fn(&D)) -> Virtio {
        Virtio { device: device.clone(), settle: Box::new(move || settle(&device)) }
    }

    fn build(number: u8, machine: &TestMachine) -> Virtio {
        let kit = machine.kit();
        match number {
            0 => {
                let (backend, queues, _) = stage(2, ABLE).expect("eventfds");
                let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>);
                let port = NetPort::with_backend("fuzz", Box::new(backend), queues.collect(), &kit);
                Virtio::new(Net::on_port("fuzz", MAC, port.expect("lanes"), &kit), Net::settle)
            }
            1 => {
                let image = Image::in_memory(1 << 20, false, None);
                let spec = DiskSpec::on("fuzz", "memory");
                let (port, _) = DiskPort::scripted(&spec, image, 2, &kit);
                Virtio::new(Block::on_port(port, &kit), Block::settle)
            }
            2 => Virtio::new(Balloon::build(&everything(), &kit), Balloon::settle),
            3 => {
                let spec = PmemSpec { id: "fuzz".into(), ..PmemSpec::default() };
                let image = Image::in_memory(2 << 20, false, None);
                let pmem = Pmem::on(&spec, image, &kit).expect("a window and a thread");
                Virtio::new(pmem, Pmem::settle)
            }
            4 => Virtio::new(Entropy::build(&EntropySpec::default(), &kit), Entropy::settle),
            _ => {
                let memory = HotMemory::build(&HotMemorySpec::of(16), &kit).expect("a region");
                Virtio::new(memory, HotMemory::settle)
            }
        }
    }
}

/// The state of a device that no driver has touched, as one whose driver has all queues at work.
fn set_up(saved: &mut Saved, features: u64) {
    let registers = &mut saved.state["registers"];
    let count = registers["queues"].as_array().map_or(0, Vec::len);
    registers["status"] = json!(15);
    registers["driver_features"] = json!(features | 1 << 32);
    for queue in 0..count {
        let at = RINGS_AT + queue as u64 * DriverRing::bytes(RING);
        registers["queues"][queue] = json!({
            "size": RING, "vector": 0xffff, "enabled": true,
            "descriptors": at, "available": at + 0x1000, "used": at + 0x2000,
        });
    }
    let live = |index| json!({ "index": index, "next_avail": 0, "next_used": 0 });
    saved.state["live"] = (0..count).map(live).collect();
}

fn mutated(saved: &Saved, input: &mut Input<'_>) -> Option<Saved> {
    let mut value = serde_json::to_value(saved).expect("a state");
    while let Some(change) = Change::read(input) {
        change.apply(&mut value);
    }
    serde_json::from_value(value).ok()
}

/// Whether a state was taken, as one must be that nothing was `changed` in.
fn check(loaded: Result<(), LoadError>, changed: bool) -> bool {
    let refusal = loaded.err().map(|error| error.to_string());
    assert!(refusal.is_none() || changed, "a right state was refused: {refusal:?}");
    refusal.is_none()
}

/// Loads a mutated state into `device` and uses what comes of it.
fn run_virtio(device: &dyn Device, inner: &Virtio, input: &mut Input<'_>) {
    device.stop();
    let mut saved = device.save().expect("it is stopped");
    set_up(&mut saved, inner.device.features());
    let changed = !input.0.is_empty();
    let Some(saved) = mutated(&saved, input) else { return };
    if !check(device.load(&saved), changed) {
        return;
    }
    device.start();
    (0..4).for_each(|_| (inner.settle)());
    for offset in 0..64 {
        inner.device.read_config(offset, Width::B1);
    }
    device.stop();
    device.save().expect("it is stopped");
    device.start();
    device.reset();
}

fn run_board(part: &impl Snapshot, registers: &dyn BusDevice, input: &mut Input<'_>) {
    let (saved, changed) = (part.to_saved().expect("a state"), !input.0.is_empty());
    let Some(saved) = mutated(&saved, input) else { return };
    if check(part.load_saved(&saved), changed) {
        part.to_saved().expect("a state");
        for port in 0..8 {
            registers.read(port, Width::B1);
        }
    }
}

fn run_bus(machine: &TestMachine, input: &mut Input<'_>) {
    let windows =
        || Windows { low: 0xe000_0000..0xe100_0000, high: 0x40_0000_0000..0x41_0000_0000 };
    let card = VirtioCard::new(Virtio::build(0, machine).device, &machine.kit()).expect("a card");
    let pci = PciBus::new(Bus::new(), windows()).expect("a bridge");
    let slot = pci.attach(card).expect("a free slot");
    let function = pci.function(slot).expect("just attached");
    let ready = pci.to_saved().expect("a state");
    // Memory decoding and bus mastering; then as it was, for a fresh card of the same kind.
    function.write_config(4, Width::B2, 6);
    let saved = pci.to_saved().expect("a state");
    pci.reset();
    assert_eq!(pci.to_saved().expect("a state"), ready);
    let changed = !input.0.is_empty();
    let Some(saved) = mutated(&saved, input) else { return };
    if check(pci.load_saved(&saved), changed) {
        pci.to_saved().expect("a state");
        for register in (0..0x100).step_by(4) {
            function.read_config(register, Width::B4);
        }
    }
    pci.reset();
    assert_eq!(pci.to_saved().expect("a state"), ready, "a reset always brings it back");
}

/// One with memory that is plugged; its blocks are others each time.
fn machine_with_hot() -> TestMachine {
    let memory = ram_with_hot(&[(0, 0x10_0000)], (0x80_0000, 16 << 20, 2 << 20));
    let mut machine = TestMachine::new(memory);
    machine.threads = Threads::by_hand().expect("an epoll");
    machine
}

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let kind = input.u8().unwrap_or(0) % KINDS;
    let line = Arc::new(TestLine::default());
    let machine = if kind < 14 { test_machine() } else { machine_with_hot() };
    clear(&machine.memory);
    match kind {
        0..=4 | 14 => {
            let inner = Virtio::build(if kind == 14 { 5 } else { kind }, &machine);
            let card = VirtioCard::new(inner.device.clone(), &machine.kit()).expect("a card");
            pci::device::PciDevice::bus_master(&*card, true);
            run_virtio(&*card, &inner, &mut input);
        }
        5..=9 | 15 => {
            let inner = Virtio::build(if kind == 15 { 5 } else { kind - 5 }, &machine);
            let slot = MmioSlot { address: 0xfe00_0000, line };
            let mmio =
                VirtioMmio::new(inner.device.clone(), &machine.kit(), &slot).expect("a device");
            run_virtio(&*mmio, &inner, &mut input);
        }
        10 => run_bus(&machine, &mut input),
        11 => {
            let console = ConsoleSpec::None.open().expect("nothing opens");
            let serial = Serial::new(line, console.line());
            run_board(&serial, &serial, &mut input);
        }
        12 => {
            let keyboard = I8042::new(line, Arc::new(NoEvents));
            run_board(&keyboard, &keyboard, &mut input);
        }
        _ => {
            let clock = Rtc::with_clock(|| Duration::from_secs(1_767_225_600));
            run_board(&clock, &clock, &mut input);
        }
    }
}
