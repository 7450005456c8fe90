//! Receive hash: function and key, indirection table, fields of each protocol (specification 6.5
//! to 6.7).

use device_core::GuestRam;
use device_core::fields::PutLe;
use device_core::snapshot::LoadError;
use net::rss::{Fields, Key, Protocol, Rss, Selection, Table};
use serde::{Deserialize, Serialize};

use super::buffer;
use crate::abi::{Command, ControlBuffer, Payload, Refusal, SET_PAYLOAD};
use crate::saved::bad;

/// Entries of the table, and their logarithm.
pub const TABLE: usize = 1 << TABLE_LOG;
const TABLE_LOG: u16 = 7;
/// Bytes of the key, and words as the driver counts them.
pub const KEY: usize = 40;
const KEY_PARTS: u32 = 10;
/// The one hash function: its number is its bit.
const TOEPLITZ: u32 = 1 << 1;
/// Index of SET_FEATURE that says "the whole table, from the buffer".
const WHOLE_TABLE: u32 = u32::MAX;
const PROTOCOLS: usize = 16;

/// Header fields of a protocol, as bits (`ena_admin_flow_hash_fields` of Linux
/// `drivers/net/ethernet/amazon/ena/ena_admin_defs.h`).
pub mod field {
    /// Destination MAC.
    pub const L2_DESTINATION: u16 = 1 << 0;
    /// Source MAC.
    pub const L2_SOURCE: u16 = 1 << 1;
    /// Destination address.
    pub const L3_DESTINATION: u16 = 1 << 2;
    /// Source address.
    pub const L3_SOURCE: u16 = 1 << 3;
    /// Destination port.
    pub const L4_DESTINATION: u16 = 1 << 4;
    /// Source port.
    pub const L4_SOURCE: u16 = 1 << 5;
}

const L2: u16 = field::L2_DESTINATION | field::L2_SOURCE;
const L3: u16 = field::L3_DESTINATION | field::L3_SOURCE;
const L4: u16 = L3 | field::L4_DESTINATION | field::L4_SOURCE;

/// Fields that can be hashed, by protocol: TCP and UDP over IPv4, over IPv6, other IPv4, other
/// IPv6, fragments, not IP, TCP behind IPv6 extension headers, others behind them.
const SUPPORTED: [u16; PROTOCOLS] = [L4, L4, L4, L4, L3, L3, L3, L2, L4, L3, 0, 0, 0, 0, 0, 0];

/// What the driver set, until the next reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As in the driver's buffer; `None` before it was set.
    pub key: Option<[u8; KEY]>,
    /// What the hash starts from.
    pub initial: u32,
    /// Receive queue of each bucket.
    pub table: [u16; TABLE],
    /// Fields that are hashed, by protocol.
    pub fields: [u16; PROTOCOLS],
}

/// [`Settings`] as they are saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RssState {
    /// As in the driver's buffer; empty before it was set.
    #[serde(with = "device_core::snapshot::blob")]
    pub key: Vec<u8>,
    /// What the hash starts from.
    pub initial: u32,
    /// Receive queue of each bucket.
    pub table: Vec<u16>,
    /// Fields that are hashed, by protocol.
    pub fields: Vec<u16>,
}

impl Settings {
    /// The state.
    pub fn save(&self) -> RssState {
        RssState {
            key: self.key.map(Vec::from).unwrap_or_default(),
            initial: self.initial,
            table: self.table.to_vec(),
            fields: self.fields.to_vec(),
        }
    }

    /// The settings of a state, for a card of `queues` receive queues. Fails if no command can have set
    /// them.
    pub fn load(state: &RssState, queues: u16) -> Result<Settings, LoadError> {
        let key = match state.key.as_slice() {
            [] => None,
            key => Some(key.try_into().map_err(|_| bad("rss.key", "a key has 40 bytes"))?),
        };
        let table = state.table.as_slice().try_into();
        let fields = state.fields.as_slice().try_into();
        Ok(Settings {
            key,
            initial: state.initial,
            table: table.ok().filter(|table| names(table, queues)).ok_or_else(|| {
                bad("rss.table", format!("it has not {TABLE} entries below {queues}"))
            })?,
            fields: fields
                .ok()
                .filter(are_supported)
                .ok_or_else(|| bad("rss.fields", "there are fields that cannot be hashed"))?,
        })
    }

    /// What the packet path needs to know for `lanes` lanes; nothing before there is a key.
    pub fn for_lanes(&self, lanes: u16) -> Option<Rss> {
        let key = Key(self.key?).reversed();
        let mut fields = Selection::NONE;
        for protocol in Protocol::ALL {
            // The card has no number for UDP behind extension headers; it is one of the others.
            let index = match protocol {
                Protocol::Udp6Extended => Protocol::Ip6Extended as usize,
                known => known as usize,
            };
            let selected = self.fields.get(index).copied().unwrap_or_default();
            fields.set(protocol, Fields::from_bits_truncate(selected));
        }
        // Each entry was checked when it was set.
        let table = Table::new(self.table.to_vec(), lanes).ok()?;
        Some(Rss { key, initial: self.initial, fields, table })
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { key: None, initial: 0, table: [0; TABLE], fields: SUPPORTED }
    }
}

