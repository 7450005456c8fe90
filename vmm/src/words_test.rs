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
    all
}

#[test]
fn every_surface_has_a_word_of_its_own_for_each_setting() {
    let ids = ["a".to_string(), "b".to_string()];
    type Word<'a> = &'a dyn Fn(&Setting) -> String;
    let words: [(&str, Word); 3] = [
        ("--", &Setting::option),
        ("", &Setting::field),
        ("", &|setting: &Setting| setting.place(&ids)),
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
    assert_eq!(mac.place(&["a".into(), "b".into()]), "network-interfaces[1].guest_mac");
    let card = Setting::Card("b".into(), None);
    assert_eq!(card.field(), "network-interfaces/b");
    assert_eq!(card.place(&["b".into()]), "network-interfaces[0]");
    assert_eq!(Setting::Kernel.place(&[]), "boot-source.kernel_image_path");
    assert_eq!(Setting::Serial.place(&[]), "serial");
}
