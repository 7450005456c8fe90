//! What a user may say about memory that is plugged while the guest runs.

use std::str::FromStr;

use device_core::options::{Given, OptionError, mib, parts};

/// Memory that is plugged block by block. A machine has one such region at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotMemorySpec {
    /// All that the guest can have of it, in MiB: a multiple of `slot_mib`.
    pub total_mib: u32,
    /// What it comes and goes in, in MiB: a power of two, 2 at least.
    pub block_mib: u32,
    /// What KVM knows it by, in MiB: a multiple of `block_mib`, 128 at least.
    pub slot_mib: u32,
    /// What the guest is to have at first, in MiB: a multiple of `block_mib`.
    pub requested_mib: u32,
}

/// What makes no sense of it. The words are those of Firecracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Blocks that drivers cannot work with.
    #[error("Block size must not be lower than {} MiB", HotMemorySpec::LEAST_BLOCK)]
    SmallBlock,
    /// Blocks of which addresses cannot be made.
    #[error("Block size must be a power of 2")]
    OddBlock,
    /// Smaller slots than guests can take memory in.
    #[error("Slot size must not be lower than {} MiB", HotMemorySpec::LEAST_SLOT)]
    SmallSlot,
    /// A block in two slots.
    #[error("Slot size must be a multiple of block size ({0} MiB)")]
    OddSlot(u32),
    /// Not even one slot.
    #[error("Total size must not be lower than slot size ({0} MiB)")]
    SmallTotal(u32),
    /// Half a slot.
    #[error("Total size must be a multiple of slot size ({0} MiB)")]
    OddTotal(u32),
    /// More slots than KVM has.
    #[error("Total size must be at most {} slots; make slots larger", HotMemorySpec::MOST_SLOTS)]
    ManySlots,
    /// More than the guest can have at first, or half a block.
    #[error(
        "Size {0} is invalid: it must be a multiple of block size and less than the total size, or equal"
    )]
    Requested(u32),
}

impl HotMemorySpec {
    /// What it is called.
    pub const ID: &'static str = "memory-hotplug";
    /// Blocks if nobody says how large, which is the least there can be.
    pub const LEAST_BLOCK: u32 = 2;
    /// Slots if nobody says how large, which is the least there can be: what Linux takes at once.
    pub const LEAST_SLOT: u32 = 128;
    /// KVM has 32,764 slots since Linux 5.12, and RAM and devices want some.
    pub const MOST_SLOTS: u32 = 16_384;

    /// So much in all, in blocks and slots as usual, none of it at first.
    pub fn of(total_mib: u32) -> HotMemorySpec {
        HotMemorySpec {
            total_mib,
            block_mib: HotMemorySpec::LEAST_BLOCK,
            slot_mib: HotMemorySpec::LEAST_SLOT,
            requested_mib: 0,
        }
    }

    /// Checks all of it. Fails with what is found wrong first.
    pub fn validate(&self) -> Result<(), SpecError> {
        let HotMemorySpec { total_mib, block_mib, slot_mib, requested_mib } = *self;
        if block_mib < HotMemorySpec::LEAST_BLOCK {
            return Err(SpecError::SmallBlock);
        }
        if !block_mib.is_power_of_two() {
            return Err(SpecError::OddBlock);
        }
        if slot_mib < HotMemorySpec::LEAST_SLOT {
            return Err(SpecError::SmallSlot);
        }
        if !slot_mib.is_multiple_of(block_mib) {
            return Err(SpecError::OddSlot(block_mib));
        }
        if total_mib < slot_mib {
            return Err(SpecError::SmallTotal(slot_mib));
        }
        if !total_mib.is_multiple_of(slot_mib) {
            return Err(SpecError::OddTotal(slot_mib));
        }
        if total_mib.checked_div(slot_mib).is_none_or(|slots| slots > HotMemorySpec::MOST_SLOTS) {
            return Err(SpecError::ManySlots);
        }
        if !self.may_be_requested(requested_mib) {
            return Err(SpecError::Requested(requested_mib));
        }
        Ok(())
    }

    /// Whether the guest can be asked to have so much.
    pub fn may_be_requested(&self, mib: u32) -> bool {
        mib <= self.total_mib && mib.is_multiple_of(self.block_mib)
    }

    /// Bytes of all of it.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.total_mib) << 20
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> u64 {
        u64::from(self.block_mib) << 20
    }

