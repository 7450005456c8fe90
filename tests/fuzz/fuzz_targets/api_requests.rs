//! What a hostile client of the API sends: HTTP and the JSON in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

// An input is all that a client sends before it has nothing more to say.
fuzz_target!(|bytes: &[u8]| {
    let answers = vmm::answer_by_hand(bytes);
    if answers.is_empty() {
        return;
    }
    let first = answers.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)).unwrap_or_else(|| panic!("{first}"));
    assert!(["200", "400", "408", "413", "431"].contains(&status) || status == "100", "{first}");
});
