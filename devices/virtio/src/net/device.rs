//! The card: features, configuration, and the way of its queues to lanes and back.

pub mod saved;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device_core::GuestRam;
use device_core::bus::Width;
use device_core::device::Kit;
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use net::control::NicEvent;
use net::control::inspect::Reset;
use net::mac::MacAddr;
use net::port::{NetPort, Outlook};
use net::spec::NicSpec;
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{VIRTIO_NET_S_ANNOUNCE, VIRTIO_NET_S_LINK_UP};

use super::control::{Control, Settings, Shared};
use super::lent::Away;
use super::rx::Rx;
use super::tx::Tx;
use super::{features, hash};
use crate::device::{LiveQueue, Notice, PlugError, VirtioDevice};
use crate::port::QueuePort;

pub use net::port::OpenError as BuildError;

/// Largest size of a queue: 64 KiB frames in pages take a good part of fewer.
const QUEUE_SIZE: u16 = 256;
const CONTROL_QUEUE_SIZE: u16 = 64;
/// What a TAP says of itself.
const SPEED_MBIT: u32 = 10_000;
const FULL_DUPLEX: u8 = 1;

/// A virtio network card.
pub struct Net {
    id: String,
    address: Mutex<Address>,
    memory: GuestRam,
    features: u64,
    queue_sizes: Vec<u16>,
    shared: Arc<Shared>,
    control: QueuePort<Control>,
    /// Queues that the backend has borrowed.
    away: Away,
    life: Mutex<Life>,
    /// The driver has not been told that its link went up or down while it was in a file.
    owes_news: AtomicBool,
    /// The driver comes from a file, and is to be asked to announce itself.
    arrives: AtomicBool,
}

/// The address after power-on.
struct Address {
    mac: MacAddr,
    /// The owner chose it; else it is any, and may be that of a card which comes back.
    is_given: bool,
}

/// What the one who runs the machine may want to know.
#[derive(Default)]
struct Life {
    resets: u64,
    last_reset: Option<Reset>,
    /// A driver has had its queues plugged since the last reset.
    used: bool,
}

/// Passes on what the driver is told, and tells of it.
struct Told {
    notice: Arc<dyn Notice>,
    outlook: Arc<Outlook>,
    failed: AtomicBool,
}

impl Notice for Told {
    fn config_changed(&self) {
        self.notice.config_changed();
    }

    fn needs_reset(&self) {
        self.notice.needs_reset();
        // Both rings of several pairs may break: it is one failure.
        if !self.failed.swap(true, Ordering::Relaxed) {
            self.outlook.tell(NicEvent::Failed);
        }
    }
}

impl Net {
    /// Opens the backend of `spec` and starts the lanes' threads. Fails if the backend cannot be opened
    /// or the host has no threads left.
    pub fn build(spec: &NicSpec, kit: &Kit<'_>) -> Result<Arc<Net>, BuildError> {
        let port = NetPort::open(spec, kit)?;
        let mac = spec.mac.unwrap_or_else(MacAddr::random);
        let net = Net::on_port(&spec.id, mac, port, kit);
        net.address().is_given = spec.mac.is_some();
        Ok(net)
    }

    /// A card on a port that is open already.
    pub fn on_port(id: &str, mac: MacAddr, port: NetPort<Tx, Rx>, kit: &Kit<'_>) -> Arc<Net> {
        let limits = port.limits();
        let mut features = features::ALWAYS | features::offering(limits.tx, limits.rx);
        if limits.mtu.is_some() {
            features |= features::MTU;
        }
        if port.lanes() > 1 {
            features |= features::MQ;
        }
        if port.lends() {
            features &= !features::BY_LANES;
        }
        // Linux drivers take what they are offered: where a table would cost a detour of every
        // frame, flows are spread by the host.
        if port.lanes() > 1 && port.steers() && !port.lends() {
            features |= features::RSS | features::HASH_REPORT;
        }
        let mut queue_sizes = vec![QUEUE_SIZE; usize::from(port.lanes()).saturating_mul(2)];
        queue_sizes.push(CONTROL_QUEUE_SIZE);
        port.set_inside(mac);
        Arc::new(Net {
            id: id.to_string(),
            address: Mutex::new(Address { mac, is_given: true }),
            memory: kit.memory.clone(),
            features,
            queue_sizes,
            shared: Arc::new(Shared::new(port, mac)),
            control: QueuePort::new(kit.threads.slow().clone()),
            away: Away::default(),
            life: Mutex::default(),
            owes_news: AtomicBool::new(false),
            arrives: AtomicBool::new(false),
        })
    }

