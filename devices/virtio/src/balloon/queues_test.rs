//! Tests of a balloon's queues, one by one, as a driver uses them (virtio 1.2, 5.5.6).

use crate::balloon::{BalloonSpec, HINTING, HintStatus, REPORTING, STATISTICS};
use crate::device::VirtioDevice;
use crate::testing::balloon::{
    ALL, DEFLATE, HINT, INFLATE, REPORT, STATS, TestBalloon, everything,
};
use crate::testing::guest::{END, GAP, HIGH, SEAM};
use crate::testing::ring::{readable, writable};
use device_core::bus::Width;
use device_core::testing::TestReclaim;
use std::sync::Arc;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

fn page(at: u64) -> u32 {
    (at / PAGE) as u32
}

#[test]
fn pages_of_a_list_go_back_to_the_host_in_whole_ranges_and_read_as_zeroes() {
    let mut test = TestBalloon::new();
    let at = 2 * MIB;
    test.guest.write(at, &[7; 4 * PAGE as usize]);
    let pages = [page(at) + 2, page(HIGH), page(at), page(at) + 1];
    test.send_pages(INFLATE, &pages);
    assert_eq!(test.given_back(), [(at, 3 * PAGE), (HIGH, PAGE)]);
    assert_eq!(test.guest.read(at, 3 * PAGE as usize), [0; 3 * PAGE as usize]);
    assert_eq!(test.guest.read(at + 3 * PAGE, 1), [7], "a neighbour is left alone");
    assert_eq!(test.guest.queues[INFLATE].take().map(|(_, len)| len), Some(0));
    assert_eq!(test.guest.interrupts(INFLATE as u16), 1);
    assert_eq!(test.balloon.counters().inflated_bytes.get(), 4 * PAGE);
}

#[test]
fn a_long_list_in_many_pieces_is_taken_whole() {
    let mut test = TestBalloon::new();
    let pages: Vec<u32> = (0..2048).map(|nth| page(SEAM) + nth % 1024).collect();
    let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
    // A number may lie in two buffers (virtio 1.2, 2.7.4.2).
    let (one, two, three) = (
        test.guest.readable(&bytes[..1023]),
        test.guest.readable(&bytes[1023..1025]),
        test.guest.readable(&bytes[1025..]),
    );
    test.guest.queues[INFLATE].offer(&[one, two, three]);
    test.run(INFLATE);
    assert!(test.guest.queues[INFLATE].take().is_some());
    let given: u64 = test.given_back().iter().map(|(_, len)| len).sum();
    assert_eq!(given, 2048 * PAGE);
}

#[test]
fn pages_that_are_not_memory_are_refused_and_the_others_are_not() {
    let mut test = TestBalloon::new();
    let pages = [page(GAP), page(3 * MIB), page(END), u32::MAX, page(GAP) - 1 + 100];
    test.send_pages(INFLATE, &pages);
    assert_eq!(test.given_back(), [(3 * MIB, PAGE)]);
    assert_eq!(test.balloon.counters().refused.get(), 4);
    assert_eq!(test.guest.queues[INFLATE].take_all().len(), 1);
    assert_eq!(test.guest.notice.resets_asked(), 0);
}

#[test]
fn a_host_that_refuses_is_counted_and_the_guest_has_its_answer() {
    let mut test = TestBalloon::new();
    test.guest.machine.reclaim.refuse(true);
    test.send_pages(INFLATE, &[page(2 * MIB)]);
    test.send_free(REPORT, &[(2 * MIB, 0x1000)]);
    assert_eq!(test.balloon.counters().host_failures.get(), 2);
    assert_eq!(test.guest.queues[INFLATE].take_all().len(), 1);
    assert_eq!(test.guest.queues[REPORT].take_all().len(), 1);
}

#[test]
fn pages_that_come_out_need_nothing_but_an_answer() {
    let mut test = TestBalloon::new();
    test.guest.write(2 * MIB, &[7; 16]);
    test.send_pages(DEFLATE, &[page(2 * MIB), page(GAP), u32::MAX]);
    assert_eq!(test.given_back(), []);
    assert_eq!(test.guest.read(2 * MIB, 16), [7; 16]);
    assert_eq!(test.guest.queues[DEFLATE].take().map(|(_, len)| len), Some(0));
}

