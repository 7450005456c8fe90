//! Tests of the ring of words by one thread; `tests/loom.rs` has them by two.

use proptest::prelude::*;

use crate::word_ring::word_ring;

#[test]
fn what_has_no_room_is_refused_and_nothing_is_harmed() {
    let (mut sink, mut source) = word_ring(8);
    assert!(sink.push(&[1, 2], &[3, 4]));
    assert!(sink.push(&[5], &[]));
    assert!(!sink.push(&[6, 7], &[]), "two words are left");
    assert_eq!(source.peek(), Some(1));
    let mut record = Vec::new();
    assert!(source.pop(&mut record));
    assert_eq!(record, [1, 2, 0x0403]);
    assert!(sink.push(&[6, 7], &[]));
    assert!(source.pop(&mut record) && record == [5]);
    assert!(source.pop(&mut record) && record == [6, 7]);
    assert!(!source.pop(&mut record) && source.peek().is_none());
    assert!(!sink.push(&[0; 8], &[]), "larger than the ring");
    assert!(!sink.is_closed());
    drop(source);
    assert!(sink.is_closed());
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in(
        records in prop::collection::vec(
            (prop::collection::vec(any::<u64>(), 1..4), prop::collection::vec(any::<u8>(), 0..40)),
            0..60,
        ),
        reads in prop::collection::vec(any::<bool>(), 60),
    ) {
        let (mut sink, mut source) = word_ring(32);
        let (mut expected, mut record) = (std::collections::VecDeque::new(), Vec::new());
        for ((words, bytes), read) in records.into_iter().zip(reads) {
            if sink.push(&words, &bytes) {
                expected.push_back((words, bytes));
            }
            if read && source.pop(&mut record) {
                let (words, bytes) = expected.pop_front().unwrap();
                prop_assert_eq!(&record[..words.len()], &words);
                let packed: Vec<u8> =
                    record[words.len()..].iter().flat_map(|word| word.to_ne_bytes()).collect();
                prop_assert_eq!(&packed[..bytes.len()], &bytes);
                prop_assert!(packed.len() - bytes.len() < 8);
            }
        }
    }
}
