//! Tests of plain requests as drivers send them (the statements B14 to B29, B50 to B55).

use block::engine::script::{Answer, Asked};
use block::image::{Alignment, Image};
use block::spec::{Cache, DiskSpec};
use device_core::device::Device;

use super::features;
use crate::device::VirtioDevice;
use crate::testing::disk::{
    DISCARD, EVENT_IDX, F_CONFIG_WCE, F_FLUSH, F_RANGES, FLUSH, GAP, GET_ID, IN, INDIRECT, IOERR,
    OK, OUT, SIZE, TestDisk, UNSUPP, USUAL, WRITE_ZEROES, pattern,
};
use crate::testing::ring::{readable, writable};

const SECTORS: u64 = SIZE / 512;

fn spec() -> DiskSpec {
    DiskSpec::on("test", "memory")
}

#[test]
fn b14_a_sector_is_read_with_its_status_behind() {
    let mut disk = TestDisk::new();
    disk.stage.write(7 * 512, &pattern(512, 1));
    let at = disk.buffer(512);
    assert_eq!(disk.one(IN, 7, &[writable(at, 512)]), (OK, 513));
    assert_eq!(disk.read(at, 512), pattern(512, 1));
}

#[test]
fn b15_what_one_queue_wrote_another_reads() {
    let mut disk = TestDisk::with(&spec(), 2, false);
    disk.start(USUAL);
    let at = disk.buffer(8192);
    disk.write(at, &pattern(8192, 3));
    let data = [readable(at, 4096), readable(at + 4096, 4096)];
    assert_eq!(disk.one(OUT, 16, &data), (OK, 1));
    let back = disk.buffer(8192);
    let offer = disk.offer(1, IN, 16, &[writable(back, 8192)]);
    disk.run(1);
    assert_eq!(disk.queues[1].take(), Some((offer.head, 8193)));
    assert_eq!(disk.read(back, 8192), pattern(8192, 3));
}

#[test]
fn b16_b17_the_end_of_the_disk_is_the_end() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(1024);
    disk.write(at, &pattern(1024, 1));
    assert_eq!(disk.one(OUT, SECTORS - 2, &[readable(at, 1024)]), (OK, 1));
    assert_eq!(disk.one(IN, SECTORS - 2, &[writable(at, 1024)]), (OK, 1025));
    disk.stage.asked();
    for sector in [SECTORS - 1, SECTORS, 1 << 55, 1 << 63, u64::MAX] {
        assert_eq!(disk.one(OUT, sector, &[readable(at, 1024)]), (IOERR, 1), "{sector:#x}");
        assert_eq!(disk.one(IN, sector, &[writable(at, 1024)]), (IOERR, 1), "{sector:#x}");
    }
    assert_eq!(disk.stage.asked(), []);
    assert_eq!(disk.read(at, 1024), pattern(1024, 1));
}

#[test]
fn b18_b19_a_flush_needs_no_data_and_minds_none() {
    let mut disk = TestDisk::new();
    assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
    assert_eq!(disk.one(FLUSH, 12345, &[]), (OK, 1));
    assert_eq!(disk.one(FLUSH, u64::MAX, &[readable(GAP + 64, 512)]), (OK, 1));
    assert_eq!(disk.stage.asked().len(), 3);
}

#[test]
fn b20_the_name_is_padded_to_20_bytes() {
    for (serial, wanted) in [
        ("vol-1", &b"vol-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
        ("twenty-characters-ok", b"twenty-characters-ok"),
    ] {
        let mut disk =
            TestDisk::with(&DiskSpec { serial: Some(serial.to_string()), ..spec() }, 1, false);
        disk.start(USUAL);
        let at = disk.buffer(20);
        disk.write(at, &[0xff; 20]);
        assert_eq!(disk.one(GET_ID, 0, &[writable(at, 20)]), (OK, 21));
        assert_eq!(disk.read(at, 20), wanted);
    }
}

#[test]
fn b21_the_name_fits_or_is_not_given_and_more_room_is_left_alone() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(64);
    disk.write(at, &[0xaa; 64]);
    assert_eq!(disk.one(GET_ID, 0, &[writable(at, 19)]), (IOERR, 1));
    assert_eq!(disk.one(GET_ID, 0, &[]), (IOERR, 1));
    assert_eq!(disk.read(at, 64), [0xaa; 64]);
    assert_eq!(disk.one(GET_ID, 0, &[writable(at, 7), writable(at + 7, 57)]), (OK, 21));
    assert_eq!(disk.read(at, 20), *b"test\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(disk.read(at + 20, 44), [0xaa; 44]);
}

#[test]
fn b22_b23_other_requests_are_not_supported() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(512);
    let others = [2, 3, 5, 6, 7, 9, 10, 12, 14].into_iter().chain(15..=26);
    for kind in others.chain([0xffff_ffff, 0x8000_0000, 0x8000_0001]) {
        assert_eq!(disk.one(kind, 0, &[writable(at, 512)]), (UNSUPP, 1), "{kind:#x}");
        assert_eq!(disk.one(kind, 0, &[readable(at, 512)]), (UNSUPP, 1), "{kind:#x}");
    }
    assert_eq!(disk.stage.asked(), []);
}

