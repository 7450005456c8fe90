//! The end of a process that cannot go on, in the place of the C library's `abort`.
//!
//! That one changes the thread's mask of signals, asks who it is, and sets a handler back, which are calls that threads
//! that are shut in do not have; here they are few. Run out of memory and of stack, the run-time library
//! comes here.

use super::deadly;

/// Ends the process by SIGABRT.
#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    deadly::abort()
}
