//! From what the host's KVM supports to what one vCPU of the guest sees: rules in a table.
//!
//! The guest is one package whose vCPUs are cores with one thread each, or each two of them one core's
//! threads; the APIC id of a vCPU is its index. Leaves without a rule pass through: features, address sizes, XSAVE areas.

use std::arch::x86_64::__cpuid;

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use crate::layout::MAX_CPUS;

/// What one vCPU is told about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuFacts {
    /// Index of this vCPU, from 0; also its APIC id.
    pub index: u8,
    /// Number of vCPUs of the machine, 1 to [`MAX_CPUS`].
    pub count: u8,
    /// Whether each two of them are the threads of one core.
    pub smt: bool,
    /// Whether the in-kernel APIC offers the TSC deadline timer (`KVM_CAP_TSC_DEADLINE_TIMER`):
    /// KVM leaves it to its user to say so in CPUID.
    pub tsc_deadline: bool,
}

/// Why a vCPU gets no CPUID.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuIdError {
    /// No machine has so many vCPUs.
    #[error("a machine has 1 to {MAX_CPUS} vCPUs, not {count}")]
    CpuCount {
        /// Number of vCPUs asked for.
        count: u8,
    },
    /// The vCPU is not one of the machine's.
    #[error("vCPU {index} does not exist in a machine with {count}")]
    CpuIndex {
        /// Index of the vCPU, from 0.
        index: u8,
        /// Number of vCPUs of the machine.
        count: u8,
    },
    /// Leaf 0 is missing, so neither Intel's nor AMD's rules can be chosen.
    #[error("CPUID of the host does not name its vendor (leaf 0 is missing)")]
    NoVendor,
    /// More entries than `KVM_SET_CPUID2` takes.
    #[error("CPUID of the guest would have {entries} leaves, more than KVM accepts")]
    TooManyLeaves {
        /// Entries that there would be.
        entries: usize,
    },
}

/// CPUID for the vCPU of `facts`, from `host` (`KVM_GET_SUPPORTED_CPUID`). Fails if `facts` name a vCPU
/// or a number of them that cannot be, if `host` has no leaf 0, or if the result has more entries than
/// KVM takes.
pub fn guest_cpuid(host: &CpuId, facts: &CpuFacts) -> Result<CpuId, CpuIdError> {
    if !(1..=MAX_CPUS).contains(&facts.count) {
        return Err(CpuIdError::CpuCount { count: facts.count });
    }
    if facts.index >= facts.count {
        return Err(CpuIdError::CpuIndex { index: facts.index, count: facts.count });
    }
    let amd = is_amd(host).ok_or(CpuIdError::NoVendor)?;

    let mut entries = Vec::with_capacity(host.as_slice().len().saturating_add(TOPOLOGY_LEAVES));
    for entry in host.as_slice() {
        if !is_dropped(entry.function) {
            let (leaf, mut entry) = (entry.function, *entry);
            for rule in RULES.iter().filter(|rule| rule.applies(leaf, amd)) {
                (rule.change)(&mut entry, facts);
            }
            entries.push(entry);
        }
    }
    add_topology(&mut entries, facts);
    CpuId::from_entries(&entries).map_err(|_| CpuIdError::TooManyLeaves { entries: entries.len() })
}

/// Physical address bits of the guest, which are the host's: leaf 0x8000_0008, or 36 without it.
pub fn physical_address_bits(host: &CpuId) -> u8 {
    let leaf = host.as_slice().iter().find(|entry| entry.function == ADDRESS_SIZES);
    match leaf.map(|entry| entry.eax.to_le_bytes()) {
        Some([bits, ..]) if bits != 0 => bits,
        _ => 36,
    }
}

impl CpuFacts {
    fn apic_id(&self) -> u32 {
        u32::from(self.index)
    }

    fn threads(&self) -> u32 {
        u32::from(self.count)
    }

    /// Bits of an APIC id that tell the threads of the package apart.
    fn package_bits(&self) -> u32 {
        self.threads().next_power_of_two().trailing_zeros()
    }

    /// Bits of an APIC id that tell the threads of one core apart.
    fn core_bits(&self) -> u32 {
        u32::from(self.smt && self.count > 1)
    }

    /// Threads of one core.
    fn threads_of_core(&self) -> u32 {
        1 << self.core_bits()
    }

    /// Largest APIC id that the package has room for.
    fn last_id(&self) -> u32 {
        self.threads().next_power_of_two().saturating_sub(1)
    }

    /// Largest number of a core that the package has room for.
    fn last_core(&self) -> u32 {
        self.last_id() >> self.core_bits()
    }
}

/// Which leaves a rule is for, on whose processors, and what it does there.
struct Rule {
    leaf: u32,
    amd_only: bool,
    change: fn(&mut kvm_cpuid_entry2, &CpuFacts),
}

impl Rule {
    fn applies(&self, leaf: u32, amd: bool) -> bool {
        self.leaf == leaf && (amd || !self.amd_only)
    }
}