impl Settings {
    /// Until a key was set the buffer is left alone: drivers keep a key of their own in it (6.5).
    pub(super) fn get_function(
        &self,
        buffer: Option<ControlBuffer>,
        memory: &GuestRam,
        answer: &mut Payload,
    ) -> Result<(), Refusal> {
        answer.put_words(0, &[TOEPLITZ, TOEPLITZ, self.initial]);
        let (Some(buffer), Some(key)) = (buffer, self.key) else { return Ok(()) };
        let mut bytes = [0; 48];
        put(&mut bytes, 0, &KEY_PARTS.to_le_bytes());
        put(&mut bytes, 8, &key);
        buffer::write(buffer, &bytes, memory)
    }

    pub(super) fn set_function(
        &mut self,
        command: &Command,
        memory: &GuestRam,
    ) -> Result<(), Refusal> {
        if command.word(SET_PAYLOAD.wrapping_add(4)) != TOEPLITZ {
            return Err(Refusal::IllegalParameter);
        }
        let bytes: [u8; 48] = buffer::read(command.buffer(), memory)?;
        let (head, key) = bytes.split_at(8);
        if head.first_chunk().copied().map(u32::from_le_bytes) != Some(KEY_PARTS) {
            return Err(Refusal::IllegalParameter);
        }
        self.key = key.first_chunk().copied();
        self.initial = command.word(SET_PAYLOAD.wrapping_add(8));
        Ok(())
    }

    pub(super) fn get_table(
        &self,
        buffer: Option<ControlBuffer>,
        memory: &GuestRam,
        answer: &mut Payload,
    ) -> Result<(), Refusal> {
        answer.put_half(0, TABLE_LOG);
        answer.put_half(2, TABLE_LOG);
        answer.put_half(4, TABLE_LOG);
        // Single entries can be set.
        answer.put_byte(6, 1);
        answer.put_word(8, WHOLE_TABLE);
        let Some(buffer) = buffer else { return Ok(()) };
        let mut bytes = [0; TABLE * 4];
        for (to, queue) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&self.table) {
            *to = u32::from(*queue).to_le_bytes();
        }
        buffer::write(buffer, &bytes, memory)
    }

    /// Sets the table, or one entry. A queue may be missing now, but it must be one of `queues`.
    pub(super) fn set_table(
        &mut self,
        command: &Command,
        queues: u16,
        memory: &GuestRam,
    ) -> Result<(), Refusal> {
        if command.half(SET_PAYLOAD.wrapping_add(4)) != TABLE_LOG {
            return Err(Refusal::IllegalParameter);
        }
        let index = command.word(SET_PAYLOAD.wrapping_add(8));
        if index != WHOLE_TABLE {
            let queue = command.half(SET_PAYLOAD.wrapping_add(12));
            let entry = self.table.get_mut(index as usize).filter(|_| queue < queues);
            *entry.ok_or(Refusal::IllegalParameter)? = queue;
            return Ok(());
        }
        let bytes: [u8; TABLE * 4] = buffer::read(command.buffer(), memory)?;
        let mut table = [0; TABLE];
        for (to, [low, high, ..]) in table.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *to = u16::from_le_bytes([*low, *high]);
        }
        if !names(&table, queues) {
            return Err(Refusal::IllegalParameter);
        }
        self.table = table;
        Ok(())
    }

    pub(super) fn get_input(
        &self,
        buffer: Option<ControlBuffer>,
        memory: &GuestRam,
        answer: &mut Payload,
    ) -> Result<(), Refusal> {
        // No addresses or ports are sorted, and none need be.
        answer.put_word(0, 0);
        let Some(buffer) = buffer else { return Ok(()) };
        let mut bytes = [0; 256];
        let rows = SUPPORTED.iter().chain(&self.fields);
        for (to, fields) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(rows) {
            *to = u32::from(*fields).to_le_bytes();
        }
        buffer::write(buffer, &bytes, memory)
    }

    /// Sets the fields. Which sorting the driver enables is ignored: every driver asks for more
    /// than the card says it can do (6.7).
    pub(super) fn set_input(
        &mut self,
        command: &Command,
        memory: &GuestRam,
    ) -> Result<(), Refusal> {
        let bytes: [u8; 128] = buffer::read(command.buffer(), memory)?;
        let mut fields = [0; PROTOCOLS];
        let (_, selected) = bytes.split_at(64);
        for (to, [low, high, ..]) in fields.iter_mut().zip(selected.as_chunks::<4>().0) {
            *to = u16::from_le_bytes([*low, *high]);
        }
        if !are_supported(&fields) {
            return Err(Refusal::IllegalParameter);
        }
        self.fields = fields;
        Ok(())
    }
}

/// Whether the table names only queues that can be.
fn names(table: &[u16; TABLE], queues: u16) -> bool {
    table.iter().all(|queue| *queue < queues)
}

fn are_supported(fields: &[u16; PROTOCOLS]) -> bool {
    fields.iter().zip(SUPPORTED).all(|(wanted, able)| wanted & !able == 0)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(value.len())) {
        place.copy_from_slice(value);
    }
}
