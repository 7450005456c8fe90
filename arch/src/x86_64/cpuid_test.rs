//! Rules on two hosts, for machines of every size.

use super::*;
use proptest::prelude::*;

/// (leaf, index, [eax, ebx, ecx, edx])
type Leaf = (u32, u32, [u32; 4]);

const KVM_LEAVES: &[Leaf] = &[
    (0x4000_0000, 0, [0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x4D]),
    (0x4000_0001, 0, [0x0103_FEFB, 0, 0, 0]),
];

/// A server with 16 cores of 2 threads, as KVM on it reports what it supports.
const INTEL: &[Leaf] = &[
    (0x0, 0, [0x1F, 0x756E_6547, 0x6C65_746E, 0x4965_6E69]),
    (0x1, 0, [0x0006_06A6, 0x1F20_0800, 0xFFFA_3203, 0x1F8B_FBFF]),
    (0x4, 0, [0x7C00_4121, 0x02C0_003F, 0x3F, 0]),
    (0x4, 1, [0x7C00_4122, 0x01C0_003F, 0x3F, 0]),
    (0x4, 2, [0x7C00_4143, 0x04C0_003F, 0x3FF, 0]),
    (0x4, 3, [0x7C07_C163, 0x02C0_003F, 0xBFFF, 4]),
    (0x4, 4, [0, 0, 0, 0]),
    (0x7, 0, [0x2, 0xF1BF_07EF, 0x405F_4F6E, 0xBC00_0410]),
    (0xA, 0, [0x0830_0805, 0, 0xF, 0x603]),
    (0xB, 0, [1, 2, 0x100, 0x1F]),
    (0xB, 1, [5, 0x20, 0x201, 0x1F]),
    (0xD, 0, [0x207, 0x240, 0xA88, 0]),
    (0xD, 1, [0xF, 0, 0, 0]),
    (0x12, 0, [3, 0, 0, 0x3F_1F]),
    (0x1F, 0, [1, 2, 0x100, 0x1F]),
    (0x1F, 1, [5, 0x20, 0x201, 0x1F]),
    (0x8000_0000, 0, [0x8000_0008, 0, 0, 0]),
    (0x8000_0001, 0, [0, 0, 0x121, 0x2C10_0800]),
    (0x8000_0002, 0, [0x6574_6E49, 0x2952_286C, 0x6F65_5820, 0x2952_286E]),
    (0x8000_0008, 0, [0x302E, 0, 0, 0]),
];

/// A server with 64 cores, 8 of them to a level 3 cache.
const AMD: &[Leaf] = &[
    (0x0, 0, [0x10, 0x6874_7541, 0x444D_4163, 0x6974_6E65]),
    (0x1, 0, [0x00A1_0F11, 0x0080_0800, 0x7EF8_3203, 0x178B_FBFF]),
    (0x7, 0, [0x1, 0xF1BF_97A9, 0x0040_5FCE, 0x1000_0010]),
    (0xB, 0, [0, 1, 0x100, 9]),
    (0xD, 0, [0x207, 0x240, 0xA88, 0]),
    (0x8000_0000, 0, [0x8000_0026, 0x6874_7541, 0x444D_4163, 0x6974_6E65]),
    (0x8000_0001, 0, [0x00A1_0F11, 0x4000_0000, 0x75C2_37FF, 0x2FD3_FBFF]),
    (0x8000_0002, 0, [0x2044_4D41, 0x4359_5045, 0x3435_3920, 0x3620_3434]),
    (0x8000_0008, 0, [0x0030_3934, 0x111E_F657, 0x0000_707F, 0x0001_0007]),
    (0x8000_001D, 0, [0x0000_4121, 0x01C0_003F, 0x3F, 0]),
    (0x8000_001D, 1, [0x0000_4122, 0x01C0_003F, 0x3F, 0]),
    (0x8000_001D, 2, [0x0000_4143, 0x01C0_003F, 0x7FF, 2]),
    (0x8000_001D, 3, [0x0003_C163, 0x03C0_003F, 0x7FFF, 1]),
    (0x8000_001D, 4, [0, 0, 0, 0]),
    (0x8000_001E, 0, [9, 0x104, 0x201, 0]),
    (0x8000_0022, 0, [0x7, 0x0004_1006, 0, 0]),
    (0x8000_0026, 0, [1, 2, 0x100, 9]),
];

