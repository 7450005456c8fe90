//! Files that are said to be overlays: read or refused, and never more than they are.

use std::fs::File;
use std::os::unix::fs::FileExt;

use block::image::{Header, offline, sealed};

/// Bytes of a header.
const PAGE: usize = 4096;

/// Reads a file that begins with these bytes and is as long as it says it is, as it is and with the checksum that it
/// should have.
pub fn run(bytes: &[u8]) {
    let mut page = [0; PAGE];
    page.iter_mut().zip(bytes).for_each(|(byte, given)| *byte = *given);
    for page in [page, sealed(page)] {
        let header = Header::of_page(&page);
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(bytes, 0).expect("room");
        file.write_all_at(&page, 0).expect("room");
        // Small ones alone, of which a map is read soon.
        let Some(header) = header.ok().filter(|header| header.size <= 64 << 30) else {
            check_refused(&file);
            continue;
        };
        assert!(header.to_page() == page || bytes.len() > 56, "nothing is read that is not kept");
        if header.file_len() > bytes.len() as u64 {
            check_refused(&file);
        }
        file.set_len(header.file_len()).expect("a sparse file");
        if let Ok(about) = offline::look_into(&file) {
            assert_eq!(about.header, header);
            assert!(about.bytes <= header.size);
        }
    }
}

fn check_refused(file: &File) {
    let line = offline::look_into(file).expect_err("it cannot be whole").to_string();
    assert!(!line.trim().is_empty() && !line.contains('\n'), "{line}");
}