#[test]
fn b24_a_discard_has_no_flags() {
    let mut disk = TestDisk::new();
    disk.stage.write(0, &pattern(8192, 1));
    for (flags, status) in [(0, OK), (1, UNSUPP), (2, UNSUPP), (1 << 31, UNSUPP)] {
        let ranges = disk.ranges(&[(8, 8, flags)]);
        assert_eq!(disk.one(DISCARD, 77, &[ranges]), (status, 1));
    }
    assert_eq!(disk.stage.asked().len(), 1);
    assert_eq!(disk.stage.read(0, 4096), pattern(8192, 1)[..4096]);
}

#[test]
fn b25_zeroes_are_read_back_however_they_were_asked_for() {
    let mut disk = TestDisk::new();
    for flags in [0, 1] {
        disk.stage.write(0, &pattern(8192, 1));
        let ranges = disk.ranges(&[(1, 2, flags), (9, 1, flags)]);
        assert_eq!(disk.one(WRITE_ZEROES, 0, &[ranges]), (OK, 1));
        let at = disk.buffer(8192);
        assert_eq!(disk.one(IN, 0, &[writable(at, 8192)]), (OK, 8193));
        let mut wanted = pattern(8192, 1);
        wanted[512..1536].fill(0);
        wanted[4608..5120].fill(0);
        assert_eq!(disk.read(at, 8192), wanted, "{flags}");
    }
    let ranges = disk.ranges(&[(0, 1, 2)]);
    assert_eq!(disk.one(WRITE_ZEROES, 0, &[ranges]), (UNSUPP, 1));
}

#[test]
fn b26_ranges_are_whole_and_not_too_many() {
    let mut disk = TestDisk::new();
    for kind in [DISCARD, WRITE_ZEROES] {
        let many = disk.ranges(&[(0, 1, 0); 33]);
        for (len, status) in
            [(0, IOERR), (15, IOERR), (17, IOERR), (16, OK), (32 * 16, OK), (33 * 16, IOERR)]
        {
            assert_eq!(disk.one(kind, 0, &[readable(many.addr, len)]), (status, 1), "{len}");
        }
        assert_eq!(disk.one(kind, 0, &[]), (IOERR, 1));
        let cut = [readable(many.addr, 5), readable(many.addr + 5, 27)];
        assert_eq!(disk.one(kind, 0, &cut), (OK, 1));
    }
}

#[test]
fn b27_b28_ranges_are_checked_before_any_is_touched() {
    let mut disk = TestDisk::new();
    disk.stage.write(0, &pattern(4096, 1));
    for kind in [DISCARD, WRITE_ZEROES] {
        for bad in [
            (SECTORS, 1, 0),
            (SECTORS - 1, 2, 0),
            (1, u32::MAX, 0),
            (u64::MAX, 1, 0),
            (1 << 54, 1, 0),
        ] {
            let ranges = disk.ranges(&[(0, 8, 0), bad]);
            assert_eq!(disk.one(kind, 0, &[ranges]), (IOERR, 1), "{bad:?}");
        }
        let nothing = disk.ranges(&[(0, 0, 0), (SECTORS, 0, 0)]);
        assert_eq!(disk.one(kind, 0, &[nothing]), (OK, 1));
    }
    assert_eq!(disk.stage.asked(), []);
    assert_eq!(disk.stage.read(0, 4096), pattern(4096, 1));
}

#[test]
fn b29_what_was_not_negotiated_is_not_supported() {
    let mut disk = TestDisk::with(&spec(), 1, false);
    disk.start(USUAL & !F_RANGES);
    for kind in [DISCARD, WRITE_ZEROES] {
        let ranges = disk.ranges(&[(0, 1, 0)]);
        assert_eq!(disk.one(kind, 0, &[ranges]), (UNSUPP, 1));
    }
}

#[test]
fn b6_a_read_only_disk_is_not_written_whatever_was_negotiated() {
    let mut disk = TestDisk::with(&DiskSpec { read_only: true, ..spec() }, 1, false);
    assert_eq!(disk.block.features() & (features::RO | F_RANGES), features::RO);
    disk.start(USUAL & !features::RO & !F_RANGES);
    let at = disk.buffer(512);
    assert_eq!(disk.one(OUT, 0, &[readable(at, 512)]), (IOERR, 1));
    let ranges = disk.ranges(&[(0, 1, 0)]);
    assert_eq!(disk.one(DISCARD, 0, &[ranges]), (UNSUPP, 1));
    assert_eq!(disk.one(IN, 0, &[writable(at, 512)]), (OK, 513));
    assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
}

fn durable(disk: &mut TestDisk) -> bool {
    let at = disk.buffer(512);
    assert_eq!(disk.one(OUT, 0, &[readable(at, 512)]), (OK, 1));
    let [Asked { call: block::engine::Call::Write { durable }, .. }] = disk.stage.asked()[..]
    else {
        panic!("one write")
    };
    durable
}

