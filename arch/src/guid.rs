//! GUIDs as partition tables and SMBIOS have them: the first three groups little-endian (UEFI 2.10,
//! appendix A; SMBIOS 3.0, 7.2.1).

use std::fmt;
use std::str::FromStr;

/// A GUID by its 16 bytes in a table; all zero says that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

/// Why a text is no GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write 32 hexadecimal digits in groups, such as 1c2f7a3e-8a55-4f0e-9d53-6f0f0b8f3c11")]
pub struct GuidError;

/// Lengths of the groups, in bytes.
const GROUPS: [usize; 5] = [4, 2, 2, 2, 6];
/// Groups that are little-endian in tables.
const SWAPPED: usize = 3;

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.as_slice();
        for (nth, len) in GROUPS.into_iter().enumerate() {
            let (group, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            bytes = rest;
            if nth > 0 {
                f.write_str("-")?;
            }
            let mut group = group.to_vec();
            if nth < SWAPPED {
                group.reverse();
            }
            group.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let mut bytes = Vec::new();
        let mut groups = text.split('-');
        for (nth, len) in GROUPS.into_iter().enumerate() {
            let group = groups.next().ok_or(GuidError)?.as_bytes();
            let mut parsed = Vec::new();
            for pair in group.chunks(2) {
                let is_pair = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
                let pair = std::str::from_utf8(pair).ok().filter(|_| is_pair);
                let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
                parsed.push(byte.ok_or(GuidError)?);
            }
            if parsed.len() != len {
                return Err(GuidError);
            }
            if nth < SWAPPED {
                parsed.reverse();
            }
            bytes.extend(parsed);
        }
        match (groups.next(), bytes.first_chunk()) {
            (None, Some(bytes)) => Ok(Self(*bytes)),
            _ => Err(GuidError),
        }
    }
}

#[cfg(test)]
#[path = "guid_test.rs"]
mod tests;
