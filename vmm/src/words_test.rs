//! Tests of words: each setting has some on every surface, and no two share them.

use std::collections::HashSet;

use super::*;

fn all() -> Vec<Setting> {
    use Setting::*;
    let mut all = vec![
        Kernel,
        Initrd,
        Cmdline,
        Cpus,
        Memory,
        HugePages,
        Serial,
        LogFile,
        MetricsFile,
        Card("b".into(), None),
    ];
    all.extend(Key::ALL.map(|(key, _)| Card("b".into(), Some(key))));
    all.push(Disk("b".into(), None));
    all.extend(DiskKey::ALL.map(|(key, _)| Disk("b".into(), Some(key))));
    all
}

fn listed(cards: &[&str], disks: &[&str]) -> Listed {
    let ids = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect();
    Listed { cards: ids(cards), disks: ids(disks), ..Listed::default() }
}

#[test]
fn every_surface_has_a_word_of_its_own_for_each_setting() {
    let listed = listed(&["a", "b"], &["c", "b"]);
    type Word<'a> = &'a dyn Fn(&Setting) -> String;
    use Setting::{Card, Disk};
    let words: [(&str, Word); 3] = [
        ("--", &Setting::option),
        // Cards and disks have bodies of their own.
        ("", &|setting: &Setting| match setting {
            Card(..) => format!("card {}", setting.field()),
            Disk(..) => format!("disk {}", setting.field()),
            _ => setting.field(),
        }),
        ("", &|setting: &Setting| setting.place(&listed)),
    ];
    for (start, word) in words {
        let words: HashSet<_> = all().iter().map(word).collect();
        assert_eq!(words.len(), all().len());
        assert!(words.iter().all(|word| word.starts_with(start) && !word.ends_with(['.', ':'])));
    }
}

#[test]
fn a_card_is_named_by_its_id_or_its_place() {
    let mac = Setting::Card("b".into(), Some(Key::Mac));
    assert_eq!(mac.option(), "--net: card \"b\": mac");
    assert_eq!(mac.field(), "guest_mac");
    assert_eq!(mac.place(&listed(&["a", "b"], &[])), "network-interfaces[1].guest_mac");
    let card = Setting::Card("b".into(), None);
    assert_eq!(card.field(), "network-interfaces/b");
    assert_eq!(card.place(&listed(&["b"], &[])), "network-interfaces[0]");
    assert_eq!(Setting::Kernel.place(&Listed::default()), "boot-source.kernel_image_path");
    assert_eq!(Setting::Serial.place(&Listed::default()), "serial");
}

#[test]
fn a_disk_is_named_by_its_id_or_its_place() {
    let serial = Setting::Disk("b".into(), Some(DiskKey::Serial));
    assert_eq!(serial.option(), "--disk: disk \"b\": serial");
    assert_eq!(serial.field(), "serial");
    assert_eq!(serial.place(&listed(&["b"], &["a", "b"])), "drives[1].serial");
    let path = Setting::Disk("b".into(), Some(DiskKey::Path));
    assert_eq!(
        (path.option().as_str(), path.field().as_str()),
        ("--disk: disk \"b\": path", "path_on_host")
    );
    assert_eq!(Setting::Disk("b".into(), None).field(), "drives/b");
    assert_eq!(Setting::Disk("b".into(), None).place(&listed(&[], &["b"])), "drives[0]");
}
