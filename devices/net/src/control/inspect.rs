//! What a person may want to know of a card: plain data, a picture of one moment.

use serde::{Serialize, Serializer};

use super::Fault;
use super::capture::CaptureState;
use crate::mac::MacAddr;
use crate::rss::Steering;
use crate::spec::Model;
use crate::stage::limiter::{Allowances, Allowed};

/// The whole card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The card's name, unique in the machine.
    pub id: String,
    /// What the guest sees.
    pub model: Model,
    /// The host's side of the cable, such as `tap tap0`.
    pub backend: String,
    /// The card's own address, as its driver set it last.
    pub mac: MacAddr,
    /// Where it is in its life.
    pub condition: Condition,
    /// As the guest sees it.
    pub link_up: bool,
    /// Largest packet that the driver takes, in bytes behind the Ethernet header; `None` without a
    /// limit.
    pub mtu: Option<u16>,
    /// Largest packet that the card can take, likewise.
    pub max_mtu: Option<u16>,
    /// The guest's driver.
    pub driver: Driver,
    /// Rings besides those for frames.
    pub management: Vec<ManagementRing>,
    /// One for each queue pair that the card has.
    pub pairs: Vec<Pair>,
    /// How well the host follows the driver's table; `None` while there is none.
    pub steering: Option<Steering>,
    /// All pairs' counters added up, since the machine was built.
    pub totals: Counters,
    /// What the card may do at most.
    pub allowed: Allowed,
    /// How often it went beyond that, since the machine was built.
    pub allowances: Allowances,
    /// Resets by drivers, since the machine was built.
    pub resets: u64,
    /// The last one of them.
    pub last_reset: Option<Reset>,
    /// What goes wrong on purpose at the moment.
    pub faults: Vec<Fault>,
    /// The one that runs, or the last one.
    pub capture: Option<CaptureState>,
    /// Whether [`latency`](super::latency) is being measured.
    pub measures_latency: bool,
}

/// Where a card is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// No driver has its queues at work.
    Idle,
    /// A driver has.
    Running,
    /// Between the two halves of a reset.
    Resetting,
    /// Stopped by an error until the driver resets it.
    Failed,
}

/// The guest's driver, as far as it has shown itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// What it says of itself, or what can be told from its registers; untrusted text.
    pub about: Option<String>,
    /// What it negotiated, by the names in the card's specification.
    pub features: Vec<String>,
}

/// A ring besides those for frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManagementRing {
    /// Such as `commands` or `control`.
    pub name: &'static str,
    /// Entries of the ring.
    pub entries: u16,
    /// `None` if the driver polls.
    pub vector: Option<u16>,
}

/// A queue pair and its lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Number of the pair, from 0, and of its lane.
    pub index: u16,
    /// The ring that the guest sends by; `None` while the driver has made none.
    pub tx: Option<Ring>,
    /// The ring that it receives by; `None` while the driver has made none.
    pub rx: Option<Ring>,
    /// The lane's counters, since the machine was built.
    pub counters: Counters,
}

/// A ring for frames of one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Entries of the ring.
    pub entries: u16,
    /// Bytes of an entry.
    pub entry_bytes: u16,
    /// Where they are.
    pub place: Place,
    /// The driver's count of what it has offered, modulo 2^16, as it said last; `None` if it is
    /// only known where frames are moved.
    pub offered: Option<u16>,
    /// The ring where finished entries appear.
    pub completions: Completions,
    /// `None` if the driver polls.
    pub vector: Option<u16>,
}

/// Where a ring's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the guest's RAM.
    Ram,
    /// In the card's own memory.
    Card,
}

/// The ring where a card shows finished entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Completions {
    /// Its number among its kind.
    pub index: u16,
    /// Entries of the ring.
    pub entries: u16,
    /// Bytes of an entry.
    pub entry_bytes: u16,
}

/// A reset by the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// The reason's number, where drivers give one.
    pub code: Option<u8>,
    /// The reason for people.
    pub reason: &'static str,
}

/// The receive hash and its table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RssState {
    /// How well the host follows the table.
    pub steering: Steering,
    /// In hex, the byte used first first, as `ethtool -x` shows it.
    pub key: String,
    /// What the hash of no input would be.
    pub initial: u32,
    /// What is hashed, for each kind of frame that is.
    pub hashed: Vec<Hashed>,
    /// The table, by the low bits of the hash.
    pub table: Vec<Bucket>,
    /// Frames without a hash.
    pub unhashed: Bucket,
}

/// What is hashed of one kind of frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hashed {
    /// The kind of frame.
    pub protocol: crate::rss::Protocol,
    /// In order of hashing.
    pub fields: Vec<&'static str>,
}

/// One entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The queue pair that its frames belong to.
    pub queue: u16,
    /// Frames received since key and table were set last; `None` where the driver does not want to
    /// be told the hash, and so none is found.
    pub hits: Option<u64>,
}

/// Counters by name, in order of their declaration; a map when serialized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub Vec<(&'static str, u64)>);

impl Counters {
    /// The count of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, count)| *count)
    }

    /// Adds another block's counters, by name.
    pub fn add(&mut self, other: &Counters) {
        for (name, count) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum = sum.wrapping_add(*count),
                None => self.0.push((name, *count)),
            }
        }
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_by_name_and_read_as_a_map() {
        let mut sum = Counters(vec![("tx_frames", 1), ("rx_frames", u64::MAX)]);
        sum.add(&Counters(vec![("rx_frames", 2), ("irqs", 3)]));
        assert_eq!((sum.get("rx_frames"), sum.get("irqs"), sum.get("x")), (Some(1), Some(3), None));
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(json, r#"{"tx_frames":1,"rx_frames":1,"irqs":3}"#);
    }
}
