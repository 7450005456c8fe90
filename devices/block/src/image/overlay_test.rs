//! Files of overlays: made, read again, cut off, and written by somebody who means no good.

use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;

const BASE: Identity = Identity { size: 1 << 20, modified: 7 };
const SIZE: u64 = (1 << 20) + 512;

fn made() -> (File, Overlay) {
    let file = tempfile::tempfile().unwrap();
    let overlay = Overlay::create(&file, SIZE, BASE).unwrap();
    (file, overlay)
}

#[test]
fn a_new_one_has_nothing_and_takes_little_room() {
    let (file, overlay) = made();
    assert_eq!(overlay.map.count(), 0);
    let about = file.metadata().unwrap();
    assert_eq!(about.len(), overlay.header.data + SIZE);
    assert!(about.blocks() * 512 <= 16 << 10, "{} bytes", about.blocks() * 512);
    let again = Overlay::read(&file, false).unwrap();
    assert_eq!(again.header, overlay.header);
    assert_eq!(again.header.base, BASE);
}

#[test]
fn what_it_has_is_in_the_file_once_it_is_settled() {
    for ordered in [true, false] {
        let (file, overlay) = made();
        if !ordered {
            overlay.promise_nothing();
        }
        overlay.map.add(&(0..1));
        overlay.map.add(&(16..17));
        assert_eq!(Overlay::read(&file, true).unwrap().map.count(), 0);
        overlay.settle(&file).unwrap();
        let again = Overlay::read(&file, true).unwrap();
        assert_eq!((again.map.run(0..17), again.map.run(16..17)), ((true, 1), (true, 1)));
        assert!(overlay.map.is_kept(&(0..1)) && !overlay.map.is_changed());
    }
}

#[test]
fn the_last_cluster_ends_with_the_disk() {
    let (_, overlay) = made();
    assert_eq!(overlay.bytes_of(&(0..2)), 0..2 * CLUSTER);
    assert_eq!(overlay.bytes_of(&(15..17)), 15 * CLUSTER..SIZE);
    assert_eq!(overlay.touched(CLUSTER - 512, 512), 0..1);
    assert_eq!(overlay.touched(CLUSTER - 512, 1024), 0..2);
    overlay.map.add(&(1..2));
    assert_eq!(overlay.run(512, 4 * CLUSTER), (false, CLUSTER - 512));
    assert_eq!(overlay.run(CLUSTER + 512, 512), (true, 512));
    assert_eq!(overlay.run(CLUSTER + 512, 2 * CLUSTER), (true, CLUSTER - 512));
}

#[test]
fn what_is_none_or_not_whole_is_refused() {
    let refused = |change: &dyn Fn(&File)| {
        let (file, _) = made();
        change(&file);
        Overlay::read(&file, false).unwrap_err().to_string()
    };
    let none = "it does not begin as an overlay";
    assert_eq!(refused(&|file| file.set_len(100).unwrap()), none);
    assert_eq!(refused(&|file| file.write_all_at(b"QFI\xfb", 0).unwrap()), none);
    let cut = refused(&|file| file.set_len(CLUSTER + SIZE - 1).unwrap());
    assert_eq!(
        cut,
        format!(
            "it has {} bytes, and {} belong to it: its end is cut off",
            CLUSTER + SIZE - 1,
            CLUSTER + SIZE
        )
    );
    let map = refused(&|file| file.write_all_at(&[0b100], map_at(0) + 2).unwrap());
    assert_eq!(map, "its map has clusters behind the end of the disk");
    assert!(refused(&|file| file.write_all_at(&[1], 99).unwrap()).contains("checksum"));
}

proptest! {
    /// Any bytes before the data, under a header that is right or is not.
    #[test]
    fn whatever_a_file_has_it_is_read_or_refused(
        at in 0..2 * PAGE,
        bytes in prop::collection::vec(any::<u8>(), 1..64),
        keeps_header in any::<bool>(),
    ) {
        let (file, overlay) = made();
        file.write_all_at(&bytes, at).unwrap();
        if keeps_header {
            file.write_all_at(&overlay.header.to_page(), 0).unwrap();
        }
        if let Ok(read) = Overlay::read(&file, true) {
            prop_assert_eq!(read.header, overlay.header);
            prop_assert!(read.map.count() <= 17);
        }
    }
}
