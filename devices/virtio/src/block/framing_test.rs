//! Tests of how a request may be cut into buffers, and of chains that are no request (B30 to B49).

use block::spec::DiskSpec;

use crate::device::VirtioDevice;
use crate::ring::Buffer;
use crate::testing::disk::{
    FLUSH, GAP, HIGH, IN, INDIRECT, IOERR, OK, OUT, SEAM, SIZE, TestDisk, UNTOUCHED, USUAL, pattern,
};
use crate::testing::ring::{Descriptor, INDIRECT as TABLE, NEXT, WRITE, readable, writable};

/// The status of a chain of any shape that ends with one, and what the disk says it wrote.
fn answered(disk: &mut TestDisk, head: &[Buffer]) -> (u8, u32) {
    let status = disk.status();
    let mut chain = head.to_vec();
    chain.push(writable(status, 1));
    let len = disk.chain(&chain);
    (disk.read(status, 1)[0], len)
}

#[test]
fn b30_the_header_may_be_cut_anywhere() {
    let mut disk = TestDisk::new();
    disk.stage.write(512, &pattern(512, 1));
    let (header, at) = (disk.header(IN, 1), disk.buffer(512));
    for cuts in [vec![8, 8], vec![1; 16], vec![15, 0, 1], vec![0, 16]] {
        disk.write(at, &[0; 512]);
        let mut from = header;
        let mut chain: Vec<Buffer> = Vec::new();
        for cut in cuts {
            chain.push(readable(from, cut));
            from += u64::from(cut);
        }
        chain.push(writable(at, 512));
        assert_eq!(answered(&mut disk, &chain), (OK, 513));
        assert_eq!(disk.read(at, 512), pattern(512, 1));
    }
}

#[test]
fn b31_header_and_data_or_data_and_status_may_be_one_buffer() {
    let mut disk = TestDisk::new();
    let out = disk.header(OUT, 2);
    let at = disk.buffer(512);
    assert_eq!(at, out + 64);
    // Header at the end of one block of 64, data right behind.
    let header = disk.read(out, 16);
    disk.write(at - 16, &header);
    disk.write(at, &pattern(512, 4));
    assert_eq!(answered(&mut disk, &[readable(at - 16, 528)]), (OK, 1));
    assert_eq!(disk.stage.read(1024, 512), pattern(512, 4));

    let (header, room) = (disk.header(IN, 2), disk.buffer(513));
    disk.write(room + 512, &[UNTOUCHED]);
    assert_eq!(disk.chain(&[readable(header, 16), writable(room, 513)]), 513);
    assert_eq!(disk.read(room, 512), pattern(512, 4));
    assert_eq!(disk.read(room + 512, 1), [OK]);
    assert_eq!(disk.chain(&[readable(header, 16), writable(room, 513), writable(room, 0)]), 513);
}

#[test]
fn b32_a_request_of_many_pieces_is_one_request() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(255 * 1024);
    let pieces: Vec<_> = (0..255).map(|nth| readable(at + nth * 1024, 512)).collect();
    disk.write(at, &pattern(255 * 1024, 2));
    assert_eq!(disk.one(OUT, 0, &pieces), (OK, 1));
    for nth in [0, 100, 254] {
        let wanted = &pattern(255 * 1024, 2)[nth * 1024..][..512];
        assert_eq!(disk.stage.read(nth as u64 * 512, 512), wanted);
    }
    assert_eq!(disk.stage.asked().len(), 1);
}

#[test]
fn b33_b35_buffers_may_go_over_a_seam_of_memory_but_not_into_a_gap() {
    let mut disk = TestDisk::new();
    disk.stage.write(0, &pattern(4096, 1));
    for at in [GAP - 4096, SEAM - 2048, SEAM - 4096, SEAM, HIGH] {
        assert_eq!(disk.one(IN, 0, &[writable(at, 4096)]), (OK, 4097), "{at:#x}");
        assert_eq!(disk.read(at, 4096), pattern(4096, 1), "{at:#x}");
    }
    for at in [GAP - 512, GAP, HIGH - 512, u64::MAX - 100, u64::MAX - 1023] {
        assert_eq!(disk.one(IN, 0, &[writable(at, 1024)]), (IOERR, 1), "{at:#x}");
        assert_eq!(disk.one(OUT, 0, &[readable(at, 1024)]), (IOERR, 1), "{at:#x}");
    }
    assert_eq!(disk.stage.read(0, 4096), pattern(4096, 1));
}

