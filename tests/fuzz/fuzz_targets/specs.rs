//! What users say: command lines, and the texts that describe cards and consoles.
#![no_main]

use legacy::ConsoleSpec;
use libfuzzer_sys::{Corpus, fuzz_target};
use net::mac::MacAddr;
use net::spec::{Fault, NicSpec};
use vmm::cli::Args;

// An input is the arguments, one per line.
fuzz_target!(|text: &str| -> Corpus {
    // The operating system has no such arguments.
    if text.contains('\0') {
        return Corpus::Reject;
    }
    let arguments = || text.lines();
    if let Err(error) = Args::parse_from_args(std::iter::once("vmm").chain(arguments())) {
        assert!(!error.to_string().trim().is_empty());
    }
    for argument in arguments() {
        let value = argument.split_once('=').filter(|(flag, _)| flag.starts_with("--"));
        check_specs(value.map_or(argument, |(_, value)| value));
    }
    Corpus::Keep
});

/// What is accepted reads back as it was; what is not is told in a line.
fn check_specs(text: &str) {
    match text.parse::<NicSpec>() {
        Ok(spec) => {
            if let Err(error) = spec.validate() {
                is_a_line(&error);
            }
            let json = serde_json::to_string(&spec).expect("a spec can be written");
            assert_eq!(serde_json::from_str::<NicSpec>(&json).expect("and read"), spec);
        }
        Err(error) => is_a_line(&error),
    }
    if let Ok(fault) = text.parse::<Fault>() {
        assert_eq!(fault.to_string().parse(), Ok(fault));
        let json = serde_json::to_string(&fault).expect("a fault can be written");
        assert_eq!(serde_json::from_str::<Fault>(&json).expect("and read"), fault);
    }
    if let Ok(spec) = text.parse::<ConsoleSpec>() {
        assert_eq!(spec.to_string().parse(), Ok(spec));
    }
    if let Ok(mac) = text.parse::<MacAddr>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
}

fn is_a_line(error: &dyn std::error::Error) {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains('\n'), "{line}");
}
