//! The only place that speaks to `/dev/kvm`.

pub mod irq;
pub mod kick;
pub mod memory;
pub mod pic;
pub mod probe;
pub mod vcpu;
pub mod vm;
pub mod window;