#[test]
fn b36_what_is_read_comes_before_what_is_written() {
    let mut disk = TestDisk::new();
    let (header, at) = (disk.header(OUT, 0), disk.buffer(512));
    let chain = [readable(header, 16), writable(at, 1), readable(at, 512)];
    assert_eq!(answered(&mut disk, &chain), (IOERR, 1));
    assert_eq!(disk.stage.asked(), []);
    assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
}

#[test]
fn b37_b38_a_chain_without_a_place_for_its_status_comes_back_empty() {
    let mut disk = TestDisk::new();
    let (header, at) = (disk.header(OUT, 0), disk.buffer(512));
    assert_eq!(disk.chain(&[readable(header, 16), readable(at, 512)]), 0);
    assert_eq!(disk.chain(&[readable(header, 16), writable(at, 0)]), 0);
    for status in [GAP, GAP + 5, u64::MAX] {
        let chain = [readable(header, 16), readable(at, 512), writable(status, 1)];
        assert_eq!(disk.chain(&chain), 0);
        assert_eq!(disk.chain(&[readable(header, 16), writable(at, 512), writable(status, 1)]), 0);
    }
    assert_eq!(disk.stage.asked(), []);
    assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1), "those behind it are served");
}

#[test]
fn b39_b40_a_request_has_a_whole_header() {
    let mut disk = TestDisk::new();
    let (header, at) = (disk.header(FLUSH, 0), disk.buffer(512));
    assert_eq!(answered(&mut disk, &[writable(at, 16)]), (IOERR, 1));
    assert_eq!(answered(&mut disk, &[]), (IOERR, 1));
    assert_eq!(answered(&mut disk, &[readable(header, 15)]), (IOERR, 1));
    assert_eq!(answered(&mut disk, &[readable(header, 8), readable(header + 8, 7)]), (IOERR, 1));
    assert_eq!(answered(&mut disk, &[readable(GAP, 16)]), (IOERR, 1));
    assert_eq!(answered(&mut disk, &[readable(GAP - 8, 16)]), (IOERR, 1));
    assert_eq!(disk.stage.asked(), []);
}

#[test]
fn b41_data_is_whole_sectors_and_goes_the_right_way() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(1024);
    for len in [0, 1, 511, 513, 1023] {
        assert_eq!(disk.one(IN, 0, &[writable(at, len)]), (IOERR, 1), "{len}");
        assert_eq!(disk.one(OUT, 0, &[readable(at, len)]), (IOERR, 1), "{len}");
    }
    assert_eq!(disk.one(IN, 0, &[readable(at, 512)]), (IOERR, 1));
    assert_eq!(disk.one(OUT, 0, &[writable(at, 512)]), (IOERR, 1));
    assert_eq!(disk.stage.asked(), []);
}

#[test]
fn b42_b43_data_may_fall_on_anything_of_the_drivers_own() {
    let mut disk = TestDisk::new();
    disk.stage.write(0, &pattern(4096, 1));
    let (header, status) = (disk.header(IN, 0), disk.status());
    let chain = [readable(header, 16), writable(header, 512), writable(status, 1)];
    assert_eq!(disk.chain(&chain), 513);
    assert_eq!((disk.read(header, 16), disk.read(status, 1)), (pattern(16, 1), vec![OK]));

    let (header, page) = (disk.header(IN, 0), disk.buffer(8192).next_multiple_of(4096));
    disk.chain(&[readable(header, 16), writable(page, 4096), writable(page + 8, 1)]);
    assert_eq!(disk.read(page + 8, 1), [OK], "the status is written last");

    // What the rings hold then is anybody's guess; but the disk lives.
    for place in [disk.queues[0].available, disk.queues[0].used, disk.queues[0].descriptors] {
        let mut disk = TestDisk::new();
        disk.stage.write(0, &pattern(4096, 1));
        disk.offer(0, IN, 0, &[writable(place, 4096)]);
        disk.run(0);
        disk.block.settle();
        assert_eq!(disk.block.unplug().len(), 1);
        disk.block.reset();
        disk.new_rings(1, 256, false);
        disk.start(USUAL);
        assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1));
    }
}

#[test]
fn b44_as_many_pieces_as_fit_may_be_of_one_page() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(4096);
    disk.write(at, &pattern(512, 1));
    assert_eq!(disk.one(OUT, 0, &[readable(at, 512); 1000]), (OK, 1));
    assert_eq!(disk.stage.read(999 * 512, 512), pattern(512, 1));
    assert_eq!(disk.one(IN, 0, &[writable(at, 512); 1000]), (OK, 512_001));
}

