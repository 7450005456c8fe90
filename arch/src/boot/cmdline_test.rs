//! What a command line may hold.

use super::*;

#[test]
fn ascii_is_taken_as_it_is() {
    let line = Cmdline::new("console=ttyS0  x=\"a b\" -- single").unwrap();
    assert_eq!(line.as_str(), "console=ttyS0  x=\"a b\" -- single");
    assert_eq!(line.to_bytes_with_nul().last(), Some(&0));
    assert_eq!(line.to_bytes_with_nul().len() as u64, line.len() + 1);
}

#[test]
fn nul_and_other_alphabets_are_refused_with_their_place() {
    assert_eq!(Cmdline::new("a\0b"), Err(CmdlineError::Nul { at: 1 }));
    assert_eq!(Cmdline::new("quiet é"), Err(CmdlineError::NotAscii { character: 'é', at: 6 }));
}

#[test]
fn words_are_found_whole_with_a_value_or_without() {
    let line = Cmdline::new("quiet mem=1G nokaslr_ xmemmap=3 --").unwrap();
    assert!(line.has("quiet") && line.has("mem"));
    assert!(!line.has("nokaslr") && !line.has("memmap") && !line.has("qui") && !line.has("1G"));
}

#[test]
fn the_default_is_a_command_line() {
    assert!(Cmdline::new(DEFAULT_CMDLINE).is_ok());
}

#[test]
fn pci_is_off_if_the_kernel_is_told_so() {
    let is_off = |line: &str| Cmdline::new(line).unwrap().is_pci_off();
    for line in ["pci=off", "a pci=off b", "pci=nomsi,off", "pci=off,nomsi", "pci=conf1 pci=off"] {
        assert!(is_off(line), "{line}");
    }
    for line in ["", "pci=nomsi", "pci=offset", "xpci=off", "pci=", "pci off", "a -- pci=off"] {
        assert!(!is_off(line), "{line}");
    }
}

#[test]
fn virtio_devices_are_announced_among_the_words_for_the_kernel() {
    let with =
        |line: &str, count| Cmdline::new(line).unwrap().with_virtio_mmio(count).as_str().to_owned();
    let first = "virtio_mmio.device=4K@0xfe000000:6";
    let second = "virtio_mmio.device=4K@0xfe001000:9";
    assert_eq!(with("quiet", 2), format!("quiet {first} {second}"));
    assert_eq!(with("quiet -- single", 1), format!("quiet {first} -- single"));
    assert_eq!(with("quiet --", 1), format!("quiet {first} --"));
    assert_eq!(with("-- a -- b", 1), format!(" {first} -- a -- b"));
    // Neither of these ends what the kernel reads.
    for line in ["x=\" -- \" y", "a --b c"] {
        assert_eq!(with(line, 1), format!("{line} {first}"));
    }
    assert_eq!(with("quiet -- single", 0), "quiet -- single");
    assert_eq!(with("", 0), "");
    assert_eq!(with("", 100).split_ascii_whitespace().count(), 17);
}

#[test]
fn memory_that_is_plugged_is_used_unless_somebody_says_otherwise() {
    let with = |line: &str| Cmdline::new(line).unwrap().with_hot_memory().as_str().to_owned();
    let word = "memhp_default_state=online_movable";
    assert_eq!(with("quiet"), format!("quiet {word}"));
    assert_eq!(
        with("quiet -- memhp_default_state=offline"),
        format!("quiet {word} -- memhp_default_state=offline")
    );
    assert_eq!(with("memhp_default_state=online x"), "memhp_default_state=online x");
}
