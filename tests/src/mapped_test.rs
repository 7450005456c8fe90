//! Tests of tables for the device mapper.

use super::*;

fn table(rams: &[u8], way: Way) -> Vec<String> {
    // Never made, and so never removed.
    let made = std::mem::ManuallyDrop::new(Mapped { name: "x".to_owned(), rams: rams.to_vec() });
    made.table(&way).lines().map(str::to_owned).collect()
}

#[test]
fn ram_disks_follow_each_other() {
    let expected = ["0 32768 linear /dev/ram4 0", "32768 32768 linear /dev/ram2 0"];
    assert_eq!(table(&[4, 2], Way::Whole), expected);
}

#[test]
fn sectors_that_fail_are_cut_out() {
    let expected = ["0 100 linear /dev/ram0 0", "100 8 error", "108 32660 linear /dev/ram0 108"];
    assert_eq!(table(&[0], Way::Fails(100..108)), expected);
    let expected = [
        "0 32000 linear /dev/ram0 0",
        "32000 768 error",
        "32768 232 error",
        "33000 32536 linear /dev/ram1 232",
    ];
    assert_eq!(table(&[0, 1], Way::Fails(32000..33000)), expected);
    assert_eq!(table(&[0], Way::Fails(0..32768)), ["0 32768 error"]);
}

#[test]
fn what_drops_writes_is_always_down() {
    let expected = ["0 32768 flakey /dev/ram7 0 0 3600 1 drop_writes"];
    assert_eq!(table(&[7], Way::Drops), expected);
}
