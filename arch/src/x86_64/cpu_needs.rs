//! What a guest counts on that its CPU can do, against what another host's can.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// Registers of leaves whose bits are features, and those among the bits that say nothing of the host: KVM makes
/// them itself, or they follow what the guest has turned on (`kvm_update_cpuid_runtime` in Linux
/// `arch/x86/kvm/cpuid.c`).
const FEATURES: [(u32, u32, Register, u32); 14] = [
    // MONITOR, x2APIC, TSC deadline, OSXSAVE, hypervisor.
    (1, 0, Register::Ecx, 1 << 3 | 1 << 21 | 1 << 24 | 1 << 27 | 1 << 31),
    // APIC, HTT.
    (1, 0, Register::Edx, 1 << 9 | 1 << 28),
    (7, 0, Register::Ebx, 0),
    // OSPKE.
    (7, 0, Register::Ecx, 1 << 4),
    (7, 0, Register::Edx, 0),
    (7, 1, Register::Eax, 0),
    (7, 1, Register::Edx, 0),
    (0xD, 0, Register::Eax, 0),
    (0xD, 1, Register::Eax, 0),
    (0x8000_0001, 0, Register::Ecx, 1 << 1),
    (0x8000_0001, 0, Register::Edx, 1 << 9),
    (0x8000_0008, 0, Register::Ebx, 0),
    (0x8000_0021, 0, Register::Eax, 0),
    (0x4000_0001, 0, Register::Eax, 0),
];

#[derive(Clone, Copy, Debug)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

impl Register {
    fn of(self, leaf: &kvm_cpuid_entry2) -> u32 {
        match self {
            Register::Eax => leaf.eax,
            Register::Ebx => leaf.ebx,
            Register::Ecx => leaf.ecx,
            Register::Edx => leaf.edx,
        }
    }
}

/// The first feature that `guest` shows and `host` (`KVM_GET_SUPPORTED_CPUID`) does not have, in words: another
/// vendor's CPU, or leaf, register and bit.
pub fn missing(guest: &[kvm_cpuid_entry2], host: &CpuId) -> Option<String> {
    let of = |leaves: &[kvm_cpuid_entry2], function, index, register: Register| {
        let mut leaves = leaves.iter();
        let leaf = leaves.find(|leaf| (leaf.function, leaf.index) == (function, index));
        leaf.map_or(0, |leaf| register.of(leaf))
    };
    let host = host.as_slice();
    let (theirs, ours) = (vendor(guest), vendor(host));
    if theirs != ours {
        return Some(format!("vendor {theirs:?}, not {ours:?},"));
    }
    FEATURES.iter().find_map(|&(function, index, register, not_hosts)| {
        let shown = of(guest, function, index, register);
        let lacking = shown & !of(host, function, index, register) & !not_hosts;
        let leaf = match index {
            0 => format!("{function:#x}"),
            _ => format!("{function:#x}.{index}"),
        };
        let bit = lacking.trailing_zeros();
        (lacking != 0).then(|| format!("bit {bit} of {register:?} in CPUID leaf {leaf}"))
    })
}

/// The name of the vendor in leaf 0.
fn vendor(leaves: &[kvm_cpuid_entry2]) -> String {
    let leaf = leaves.iter().find(|leaf| leaf.function == 0).copied().unwrap_or_default();
    let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    String::from_utf8_lossy(name.as_flattened()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, ecx: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ecx, ..Default::default() }
    }

    #[test]
    fn a_feature_that_the_host_lacks_is_named_by_leaf_register_and_bit() {
        let host = CpuId::from_entries(&[leaf(0, 0), leaf(1, 1 << 5 | 1 << 9)]).unwrap();
        assert_eq!(missing(&[leaf(0, 0), leaf(1, 1 << 9)], &host), None);
        let lacking = missing(&[leaf(0, 0), leaf(1, 1 << 9 | 1 << 12)], &host);
        assert_eq!(lacking.as_deref(), Some("bit 12 of Ecx in CPUID leaf 0x1"));
        // The guest has turned XSAVE on.
        assert_eq!(missing(&[leaf(0, 0), leaf(1, 1 << 27)], &host), None);
    }

    #[test]
    fn another_vendors_cpu_is_none() {
        let host = CpuId::from_entries(&[leaf(0, u32::from_le_bytes(*b"ntel"))]).unwrap();
        let lacking = missing(&[leaf(0, u32::from_le_bytes(*b"cAMD"))], &host).unwrap();
        assert!(lacking.starts_with("vendor"), "{lacking}");
    }
}