fn host(leaves: &[Leaf]) -> CpuId {
    let entries: Vec<_> = leaves
        .iter()
        .chain(KVM_LEAVES)
        .map(|&(function, index, [eax, ebx, ecx, edx])| kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        })
        .collect();
    CpuId::from_entries(&entries).unwrap()
}

fn guest(leaves: &[Leaf], index: u8, count: u8) -> CpuId {
    let facts = CpuFacts { index, count, smt: false, tsc_deadline: true };
    guest_cpuid(&host(leaves), &facts).unwrap()
}

/// The registers of a leaf, which must be there exactly once.
fn leaf(cpuid: &CpuId, function: u32, index: u32) -> [u32; 4] {
    let mut found =
        cpuid.as_slice().iter().filter(|entry| entry.function == function && entry.index == index);
    let entry = found.next().unwrap_or_else(|| panic!("leaf {function:#x}.{index}"));
    assert!(found.next().is_none());
    [entry.eax, entry.ebx, entry.ecx, entry.edx]
}

const COUNTS: [u8; 5] = [1, 2, 3, 4, 64];
const HOSTS: [&[Leaf]; 2] = [INTEL, AMD];

/// Every vCPU of every machine worth a test.
fn each(mut check: impl FnMut(&CpuId, u8, u8)) {
    for leaves in HOSTS {
        for count in COUNTS {
            for index in 0..count {
                check(&guest(leaves, index, count), index, count);
            }
        }
    }
}

#[test]
fn leaf_1_names_the_cpu_and_its_siblings() {
    each(|cpuid, index, count| {
        let [_, ebx, ecx, edx] = leaf(cpuid, 1, 0);
        let [_, line, logical, apic_id] = ebx.to_le_bytes();
        assert_eq!((line, logical, apic_id), (8, count, index));
        assert_ne!(ecx & (1 << 31), 0, "hypervisor");
        assert_ne!(ecx & (1 << 24), 0, "TSC deadline");
        assert_eq!(ecx & (1 << 27), 0, "OSXSAVE is KVM's");
        assert_eq!(edx & (1 << 28) != 0, count > 1, "HTT");
    });
}

#[test]
fn the_tsc_deadline_timer_is_there_only_if_the_apic_has_it() {
    let facts = CpuFacts { index: 0, count: 1, smt: false, tsc_deadline: false };
    let cpuid = guest_cpuid(&host(INTEL), &facts).unwrap();
    assert_eq!(leaf(&cpuid, 1, 0)[2] & (1 << 24), 0);
}

#[test]
fn topology_leaves_make_every_cpu_a_core_of_one_package() {
    let bits = |count: u8| match count {
        1 => 0,
        2 => 1,
        3 | 4 => 2,
        _ => 6,
    };
    each(|cpuid, index, count| {
        let (apic_id, count32) = (u32::from(index), u32::from(count));
        assert_eq!(leaf(cpuid, 0xB, 0), [0, 1, 0x100, apic_id]);
        assert_eq!(leaf(cpuid, 0xB, 1), [bits(count), count32, 0x201, apic_id]);
        assert_eq!(leaf(cpuid, 0xB, 2), [0, 0, 2, apic_id]);
        assert!(u32::from(index) >> bits(count) == 0, "one package");
    });
}

#[test]
fn the_newer_topology_leaf_follows_the_host() {
    let intel = guest(INTEL, 1, 2);
    for level in 0..3 {
        assert_eq!(leaf(&intel, 0x1F, level), leaf(&intel, 0xB, level));
    }
    let amd = guest(AMD, 1, 2);
    for function in [0x1F, 0x8000_0026] {
        assert!(amd.as_slice().iter().all(|entry| entry.function != function));
    }
}

#[test]
fn a_host_without_a_topology_leaf_gives_its_guests_one() {
    let old = [(0x0, 0, [0x5, 0x6874_7541, 0x444D_4163, 0x6974_6E65])];
    let cpuid = guest(&old, 2, 3);
    assert_eq!(leaf(&cpuid, 0, 0)[0], 0xB);
    assert_eq!(leaf(&cpuid, 0xB, 1), [2, 3, 0x201, 2]);
}