#[test]
fn b11_b5_who_cannot_flush_or_turned_the_cache_off_writes_through() {
    for (negotiated, wanted) in [(0, true), (F_FLUSH, false), (F_FLUSH | F_CONFIG_WCE, false)] {
        let mut disk = TestDisk::with(&spec(), 1, false);
        disk.start(negotiated);
        assert_eq!(durable(&mut disk), wanted, "{negotiated:#x}");
    }
    let mut disk = TestDisk::with(&spec(), 1, false);
    disk.start(F_FLUSH | F_CONFIG_WCE);
    for (value, wanted) in [(0, true), (1, false), (2, true), (0xff, false)] {
        disk.block.write_config(32, device_core::bus::Width::B1, value);
        assert_eq!(durable(&mut disk), wanted, "{value}");
    }
    for cache in [Cache::Unsafe, Cache::Writethrough] {
        let mut disk = TestDisk::with(&DiskSpec { cache, ..spec() }, 1, false);
        disk.start(0);
        assert_eq!(durable(&mut disk), cache == Cache::Writethrough);
    }
}

#[test]
fn b34_buffers_at_odd_addresses_do_even_with_direct_io() {
    let image = Image::in_memory(SIZE, false, Some(Alignment { memory: 512, block: 512 }));
    let mut disk = TestDisk::on(&spec(), image, 1, false);
    disk.start(USUAL);
    let at = disk.buffer(4096) + 1;
    disk.write(at, &pattern(512, 1));
    assert_eq!(disk.one(OUT, 3, &[readable(at, 512)]), (OK, 1));
    assert_eq!(disk.stage.read(3 * 512, 512), pattern(512, 1));
    assert_eq!(disk.one(IN, 3, &[writable(at + 1000, 100), writable(at + 2001, 412)]), (OK, 513));
    assert_eq!(disk.read(at + 1000, 100), pattern(512, 1)[..100]);
    assert_eq!(disk.read(at + 2001, 412), pattern(512, 1)[100..]);
}

#[test]
fn b50_b52_a_batch_completes_in_any_order_with_one_interrupt() {
    let mut disk = TestDisk::new();
    disk.stage.hold();
    let at = disk.buffer(32 * 512);
    let offers: Vec<_> =
        (0..32).map(|nth| disk.offer(0, IN, nth, &[writable(at + nth * 512, 512)]).head).collect();
    disk.run(0);
    let before = disk.vectors.test_vector(0).delivered();
    (0..32).rev().for_each(|nth| disk.stage.release(nth));
    disk.block.settle();
    let back: Vec<_> = disk.queues[0].take_all().into_iter().map(|(head, _)| head).collect();
    assert_eq!(back, offers.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(disk.vectors.test_vector(0).delivered() - before, 1);
}

#[test]
fn b51_an_interrupt_comes_when_the_driver_wants_it_and_not_before() {
    let mut disk = TestDisk::with(&spec(), 1, true);
    disk.start(USUAL | EVENT_IDX);
    disk.queues[0].interrupt_after(2);
    let vector = disk.vectors.test_vector(0);
    for wanted in [0, 0, 1] {
        assert_eq!(disk.one(FLUSH, 0, &[]).0, OK);
        assert_eq!(vector.delivered(), wanted);
        // Taking it does not ask for more.
    }
}

#[test]
fn b53_a_queue_without_a_vector_completes_all_the_same() {
    let mut disk = TestDisk::with(&spec(), 1, false);
    let live = vec![disk.queues[0].live(0, None)];
    disk.block.plug(USUAL & !INDIRECT, live, disk.notice.clone()).unwrap();
    assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
}

#[test]
fn b63_what_the_host_fails_is_an_error_and_claims_no_data() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(1024);
    for errno in [libc::EIO, libc::ENOSPC, libc::EOPNOTSUPP] {
        disk.stage.answer(&[Answer::Fail(errno)]);
        assert_eq!(disk.one(IN, 0, &[writable(at, 1024)]), (IOERR, 1));
        disk.stage.answer(&[Answer::Short(512), Answer::Fail(errno)]);
        assert_eq!(disk.one(OUT, 0, &[readable(at, 1024)]), (IOERR, 1));
    }
    disk.stage.answer(&[Answer::Short(100), Answer::Fail(libc::EINTR)]);
    assert_eq!(disk.one(IN, 0, &[writable(at, 1024)]), (OK, 1025));
    disk.stage.answer(&[Answer::Fail(libc::EIO)]);
    // B56
    assert_eq!(disk.one(FLUSH, 0, &[]), (IOERR, 1));
    assert_eq!(disk.one(FLUSH, 0, &[]), (IOERR, 1));
}

/// The transport says what it is to the guest's drivers.
#[test]
fn over_pci_it_is_a_storage_device_with_the_modern_id() {
    use pci::device::PciDevice;
    let disk = TestDisk::with(&spec(), 2, false);
    let card = crate::transport::pci::VirtioCard::new(disk.block.clone(), &disk.machine.kit());
    let card = card.unwrap();
    let identity = card.identity();
    assert_eq!((identity.vendor, identity.device, identity.class), (0x1af4, 0x1042, 0x01_80_00));
    assert_eq!(card.id(), "test");
}
