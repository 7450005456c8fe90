//! Low-latency queues: what is offered, what the driver chose, where each ring lies in BAR 2
//! (specification 6.4).

use device_core::fields::PutLe;

use crate::abi::{Command, Payload, Refusal, SET_PAYLOAD};
use crate::ring::{LlqPolicy, Stride};

/// Deepest ring with the smallest and with the largest entries.
pub const DEPTH: u16 = 1024;
const WIDE_DEPTH: u16 = 512;
/// Bytes of BAR 2 that one ring may take.
const RING: u64 = DEPTH as u64 * 128;

/// The header is in the entry itself.
const INLINE: u16 = 1;
/// Entries of 128 and 256 bytes.
const ENTRY_SIZES: u16 = ENTRY_128 | ENTRY_256;
const ENTRY_128: u16 = 1;
const ENTRY_256: u16 = 4;
/// One, two or four descriptors before the header.
const BEFORE_HEADER: u16 = 1 | 2 | 4;
const SINGLE: u16 = 1;
const MULTIPLE: u16 = 2;

/// Bytes of a window that holds a ring for each of `pairs` transmit queues.
pub fn window_bytes(pairs: u16) -> u64 {
    RING.saturating_mul(u64::from(pairs)).next_power_of_two()
}

/// Where the ring of transmit queue `index` begins in the window.
pub fn ring_offset(index: u16) -> u64 {
    RING.saturating_mul(u64::from(index))
}

/// Deepest ring with entries of the chosen size.
pub fn max_depth(policy: &LlqPolicy) -> u16 {
    if policy.entry_size > 128 { WIDE_DEPTH } else { DEPTH }
}

/// What GET_FEATURE says for `pairs` transmit queues.
pub fn offer(pairs: u16, version: u8, chosen: Option<&LlqPolicy>, answer: &mut Payload) {
    answer.put_words(0, &[pairs.into(), DEPTH.into()]);
    let chosen = chosen.map_or([0; 4], |policy| {
        let entry = if policy.entry_size > 128 { ENTRY_256 } else { ENTRY_128 };
        let stride = if policy.stride == Stride::Single { SINGLE } else { MULTIPLE };
        [INLINE, entry, policy.descriptors_before_header.into(), stride]
    });
    let supported = [INLINE, ENTRY_SIZES, BEFORE_HEADER, SINGLE | MULTIPLE];
    for ((at, supported), chosen) in (8..).step_by(4).zip(supported).zip(chosen) {
        answer.put_half(at, supported);
        answer.put_half(at.saturating_add(2), chosen);
    }
    if version > 0 {
        answer.put_byte(24, 1);
        answer.put_byte(25, ENTRY_128 as u8);
        answer.put_half(26, WIDE_DEPTH);
    }
}

/// Whether a driver can have chosen it.
pub fn is_offered(policy: &LlqPolicy) -> bool {
    matches!(policy.entry_size, 128 | 256)
        && matches!(policy.descriptors_before_header, 1 | 2 | 4)
        && policy.check().is_ok()
}

/// What SET_FEATURE chose: of each property exactly one that is offered. Acceleration flags say
/// what the driver could live with, and the card wants none of it.
pub fn choice(command: &Command) -> Result<LlqPolicy, Refusal> {
    let chosen = |at: usize, offered: u16| {
        let bits = command.half(SET_PAYLOAD.saturating_add(at));
        let one = bits.is_power_of_two() && bits & !offered == 0;
        if one { Ok(bits) } else { Err(Refusal::IllegalParameter) }
    };
    chosen(10, INLINE)?;
    let entry_size = if chosen(14, ENTRY_SIZES)? == ENTRY_256 { 256 } else { 128 };
    let descriptors_before_header = chosen(18, BEFORE_HEADER)? as u8;
    let stride =
        if chosen(22, SINGLE | MULTIPLE)? == SINGLE { Stride::Single } else { Stride::Multiple };
    Ok(LlqPolicy { entry_size, descriptors_before_header, stride })
}

#[cfg(test)]
#[path = "llq_test.rs"]
mod tests;
