//! The only place that speaks to `/dev/kvm`.

pub mod hot_region;
pub mod irq;
pub mod kick;
pub mod memory;
pub mod pic;
pub mod probe;
pub mod raw;
pub mod tsc;
pub mod vcpu;
pub mod vcpu_state;
pub mod vm;
pub mod vm_state;
pub mod window;