    pub(super) fn port(&self) -> &NetPort<Tx, Rx> {
        &self.shared.port
    }

    /// The address that the driver set last.
    pub(super) fn mac(&self) -> MacAddr {
        self.shared.settings().filter.own
    }

    /// How often the driver reset the card, and how it did last.
    pub(super) fn resets(&self) -> (u64, Option<Reset>) {
        let life = self.life();
        (life.resets, life.last_reset.clone())
    }

    fn address(&self) -> MutexGuard<'_, Address> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames and troubles of all lanes, by name.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        self.shared.port.totals()
    }

    /// Returns after the control queue and every lane have done what was ready before the call.
    #[cfg(any(test, feature = "testing"))]
    pub fn settle(&self) {
        self.control.settle();
        self.shared.port.settle();
    }

    /// Index of the control queue: behind all pairs, or behind the first without MQ and RSS
    /// (virtio 1.2, 5.1.2).
    pub(super) fn control_index(&self, negotiated: u64) -> u16 {
        let many = negotiated & (features::MQ | features::RSS) != 0;
        let pairs = if many { self.shared.port.lanes() } else { 1 };
        pairs.saturating_mul(2)
    }

    fn try_plug(
        &self,
        negotiated: u64,
        queues: Vec<LiveQueue>,
        notice: &Arc<dyn Notice>,
    ) -> Result<(), String> {
        let port = &self.shared.port;
        let settings = self.shared.settings().clone();
        let offloads = settings.offloads.unwrap_or(features::guest_offloads(negotiated));
        port.accept(offloads).map_err(|error| format!("cannot set offloads: {error}"))?;
        settings
            .spread(port, negotiated)
            .map_err(|error| format!("cannot set queue pairs: {error}"))?;
        port.set_receive_filter(&settings.filter);
        let to = notice.clone();
        port.link().set_listener(Some(Box::new(move || to.config_changed())));
        let control_index = self.control_index(negotiated);
        let (lent, queues) = match port.lends() {
            true => queues.into_iter().partition(|queue| queue.index < control_index),
            false => (Vec::new(), queues),
        };
        self.away.lend(port, lent, &self.memory, negotiated, notice)?;
        for queue in queues {
            let index = queue.index;
            self.plug_one(queue, control_index, negotiated, notice.clone())
                .map_err(|error| format!("cannot take queue {index}: {error}"))?;
        }
        Ok(())
    }

    fn plug_one(
        &self,
        queue: LiveQueue,
        control_index: u16,
        negotiated: u64,
        notice: Arc<dyn Notice>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (memory, lane) = (self.memory.clone(), queue.index >> 1);
        if queue.index == control_index && negotiated & features::CTRL_VQ != 0 {
            let shared = self.shared.clone();
            let control = Control::new(queue, memory, negotiated, shared)?;
            self.control.plug(control, notice)?;
        } else if queue.index & 1 == 0 {
            let ring = Rx::new(queue, memory, negotiated, notice)?;
            self.shared.port.plug_rx(lane, ring)?;
        } else {
            let ring = Tx::new(queue, memory, negotiated, notice)?;
            self.shared.port.plug_tx(lane, ring)?;
        }
        Ok(())
    }

    /// The configuration as the driver reads it (virtio 1.2, 5.1.4).
    fn config(&self) -> [u8; 24] {
        let port = &self.shared.port;
        let link = if port.link().is_up() { VIRTIO_NET_S_LINK_UP } else { 0 };
        let announce = self.shared.announce.load(Ordering::Relaxed);
        let status = (link | if announce { VIRTIO_NET_S_ANNOUNCE } else { 0 }) as u16;
        let [m0, m1, m2, m3, m4, m5] = self.shared.settings().filter.own.0;
        let [s0, s1] = status.to_le_bytes();
        let [p0, p1] = port.lanes().to_le_bytes();
        let [t0, t1] = port.limits().mtu.unwrap_or_default().to_le_bytes();
        let [v0, v1, v2, v3] = SPEED_MBIT.to_le_bytes();
        let [k, e0, e1, h0, h1, h2, h3] = match self.features & features::RSS {
            0 => [0; 7],
            _ => hash::LIMITS,
        };
        [
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            s0,
            s1,
            p0,
            p1,
            t0,
            t1,
            v0,
            v1,
            v2,
            v3,
            FULL_DUPLEX,
            k,
            e0,
            e1,
            h0,
            h1,
            h2,
            h3,
        ]
    }
}

