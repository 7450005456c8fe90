//! A Type-2 hypervisor on KVM.
