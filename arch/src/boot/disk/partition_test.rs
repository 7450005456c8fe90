//! Tables as they are written, and as they are damaged.

use proptest::prelude::*;

use super::super::samples::{self, ESP as ESP_KIND, FIRST_SECTOR, LINUX, partuuid};
use super::super::source::Budget;
use super::*;

fn read(disk: &[u8]) -> Result<Partitions, ReadError> {
    partitions(&Region::whole(&disk.to_vec(), disk.len() as u64, &Budget::default()))
}

fn places(found: &Partitions) -> Vec<(u32, u64, u64)> {
    found.list.iter().map(|part| (part.number, part.start, part.len)).collect()
}

const START: u64 = FIRST_SECTOR as u64 * SECTOR;

#[test]
fn a_gpt_says_where_its_partitions_are_and_which_is_the_esp() {
    let disk = samples::gpt(&[(LINUX, 1, &[1; 4096]), (ESP_KIND, 15, &[2; 1024])]);
    let found = read(&disk).unwrap();
    assert_eq!(places(&found), [(1, START, 4096), (15, START + 4096, 1024)]);
    assert_eq!(found.list.iter().map(|part| part.is_esp).collect::<Vec<_>>(), [false, true]);
    assert_eq!(found.list[0].uuid, partuuid(1));
    assert_eq!(found.list[0].table, Table::Gpt);
    assert!(!found.from_backup);
}

#[test]
fn a_damaged_gpt_is_taken_from_its_backup() {
    let whole = samples::gpt(&[(LINUX, 1, &[1; 4096])]);
    for at in [512, 512 + 16, 512 + 72, 1024, 1024 + 40] {
        let mut disk = whole.clone();
        disk[at] ^= 1;
        let found = read(&disk).unwrap();
        assert!(found.from_backup, "{at}");
        assert_eq!(places(&found), [(1, START, 4096)]);
    }
}

#[test]
fn a_disk_that_has_grown_keeps_its_partitions() {
    let mut disk = samples::gpt(&[(LINUX, 1, &[1; 4096])]);
    disk.resize(disk.len() + (1 << 20), 0);
    assert_eq!(places(&read(&disk).unwrap()), [(1, START, 4096)]);
}

#[test]
fn a_gpt_without_a_whole_copy_is_refused_with_a_reason() {
    let mut disk = samples::gpt(&[(LINUX, 1, &[1; 4096])]);
    disk[1024] ^= 1;
    let end = disk.len() - 512;
    disk[end + 20] ^= 1;
    let error = read(&disk).unwrap_err().to_string();
    assert_eq!(error, "neither of its two partition tables (GPT) is whole");
}

#[test]
fn blocks_of_4_kib_are_known() {
    // The same table, with everything eight times as far.
    let small = samples::gpt(&[(LINUX, 1, &[1; 4096])]);
    let blocks = small.len() / 512;
    let mut disk = vec![0; blocks * 4096];
    disk[..512].copy_from_slice(&small[..512]);
    disk[4096..][..512].copy_from_slice(&small[512..][..512]);
    disk[2 * 4096..][..128 * 128].copy_from_slice(&small[1024..][..128 * 128]);
    assert_eq!(places(&read(&disk).unwrap()), [(1, START * 8, 4096 * 8)]);
}

#[test]
fn an_mbr_has_primary_and_logical_partitions() {
    let parts: Vec<(u8, &[u8])> = vec![
        (0x83, &[1; 512]),
        (0xEF, &[2; 1024]),
        (0x82, &[3; 512]),
        (0x83, &[4; 512]),
        (0x83, &[5; 512]),
    ];
    let found = read(&samples::mbr(&parts)).unwrap();
    assert_eq!(found.list.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
    assert!(found.list[1].is_esp && !found.list[0].is_esp);
    assert_eq!(found.list[4].uuid, "c0ffee01-06");
    let disk = samples::mbr(&parts);
    for (nth, part) in found.list.iter().enumerate() {
        assert_eq!(usize::from(disk[part.start as usize]), nth + 1);
    }
}

#[test]
fn a_chain_of_logical_partitions_that_bites_its_tail_ends() {
    let parts: Vec<(u8, &[u8])> = vec![(0x83, &[1; 512]); 6];
    let mut disk = samples::mbr(&parts);
    let second = read(&disk).unwrap().list[4].start as usize - 512;
    // The link of the second leads to the first.
    disk[second + 446 + 16 + 8..][..4].fill(0);
    disk[second + 446 + 16 + 4] = 5;
    disk[second + 446 + 16 + 12] = 1;
    let found = read(&disk).unwrap();
    assert!(found.list.len() <= 3 + MOST_LOGICAL as usize);
}

#[test]
fn boot_code_is_no_table_and_neither_is_nothing() {
    assert!(read(&[]).unwrap().list.is_empty());
    assert!(read(&[0; 4096]).unwrap().list.is_empty());
    let mut code = [0x90; 512];
    code[510..].copy_from_slice(&[0x55, 0xAA]);
    assert!(read(&code).unwrap().list.is_empty());
}

proptest! {
    #[test]
    fn every_partition_begins_on_the_disk_whatever_the_table_says(
        is_gpt: bool,
        changes in prop::collection::vec((0usize..2048, any::<u8>()), 0..24),
    ) {
        let mut disk = match is_gpt {
            true => samples::gpt(&[(LINUX, 1, &[1; 4096]), (ESP_KIND, 2, &[1; 512])]),
            false => samples::mbr(&[(0x83, [1; 512].as_slice()); 6]),
        };
        for (at, value) in changes {
            disk[at] = value;
        }
        if let Ok(found) = read(&disk) {
            for part in found.list {
                prop_assert!(part.start < disk.len() as u64);
            }
        }
    }
}
