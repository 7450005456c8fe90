//! The benchmark itself: what it measures of vmm can be measured. Its figures are not looked at.

use std::process::Command;

use tests::cargo;

/// Loads of each kind, short ones.
const LOADS: [&str; 6] = [
    "send 60",
    "round-trip",
    "start",
    "snapshot load 128M",
    "snapshot load 512M 10 at once",
    "snapshot save",
];

#[test]
fn each_kind_of_load_runs_with_each_card_of_ours() {
    let vmm = cargo::vmm().unwrap();
    for load in LOADS {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_native-bench"));
        bench.args(["--only-peers", "--rounds", "1", "--slice", "0.1", "--load", load]);
        for name in ["vmm", "vmm-ena"] {
            bench.arg("--peer").arg(format!("{name}={}", vmm.display()));
        }
        let output = bench.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        // Who did not run is named there.
        assert!(
            output.status.success(),
            "{load}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
