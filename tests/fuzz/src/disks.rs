//! Small disks, as the tests of what disks boot have them.

#[path = "../../../arch/src/boot/disk/samples.rs"]
#[allow(dead_code)]
mod samples;

pub use samples::*;
