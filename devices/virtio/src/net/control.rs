//! The control queue (virtio 1.2, 5.1.6.5): receive mode, addresses, queue pairs, offloads.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use device_core::GuestRam;
use device_core::fault::GuestFault;
use device_core::guest_log::LogLimit;
use device_core::guest_warn;
use device_core::scatter::{Scatter, ScatterError};
use device_core::worker::Again;
use net::frame::Offloads;
use net::mac::MacAddr;
use net::port::NetPort;
use net::rss::Rss;
use net::stage::filter::{MAX_TABLE, ReceiveFilter};
use virtio_bindings::virtio_net::*;

use super::refused::{BAD_LENGTH, BAD_VALUE, HOST_REFUSES, Refused, UNKNOWN};
use super::rx::Rx;
use super::tx::{OUTSIDE_RAM, Tx};
use super::{features, hash};
use crate::device::LiveQueue;
use crate::live::PluggedQueue;
use crate::port::Service;

/// Commands per turn.
const BUDGET: usize = 64;

const OK: u8 = VIRTIO_NET_OK as u8;
const ERR: u8 = VIRTIO_NET_ERR as u8;

/// What a driver set by commands; lost at reset, kept while the card is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which frames the driver wants.
    pub filter: ReceiveFilter,
    /// Queue pairs that the host may use.
    pub pairs: u16,
    /// What the driver takes in received frames; `None` for all it negotiated.
    pub offloads: Option<Offloads>,
    /// How frames are spread over the pairs, if not as the host likes.
    pub rss: Option<Configured>,
    /// How hashes for the driver are found, if frames are spread as the host likes.
    pub hash: Option<Configured>,
}

/// How hashes are found, and the command that said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// What it says.
    pub rss: Rss,
    /// What followed its class and number.
    pub command: Vec<u8>,
}

impl Settings {
    /// As after power-on.
    pub fn new(mac: MacAddr) -> Settings {
        Settings {
            filter: ReceiveFilter::promiscuous(mac),
            pairs: 1,
            offloads: None,
            rss: None,
            hash: None,
        }
    }

    /// Makes the port spread frames, and find hashes for a driver that has `features`. Fails if the host
    /// refuses to turn a queue on or off.
    pub fn spread(&self, port: &NetPort<Tx, Rx>, features: u64) -> io::Result<()> {
        port.steer(self.rss.as_ref().map(|configured| configured.rss.clone()));
        if self.rss.is_none() {
            port.set_active_lanes(self.pairs)?;
        }
        let reported = self.rss.as_ref().or(self.hash.as_ref());
        let reported = reported.filter(|_| features & features::HASH_REPORT != 0);
        port.report_hashes(reported.map(|configured| configured.rss.clone()));
        Ok(())
    }
}

/// What the card and its control queue share.
pub struct Shared {
    /// The card's port.
    pub port: NetPort<Tx, Rx>,
    settings: Mutex<Settings>,
    /// The driver is asked to tell its network where it is, until it says that it has.
    pub announce: AtomicBool,
}

impl Shared {
    /// With the settings of after a reset.
    pub fn new(port: NetPort<Tx, Rx>, mac: MacAddr) -> Shared {
        Shared { port, settings: Mutex::new(Settings::new(mac)), announce: AtomicBool::new(false) }
    }

    /// Never held while a thread is asked for anything.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control queue in work.
pub struct Control {
    queue: PluggedQueue,
    features: u64,
    request: Scatter,
    reply: Scatter,
    shared: Arc<Shared>,
    log: LogLimit,
}

impl Control {
    /// Takes the queue over. Fails if its ring is not in memory.
    pub fn new(
        queue: LiveQueue,
        memory: GuestRam,
        features: u64,
        shared: Arc<Shared>,
    ) -> Result<Control, GuestFault> {
        Ok(Control {
            queue: PluggedQueue::new(queue, &memory, features)?,
            features,
            request: Scatter::new(memory.clone()),
            reply: Scatter::new(memory),
            shared,
            log: LogLimit::default(),
        })
    }

