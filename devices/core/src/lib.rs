//! The words that all devices speak: bus, interrupt, kick, worker, counters.
