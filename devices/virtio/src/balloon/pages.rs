//! Lists of page numbers as a driver writes them: 32 bits each, little-endian, in no order (virtio 1.2, 5.5.6.1).

use device_core::scatter::Scatter;

/// Bytes of a page, whatever the guest's are.
pub(super) const PAGE: u64 = 4096;
/// Page numbers of one step: what a driver usually sends at once.
const STEP: usize = 256;
const NUMBER: usize = size_of::<u32>();

/// A few page numbers.
pub(super) struct Batch {
    numbers: [u32; STEP],
    count: usize,
}

impl Batch {
    /// Takes the next numbers off the front of a list, sorted and each once; `None` if there are none. Bytes that
    /// are no whole number at its end are none.
    pub fn pull(list: &mut Scatter) -> Option<Batch> {
        let mut bytes = [0; STEP * NUMBER];
        let count = (list.len() / NUMBER).min(STEP);
        let wanted = bytes.get_mut(..count.checked_mul(NUMBER)?)?;
        if count == 0 || !list.pull(wanted) {
            return None;
        }
        let mut batch = Batch { numbers: [0; STEP], count };
        let (words, _) = bytes.as_chunks::<NUMBER>();
        let places = batch.numbers.iter_mut().zip(words).take(count);
        places.for_each(|(place, word)| *place = u32::from_le_bytes(*word));
        if let Some(numbers) = batch.numbers.get_mut(..count) {
            numbers.sort_unstable();
        }
        Some(batch)
    }

    /// Each number once, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let mut last = None;
        let numbers = self.numbers.iter().take(self.count).copied();
        numbers.filter(move |number| last.replace(*number) != Some(*number))
    }

    /// Ranges of memory that the pages make, as guest-physical start and length in bytes.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut numbers = self.numbers().map(u64::from).peekable();
        std::iter::from_fn(move || {
            let first = numbers.next()?;
            let mut behind = first.wrapping_add(1);
            while numbers.next_if_eq(&behind).is_some() {
                behind = behind.wrapping_add(1);
            }
            let pages = behind.wrapping_sub(first);
            Some((first.wrapping_mul(PAGE), pages.wrapping_mul(PAGE)))
        })
    }
}

#[cfg(test)]
mod tests {
    use device_core::testing::ram;
    use proptest::prelude::*;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn list(numbers: &[u32]) -> Scatter {
        let memory = ram(0x1_0000);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        memory.write_slice(&bytes, GuestAddress(0)).unwrap();
        let mut list = Scatter::new(memory);
        list.push(0, bytes.len() as u32).unwrap();
        list
    }

    #[test]
    fn neighbours_make_a_range_in_whatever_order_they_come() {
        let batch = Batch::pull(&mut list(&[7, 3, 4, 9, 5, 4, u32::MAX])).unwrap();
        let far = u64::from(u32::MAX) * PAGE;
        let ranges = [(3 * PAGE, 3 * PAGE), (7 * PAGE, PAGE), (9 * PAGE, PAGE), (far, PAGE)];
        assert_eq!(batch.ranges().collect::<Vec<_>>(), ranges);
    }

    #[test]
    fn half_a_number_is_none() {
        let mut list = list(&[1, 2]);
        list.truncate(7);
        assert_eq!(Batch::pull(&mut list).unwrap().numbers().collect::<Vec<_>>(), [1]);
        assert!(Batch::pull(&mut list).is_none());
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_the_pages_of_the_list(
            numbers in prop::collection::vec(prop_oneof![0u32..300, any::<u32>()], 0..1000),
        ) {
            let mut list = list(&numbers);
            let mut seen = Vec::new();
            while let Some(batch) = Batch::pull(&mut list) {
                let mut last_end = None;
                for (start, len) in batch.ranges() {
                    prop_assert!(last_end.is_none_or(|end| end < start), "ranges touch");
                    last_end = Some(start + len);
                    seen.extend((start / PAGE..(start + len) / PAGE).map(|page| page as u32));
                }
            }
            let mut wanted = numbers;
            wanted.sort_unstable();
            wanted.dedup();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen, wanted);
        }
    }
}
