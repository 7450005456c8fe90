//! What the guest says of its memory (virtio 1.2, 5.5.6.4; tags past 9: Linux `uapi/linux/virtio_balloon.h`).

use std::collections::BTreeMap;

/// What is told, by its tag: the names of Firecracker's API.
const NAMES: [&str; 16] = [
    "swap_in",
    "swap_out",
    "major_faults",
    "minor_faults",
    "free_memory",
    "total_memory",
    "available_memory",
    "disk_caches",
    "hugetlb_allocations",
    "hugetlb_failures",
    "oom_kill",
    "alloc_stall",
    "async_scan",
    "direct_scan",
    "async_reclaim",
    "direct_reclaim",
];

/// Bytes of a tag and its value, without padding.
const ENTRY: usize = 10;
/// Most bytes of a report.
pub(super) const MAX_REPORT: usize = 256 * ENTRY;

/// The guest's last report: bytes, or events since it booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics([Option<u64>; NAMES.len()]);

impl Statistics {
    /// Reads a report; what has a tag that is not known is left out, and so is half an entry at the end.
    pub(super) fn read(report: &[u8]) -> Statistics {
        let mut values = [None; NAMES.len()];
        let (entries, _) = report.as_chunks::<ENTRY>();
        for [t0, t1, value @ ..] in entries {
            let tag = usize::from(u16::from_le_bytes([*t0, *t1]));
            if let Some(place) = values.get_mut(tag) {
                *place = Some(u64::from_le_bytes(*value));
            }
        }
        Statistics(values)
    }

    /// What a guest told that has these names; `None` if there is no such name.
    pub(super) fn named(told: &BTreeMap<String, u64>) -> Option<Statistics> {
        let mut statistics = Statistics::default();
        for (name, value) in told {
            let tag = NAMES.iter().position(|known| known == name)?;
            *statistics.0.get_mut(tag)? = Some(*value);
        }
        Some(statistics)
    }

    /// What the guest told, with its names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.0).filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, value: u64) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat()
    }

    #[test]
    fn each_tag_has_its_name_and_others_are_left_out() {
        let report = [entry(4, 7), entry(15, u64::MAX), entry(16, 1), entry(u16::MAX, 2)].concat();
        let told: Vec<_> = Statistics::read(&report).iter().collect();
        assert_eq!(told, [("free_memory", 7), ("direct_reclaim", u64::MAX)]);
    }

    #[test]
    fn of_two_with_one_tag_the_last_counts_and_half_a_one_is_none() {
        let report = [entry(0, 1), entry(0, 2), entry(1, 3)].concat();
        let told: Vec<_> = Statistics::read(&report[..29]).iter().collect();
        assert_eq!(told, [("swap_in", 2)]);
        assert_eq!(Statistics::read(&[]).iter().count(), 0);
    }
}