    /// The next command: what is to be read, and where the answer goes.
    fn take(&mut self) -> Result<Option<u16>, GuestFault> {
        let Control { queue, request, reply, .. } = self;
        request.clear();
        reply.clear();
        queue.ring.pop(|buffer| {
            let list = if buffer.writable { &mut *reply } else { &mut *request };
            match list.push(buffer.addr, buffer.len) {
                Err(ScatterError::OutsideRam) => Err(OUTSIDE_RAM),
                // A command in so many pieces is cut short, and thus refused.
                Ok(()) | Err(ScatterError::TooManyPieces) => Ok(()),
            }
        })
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    fn execute(&mut self) -> Result<(), Refused> {
        let [class, command] = self.read().ok_or(BAD_LENGTH)?;
        match u32::from(class) {
            VIRTIO_NET_CTRL_RX if self.has(features::CTRL_RX) => self.receive_mode(command),
            VIRTIO_NET_CTRL_MAC => self.addresses(command),
            VIRTIO_NET_CTRL_MQ => self.queues(command),
            VIRTIO_NET_CTRL_ANNOUNCE if self.has(features::GUEST_ANNOUNCE) => {
                self.announced(command)
            }
            VIRTIO_NET_CTRL_GUEST_OFFLOADS if self.has(features::CTRL_GUEST_OFFLOADS) => {
                self.offloads(command)
            }
            _ => Err(UNKNOWN),
        }
    }

    fn receive_mode(&mut self, command: u8) -> Result<(), Refused> {
        let [on] = self.last()?;
        let extra = self.has(features::CTRL_RX_EXTRA);
        let filter = {
            let mut settings = self.shared.settings();
            let filter = &mut settings.filter;
            let flag = match u32::from(command) {
                VIRTIO_NET_CTRL_RX_PROMISC => &mut filter.promiscuous,
                VIRTIO_NET_CTRL_RX_ALLMULTI => &mut filter.all_multicast,
                VIRTIO_NET_CTRL_RX_ALLUNI if extra => &mut filter.all_unicast,
                VIRTIO_NET_CTRL_RX_NOMULTI if extra => &mut filter.no_multicast,
                VIRTIO_NET_CTRL_RX_NOUNI if extra => &mut filter.no_unicast,
                VIRTIO_NET_CTRL_RX_NOBCAST if extra => &mut filter.no_broadcast,
                _ => return Err(UNKNOWN),
            };
            *flag = on != 0;
            filter.clone()
        };
        self.shared.port.set_receive_filter(&filter);
        Ok(())
    }

    fn addresses(&mut self, command: u8) -> Result<(), Refused> {
        let filter = match u32::from(command) {
            VIRTIO_NET_CTRL_MAC_TABLE_SET if self.has(features::CTRL_RX) => {
                let (unicast, multicast) = (self.table()?, self.table()?);
                if !self.request.is_empty() {
                    return Err(BAD_LENGTH);
                }
                let mut settings = self.shared.settings();
                settings.filter.set_tables(unicast, multicast);
                settings.filter.clone()
            }
            VIRTIO_NET_CTRL_MAC_ADDR_SET if self.has(features::CTRL_MAC_ADDR) => {
                let mac = MacAddr(self.last()?);
                if !mac.is_valid_for_a_card() {
                    return Err(BAD_VALUE);
                }
                let mut settings = self.shared.settings();
                settings.filter.own = mac;
                let filter = settings.filter.clone();
                drop(settings);
                self.shared.port.set_inside(mac);
                filter
            }
            _ => return Err(UNKNOWN),
        };
        self.shared.port.set_receive_filter(&filter);
        Ok(())
    }

    /// The driver has seen that it is to announce itself (virtio 1.2, 5.1.6.5.4).
    fn announced(&mut self, command: u8) -> Result<(), Refused> {
        if u32::from(command) != VIRTIO_NET_CTRL_ANNOUNCE_ACK {
            return Err(UNKNOWN);
        }
        self.shared.announce.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// One table of addresses: their number, then each; `None` for more than are kept.
    fn table(&mut self) -> Result<Option<Vec<MacAddr>>, Refused> {
        const LEN: usize = 6;
        let count = u32::from_le_bytes(self.read().ok_or(BAD_LENGTH)?) as usize;
        let bytes = count.checked_mul(LEN).filter(|bytes| *bytes <= self.request.len());
        let bytes = bytes.ok_or(BAD_LENGTH)?;
        if count > MAX_TABLE {
            self.request.advance(bytes);
            return Ok(None);
        }
        let entries = (0..count).map(|_| self.read().map(MacAddr).ok_or(BAD_LENGTH));
        entries.collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// Of these three the last one holds (virtio 1.2, 5.1.6.5.5 to 5.1.6.5.7).
    fn queues(&mut self, command: u8) -> Result<(), Refused> {
        let lanes = self.shared.port.lanes();
        let mut settings = self.shared.settings().clone();
        match u32::from(command) {
            VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET if self.has(features::MQ) => {
                let pairs = u16::from_le_bytes(self.last()?);
                if !(1..=lanes).contains(&pairs) {
                    return Err(BAD_VALUE);
                }
                settings = Settings { pairs, rss: None, ..settings };
            }
            VIRTIO_NET_CTRL_MQ_RSS_CONFIG if self.has(features::RSS) => {
                let command = self.configuration()?;
                let (rss, pairs) = hash::rss_config(&command, lanes)?;
                settings = Settings { pairs, rss: Some(Configured { rss, command }), ..settings };
            }
            VIRTIO_NET_CTRL_MQ_HASH_CONFIG if self.has(features::HASH_REPORT) => {
                let command = self.configuration()?;
                let hash = Configured { rss: hash::hash_config(&command)?, command };
                settings = Settings { hash: Some(hash), rss: None, ..settings };
            }
            _ => return Err(UNKNOWN),
        }
        settings.spread(&self.shared.port, self.features).map_err(|error| {
            guest_warn!(self.log, "cannot switch to {} queue pairs: {error}", settings.pairs);
            HOST_REFUSES
        })?;
        *self.shared.settings() = settings;
        Ok(())
    }

    fn offloads(&mut self, command: u8) -> Result<(), Refused> {
        if u32::from(command) != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET {
            return Err(UNKNOWN);
        }
        let bits = u64::from_le_bytes(self.last()?);
        if bits & !(self.features & features::guest_bits()) != 0 {
            return Err(BAD_VALUE);
        }
        let offloads = features::guest_offloads(bits);
        self.shared.port.accept(offloads).map_err(|error| {
            guest_warn!(self.log, "cannot switch offloads: {error}");
            HOST_REFUSES
        })?;
        self.shared.settings().offloads = Some(offloads);
        Ok(())
    }

    /// The next bytes of the command.
    fn read<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.request.pull(&mut bytes).then_some(bytes)
    }

    /// What is left of a command, up to the largest configuration.
    fn configuration(&mut self) -> Result<Vec<u8>, Refused> {
        let mut bytes = vec![0; self.request.len().min(hash::MAX_CONFIG)];
        if self.request.pull(&mut bytes) { Ok(bytes) } else { Err(BAD_LENGTH) }
    }

    /// The last bytes of the command, with nothing behind them.
    fn last<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let bytes = self.read().ok_or(BAD_LENGTH)?;
        if self.request.is_empty() { Ok(bytes) } else { Err(BAD_LENGTH) }
    }
}

impl Service for Control {
    const NAME: &'static str = "a control queue";

    fn queues(&self) -> impl Iterator<Item = &PluggedQueue> {
        [&self.queue].into_iter()
    }

    fn turn(&mut self, _: Instant) -> Result<Again, GuestFault> {
        for _ in 0..BUDGET {
            let Some(head) = self.take()? else {
                return Ok(if self.queue.ring.arm()? { Again::WhenReady } else { Again::Now });
            };
            let status = match self.execute() {
                Ok(()) => OK,
                Err(Refused(why)) => {
                    guest_warn!(self.log, "control command refused: {why}");
                    ERR
                }
            };
            let written = self.reply.write_at(0, &[status]);
            self.queue.ring.push(head, written.into())?;
            self.queue.publish()?;
        }
        Ok(Again::Now)
    }

    /// The card tells of it.
    fn count_fault(&self) {}

    fn into_queues(self) -> Vec<LiveQueue> {
        vec![self.queue.into_queue()]
    }
}