const BASIC: u32 = 0x0;
const FEATURES: u32 = 0x1;
const INTEL_CACHES: u32 = 0x4;
const EXTENDED_FEATURES: u32 = 0x7;
const PERFMON: u32 = 0xA;
const TOPOLOGY: u32 = 0xB;
const SGX: u32 = 0x12;
const TOPOLOGY_V2: u32 = 0x1F;
const KVM_FEATURES: u32 = 0x4000_0001;
const AMD_FEATURES: u32 = 0x8000_0001;
const BRAND: [u32; 3] = [0x8000_0002, 0x8000_0003, 0x8000_0004];
const ADDRESS_SIZES: u32 = 0x8000_0008;
const AMD_CACHES: u32 = 0x8000_001D;
const AMD_TOPOLOGY: u32 = 0x8000_001E;
const AMD_PERFMON: u32 = 0x8000_0022;
const AMD_TOPOLOGY_V2: u32 = 0x8000_0026;

const fn rule(leaf: u32, change: fn(&mut kvm_cpuid_entry2, &CpuFacts)) -> Rule {
    Rule { leaf, amd_only: false, change }
}

const fn amd(leaf: u32, change: fn(&mut kvm_cpuid_entry2, &CpuFacts)) -> Rule {
    Rule { leaf, amd_only: true, change }
}

const RULES: &[Rule] = &[
    rule(BASIC, reach_topology),
    rule(FEATURES, features),
    rule(INTEL_CACHES, intel_caches),
    rule(EXTENDED_FEATURES, without_sgx),
    rule(PERFMON, hide),
    rule(KVM_FEATURES, kvm_features),
    rule(BRAND[0], brand),
    rule(BRAND[1], brand),
    rule(BRAND[2], brand),
    amd(AMD_FEATURES, amd_features),
    amd(ADDRESS_SIZES, amd_core_count),
    amd(AMD_CACHES, amd_caches),
    amd(AMD_TOPOLOGY, amd_topology),
    amd(AMD_PERFMON, hide),
];

/// Leaves that are built anew, or that describe parts of the host which the guest does not get.
fn is_dropped(leaf: u32) -> bool {
    matches!(leaf, TOPOLOGY | TOPOLOGY_V2 | SGX | AMD_TOPOLOGY_V2)
}

/// The topology leaf is there for every guest, so the largest basic leaf must not be below it.
fn reach_topology(entry: &mut kvm_cpuid_entry2, _: &CpuFacts) {
    entry.eax = entry.eax.max(TOPOLOGY);
}

fn features(entry: &mut kvm_cpuid_entry2, cpu: &CpuFacts) {
    const ECX_PERF_CAPABILITIES: u32 = 1 << 15;
    const ECX_TSC_DEADLINE: u32 = 1 << 24;
    const ECX_OSXSAVE: u32 = 1 << 27;
    const ECX_HYPERVISOR: u32 = 1 << 31;
    const EDX_HTT: u32 = 1 << 28;
    const CACHE_LINE_QUADWORDS: u8 = 8;

    let [brand, cache_line, _, _] = entry.ebx.to_le_bytes();
    let cache_line = match cache_line {
        0 => CACHE_LINE_QUADWORDS,
        host => host,
    };
    entry.ebx = u32::from_le_bytes([brand, cache_line, cpu.count, cpu.index]);
    // OSXSAVE mirrors a bit of CR4; KVM keeps it up to date.
    entry.ecx &= !(ECX_OSXSAVE | ECX_PERF_CAPABILITIES);
    entry.ecx |= ECX_HYPERVISOR;
    set(&mut entry.ecx, ECX_TSC_DEADLINE, cpu.tsc_deadline);
    set(&mut entry.edx, EDX_HTT, cpu.count > 1);
}

/// Leaf 4: caches up to level 2 belong to one core, the others to the package.
fn intel_caches(entry: &mut kvm_cpuid_entry2, cpu: &CpuFacts) {
    const SHARING: u32 = 0xFFF << 14;
    const CORES: u32 = 0x3F << 26;

    if entry.eax & 0x1F == 0 {
        return;
    }
    let sharing = last_sharer(entry, cpu);
    entry.eax &= !(SHARING | CORES);
    entry.eax |= ((sharing << 14) & SHARING) | ((cpu.last_core() << 26) & CORES);
}

/// Leaf 0x8000_001D: the same in AMD's words.
fn amd_caches(entry: &mut kvm_cpuid_entry2, cpu: &CpuFacts) {
    const SHARING: u32 = 0xFFF << 14;

    if entry.eax & 0x1F == 0 {
        return;
    }
    let sharing = last_sharer(entry, cpu);
    entry.eax = (entry.eax & !SHARING) | ((sharing << 14) & SHARING);
}

