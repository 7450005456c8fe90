//! CPU templates: bits of CPUID and MSRs that a user wants otherwise than the rules make them.

use kvm_bindings::{CpuId, kvm_cpuid_entry2, kvm_msr_entry};

/// Bits to change in one register; all others stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    /// Which are changed.
    pub mask: u64,
    /// What they become; 0 outside of the mask.
    pub value: u64,
}

impl Bits {
    /// `old` with these bits changed.
    pub fn apply(self, old: u64) -> u64 {
        (old & !self.mask) | self.value
    }
}

/// A register that CPUID answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

/// What to change of one leaf of CPUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafPatch {
    /// EAX of the question.
    pub leaf: u32,
    /// ECX of the question; 0 where a leaf has no parts.
    pub subleaf: u32,
    /// What changes in the answer.
    pub changes: Vec<(Register, Bits)>,
}

/// What to change of one MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrPatch {
    /// Its number.
    pub index: u32,
    /// What changes.
    pub bits: Bits,
}

/// All that is to be otherwise; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Leaves of CPUID.
    pub leaves: Vec<LeafPatch>,
    /// MSRs.
    pub msrs: Vec<MsrPatch>,
    /// Numbers of capabilities (`KVM_CAP_*`) that KVM must have.
    pub capabilities: Vec<u32>,
}

/// Why a template does not fit the host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The guest would have no such leaf.
    #[error(
        "Template changes a CPUID entry not supported by KVM: leaf {leaf:#x}, subleaf {subleaf:#x}"
    )]
    NoLeaf {
        /// EAX of the question.
        leaf: u32,
        /// ECX of the question.
        subleaf: u32,
    },
    /// KVM does not let this MSR be read or set.
    #[error("Template changes an MSR entry not supported by KVM: {index:#x}")]
    NoMsr {
        /// Its number.
        index: u32,
    },
    /// KVM lacks a capability that the template asks for.
    #[error("Template asks for KVM capability {number}, which this host does not have")]
    NoCapability {
        /// Its number.
        number: u32,
    },
}

impl Template {
    /// Changes what one vCPU is told by CPUID. Fails, at the first of them, if it has not all the leaves.
    pub fn shape(&self, cpuid: &mut CpuId) -> Result<(), TemplateError> {
        for patch in &self.leaves {
            let LeafPatch { leaf, subleaf, changes } = patch;
            let is_it =
                |entry: &&mut kvm_cpuid_entry2| (entry.function, entry.index) == (*leaf, *subleaf);
            let entry = cpuid.as_mut_slice().iter_mut().find(is_it);
            let missing = TemplateError::NoLeaf { leaf: *leaf, subleaf: *subleaf };
            let entry = entry.ok_or(missing)?;
            for (register, bits) in changes {
                let place = match register {
                    Register::Eax => &mut entry.eax,
                    Register::Ebx => &mut entry.ebx,
                    Register::Ecx => &mut entry.ecx,
                    Register::Edx => &mut entry.edx,
                };
                // Neither mask nor value of a leaf's bits has more than 32.
                *place = bits.apply((*place).into()) as u32;
            }
        }
        Ok(())
    }

    /// The MSRs that change, with nothing in them yet.
    pub fn msrs_to_read(&self) -> Vec<kvm_msr_entry> {
        let entry = |patch: &MsrPatch| kvm_msr_entry { index: patch.index, ..Default::default() };
        self.msrs.iter().map(entry).collect()
    }

    /// The same with what they are to hold, from what they held, in the order of
    /// [`Template::msrs_to_read`].
    pub fn msrs_to_set(&self, held: &[kvm_msr_entry]) -> Vec<kvm_msr_entry> {
        let set = |(patch, held): (&MsrPatch, &kvm_msr_entry)| kvm_msr_entry {
            data: patch.bits.apply(held.data),
            ..*held
        };
        self.msrs.iter().zip(held).map(set).collect()
    }
}

#[cfg(test)]
#[path = "template_test.rs"]
mod tests;
