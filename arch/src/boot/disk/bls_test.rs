//! Entries, and which of them is booted.

use super::super::samples::{self, Content, Mapping};
use super::super::source::{Budget, Region};
use super::*;
use Content::File;

fn volume_with<T>(files: &[(&str, &str)], look: impl FnOnce(&Volume) -> T) -> T {
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, File(text.as_bytes()))).collect();
    let disk = samples::ext4(&files, Mapping::Extents);
    let budget = Budget::default();
    look(&Volume::open(Region::whole(&disk, disk.len() as u64, &budget), None))
}

fn booted(files: &[(&str, &str)]) -> Option<Choice> {
    volume_with(files, |volume| boot(3, volume).unwrap())
}

#[test]
fn an_entry_is_read_as_the_specification_says() {
    let entry = parse(
        "6a9857a3-6.1+2-1",
        "# a comment\ntitle  Debian GNU/Linux\nversion 6.1\nmachine-id 6a9857a3\nsort-key debian\n\
         options  root=/dev/sda1 ro\noptions quiet\nlinux\t/6a9857a3/6.1/linux\n\
         initrd /ucode.cpio\ninitrd /6a9857a3/6.1/initrd\narchitecture X64\nfuture thing\n",
    );
    assert_eq!(entry.id, "6a9857a3-6.1");
    assert_eq!((&*entry.title, &*entry.version), ("Debian GNU/Linux", "6.1"));
    assert_eq!((&*entry.machine_id, &*entry.sort_key), ("6a9857a3", "debian"));
    assert_eq!(entry.options.as_deref(), Some("root=/dev/sda1 ro quiet"));
    assert_eq!(entry.initrds, ["/ucode.cpio", "/6a9857a3/6.1/initrd"]);
    assert!(!entry.is_bad);
    assert!(parse("a+0-3", "").is_bad);
    assert_eq!(parse("a+b", "").id, "a+b");
}

#[test]
fn the_newest_entry_is_booted_unless_the_loader_says_otherwise() {
    let old = ("/loader/entries/os-6.1.9.conf", "linux /old\noptions a");
    let new = ("/loader/entries/os-6.1.10.conf", "linux /new\ninitrd /i\noptions b");
    let choice = booted(&[old, new]).unwrap();
    assert_eq!((choice.volume, &*choice.kernel, &*choice.options), (3, "/new", "b"));
    assert_eq!(choice.initrds, [(3, "/i".to_owned())]);
    assert_eq!(choice.by, "/loader/entries/os-6.1.10.conf on the disk");
    for default in ["os-6.1.9", "os-6.1.9.conf", "*.9", "os-?.1.9*"] {
        let loader = format!("timeout 3\ndefault {default}\n");
        let choice = booted(&[old, new, ("/loader/loader.conf", &loader)]).unwrap();
        assert_eq!(choice.kernel, "/old", "{default}");
    }
    let loader = ("/loader/loader.conf", "default other-*\n");
    assert_eq!(booted(&[old, new, loader]).unwrap().kernel, "/new");
}

#[test]
fn what_is_for_others_or_has_failed_too_often_comes_last_or_not_at_all() {
    let arm = ("/loader/entries/z-9.conf", "linux /arm\narchitecture aa64");
    let tool = ("/loader/entries/z-8.conf", "efi /memtest.efi");
    let bad = ("/loader/entries/os-7+0-3.conf", "linux /bad");
    let good = ("/loader/entries/os-6.conf", "linux /good");
    assert_eq!(booted(&[arm, tool, bad, good]).unwrap().kernel, "/good");
    assert_eq!(booted(&[arm, tool, bad]).unwrap().kernel, "/bad");
    assert_eq!(booted(&[arm, tool]), None);
    assert_eq!(booted(&[]), None);
}

#[test]
fn entries_with_a_sort_key_come_first() {
    let keyed = ("/loader/entries/a.conf", "linux /keyed\nsort-key os\nversion 1");
    let newer = ("/loader/entries/b.conf", "linux /newer\nsort-key os\nversion 2");
    let plain = ("/loader/entries/z-99.conf", "linux /plain");
    assert_eq!(booted(&[keyed, newer, plain]).unwrap().kernel, "/newer");
}

#[test]
fn patterns_end_whatever_stars_they_have() {
    let stars = "*a".repeat(200);
    assert!(!is_like(&"a".repeat(150), &stars));
    assert!(is_like("", "*") && is_like("abc", "a*c") && !is_like("abc", "a*d"));
    assert!(!is_like("abc", "") && is_like("abc", "***"));
}
