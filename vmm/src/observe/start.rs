//! What a start costs: CPU time of the process, and how much of it went into reading files.

use std::time::Duration;

/// CPU time that this process has used, user and system, of all threads.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What a start took.
pub struct Start {
    all: Duration,
    reading: Duration,
}

impl Start {
    /// From exec to this moment, which is that before the first KVM_RUN; `reading` of it went into files.
    pub fn until_now(reading: Duration) -> Start {
        Start { all: cpu_time(), reading }
    }

    /// Logs it.
    pub fn report(&self) {
        let Start { all, reading } = self;
        tracing::info!(
            "start: {} us of CPU time from exec to the first KVM_RUN, besides {} us for reading kernel and initrd",
            all.saturating_sub(*reading).as_micros(),
            reading.as_micros()
        );
    }
}
