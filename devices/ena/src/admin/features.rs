//! GET_FEATURE and SET_FEATURE, one function for each feature and direction (specification 6).

use std::time::Instant;

use device_core::fields::PutLe;
use net::frame::Offloads;

use super::llq;
use crate::abi::{Command, Payload, Refusal, SET_PAYLOAD, feature, group};
use crate::card::settings::MIN_MTU;
use crate::card::{Card, Control};
use crate::host_info::HostInfo;
use crate::registers::{ADDRESS_BITS, VERSION};
use crate::ring::{DELAY_UNIT_US, MAX_BUFFERS};

/// Deepest transmit ring, in entries.
pub const TX_DEPTH: u16 = 1024;
/// Deepest receive ring, in entries.
pub const RX_DEPTH: u16 = 8192;
/// Most header bytes that a driver may push; what the packet path copies to private memory.
const HEADER_SIZE: u32 = net::frame::HEAD as u32;
const IMPLEMENTATION: u32 = 1;
/// The version of feature 7, without which drivers refuse the card.
const MAX_QUEUES_VERSION: u8 = 1;
/// Statistics of allowances, customer metrics, extended reset reasons, reserved bits are zero (6.1).
const CAPABILITIES: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4;
/// What the link says of itself: Mb/s, the bit of that speed, and full duplex.
const LINK: [u32; 3] = [25_000, 0x10, 1 << 1];
/// Receive checksums of IPv4 headers, of TCP and UDP over both, and the flow's hash.
const RX_OFFLOADS: u32 = 0xf;

impl Card {
    /// Features as a bitmap; exactly those that the functions below know.
    fn features(&self) -> u32 {
        let llq = self.window.is_some().then_some(feature::LLQ);
        [
            feature::DEVICE_ATTRIBUTES,
            feature::MAX_QUEUES,
            feature::HW_HINTS,
            feature::MAX_QUEUES_EXT,
            feature::RSS_FUNCTION,
            feature::OFFLOADS,
            feature::RSS_TABLE,
            feature::MTU,
            feature::RSS_INPUT,
            feature::MODERATION,
            feature::EVENTS,
            feature::LINK,
            feature::HOST_ATTRIBUTES,
        ]
        .iter()
        .chain(&llq)
        .fold(0, |bits, id| bits | 1 << *id)
    }

    pub(super) fn get_feature(
        &self,
        control: &Control,
        command: &Command,
    ) -> Result<Payload, Refusal> {
        let mut answer = Payload::default();
        let (id, version) = command.feature();
        let settings = &control.settings;
        match id {
            feature::DEVICE_ATTRIBUTES => self.device_attributes(&mut answer),
            feature::MAX_QUEUES => self.max_queues(&mut answer),
            feature::HW_HINTS => answer.put_words(0, &control.hints.words()),
            feature::LLQ if self.window.is_some() => {
                llq::offer(self.pairs, version, settings.llq.as_ref(), &mut answer);
            }
            feature::MAX_QUEUES_EXT => self.max_queues_ext(&mut answer),
            feature::RSS_FUNCTION => {
                settings.rss.get_function(command.buffer(), &self.memory, &mut answer)?;
            }
            feature::OFFLOADS => {
                let offered = transmit_offloads(self.port.limits().tx);
                answer.put_words(0, &[offered, RX_OFFLOADS, RX_OFFLOADS]);
            }
            feature::RSS_TABLE => {
                settings.rss.get_table(command.buffer(), &self.memory, &mut answer)?;
            }
            feature::RSS_INPUT => {
                settings.rss.get_input(command.buffer(), &self.memory, &mut answer)?;
            }
            feature::MODERATION => answer.put_half(0, DELAY_UNIT_US),
            feature::EVENTS => answer.put_words(0, &[group::OFFERED, control.events.groups()]),
            feature::LINK => answer.put_words(0, &LINK),
            _ => return Err(Refusal::Unsupported),
        }
        Ok(answer)
    }

