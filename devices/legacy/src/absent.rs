//! Ports of a PC that stock kernels probe and that this machine has not.

use device_core::bus::{BusDevice, Width};

/// A device that is known to be absent, so that a probe of it is no error: COM2 to COM4, the
/// diagnostic port 0x80 and their like. Reads give all ones, as from an empty bus; writes go nowhere.
#[derive(Debug, Default)]
pub struct Absent;

impl BusDevice for Absent {
    fn read(&self, _: u64, width: Width) -> u64 {
        width.mask()
    }
    fn write(&self, _: u64, _: Width, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_all_ones_after_any_write() {
        for width in [Width::B1, Width::B2, Width::B4, Width::B8] {
            Absent.write(0, width, 0);
            assert_eq!(Absent.read(0, width), width.mask());
        }
    }
}
