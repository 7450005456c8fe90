//! Entry of the `vmm` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::main()
}