#[test]
fn chains_that_make_no_sense_come_back_and_do_nothing() {
    let mut test = TestBalloon::new();
    let at = test.guest.buffer(64);
    for (queue, chain) in [
        (INFLATE, vec![writable(at, 64)]),
        (INFLATE, vec![readable(GAP, 64)]),
        (INFLATE, vec![readable(at, 4), writable(at, 4)]),
        (DEFLATE, vec![readable(u64::MAX, 4)]),
        (REPORT, vec![readable(at, 64)]),
        (REPORT, vec![writable(2 * MIB, 0x1000), readable(at, 64)]),
        (HINT, vec![readable(at, 3)]),
        (HINT, vec![readable(at, 8), writable(2 * MIB, 0x1000)]),
        (STATS, vec![writable(at, 64)]),
    ] {
        test.guest.queues[queue].offer(&chain);
        test.run(queue);
        assert_eq!(test.given_back(), [], "{queue}: {chain:?}");
        assert!(queue == STATS || test.guest.queues[queue].take().is_some(), "{queue}: {chain:?}");
    }
    for queue in [INFLATE, REPORT] {
        test.guest.queues[queue].offer(&[readable(at, 0)]);
        test.run(queue);
        assert!(test.guest.queues[queue].take().is_some());
    }
    assert_eq!(test.balloon.counters().refused.get(), 9);
    assert_eq!(test.balloon.counters().bad_statistics.get(), 1);
    assert_eq!(test.guest.notice.resets_asked(), 0);
}

#[test]
fn free_pages_go_back_before_their_report_does() {
    let mut test = TestBalloon::new();
    test.guest.write(5 * MIB, &[7; 64]);
    test.send_free(REPORT, &[(5 * MIB, 2 << 20), (HIGH + MIB, 0x1000), (2 * MIB + 1, 0x1fff)]);
    // Of a range only whole pages.
    let given = [(5 * MIB, 2 * MIB), (HIGH + MIB, PAGE), (2 * MIB + PAGE, PAGE)];
    assert_eq!(test.given_back(), given);
    assert_eq!(test.guest.read(5 * MIB, 64), [0; 64]);
    assert_eq!(test.guest.queues[REPORT].take().map(|(_, len)| len), Some(0));
    assert_eq!(test.balloon.counters().reported_bytes.get(), 2 * MIB + 2 * PAGE);
}