/// How many more APIC ids there is room for behind the first that uses a cache.
fn last_sharer(cache: &kvm_cpuid_entry2, cpu: &CpuFacts) -> u32 {
    match (cache.eax >> 5) & 0x7 {
        0..=2 => cpu.threads_of_core().saturating_sub(1),
        _ => cpu.last_id(),
    }
}

fn without_sgx(entry: &mut kvm_cpuid_entry2, _: &CpuFacts) {
    const EBX_SGX: u32 = 1 << 2;
    const ECX_SGX_LAUNCH: u32 = 1 << 30;

    if entry.index == 0 {
        entry.ebx &= !EBX_SGX;
        entry.ecx &= !ECX_SGX_LAUNCH;
    }
}

/// Guests get no performance counters.
fn hide(entry: &mut kvm_cpuid_entry2, _: &CpuFacts) {
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
}

/// Everything the kernel side does alone stays, the clock above all.
fn kvm_features(entry: &mut kvm_cpuid_entry2, _: &CpuFacts) {
    /// 32-bit APIC ids in MSI addresses: not with ids below 64.
    const MSI_EXT_DEST_ID: u32 = 1 << 15;
    /// Hypercall and MSR that only work if the VMM answers them.
    const MAP_GPA_RANGE: u32 = 1 << 16;
    const MIGRATION_CONTROL: u32 = 1 << 17;

    entry.eax &= !(MSI_EXT_DEST_ID | MAP_GPA_RANGE | MIGRATION_CONTROL);
}

/// KVM leaves the processor's name blank: the guest gets that of the processor this runs on.
fn brand(entry: &mut kvm_cpuid_entry2, _: &CpuFacts) {
    const LARGEST_EXTENDED: u32 = 0x8000_0000;

    let is_blank = (entry.eax | entry.ebx | entry.ecx | entry.edx) == 0;
    if is_blank && __cpuid(LARGEST_EXTENDED).eax >= entry.function {
        let own = __cpuid(entry.function);
        (entry.eax, entry.ebx, entry.ecx, entry.edx) = (own.eax, own.ebx, own.ecx, own.edx);
    }
}

fn amd_features(entry: &mut kvm_cpuid_entry2, cpu: &CpuFacts) {
    const ECX_LEGACY_CORES: u32 = 1 << 1;
    const ECX_COUNTERS: u32 = (1 << 23) | (1 << 24) | (1 << 28);

    set(&mut entry.ecx, ECX_LEGACY_CORES, cpu.count > 1);
    entry.ecx &= !ECX_COUNTERS;
}

fn amd_core_count(entry: &mut kvm_cpuid_entry2, cpu: &CpuFacts) {
    const THREADS_AND_ID_SIZE: u32 = 0xF0FF;

    let threads = cpu.threads().saturating_sub(1);
    entry.ecx = (entry.ecx & !THREADS_AND_ID_SIZE) | (cpu.package_bits() << 12) | threads;
}

/// Leaf 0x8000_001E: core, threads of each core, and one node.
fn amd_topology(entry: &mut kvm_cpuid_entry2, cpu: &CpuFacts) {
    entry.eax = cpu.apic_id();
    entry.ebx = cpu.apic_id() >> cpu.core_bits() | cpu.core_bits() << 8;
    entry.ecx = 0;
    entry.edx = 0;
}

/// Entries that [`add_topology`] may add.
const TOPOLOGY_LEAVES: usize = 6;

/// Leaves 0xB and, where the host has it, 0x1F: level 0 is the thread, level 1 the core.
fn add_topology(entries: &mut Vec<kvm_cpuid_entry2>, cpu: &CpuFacts) {
    const THREAD: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;

    let largest = entries.iter().find(|entry| entry.function == BASIC).map_or(0, |entry| entry.eax);
    let leaves = [TOPOLOGY, TOPOLOGY_V2];
    let thread = (cpu.core_bits(), cpu.threads_of_core(), THREAD);
    let levels = [thread, (cpu.package_bits(), cpu.threads(), CORE), (0, 0, 0)];
    for function in leaves.into_iter().filter(|&leaf| leaf <= largest) {
        for (index, (shift, processors, kind)) in (0u32..).zip(levels) {
            entries.push(kvm_cpuid_entry2 {
                function,
                index,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                eax: shift,
                ebx: processors,
                ecx: kind | index,
                edx: cpu.apic_id(),
                ..Default::default()
            });
        }
    }
}

fn set(register: &mut u32, bits: u32, on: bool) {
    match on {
        true => *register |= bits,
        false => *register &= !bits,
    }
}

/// Whether the host's processor counts its cores AMD's way; `None` without leaf 0.
fn is_amd(host: &CpuId) -> Option<bool> {
    let leaf = host.as_slice().iter().find(|entry| entry.function == BASIC)?;
    let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    Some(matches!(name.as_flattened(), b"AuthenticAMD" | b"HygonGenuine"))
}

#[cfg(test)]
#[path = "cpuid_test.rs"]
mod tests;
