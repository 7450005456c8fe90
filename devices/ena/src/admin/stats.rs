//! GET_STATS: the layouts that drivers read (specification 9).

use device_core::fields::PutLe;

use super::buffer;
use crate::abi::{Command, Payload, Refusal};
use crate::card::totals::Totals;
use crate::card::{Card, Control};

const BASIC: u8 = 0;
const ALLOWANCES: u8 = 2;
const METRICS: u8 = 4;
/// All metrics: five allowances exceeded, and connections still allowed.
const ALL_METRICS: u64 = 0x3f;

impl Card {
    /// Since the last reset.
    pub(crate) fn totals(&self, control: &Control) -> Totals {
        Totals::of(&self.port).since(&control.base)
    }

    /// Scope, queue and device are ignored, as drivers leave them zero (5.6).
    pub(super) fn get_stats(
        &self,
        control: &Control,
        command: &Command,
    ) -> Result<Payload, Refusal> {
        let mut answer = Payload::default();
        match command.byte(16) {
            BASIC => {
                let t = self.totals(control);
                let values =
                    [t.tx_bytes, t.tx_packets, t.rx_bytes, t.rx_packets, t.rx_drops, t.tx_drops];
                put_doubles(&mut answer, &values);
            }
            ALLOWANCES => put_doubles(&mut answer, &self.allowances(control).exceeded()),
            METRICS => answer.put_double(0, self.metrics(control, command)?),
            _ => return Err(Refusal::Unsupported),
        }
        Ok(answer)
    }

    /// Which of the metrics asked for there are; their values go to the buffer, if there is one.
    fn metrics(&self, control: &Control, command: &Command) -> Result<u64, Refusal> {
        let asked = u64::from(command.word(24)) | u64::from(command.word(28)) << 32;
        let reported = asked & ALL_METRICS;
        let Some(target) = command.buffer() else { return Ok(reported) };
        let allowances = self.allowances(control);
        let values = allowances.exceeded().into_iter().chain([allowances.connections_left]);
        let wanted = (0..).zip(values).filter(|(bit, _)| reported >> bit & 1 != 0);
        let bytes: Vec<u8> =
            wanted.flat_map(|(_, value): (u32, u64)| value.to_le_bytes()).collect();
        if bytes.len() > target.len as usize {
            return Err(Refusal::Malformed);
        }
        buffer::write(target, &bytes, &self.memory)?;
        Ok(reported)
    }
}

fn put_doubles(answer: &mut Payload, values: &[u64]) {
    for (at, value) in (0..).step_by(8).zip(values) {
        answer.put_double(at, *value);
    }
}