impl VirtioDevice for Net {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> u16 {
        VIRTIO_ID_NET as u16
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        width.load(&self.config(), offset)
    }

    fn plug(
        &self,
        features: u64,
        queues: Vec<LiveQueue>,
        notice: Arc<dyn Notice>,
    ) -> Result<(), PlugError> {
        let outlook = self.shared.port.outlook().clone();
        let told = Told { notice, outlook: outlook.clone(), failed: AtomicBool::new(false) };
        let told: Arc<dyn Notice> = Arc::new(told);
        if let Err(why) = self.try_plug(features, queues, &told) {
            drop(self.unplug());
            outlook.tell(NicEvent::Failed);
            return Err(PlugError(why));
        }
        // Going on after a pause is no news.
        if !std::mem::replace(&mut self.life().used, true) {
            outlook.tell(NicEvent::DriverReady);
        }
        let arrives = self.arrives.swap(false, Ordering::Relaxed);
        self.shared.announce.fetch_or(arrives, Ordering::Relaxed);
        if self.owes_news.swap(false, Ordering::Relaxed) || arrives {
            told.config_changed();
        }
        Ok(())
    }

    fn unplug(&self) -> Vec<LiveQueue> {
        let port = &self.shared.port;
        // The control queue first: it asks the lanes.
        let control = self.control.unplug();
        let mut queues = self.away.take_back(port, &self.memory);
        for lane in 0..port.lanes() {
            queues.extend(port.unplug_rx(lane).map(Rx::into_queue));
            queues.extend(port.unplug_tx(lane).map(Tx::into_queue));
        }
        queues.extend(control);
        port.link().set_listener(None);
        queues
    }

    fn reset(&self) {
        self.owes_news.store(false, Ordering::Relaxed);
        self.arrives.store(false, Ordering::Relaxed);
        self.shared.announce.store(false, Ordering::Relaxed);
        let settings = Settings::new(self.address().mac);
        self.shared.port.set_receive_filter(&settings.filter);
        self.shared.port.set_inside(settings.filter.own);
        if let Err(error) = settings.spread(&self.shared.port, 0) {
            tracing::error!("network card {}: cannot reset its queue pairs: {error}", self.id);
        }
        *self.shared.settings() = settings;
        // Drivers reset a card before they use it, too.
        let mut life = self.life();
        if std::mem::take(&mut life.used) {
            life.resets = life.resets.wrapping_add(1);
            let reset = Reset { code: None, reason: "device status set to 0" };
            life.last_reset = Some(reset.clone());
            drop(life);
            self.shared.port.outlook().tell(NicEvent::Reset(reset));
        }
    }

    fn save(&self) -> Result<Saved, SaveError> {
        self.to_saved()
    }

    fn load(&self, features: u64, saved: &Saved) -> Result<(), LoadError> {
        self.become_saved(features, saved)
    }
}
