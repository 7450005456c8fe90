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