    pub(super) fn set_feature(
        &self,
        control: &mut Control,
        command: &Command,
        now: Instant,
    ) -> Result<Payload, Refusal> {
        let word = command.word(SET_PAYLOAD);
        let (id, _) = command.feature();
        match id {
            feature::LLQ if self.window.is_some() => {
                if control.queues.has_llq() {
                    return Err(Refusal::Busy);
                }
                control.settings.llq = Some(llq::choice(command)?);
            }
            feature::RSS_FUNCTION => {
                control.settings.rss.set_function(command, &self.memory)?;
                self.steer(control);
            }
            feature::RSS_TABLE => {
                control.settings.rss.set_table(command, self.pairs, &self.memory)?;
                self.steer(control);
            }
            feature::RSS_INPUT => {
                control.settings.rss.set_input(command, &self.memory)?;
                self.steer(control);
            }
            feature::MTU => {
                let mtu = u16::try_from(word).map_err(|_| Refusal::IllegalParameter)?;
                if !(MIN_MTU..=self.max_mtu).contains(&mtu) {
                    return Err(Refusal::IllegalParameter);
                }
                control.settings.mtu = mtu;
                self.limit_frames(mtu);
            }
            feature::EVENTS => {
                let groups = command.word(SET_PAYLOAD.wrapping_add(4));
                if groups & !group::OFFERED != 0 {
                    return Err(Refusal::IllegalParameter);
                }
                control.events.set_groups(groups, now);
            }
            feature::HOST_ATTRIBUTES => {
                let address = command.address(SET_PAYLOAD);
                control.settings.host = HostInfo::read(address, &self.memory);
                if let Some(host) = &control.settings.host {
                    tracing::info!("network card {}: driven by {host}", self.id);
                }
            }
            _ => return Err(Refusal::Unsupported),
        }
        Ok(Payload::default())
    }

    fn device_attributes(&self, answer: &mut Payload) {
        let words =
            [IMPLEMENTATION, VERSION, self.features(), CAPABILITIES, ADDRESS_BITS, ADDRESS_BITS];
        answer.put_words(0, &words);
        answer.put(24, &self.mac.0);
        answer.put_word(32, self.max_mtu.into());
    }

    fn max_queues(&self, answer: &mut Payload) {
        let (pairs, depth) = (u32::from(self.pairs), u32::from(TX_DEPTH));
        answer.put_words(0, &[pairs, depth, pairs, depth, 0, 0, HEADER_SIZE]);
        answer.put_half(28, MAX_BUFFERS);
        answer.put_half(30, MAX_BUFFERS);
    }

    fn max_queues_ext(&self, answer: &mut Payload) {
        answer.put_byte(0, MAX_QUEUES_VERSION);
        let (tx, rx) = (u32::from(TX_DEPTH), u32::from(RX_DEPTH));
        let pairs = u32::from(self.pairs);
        answer.put_words(4, &[pairs, pairs, pairs, pairs, tx, tx, rx, rx, HEADER_SIZE]);
        answer.put_half(40, MAX_BUFFERS);
        answer.put_half(42, MAX_BUFFERS);
    }
}

/// What the driver may leave to the card in frames it sends: bits of feature 11.
pub fn transmit_offloads(able: Offloads) -> u32 {
    let offered = |needs: Offloads, bits: u32| if able.contains(needs) { bits } else { 0 };
    // IPv4 header; TCP and UDP over either, from a seed or from nothing.
    offered(Offloads::CSUM, 0b1_1111)
        | offered(Offloads::CSUM | Offloads::TSO4, 1 << 5)
        | offered(Offloads::CSUM | Offloads::TSO6, 1 << 6)
        | offered(Offloads::CSUM | Offloads::ECN, 1 << 7)
}

#[cfg(test)]
#[path = "features_test.rs"]
mod tests;
