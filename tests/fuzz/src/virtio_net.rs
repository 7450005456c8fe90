//! A virtio network card behind its transport: rings, headers and commands of any kind, frames and
//! errors of its backend, and a good driver afterwards.
//!
//! Lane 0 has the scripted backend, which can fail in every way; lane 1 has a TAP's queue over a
//! socket, so that what is fuzzed holds the system calls too.
//!
//! No thread takes part: [`Machine::settle`] gives each of the card's workers one turn.

mod host;
mod step;

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex};

use net::backend::script::{Scene, Stage, WireFrame, stage};
use net::backend::{NetQueue, QueueError};
use net::frame::{Csum, MAX_FRAME, MIN_FRAME, Offloads};
use net::port::NetPort;
use virtio::net::Net;
use virtio::testing::nic::{ABLE, MAC};
use virtio::testing::ring::{WRITE, readable, writable};
use virtio::transport::pci::VirtioCard;
use vm_memory::{Bytes, GuestAddress};

use crate::input::Input;
use crate::virtio_card::{self, SIZE, Slot};
use host::{Cable, Meddled, Writes, frame};

pub use step::Step;

const PAIRS: u16 = 2;
/// Two pairs and the control queue.
pub const QUEUES: u16 = 2 * PAIRS + 1;
const CONTROL_SIZE: u16 = 64;
pub const CTRL: u64 = 1 << 17 | 1 << 18 | 1 << 20 | 1 << 23;
pub const MQ: u64 = 1 << 22;
pub const MRG_RXBUF: u64 = 1 << 15;
/// Features that let a driver leave work to the card, and what work.
const HOST: [(u32, Offloads); 5] = [
    (0, Offloads::CSUM),
    (11, Offloads::TSO4),
    (12, Offloads::TSO6),
    (13, Offloads::ECN),
    (56, Offloads::USO4.union(Offloads::USO6)),
];

/// Frames that a lane may move in one turn.
const TURN: u64 = 256;

/// A card, its driver, and the other end of its cable.
pub struct Machine {
    slot: Slot,
    net: Arc<Net>,
    /// What lane 0 plays.
    stage: Stage,
    /// Where lane 1 leads.
    cable: Cable,
    writes: Vec<Arc<Mutex<Writes>>>,
    /// The backend had an error that outlives a reset of the card.
    spoiled: bool,
    /// What has been done, if anyone wants to know.
    pub record: Option<Vec<Step>>,
}

impl Machine {
    pub fn new() -> Machine {
        let machine = virtio_card::test_machine();
        let memory = &machine.memory;
        let (backend, mut script, mut stages) = stage(1, ABLE).expect("eventfds");
        let cable = Cable::new().expect("sockets");
        let queues: [Box<dyn NetQueue>; PAIRS as usize] =
            [Box::new(script.remove(0)), Box::new(cable.queue().expect("a socket"))];
        let writes: Vec<Arc<Mutex<Writes>>> = queues.iter().map(|_| Arc::default()).collect();
        let meddled = queues.into_iter().zip(&writes).map(|(queue, writes)| {
            let (memory, writes) = (memory.clone(), writes.clone());
            Box::new(Meddled { queue, memory, writes }) as Box<dyn NetQueue>
        });
        let kit = machine.kit();
        let port = NetPort::with_backend("fuzz", Box::new(backend), meddled.collect(), &kit);
        let net = Net::on_port("fuzz", MAC, port.expect("lanes"), &kit);
        let card = VirtioCard::new(net.clone(), &kit).expect("a card");
        let sizes = [SIZE, SIZE, SIZE, SIZE, CONTROL_SIZE];
        let slot = Slot::new(&machine, card, &sizes);
        let stage = stages.remove(0);
        Machine { slot, net, stage, cable, writes, spoiled: false, record: None }
    }

    /// Does a step, as far as the driver's notes allow.
    pub fn apply(&mut self, step: Step) {
        if let Some(record) = &mut self.record {
            record.push(step.clone());
        }
        match step {
            Step::Ring(step) => self.slot.apply(step),
            Step::Meddle { lane, address, bytes } => {
                self.writes[usize::from(lane)].lock().unwrap().push_back((address, bytes));
            }
            Step::Kick { queue } => self.slot.kick(queue.into()),
            Step::Settle => self.settle(),
            Step::Send { queue, header, len } => {
                let at = self.slot.buffer(12 + u64::from(len));
                self.slot.write(at, &header);
                self.slot.write(at + 12, &[0xff; 64]);
                self.slot.offer_buffers(queue, &[(at, 12 + u32::from(len), 0)]);
            }
            Step::Post { queue, count, len } => {
                for _ in 0..count {
                    let at = self.slot.buffer(len.into());
                    self.slot.offer_buffers(queue, &[(at, len.into(), WRITE)]);
                }
            }
            Step::Command { queue, class, command, data } => {
                let at = self.slot.buffer(0x200);
                self.slot.write(at, &[class, command]);
                self.slot.write(at + 2, &data);
                let len = 2 + data.len() as u32;
                self.slot.offer_buffers(queue, &[(at, len, 0), (at + 0x1ff, 1, WRITE)]);
            }
            Step::Bring { lane, kind, len, start, offset, segment } => {
                let frame = frame(kind, len, start, offset, segment);
                if lane == 0 { self.stage.bring(frame) } else { self.cable.bring(&frame) }
            }
            Step::Backend { event } => self.play(event),
            Step::Life { event } => self.slot.live(event),
            Step::WriteRegister { offset, width, value } => {
                self.slot.write_register(offset, width, value);
            }
            Step::ReadDevice { offset, width } => self.slot.read_device(offset, width),
        }
    }

