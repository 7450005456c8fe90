//! The `vmm` binary that writes down which rows of its table of system calls it uses, for a run of the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::main()
}
