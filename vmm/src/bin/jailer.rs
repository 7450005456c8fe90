//! Entry of the `jailer` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::jailer()
}
