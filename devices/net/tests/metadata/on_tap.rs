//! The service at the other end of a TAP: its guest is this host's own kernel.

use std::error::Error;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use device_core::scatter::Scatter;
use device_core::testing::ram;
use net::backend::tap::{Queue, open_by_name};
use net::backend::{NetBackend, NetQueue, Room};
use net::frame::{FrameMeta, HEAD, MAX_FRAME, Offloads, RxFrame, TxFrame};
use net::service::metadata::Metadata;
use net::service::{Service, Shares};
use vm_memory::{Bytes, GuestAddress};

/// A guest's card without its rings.
struct Card {
    queue: Queue,
    service: Service,
    /// No room for anything: what is read goes to the spill.
    nowhere: Scatter,
    spill: Vec<u8>,
    received: RxFrame,
    sent: TxFrame,
}

/// Serves on the TAP, which is made, until it is `done`. `ready` is called once it can be used.
pub fn serve(
    tap: &str,
    metadata: &Arc<Metadata>,
    ready: impl FnOnce(),
    done: &AtomicBool,
) -> Result<(), Box<dyn Error>> {
    let (mut backend, mut queues) = open_by_name(tap, 1, None)?;
    // A guest's kernel leaves its card as much to do.
    backend.accept(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6)?;
    let service = Shares::new(metadata, 1)?.of(0).ok_or("no stack")?;
    let memory = ram(0x2_0000);
    let mut card = Card {
        queue: queues.remove(0),
        service,
        nowhere: Scatter::new(memory.clone()),
        spill: vec![0; MAX_FRAME],
        received: RxFrame::default(),
        sent: TxFrame::new(memory),
    };
    ready();
    while !done.load(Ordering::Relaxed) {
        card.turn()?;
    }
    Ok(())
}

impl Card {
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let wait = Duration::from_millis(50);
        let until =
            self.service.deadline().map(|due| due.saturating_duration_since(Instant::now()));
        let wait = until.map_or(wait, |until| wait.min(until + Duration::from_millis(1)));
        let fd = self.queue.poll_fd().ok_or("no descriptor")?.as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, open while the queue is borrowed.
        unsafe { libc::poll(&raw mut poll, 1, wait.as_millis() as i32) };
        loop {
            let room = Room { buffers: &self.nowhere, skip: HEAD, spill: &mut self.spill };
            if self.queue.recv(room, &mut self.received).is_err() {
                break;
            }
            let head = self.received.head.bytes().to_vec();
            let rest = self.spill[..self.received.len - head.len()].to_vec();
            self.fill(self.received.meta, &head, &rest);
            if self.service.takes(&self.sent, Instant::now()) {
                self.answer()?;
            }
        }
        self.service.poll(Instant::now());
        self.answer()
    }

    fn fill(&mut self, meta: FrameMeta, head: &[u8], rest: &[u8]) {
        self.sent.clear();
        self.sent.meta = meta;
        self.sent.head.set(head);
        let memory = self.sent.body.memory().clone();
        memory.write_slice(rest, GuestAddress(0)).expect("it is long enough");
        self.sent.body.push(0, rest.len() as u32).expect("it is memory");
    }

    fn answer(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            let room = Room { buffers: &self.nowhere, skip: HEAD, spill: &mut self.spill };
            if self.service.recv(room, &mut self.received, Instant::now()).is_none() {
                return Ok(());
            }
            let head = self.received.head.bytes().to_vec();
            let rest = self.spill[..self.received.len - head.len()].to_vec();
            self.fill(FrameMeta::default(), &head, &rest);
            self.queue.send(&self.sent)?;
            if let Some(error) = self.queue.flush().error {
                return Err(error.into());
            }
        }
    }
}