    /// What happens at the other end of lane 0's cable.
    fn play(&mut self, event: u8) {
        let stage = &self.stage;
        let error = || io::Error::other("scripted");
        match event {
            0 => stage.set_blocked(true),
            1 => stage.set_blocked(false),
            2 => stage.scene().send_errors.push_back(QueueError::Refused(error())),
            3 => stage.scene().send_errors.push_back(QueueError::Transient(error())),
            4 => stage.scene().recv_errors.push_back(QueueError::Refused(error())),
            5 => stage.scene().recv_errors.push_back(QueueError::NotReady),
            6 | 7 => {
                // The lane pauses, or the link is lost: neither is the card's to end.
                self.spoiled = true;
                let error = if event == 6 {
                    QueueError::Transient(error())
                } else {
                    QueueError::Gone(error())
                };
                stage.scene().recv_errors.push_back(error);
            }
            8 => {
                self.spoiled = true;
                stage.scene().send_errors.push_back(QueueError::Gone(error()));
            }
            _ => {}
        }
    }

    /// One turn of each worker, which is bounded, and after which frames that went out are as the
    /// driver may send them.
    fn settle(&mut self) {
        let calls = |scene: &Scene| (scene.sends, scene.recvs);
        let (sends, recvs) = calls(&self.stage.scene());
        self.net.settle();
        let (now_sends, now_recvs) = calls(&self.stage.scene());
        assert!(now_sends - sends <= TURN && now_recvs - recvs <= TURN, "an endless turn");
        self.stage.take_sent().iter().for_each(|frame| self.check_sent(frame));
        while let Some(frame) = self.cable.take() {
            self.check_sent(&frame);
        }
    }

    fn check_sent(&self, frame: &WireFrame) {
        let WireFrame { meta, bytes } = frame;
        assert!((MIN_FRAME..=MAX_FRAME).contains(&bytes.len()), "{} bytes", bytes.len());
        let negotiated = HOST.iter().filter(|(bit, _)| self.slot.negotiated >> bit & 1 != 0);
        let allowed = negotiated.fold(Offloads::empty(), |all, (_, one)| all | *one);
        assert!(allowed.contains(meta.needs()), "{meta:?} was not negotiated");
        match meta.csum {
            Csum::Unknown => assert_eq!(meta.gso, None),
            Csum::Valid => panic!("a driver cannot vouch for a checksum"),
            Csum::Needed { start, offset } => {
                let end = usize::from(start) + usize::from(offset) + 2;
                assert!(end <= bytes.len(), "a checksum past the end");
            }
        }
        if let Some(gso) = meta.gso {
            assert!(gso.segment > 0 && usize::from(gso.headers) <= bytes.len(), "{gso:?}");
        }
    }

    /// After a reset the card leaves memory alone; then a good driver has a card that works.
    fn check_recovery(&mut self) {
        self.slot.reset();
        self.writes.iter().for_each(|writes| writes.lock().unwrap().clear());
        *self.stage.scene() = Scene::default();
        self.cable.clear();
        let frame = WireFrame::from(vec![0xff; 64]);
        self.cable.bring(&frame);
        self.stage.bring(frame);
        self.slot.copy();
        (0..QUEUES).for_each(|queue| self.slot.kick(queue));
        self.settle();
        self.settle();
        assert!(self.slot.is_as_copied(), "a card that was reset wrote to memory");
        self.stage.scene().incoming.clear();
        self.cable.clear();
        if !self.spoiled {
            self.check_traffic();
            self.slot.live(2);
        }
    }

    fn check_traffic(&mut self) {
        let mut rings = self.slot.start_well(CTRL | MQ | MRG_RXBUF);
        let [rx, tx, _, second_tx, control] = &mut rings[..] else {
            unreachable!("there are as many")
        };
        const FRAME: u64 = 0x2_0000;
        const ROOM: u64 = 0x2_1000;
        const REQUEST: u64 = 0x2_2000;

        self.slot.write(FRAME + 12, &[0xff; 60]);
        tx.offer(&[readable(FRAME, 72)]);
        second_tx.offer(&[readable(FRAME, 72)]);
        rx.offer(&[writable(ROOM, 2048)]);
        // Promiscuous mode on.
        self.slot.write(REQUEST, &[0, 0, 1, 0xee]);
        control.offer(&[readable(REQUEST, 3), writable(REQUEST + 3, 1)]);
        [0, 1, 3, 4].into_iter().for_each(|queue| self.slot.kick(queue));
        self.stage.bring(vec![0xff; 64]);
        self.net.settle();

        let frame = WireFrame::from(vec![0xff; 60]);
        assert_eq!(self.stage.take_sent(), std::slice::from_ref(&frame), "a frame was not sent");
        assert_eq!(self.cable.take(), Some(frame), "a frame was not written");
        assert!(tx.take().and(second_tx.take()).is_some(), "a buffer did not come back");
        assert_eq!(rx.take().map(|(_, len)| len), Some(76), "a frame was not received");
        let mut status = [0];
        self.slot.memory.read_slice(&mut status, GuestAddress(REQUEST + 3)).expect("in memory");
        assert_eq!((control.take().map(|(_, len)| len), status), (Some(1), [0]), "no answer");
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

pub fn run(bytes: &[u8]) {
    MACHINE.with_borrow_mut(|kept| {
        let mut machine = kept.take().unwrap_or_default();
        machine.slot.begin();
        let mut input = Input(bytes);
        while let Some(step) = Step::read(&mut input) {
            machine.apply(step);
        }
        machine.check_recovery();
        // What a reset of the card cannot mend ends with the input.
        *kept = Some(machine).filter(|machine| !machine.spoiled);
    });
}