#[test]
fn b45_more_data_than_any_driver_sends_is_refused() {
    let mut disk = TestDisk::new();
    let data = [writable(0, GAP as u32); 600];
    assert_eq!(disk.one(IN, 0, &data), (IOERR, 1));
    assert_eq!(disk.one(IN, 0, &[writable(0x40_0000, (SIZE as u32) + 512)]), (IOERR, 1));
    assert_eq!(disk.stage.asked(), []);
}

#[test]
fn b46_b47_chains_that_are_none_come_back_empty_and_the_queue_lives() {
    let mut disk = TestDisk::new();
    let at = disk.buffer(4096);
    let table = |len| Descriptor { addr: at, len, flags: TABLE, next: 0 };
    let inner = Descriptor { addr: at, len: 16, flags: TABLE, next: 0 };
    disk.write(at, &[0; 16]);
    let looped = Descriptor { addr: at, len: 16, flags: NEXT, next: 40 };
    for (first, inside) in [
        (table(0), None),
        (table(15), None),
        (table(16 * 1025), None),
        (Descriptor { flags: TABLE | NEXT, next: 1, ..table(16) }, None),
        (table(16), Some(inner)),
        (looped, None),
        (Descriptor { next: 256, ..looped }, None),
        (Descriptor { next: 65535, flags: NEXT | WRITE, ..looped }, None),
        (Descriptor { addr: GAP, ..table(16) }, None),
    ] {
        let mut raw = [0; 16];
        if let Some(Descriptor { addr, len, flags, next }) = inside {
            raw[..8].copy_from_slice(&addr.to_le_bytes());
            raw[8..12].copy_from_slice(&len.to_le_bytes());
            raw[12..14].copy_from_slice(&flags.to_le_bytes());
            raw[14..].copy_from_slice(&next.to_le_bytes());
        }
        disk.write(at, &raw);
        // The descriptor is written behind the driver's back, under a head that it knows.
        let head = disk.queues[0].offer(&[readable(at, 16)]);
        let first = if first.next == 40 { Descriptor { next: head, ..first } } else { first };
        disk.queues[0].write_descriptor(head, first);
        disk.run(0);
        let used = disk.queues[0].take();
        assert!(matches!(used, Some((back, 0)) if back == head), "{first:?}: {used:?}");
        assert_eq!(disk.one(FLUSH, 0, &[]), (OK, 1), "{first:?}");
    }
    assert_eq!(disk.notice.resets_asked(), 0);
}

#[test]
fn b48_a_ring_that_makes_no_sense_is_given_up_and_the_others_live() {
    for wild in [false, true] {
        let mut disk = TestDisk::with(&DiskSpec::on("test", "memory"), 2, false);
        disk.start(USUAL);
        match wild {
            true => disk.queues[0].set_available(300),
            false => disk.queues[0].offer_head(256),
        }
        disk.queues[0].force_kick();
        disk.block.settle();
        assert_eq!((disk.notice.resets_asked(), disk.count("guest_faults")), (1, 1));
        let offer = disk.offer(1, FLUSH, 0, &[]);
        disk.run(1);
        assert_eq!(disk.queues[1].take(), Some((offer.head, 1)));
        disk.queues[0].force_kick();
        disk.block.settle();
        assert_eq!(disk.notice.resets_asked(), 1);
        assert_eq!(disk.block.unplug().len(), 2);
    }
}

#[test]
fn b49_a_chain_that_is_offered_twice_breaks_the_ring_and_completes_once() {
    let mut disk = TestDisk::new();
    disk.stage.hold();
    let at = disk.buffer(512);
    let offer = disk.offer(0, IN, 0, &[writable(at, 512)]);
    disk.run(0);
    disk.queues[0].offer_head(offer.head);
    disk.run(0);
    disk.queues[0].force_kick();
    disk.block.settle();
    assert_eq!((disk.stage.held(), disk.notice.resets_asked()), (1, 0));
    disk.stage.release(0);
    disk.block.settle();
    assert_eq!(disk.queues[0].take(), Some((offer.head, 513)));
    assert_eq!(disk.queues[0].take(), None);
    assert_eq!(disk.notice.resets_asked(), 1);

    // One that came back may be offered again.
    let mut disk = TestDisk::new();
    let at = disk.buffer(512);
    assert_eq!(disk.one(IN, 0, &[writable(at, 512)]), (OK, 513));
    assert_eq!(disk.one(IN, 0, &[writable(at, 512)]), (OK, 513));
    assert_eq!(disk.block.features() & INDIRECT, 0, "that is the transport's");
}
