//! A barrier that all threads of this process pass at once (membarrier(2)): what they have written is there to be read.
//! They need none of their own, on their way with data.

use std::io;

use rustix::thread::{MembarrierCommand, membarrier};

/// Makes it possible. Fails on kernels that have none (before Linux 4.14).
pub fn begin() -> io::Result<()> {
    Ok(membarrier(MembarrierCommand::RegisterPrivateExpedited)?)
}

/// Has each thread that runs pass it; one that does not has passed one when it stopped. Fails before [`begin`].
pub fn pass() -> io::Result<()> {
    Ok(membarrier(MembarrierCommand::PrivateExpedited)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_passed_once_it_was_asked_for() {
        begin().unwrap();
        pass().unwrap();
    }
}
