//! Ethernet addresses.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address, written `02:00:00:12:34:56`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

/// A text that is not six bytes in hex with colons between; the text is kept for the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address; write six bytes in hex, such as 02:00:00:12:34:56")]
pub struct ParseMacError(String);

impl MacAddr {
    /// The address of all cards, `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// A random address from the locally administered range.
    pub fn random() -> MacAddr {
        let [a, b, c, d, e, ..] = RandomState::new().hash_one(0).to_ne_bytes();
        MacAddr([0x02, a, b, c, d, e])
    }

    /// The first six bytes of a frame: where it goes.
    pub fn of_destination(frame: &[u8]) -> Option<MacAddr> {
        frame.first_chunk().copied().map(MacAddr)
    }

    /// Whether the group bit is set: multicast, and broadcast too.
    pub const fn is_group(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }

    /// Whether one card can have this address.
    pub fn is_valid_for_a_card(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<MacAddr, ParseMacError> {
        let byte = |part: &str| match part.as_bytes() {
            [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                u8::from_str_radix(part, 16).ok()
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(MacAddr)
            .ok_or_else(|| ParseMacError(text.to_string()))
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;
    fn try_from(text: String) -> Result<MacAddr, ParseMacError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let mac: MacAddr = "02:00:0a:fF:10:9c".parse().unwrap();
        assert_eq!(mac, MacAddr([2, 0, 0x0a, 0xff, 0x10, 0x9c]));
        assert_eq!(mac.to_string(), "02:00:0a:ff:10:9c");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in
            ["", "02", "02:00:00:00:00", "02:00:00:00:00:00:00", "2:0:0:0:0:0", "+2:00:00:00:00:00"]
        {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_addresses_differ_and_suit_a_card() {
        let (one, other) = (MacAddr::random(), MacAddr::random());
        assert_ne!(one, other);
        assert!(one.is_valid_for_a_card() && !one.is_group());
        assert!(!MacAddr::BROADCAST.is_valid_for_a_card());
    }
}