#[test]
fn intel_caches_are_private_up_to_level_2() {
    for (count, last) in [(1, 0), (2, 1), (3, 3), (4, 3), (64, 63)] {
        let cpuid = guest(INTEL, 0, count);
        for (index, sharing) in [(0, 0), (1, 0), (2, 0), (3, last)] {
            let [eax, ebx, ..] = leaf(&cpuid, 4, index);
            assert_eq!(eax >> 14 & 0xFFF, sharing);
            assert_eq!(eax >> 26, last);
            let of_host = leaf(&host(INTEL), 4, index);
            assert_eq!((eax & 0x3FFF, ebx), (of_host[0] & 0x3FFF, of_host[1]));
        }
        assert_eq!(leaf(&cpuid, 4, 4), [0; 4], "the end of the list stays one");
    }
}

#[test]
fn amd_caches_are_private_up_to_level_2() {
    for (count, last) in [(1, 0), (2, 1), (3, 3), (4, 3), (64, 63)] {
        let cpuid = guest(AMD, 0, count);
        for (index, sharing) in [(0, 0), (1, 0), (2, 0), (3, last)] {
            assert_eq!(leaf(&cpuid, 0x8000_001D, index)[0] >> 14 & 0xFFF, sharing);
        }
        assert_eq!(leaf(&cpuid, 0x8000_001D, 4), [0; 4]);
    }
}

#[test]
fn amd_counts_its_cores() {
    for (count, id_bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (64, 6)] {
        for index in 0..count {
            let cpuid = guest(AMD, index, count);
            let [eax, _, ecx, _] = leaf(&cpuid, 0x8000_0008, 0);
            assert_eq!(eax, 0x0030_3934, "address bits");
            assert_eq!(ecx & 0xFF, u32::from(count) - 1);
            assert_eq!(ecx >> 12 & 0xF, id_bits);
            let id = u32::from(index);
            assert_eq!(leaf(&cpuid, 0x8000_001E, 0), [id, id, 0, 0]);
            assert_eq!(leaf(&cpuid, 0x8000_0001, 0)[2] & 2 != 0, count > 1);
        }
    }
}

#[test]
fn amd_rules_leave_intel_alone() {
    let cpuid = guest(INTEL, 1, 4);
    for function in [0x8000_0001, 0x8000_0008] {
        assert_eq!(leaf(&cpuid, function, 0), leaf(&host(INTEL), function, 0));
    }
}

#[test]
fn the_clock_stays_and_what_needs_the_vmm_goes() {
    each(|cpuid, _, _| {
        assert_eq!(leaf(cpuid, 0x4000_0000, 0), KVM_LEAVES[0].2);
        let features = leaf(cpuid, 0x4000_0001, 0)[0];
        assert_eq!(features & ((1 << 3) | (1 << 24)), (1 << 3) | (1 << 24), "clock");
        assert_eq!(features & (0b111 << 15), 0);
    });
}

#[test]
fn counters_and_enclaves_are_hidden() {
    let intel = guest(INTEL, 0, 2);
    assert_eq!(leaf(&intel, 0xA, 0), [0; 4]);
    assert_eq!(leaf(&intel, 1, 0)[2] & (1 << 15), 0);
    assert!(intel.as_slice().iter().all(|entry| entry.function != 0x12));
    assert_eq!(leaf(&intel, 7, 0)[1] & (1 << 2), 0);
    assert_eq!(leaf(&intel, 7, 0)[2] & (1 << 30), 0);
    let amd = guest(AMD, 0, 2);
    assert_eq!(leaf(&amd, 0x8000_0022, 0), [0; 4]);
    assert_eq!(leaf(&amd, 0x8000_0001, 0)[2] & (1 << 23), 0);
}

#[test]
fn leaves_without_a_rule_pass_through() {
    for leaves in HOSTS {
        let (host, guest) = (host(leaves), guest(leaves, 0, 2));
        for (function, index) in [(0xD, 0), (0x8000_0000, 0), (0x8000_0002, 0)] {
            assert_eq!(leaf(&guest, function, index), leaf(&host, function, index));
        }
    }
}

