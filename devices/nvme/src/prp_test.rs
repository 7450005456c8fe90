//! PRP entries and lists against a plain model (N63 to N67).

use device_core::testing::ram_at;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const LIST: u64 = 0x1_0000;
const DATA: u64 = 0x10_0000;

fn memory() -> GuestRam {
    ram_at(&[(0, 0x80_0000), (0x100_0000, 0x10_0000)])
}

fn pieces(prps: [u64; 2], len: u32, memory: &GuestRam) -> Result<Vec<(u64, u32)>, Status> {
    let mut pieces = Vec::new();
    walk(prps, len, memory, &mut |at, len| {
        pieces.push((at, len));
        Ok(())
    })?;
    Ok(pieces)
}

fn store(memory: &GuestRam, at: u64, entries: &[u64]) {
    for (at, entry) in (at..).step_by(8).zip(entries) {
        memory.write_obj(entry.to_le(), GuestAddress(at)).unwrap();
    }
}

/// Lays out entries for pages from a list at `at` on, whose followers are at the pages of `links`.
fn lay_out(memory: &GuestRam, at: u64, pages: &[u64], mut links: impl Iterator<Item = u64>) {
    let (mut at, mut pages) = (at, pages);
    loop {
        let slots = ((4096 - at % 4096) / 8) as usize;
        if pages.len() <= slots {
            return store(memory, at, pages);
        }
        let (now, later) = pages.split_at(slots - 1);
        store(memory, at, now);
        let next = links.next().unwrap();
        store(memory, at + 8 * (slots as u64 - 1), &[next]);
        (at, pages) = (next, later);
    }
}

proptest! {
    #[test]
    fn n63_and_n64_every_shape_leads_to_the_pages_it_names(
        offset in prop::sample::select(vec![0u64, 4, 8, 512, 2048, 4092]),
        blocks in 1u32..=512,
        list_offset in prop::sample::select(vec![0u64, 8, 0x100, 0xf00, 0xff0, 0xff8]),
        numbers in prop::collection::vec(0u64..1024, 65),
    ) {
        let memory = memory();
        let len = blocks * 512;
        let pages: Vec<u64> = numbers.iter().map(|number| DATA + number * 4096).collect();
        let first = pages[0] + offset;
        let to_end = (4096 - offset) as u32;
        let needed = len.saturating_sub(to_end).div_ceil(4096) as usize;
        let second = match needed {
            0 => 0xdead_beef_dead_beef,
            1 => pages[1],
            _ => {
                let at = LIST + list_offset;
                lay_out(&memory, at, &pages[1..=needed], (LIST + 4096..).step_by(4096));
                at
            }
        };
        let mut expected: Vec<u64> = (first..).take(len.min(to_end) as usize).collect();
        let mut left = len.saturating_sub(to_end) as usize;
        for page in &pages[1..=needed] {
            expected.extend((*page..).take(left.min(4096)));
            left = left.saturating_sub(4096);
        }
        let found: Vec<u64> = pieces([first, second], len, &memory)
            .unwrap()
            .into_iter()
            .flat_map(|(at, len)| (at..).take(len as usize))
            .collect();
        prop_assert!(found == expected);
    }

    #[test]
    fn n67_whatever_is_in_a_list_the_walk_ends_within_its_bytes(
        first in any::<u64>(),
        second in prop::sample::select(vec![LIST, LIST + 0xff8, 0xff_fff8, 0x80_0000, 3, LIST + 4]),
        len in 0u32..=MAX_TRANSFER,
        entries in prop::collection::vec(
            prop::sample::select(vec![LIST, LIST + 4096, DATA, DATA + 8, u64::MAX, !0xfff]),
            1024,
        ),
    ) {
        let memory = memory();
        store(&memory, LIST, &entries);
        if let Ok(pieces) = pieces([first & !3, second], len, &memory) {
            prop_assert_eq!(pieces.iter().map(|(_, len)| *len).sum::<u32>(), len);
        }
    }
}

#[test]
fn n24_the_second_entry_is_ignored_where_it_is_not_needed() {
    let memory = memory();
    assert_eq!(pieces([DATA, 3], 4096, &memory), Ok(vec![(DATA, 4096)]));
    assert_eq!(pieces([DATA + 4092, u64::MAX], 4, &memory), Ok(vec![(DATA + 4092, 4)]));
}

#[test]
fn n25_and_n66_offsets_where_none_may_be_are_refused() {
    let memory = memory();
    for first in [1, 2, 3] {
        assert_eq!(pieces([DATA + first, 0], 512, &memory), Err(Status::PRP_OFFSET));
    }
    assert_eq!(pieces([DATA, DATA + 4104], 8192, &memory), Err(Status::PRP_OFFSET));
    store(&memory, LIST, &[DATA + 4096, DATA + 8200]);
    assert_eq!(pieces([DATA, LIST], 3 * 4096, &memory), Err(Status::PRP_OFFSET));
}

#[test]
fn n65_lists_that_cannot_be_are_refused_and_loops_end() {
    let memory = memory();
    assert_eq!(pieces([DATA, LIST + 4], 3 * 4096, &memory), Err(Status::PRP_OFFSET));
    assert_eq!(pieces([DATA, 0x80_0000], 3 * 4096, &memory), Err(Status::DATA_TRANSFER));
    // The list's end leads to its beginning, again and again.
    store(&memory, LIST + 0xfe0, &[DATA, DATA + 8192, DATA, LIST]);
    store(&memory, LIST, &[DATA; 64]);
    let found = pieces([DATA, LIST + 0xfe0], MAX_TRANSFER, &memory).unwrap();
    assert_eq!(found.iter().map(|(_, len)| len).sum::<u32>(), MAX_TRANSFER);
    // One that leads into the middle of a page.
    store(&memory, LIST + 0xff8, &[LIST + 8]);
    assert_eq!(pieces([DATA, LIST + 0xff8], 3 * 4096, &memory), Err(Status::PRP_OFFSET));
}

#[test]
fn neighbouring_pages_are_one_piece() {
    let memory = memory();
    let pages: Vec<u64> = (1..64).map(|n| DATA + n * 4096).collect();
    store(&memory, LIST, &pages);
    assert_eq!(pieces([DATA, LIST], MAX_TRANSFER, &memory), Ok(vec![(DATA, MAX_TRANSFER)]));
}

#[test]
fn data_is_copied_over_pages_and_never_from_outside_of_memory() {
    let memory = memory();
    let bytes: Vec<u8> = (0..6000u32).map(|n| n as u8).collect();
    let prps = [DATA + 0xf00, LIST];
    store(&memory, LIST, &[DATA + 0x8000, DATA + 0x4000]);
    write(prps, &bytes, &memory).unwrap();
    let mut read_back = vec![0; 6000];
    read(prps, &mut read_back, &memory).unwrap();
    assert_eq!(read_back, bytes);
    assert_eq!(write([0x80_0000, 0], &bytes[..8], &memory), Err(Status::DATA_TRANSFER));
    assert_eq!(read([!3, 0], &mut read_back[..8], &memory), Err(Status::DATA_TRANSFER));
}
