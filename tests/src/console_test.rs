//! Tests of waiting for output.

use std::io::Write;

use super::*;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn text_that_comes_in_pieces_is_found() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let console = Console::collect("a pipe", reader);
    writer.write_all(b"one tw").unwrap();
    writer.write_all(b"o three").unwrap();
    let behind = console.wait_for(0, "two", SOON).unwrap();
    assert_eq!(behind, 7);
    assert!(console.wait_for(behind, "three", SOON).is_ok());
}

#[test]
fn a_source_that_ends_is_not_waited_for() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let console = Console::collect("a pipe", reader);
    writer.write_all(b"last words\r\n").unwrap();
    drop(writer);
    let error = console.wait_for(0, "more", Duration::from_secs(3600)).unwrap_err().to_string();
    assert!(error.contains("it ended") && error.contains("last words"), "{error}");
    assert_eq!(console.wait_for_end(SOON).unwrap(), "last words\n");
}

#[test]
fn a_silent_source_meets_the_deadline() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let console = Console::collect("a pipe", reader);
    assert!(console.wait_for(0, "x", Duration::from_millis(10)).is_err());
    assert!(console.wait_for_end(Duration::from_millis(10)).is_err());
}
