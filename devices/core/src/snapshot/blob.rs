//! Bytes in a state, as text: two hexadecimal digits each, so that people and `diff` find them by their offset.
//!
//! For a field of bytes, `#[serde(with = "device_core::snapshot::blob")]`. A vector takes any number of them; who
//! loads it checks that. An array takes as many as it has.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes bytes as a string.
pub fn serialize<S: Serializer>(
    bytes: &impl AsRef<[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(bytes.as_ref()))
}

/// Reads them back: a `Vec<u8>`, or a `[u8; N]` of just `N`. Fails for anything but pairs of digits.
pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T: TryFrom<Vec<u8>>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as pairs of hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let bytes = from_text(text)
            .ok_or_else(|| E::invalid_value(Unexpected::Other("other text"), &self))?;
        let count = bytes.len();
        T::try_from(bytes).map_err(|_| E::invalid_length(count, &"as many bytes as the field has"))
    }
}

fn to_text(bytes: &[u8]) -> String {
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('?', char::from);
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}

fn from_text(text: &str) -> Option<Vec<u8>> {
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| Some(value(high)? << 4 | value(low)?)).collect()
}

#[cfg(test)]
#[path = "blob_test.rs"]
mod tests;
