//! The `vmm` binary with an intruder in it: for tests of what shuts it in.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::main()
}