#[test]
fn a_blank_brand_is_filled_with_this_processors() {
    let blank = [
        (0x0, 0, [0xD, 0x6874_7541, 0x444D_4163, 0x6974_6E65]),
        (0x8000_0002, 0, [0; 4]),
        (0x8000_0003, 0, [0; 4]),
        (0x8000_0004, 0, [0; 4]),
    ];
    let cpuid = guest(&blank, 0, 1);
    let mut name: Vec<u8> = (0x8000_0002..=0x8000_0004)
        .flat_map(|function| leaf(&cpuid, function, 0))
        .flat_map(u32::to_le_bytes)
        .collect();
    name.retain(|&byte| byte != 0);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = info.lines().find(|line| line.starts_with("model name")).unwrap();
    let expected = line.split_once(": ").unwrap().1.trim();
    assert_eq!(String::from_utf8(name).unwrap().trim(), expected);
}

#[test]
fn address_bits_are_the_hosts() {
    assert_eq!(physical_address_bits(&host(INTEL)), 46);
    assert_eq!(physical_address_bits(&host(AMD)), 52);
    assert_eq!(physical_address_bits(&host(&[])), 36);
}

#[test]
fn impossible_machines_are_refused() {
    let refused = |leaves, index, count| {
        let facts = CpuFacts { index, count, smt: false, tsc_deadline: true };
        guest_cpuid(&host(leaves), &facts).unwrap_err()
    };
    assert_eq!(refused(AMD, 0, 0), CpuIdError::CpuCount { count: 0 });
    assert_eq!(refused(AMD, 0, 65), CpuIdError::CpuCount { count: 65 });
    assert_eq!(refused(AMD, 2, 2), CpuIdError::CpuIndex { index: 2, count: 2 });
    assert_eq!(refused(&[], 0, 1), CpuIdError::NoVendor);
}

proptest! {
    #[test]
    fn any_host_yields_cpuid_or_an_error(
        leaves in proptest::collection::vec(
            (prop_oneof![0u32..0x20, 0x4000_0000u32..0x4000_0002, 0x8000_0000u32..0x8000_0030], 0u32..4, any::<[u32; 4]>()),
            0..250,
        ),
        index: u8,
        count: u8,
        tsc_deadline: bool,
    ) {
        let facts = CpuFacts { index, count, smt: false, tsc_deadline };
        match guest_cpuid(&host(&leaves), &facts) {
            Ok(cpuid) => prop_assert!(cpuid.as_slice().iter().any(|entry| entry.function == 0xB || entry.function == 0)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn each_two_vcpus_are_threads_of_one_core_where_that_is_asked_for() {
    for (leaves, cache, topology) in [(INTEL, 0x4, None), (AMD, 0x8000_001D, Some(0x8000_001E))] {
        for index in 0..6 {
            let facts = CpuFacts { index, count: 6, smt: true, tsc_deadline: true };
            let guest = guest_cpuid(&host(leaves), &facts).unwrap();
            let leaf = |function, index| {
                let mut leaves = guest.as_slice().iter();
                *leaves.find(|leaf| (leaf.function, leaf.index) == (function, index)).unwrap()
            };
            let (thread, core) = (leaf(0xB, 0), leaf(0xB, 1));
            assert_eq!((thread.eax, thread.ebx, thread.ecx), (1, 2, 0x100));
            assert_eq!((core.eax, core.ebx, core.ecx), (3, 6, 0x201));
            assert_eq!([thread.edx, core.edx], [u32::from(index); 2]);
            // Of the first level, and of the third.
            let sharers = |part| leaf(cache, part).eax >> 14 & 0xFFF;
            assert_eq!([sharers(0), sharers(3)], [1, 7], "leaf {cache:#x}");
            match topology {
                None => assert_eq!(leaf(cache, 0).eax >> 26, 3, "cores that there is room for"),
                Some(topology) => {
                    let leaf = leaf(topology, 0);
                    let core = u32::from(index) / 2;
                    assert_eq!((leaf.eax, leaf.ebx), (index.into(), core | 1 << 8));
                }
            }
        }
    }
}

#[test]
fn a_lone_vcpu_has_a_core_of_its_own_whatever_is_asked_for() {
    let cpuid = |smt| {
        let facts = CpuFacts { index: 0, count: 1, smt, tsc_deadline: true };
        guest_cpuid(&host(INTEL), &facts).unwrap()
    };
    assert_eq!(cpuid(true).as_slice(), cpuid(false).as_slice());
}
