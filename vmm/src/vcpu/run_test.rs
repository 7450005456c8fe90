//! Tests of the way from an access to a device.

use std::sync::Mutex;

use device_core::bus::BusDevice;

use super::*;

#[derive(Default)]
struct Recorder(Mutex<Vec<(u64, Width, u64)>>);

impl BusDevice for Recorder {
    fn read(&self, offset: u64, _: Width) -> u64 {
        0x1122_3344_5566_7788 + offset
    }
    fn write(&self, offset: u64, width: Width, value: u64) {
        self.0.lock().unwrap().push((offset, width, value));
    }
}

fn spaces() -> (AddressSpaces, Arc<Recorder>, Arc<Unmapped>) {
    let (ports, mmio) = (Bus::new(), Bus::new());
    let recorder = Arc::new(Recorder::default());
    ports.insert(0x3f8, 8, recorder.clone()).unwrap();
    mmio.insert(0x1000, 0x1000, recorder.clone()).unwrap();
    let unmapped = Arc::new(Unmapped::default());
    (AddressSpaces::new(&ports, &mmio, unmapped.clone()), recorder, unmapped)
}

#[test]
fn reads_and_writes_are_little_endian_and_have_their_width() {
    let (mut spaces, recorder, unmapped) = spaces();
    let mut bytes = [0; 4];
    spaces.mmio_read(0x1000, &mut bytes);
    assert_eq!(bytes, [0x88, 0x77, 0x66, 0x55]);
    spaces.mmio_write(0x1008, &[1, 2, 3, 4, 5, 6, 7, 8]);
    spaces.port_write(0x3f9, &[0x41]);
    let seen = recorder.0.lock().unwrap().clone();
    assert_eq!(seen, [(8, Width::B8, 0x0807_0605_0403_0201), (1, Width::B1, 0x41)]);
    assert_eq!((unmapped.reads.get(), unmapped.writes.get()), (0, 0));
}

#[test]
fn unmapped_reads_are_all_ones_unmapped_writes_vanish_and_both_are_counted() {
    let (mut spaces, recorder, unmapped) = spaces();
    let mut bytes = [0; 8];
    spaces.mmio_read(0x5000, &mut bytes);
    assert_eq!(bytes, [0xff; 8]);
    let mut byte = [0];
    spaces.port_read(0x80, &mut byte);
    assert_eq!(byte, [0xff]);
    for _ in 0..10_000 {
        spaces.port_write(0x80, &[1]);
    }
    assert_eq!((unmapped.reads.get(), unmapped.writes.get()), (2, 10_000));
    assert!(recorder.0.lock().unwrap().is_empty());
}

#[test]
fn an_access_of_odd_length_is_cut_into_bytes_even_across_the_end_of_a_device() {
    let (mut spaces, recorder, unmapped) = spaces();
    spaces.mmio_write(0x1ffe, &[1, 2, 3]);
    let seen = recorder.0.lock().unwrap().clone();
    assert_eq!(seen, [(0xffe, Width::B1, 1), (0xfff, Width::B1, 2)]);
    assert_eq!(unmapped.writes.get(), 1);
    let mut bytes = [0; 3];
    spaces.mmio_read(u64::MAX - 1, &mut bytes);
    assert_eq!(bytes, [0xff; 3]);
}
