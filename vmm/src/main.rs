//! Entry of the `vmm` binary.

fn main() {}
