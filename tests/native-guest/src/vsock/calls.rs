//! Calls to the host that somebody has ordered.

use super::connection::Service;
use super::link::{Packet, Ports};
use crate::memory::read;
use crate::random::Random;

/// Ports of the guest that calls come from: each is another's for a long time.
const FIRST_PORT: u32 = 1 << 16;

/// Those that are left to be made.
pub struct Calls {
    port: u32,
    left: u32,
    restless: bool,
    next: u32,
    random: Random,
}

impl Calls {
    /// None.
    pub fn new(seed: u64) -> Calls {
        Calls { port: 0, left: 0, restless: false, next: FIRST_PORT, random: Random(seed) }
    }

    /// An order has the host's port, how many calls there are to be, and whether they are restless, as numbers of 32
    /// bits, little-endian. A new one takes the place of what is left.
    pub fn order(&mut self, packet: &Packet) {
        if packet.len == 12 {
            let restless = read::<u32>(packet.at + 8) != 0;
            (self.port, self.left) = (read(packet.at), read(packet.at + 4));
            self.restless = restless;
        }
    }

    /// The next call, if there is one.
    pub fn next(&mut self) -> Option<(Ports, Service)> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        self.next = self.next.wrapping_add(1).max(FIRST_PORT);
        let ports = Ports { guest: self.next, host: self.port };
        let service = match self.restless {
            false => Service::Echo,
            true => {
                let left = self.random.of_any_size(19) as u32;
                Service::Restless { left, abrupt: self.random.one_in(2) }
            }
        };
        Some((ports, service))
    }
}