    /// Bytes of a slot.
    pub fn slot_bytes(&self) -> u64 {
        u64::from(self.slot_mib) << 20
    }
}

/// Why a text describes none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// No size comes first.
    #[error("{0:?}: {NO_SIZE}")]
    Size(String),
    /// An option is none, or cannot be so.
    #[error(transparent)]
    Option(#[from] OptionError),
}

const NO_SIZE: &str = "it is no size; write one in M or G, such as 4G";

/// What is special.
#[derive(Clone, Copy)]
enum Key {
    Block,
    Slot,
    Plugged,
}

const KEYS: [(Key, &str); 3] =
    [(Key::Block, "block"), (Key::Slot, "slot"), (Key::Plugged, "plugged")];

/// The command line's form: `4G,block=2M,slot=128M,plugged=1G`. What it says is not yet checked.
impl FromStr for HotMemorySpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<HotMemorySpec, ParseSpecError> {
        let mut parts = parts(text).into_iter();
        let first = parts.next().unwrap_or_default();
        let total = mib(&first).ok_or(ParseSpecError::Size(first))?;
        let (mut block, mut slot, mut plugged) = (None, None, None);
        for part in parts {
            let given = Given::of(&part, &KEYS)?;
            let place = match given.key {
                Key::Block => &mut block,
                Key::Slot => &mut slot,
                Key::Plugged => &mut plugged,
            };
            let size = mib(&given.value).ok_or_else(|| given.bad(NO_SIZE))?;
            given.put(place, size)?;
        }
        let usual = HotMemorySpec::of(total);
        let spec = HotMemorySpec {
            block_mib: block.unwrap_or(usual.block_mib),
            slot_mib: slot.unwrap_or(usual.slot_mib),
            requested_mib: plugged.unwrap_or(usual.requested_mib),
            ..usual
        };
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_comes_first_and_what_is_special_behind_it() {
        let usual =
            HotMemorySpec { total_mib: 4096, block_mib: 2, slot_mib: 128, requested_mib: 0 };
        assert_eq!("4G".parse(), Ok(usual));
        let all = HotMemorySpec { block_mib: 4, slot_mib: 256, requested_mib: 1024, ..usual };
        assert_eq!("4096M,block=4M,slot=256M,plugged=1G".parse(), Ok(all));
        assert_eq!("4G,plugged=0".parse(), Ok(usual));
        let error = |text: &str| text.parse::<HotMemorySpec>().unwrap_err().to_string();
        for text in ["", "M", "4", "+4G", "4K", "5000T", "4G,block=2"] {
            assert!(error(text).contains("is no size"), "{text}: {}", error(text));
        }
        assert!(
            error("4G,node=1G").starts_with("unknown key \"node\"; known are block, slot, plugged")
        );
        assert!(error("4G,").starts_with("\"\" has no '='"));
        assert_eq!(error("4G,slot=1G,slot=1G"), "slot is given twice");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let check = |total_mib, block_mib, slot_mib, requested_mib| {
            HotMemorySpec { total_mib, block_mib, slot_mib, requested_mib }.validate()
        };
        for (sizes, found) in [
            ((1024, 1, 128, 0), Err(SpecError::SmallBlock)),
            ((1024, 0, 128, 0), Err(SpecError::SmallBlock)),
            ((1024, 3, 128, 0), Err(SpecError::OddBlock)),
            ((1024, 2, 64, 0), Err(SpecError::SmallSlot)),
            ((1024, 4, 130, 0), Err(SpecError::OddSlot(4))),
            ((64, 2, 128, 0), Err(SpecError::SmallTotal(128))),
            ((0, 2, 128, 0), Err(SpecError::SmallTotal(128))),
            ((1000, 2, 128, 0), Err(SpecError::OddTotal(128))),
            ((16_385 * 128, 2, 128, 0), Err(SpecError::ManySlots)),
            ((1024, 2, 128, 1026), Err(SpecError::Requested(1026))),
            ((1024, 2, 128, 3), Err(SpecError::Requested(3))),
            ((1024, 2, 128, 1024), Ok(())),
            ((16_384 * 128, 2, 128, 0), Ok(())),
            ((1 << 31, 1 << 20, 1 << 20, 1 << 20), Ok(())),
        ] {
            assert_eq!(check(sizes.0, sizes.1, sizes.2, sizes.3), found, "{sizes:?}");
        }
    }
}
