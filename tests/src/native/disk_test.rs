//! Tests of what is read of images.

use super::*;

fn report_bytes() -> Vec<u8> {
    let numbers = 1..=NUMBERS as u64;
    let sum = numbers.clone().fold(u64::from_le_bytes(MARK), |sum, number| sum ^ number);
    let words = numbers.chain([sum]).flat_map(u64::to_le_bytes);
    let mut bytes: Vec<u8> = MARK.into_iter().chain(words).collect();
    bytes.resize(LEN as usize, 0);
    bytes
}

#[test]
fn a_report_is_taken_only_if_it_is_whole() {
    let mut bytes = report_bytes();
    let report = Report::of(&bytes).unwrap();
    assert_eq!((report.step, report.stray, report.ticks, report.sectors), (1, 6, 7, 12));
    assert!(!report.is_clean());
    // As if half of an older one were there still.
    bytes[16] ^= 1;
    assert_eq!(Report::of(&bytes), None);
    assert_eq!(Report::of(&[]), None);
}

#[test]
fn a_report_is_found_at_the_end_of_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::empty(folder.path().join("image"), 3 * LEN + 512).unwrap();
    assert_eq!(image.report().unwrap(), None);
    image.file.write_all_at(&report_bytes(), 2 * LEN).unwrap();
    assert_eq!(image.report().unwrap().map(|report| report.requests), Some(2));
    image.forget().unwrap();
    assert_eq!(image.report().unwrap(), None);
    assert_eq!(image.size().unwrap(), 3 * LEN + 512);
}

#[test]
fn an_image_is_the_same_past_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::empty(folder.path().join("image"), 3 * LEN).unwrap();
    image.file.write_all_at(&report_bytes(), 2 * LEN).unwrap();
    let image = image.past_cache().unwrap();
    assert_eq!(image.report().unwrap().map(|report| report.requests), Some(2));
    image.forget().unwrap();
    assert_eq!(image.report().unwrap(), None);
}

#[test]
fn a_digest_tells_words_and_their_order_apart() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::empty(folder.path().join("image"), 2 * SECTOR).unwrap();
    assert_eq!(image.digest(2).unwrap(), 0);
    let digest_of = |at: u64| {
        image.file.write_all_at(&[0; 2 * SECTOR as usize], 0).unwrap();
        image.file.write_all_at(&1u64.to_le_bytes(), at).unwrap();
        image.digest(2).unwrap()
    };
    assert_ne!(digest_of(0), digest_of(8));
    // The last word counts as it is, and is not in the first sector.
    assert_eq!(digest_of(2 * SECTOR - 8), add(0, 1));
    assert_eq!(image.digest(1).unwrap(), 0);
}

#[test]
fn each_step_that_was_told_is_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::empty(folder.path().join("image"), PARTS * SECTORS * SECTOR).unwrap();
    let write = |sector: u64, step: u64| {
        image.file.write_all_at(&sector_of(sector, step), sector * SECTOR).unwrap();
    };
    for step in 1..=70 {
        let from = step % PARTS * SECTORS;
        (from..from + SECTORS).for_each(|sector| write(sector, step));
    }
    assert_eq!(image.has_steps(70).unwrap(), 63);
    // The next step's part may be as it was, or half as it is to be.
    write(71 % PARTS * SECTORS + 5, 71);
    assert_eq!(image.has_steps(70).unwrap(), 63);
    assert!(image.has_steps(71).is_err());
    for (sector, step) in [(64, 1), (70 % PARTS * SECTORS + 63, 69)] {
        write(sector, step);
        let said = image.has_steps(70).unwrap_err().to_string();
        assert!(said.contains("is lost"), "{said}");
        write(sector, if step == 1 { 65 } else { 70 });
    }
    assert_eq!(image.has_steps(70).unwrap(), 63);
}
