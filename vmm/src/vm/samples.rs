//! The disks and kernels that `arch`'s own tests use.

#[path = "../../../arch/src/boot/disk/samples.rs"]
#[allow(dead_code)]
pub mod disks;
#[path = "../../../arch/src/boot/samples.rs"]
#[allow(dead_code)]
pub mod kernels;

use arch::boot::{Initrd, Kernel, KernelError};