#[test]
fn free_pages_outside_of_memory_are_refused_by_the_range() {
    let mut test = TestBalloon::new();
    test.send_free(REPORT, &[(GAP, 0x1000), (u64::MAX - 5, 0x1000), (6 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [(6 * MIB, PAGE)]);
    // A range so large that it is cut, and of which no part is memory but the first.
    test.send_free(REPORT, &[(HIGH, u32::MAX)]);
    assert_eq!(test.guest.queues[REPORT].take_all().len(), 2);
    assert!(test.balloon.counters().refused.get() > 2);
}

#[test]
fn a_guest_that_fills_its_free_pages_keeps_them() {
    let mut test = TestBalloon::new();
    test.balloon.write_config(12, Width::B4, 0xaaaa_aaaa);
    test.send_free(REPORT, &[(5 * MIB, 2 << 20)]);
    test.balloon.start_hinting(true).unwrap();
    test.say(2);
    test.send_free(HINT, &[(5 * MIB, 2 << 20)]);
    assert_eq!(test.given_back(), []);
    assert_eq!(test.guest.queues[REPORT].take_all().len(), 1);

    // Zeroes are what it would find.
    test.balloon.write_config(12, Width::B4, 0);
    test.send_free(REPORT, &[(5 * MIB, 2 << 20)]);
    assert_eq!(test.given_back(), [(5 * MIB, 2 * MIB)]);
}

#[test]
fn hints_are_acted_upon_in_the_run_that_was_asked_for_and_in_no_other() {
    let mut test = TestBalloon::new();
    test.send_free(HINT, &[(5 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [], "nobody asked");
    test.balloon.start_hinting(true).unwrap();
    assert_eq!(test.balloon.read_config(8, Width::B4), 2);
    assert_eq!(test.guest.notice.config_changes(), 1);
    test.send_free(HINT, &[(5 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [], "it was not begun");
    test.say(2);
    test.send_free(HINT, &[(5 * MIB, 0x1000), (6 * MIB, 0x2000)]);
    assert_eq!(test.given_back(), [(5 * MIB, PAGE), (6 * MIB, 2 * PAGE)]);
    test.say(0);
    let done = HintStatus { host_cmd: 1, guest_cmd: Some(0) };
    assert_eq!((test.balloon.hinting(), test.guest.notice.config_changes()), (Ok(done), 2));
    test.send_free(HINT, &[(5 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [], "it is over");
    assert_eq!(test.balloon.counters().hinted_bytes.get(), 3 * PAGE);
}

#[test]
fn a_run_that_was_stopped_takes_no_page_that_was_on_its_way() {
    let mut test = TestBalloon::new();
    test.balloon.start_hinting(false).unwrap();
    test.say(2);
    for nth in 0..8 {
        test.guest.queues[HINT].offer(&[writable(5 * MIB + nth * PAGE, 0x1000)]);
    }
    test.balloon.stop_hinting().unwrap();
    test.run(HINT);
    assert_eq!((test.given_back(), test.guest.queues[HINT].take_all().len()), (vec![], 9));
    let stopped = HintStatus { host_cmd: 1, guest_cmd: Some(2) };
    assert_eq!(test.balloon.hinting(), Ok(stopped));
}

fn report(entries: &[(u16, u64)]) -> Vec<u8> {
    let bytes = |(tag, value): &(u16, u64)| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
    entries.iter().flat_map(bytes).collect()
}

#[test]
fn the_guests_report_is_kept_until_the_next_is_wanted() {
    let mut test = TestBalloon::new();
    let at = test.guest.readable(&report(&[(4, 111), (5, 222)]));
    test.guest.queues[STATS].offer(&[at]);
    test.run(STATS);
    assert_eq!(test.guest.queues[STATS].take(), None, "it is kept");
    let told: Vec<_> = test.balloon.statistics().unwrap().iter().collect();
    assert_eq!(told, [("free_memory", 111), ("total_memory", 222)]);

    test.balloon.set_interval(9).unwrap();
    test.balloon.settle();
    let (_, len) = test.guest.queues[STATS].take().expect("a new interval asks for a report");
    assert_eq!((len, test.guest.interrupts(STATS as u16)), (0, 1));

    let at = test.guest.readable(&report(&[(4, 333)]));
    test.guest.queues[STATS].offer(&[at]);
    test.run(STATS);
    let told: Vec<_> = test.balloon.statistics().unwrap().iter().collect();
    assert_eq!(told, [("free_memory", 333)], "what it no longer tells is not known");
}

#[test]
fn of_several_reports_the_last_is_kept() {
    let mut test = TestBalloon::new();
    for value in 0..40 {
        let at = test.guest.readable(&report(&[(0, value)]));
        test.guest.queues[STATS].offer(&[at]);
    }
    test.run(STATS);
    assert_eq!(test.guest.queues[STATS].take_all().len(), 39);
    let told: Vec<_> = test.balloon.statistics().unwrap().iter().collect();
    assert_eq!(told, [("swap_in", 39)]);
}

#[test]
fn a_report_that_is_too_long_is_none() {
    let mut test = TestBalloon::new();
    let at = test.guest.readable(&vec![0; 2561]);
    test.guest.queues[STATS].offer(&[at]);
    test.run(STATS);
    assert_eq!(test.balloon.counters().bad_statistics.get(), 1);
    assert_eq!(test.balloon.statistics().unwrap().iter().count(), 0);
}

#[test]
fn queues_of_what_was_not_negotiated_have_no_number() {
    let mut test = TestBalloon::with(&everything(), 5);
    test.start(REPORTING);
    test.send_free(2, &[(5 * MIB, 0x1000)]);
    assert_eq!(test.given_back(), [(5 * MIB, PAGE)], "the third queue is that of reports");
    // The others are there and nobody looks at them.
    test.send_free(3, &[(5 * MIB, 0x1000)]);
    assert_eq!((test.given_back(), test.guest.queues[3].take()), (vec![], None));
    assert_eq!(test.balloon.unplug().len(), 5);
    test.balloon.reset();
    test.guest.new_rings(5, false);
    test.start(STATISTICS | HINTING);
    test.balloon.start_hinting(true).unwrap();
    let said = test.guest.readable(&2u32.to_le_bytes());
    test.guest.queues[3].offer(&[said]);
    test.run(3);
    assert_eq!(test.balloon.hinting().unwrap().guest_cmd, Some(2));
}

#[test]
fn with_larger_pages_of_the_host_a_page_goes_back_when_all_of_it_is_in_the_balloon() {
    let mut test = TestBalloon::with(&BalloonSpec::default(), 2);
    test.guest.machine.reclaim = Arc::new(TestReclaim::new(&test.guest.memory, 2 * MIB));
    let reclaim = test.guest.machine.reclaim.clone();
    let kit_reclaim: Arc<dyn device_core::reclaim::Reclaim> = reclaim;
    let kit = device_core::device::Kit { reclaim: &kit_reclaim, ..test.guest.machine.kit() };
    test.balloon = crate::balloon::Balloon::build(&BalloonSpec::default(), &kit);
    test.start(ALL & !(STATISTICS | HINTING | REPORTING));
    let pages: Vec<u32> = (0..512).map(|nth| page(SEAM) + nth).collect();
    test.send_pages(INFLATE, &pages[..256]);
    test.send_pages(INFLATE, &pages[256..511]);
    test.send_pages(INFLATE, &[page(GAP), u32::MAX]);
    assert_eq!(test.given_back(), []);
    test.send_pages(INFLATE, &pages[511..]);
    assert_eq!(test.given_back(), [(SEAM, 2 * MIB)]);
    test.send_pages(DEFLATE, &pages[..1]);
    test.send_pages(INFLATE, &pages[..1]);
    assert_eq!(test.given_back(), [(SEAM, 2 * MIB)], "it was in use between");
}
