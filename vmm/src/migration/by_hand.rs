//! Receiving a machine that anybody may send, without making it, for fuzzing.

use super::error::ReceiveError;
use super::incoming;
use super::words::{self, HEAD, Kind};
use crate::dialect::file;
use crate::memory::{self, Pages};

/// Bytes of memory of the machine that is awaited.
const MEMORY: u64 = 4 << 20;

/// Takes all that a source says, and once more with the sums that it should have. The errors, which are lines for a user.
pub fn receive(bytes: &[u8]) -> Vec<String> {
    let honest = summed_again(bytes);
    [bytes, &honest].into_iter().filter_map(|bytes| receive_one(bytes).err()).collect()
}

fn receive_one(mut from: &[u8]) -> Result<(), String> {
    let line = |error: ReceiveError| crate::words::one_line(None, &error);
    let wrong = |error| line(ReceiveError::Source(error));
    let ram = memory::map(MEMORY, Pages::Small).map_err(|error| error.to_string())?;
    let mut take = || {
        words::read_greeting(&mut from).map_err(wrong)?;
        let mut body = Vec::new();
        let head = words::read(&mut from, &mut body).map_err(wrong)?;
        let hello = incoming::machine_of(&head, Kind::Hello, &body).map_err(line)?;
        let actions = file::of_snapshot(hello.config);
        actions.map_err(|error| crate::words::one_line(None, &error))?;
        incoming::memory_until(&mut from, &ram, &mut body).map_err(line)?;
        let head = incoming::memory_until(&mut from, &ram, &mut body).map_err(line)?;
        incoming::machine_of(&head, Kind::State, &body).map_err(line).map(drop)
    };
    let taken = take();
    memory::release(ram);
    taken
}

/// The same with right sums, as far as there are records.
fn summed_again(bytes: &[u8]) -> Vec<u8> {
    let (greeting, mut rest) = bytes.split_at(bytes.len().min(words::GREETING));
    let mut out = greeting.to_vec();
    while let Some(head) = rest.first_chunk::<HEAD>() {
        let Ok(head) = words::Head::of(head) else { break };
        let end = HEAD.saturating_add(head.len);
        let Some(body) = rest.get(HEAD..end) else { break };
        words::put(&mut out, head.kind, head.number, body);
        rest = rest.get(end..).unwrap_or_default();
    }
    out.extend(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_by_hand_is_understood_as_far_as_it_goes() {
        let mut bytes = words::greeting().to_vec();
        words::put(&mut bytes, Kind::Hello, 0, b"{}");
        let told = receive(&bytes);
        assert!(told.len() == 2 && told[0].contains("not understood"), "{told:?}");
        // A sum that is wrong does not keep the second look from what is behind it.
        let end = bytes.len() - 1;
        bytes[end] = b']';
        let told = receive(&bytes);
        assert!(told[0].contains("damaged") && told[1].contains("not understood"), "{told:?}");
    }
}
