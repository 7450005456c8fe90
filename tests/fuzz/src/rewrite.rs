//! The exchange of a guest's addresses on any heads of frames: it takes them all, changes no length, and what was
//! exchanged twice is what it was. What a frame shows of its sender is looked at on the way.

use net::frame::Csum;
use net::mac::MacAddr;
use net::neighbour::Neighbours;
use net::stage::rewrite::{Rewrite, Sides};

use crate::input::{Input, Output};

/// The addresses that frames of seeds have, inside and outside.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OUTSIDE: [u8; 6] = [6, 0x11, 0x22, 0x33, 0x44, 0x55];
pub const IP: [u8; 4] = [10, 0, 0, 1];
pub const OUTSIDE_IP: [u8; 4] = [172, 31, 254, 77];

/// A frame, and what is known of its checksum: its place, if it is still to be completed.
pub fn frame(out: &mut Output, needed: Option<(u16, u16)>, bytes: &[u8]) {
    out.u8(needed.is_some().into());
    let (start, offset) = needed.unwrap_or_default();
    out.u16(start).u16(offset).bytes(bytes);
}

/// Runs an input to its end.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (Some(kind), Some(start), Some(offset)) = (input.u8(), input.u16(), input.u16()) else {
        return;
    };
    let csum = match kind % 3 {
        0 => Csum::Unknown,
        1 => Csum::Needed { start, offset },
        _ => Csum::Valid,
    };
    let with_ip = kind & 0x80 == 0;
    let ip = Sides { inside: IP.into(), outside: OUTSIDE_IP.into() };
    let mac = Sides { inside: MacAddr(MAC), outside: MacAddr(OUTSIDE) };
    let rewrite = Rewrite::new(mac, with_ip.then_some(ip));
    let frame = input.0;
    let mut neighbours = Neighbours::default();
    neighbours.see(frame);
    assert!(neighbours.iter().count() <= 1);

    let twice = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        rewrite.swap(&mut frame, csum);
        rewrite.swap(&mut frame, csum);
        frame
    };
    let once = twice(frame);
    assert_eq!(once.len(), frame.len());
    // A checksum of zero has two forms, of which it has the usual one from here on.
    assert_eq!(twice(&once), once);
    let differing = once.iter().zip(frame).filter(|(one, other)| one != other).count();
    assert!(differing <= 2 * CHECKSUMS, "{differing} bytes are not what they were");
}

/// Of a frame: the network header's, the transport's, and both of a packet that an error carries.
const CHECKSUMS: usize = 4;
