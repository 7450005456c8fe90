//! Inputs as bytes: fixed-width little-endian fields, so that a mutated input is another list of steps.

use device_core::bus::Width;

/// What is left of an input.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next `N` bytes; `None` at the end.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    /// Up to `count` bytes: fewer if the input ends.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        first
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A value as wide as `width`.
    pub fn value(&mut self, width: Width) -> Option<u64> {
        match width {
            Width::B1 => self.u8().map(u64::from),
            Width::B2 => self.u16().map(u64::from),
            Width::B4 => self.u32().map(u64::from),
            Width::B8 => self.u64(),
        }
    }
}

/// An input in the making.
#[derive(Default)]
pub struct Output(pub Vec<u8>);

impl Output {
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Output {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Output {
        self.bytes(&[value])
    }

    pub fn u16(&mut self, value: u16) -> &mut Output {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Output {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Output {
        self.bytes(&value.to_le_bytes())
    }

    pub fn value(&mut self, width: Width, value: u64) -> &mut Output {
        self.bytes(&value.to_le_bytes()[..width.bytes() as usize])
    }
}

/// A width in two bits.
pub fn width(bits: u8) -> Width {
    [Width::B1, Width::B2, Width::B4, Width::B8][usize::from(bits & 3)]
}

pub fn width_bits(width: Width) -> u8 {
    width.bytes().trailing_zeros() as u8
}
