//! Overlays without a machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.path("base"), [b'b'; 70_144]).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn one_that_is_made_larger_is_made_an_image_with_its_holes() {
    let place = Place::new();
    let (over, bases) = (place.path("over"), [place.path("base")]);
    let source = Source { path: &over, bases: &bases };
    assert_eq!(create(&source, Some(1 << 20)).unwrap().size, 1 << 20);
    assert!(matches!(create(&source, None), Err(OfflineError::There(_))));
    let image =
        Image::open_source(&source, Mode { read_only: false, direct: false }, &Own).unwrap();
    let overlay = image.overlay().unwrap();
    image.file().write_all_at(&[b'x'; 512], overlay.place(4 * CLUSTER)).unwrap();
    overlay.map.add(&(4..5));
    image.settle();
    let flat = place.path("flat");
    assert!(flatten(&source, &flat).unwrap_err().to_string().contains("in use"));
    assert!(!flat.exists());
    drop(image);
    assert_eq!(look(&over).unwrap().bytes, CLUSTER);
    assert_eq!(flatten(&source, &flat).unwrap(), 1 << 20);
    let bytes = fs::read(&flat).unwrap();
    let wanted = [&[b'b'; 70_144][..], &[0; 192_000], &[b'x'; 512], &[0; 785_920]].concat();
    assert!(bytes == wanted, "{} bytes", bytes.len());
    assert!(fs::metadata(&flat).unwrap().blocks() * 512 < 300 << 10);
    assert!(matches!(flatten(&source, &flat), Err(OfflineError::There(_))));
}

#[test]
fn sizes_that_cannot_be_are_refused_and_leave_nothing() {
    let place = Place::new();
    let (over, bases) = (place.path("over"), [place.path("base")]);
    let source = Source { path: &over, bases: &bases };
    for size in [512, 70_143, 70_145, MOST_SIZE + 512] {
        assert!(matches!(create(&source, Some(size)), Err(OfflineError::Size { .. })), "{size}");
    }
    assert!(matches!(
        create(&Source { path: &over, bases: &[] }, None),
        Err(OfflineError::Open(OpenError::NeedsBase { .. }))
    ));
    assert!(!over.exists());
}

#[test]
fn one_whose_base_was_copied_is_put_on_the_copy() {
    let place = Place::new();
    let (over, bases) = (place.path("over"), [place.path("base")]);
    create(&Source { path: &over, bases: &bases }, None).unwrap();
    fs::copy(place.path("base"), place.path("copy")).unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    File::options().write(true).open(place.path("copy")).unwrap().set_modified(later).unwrap();
    let copies = [place.path("copy")];
    let source = Source { path: &over, bases: &copies };
    assert!(open(&source).unwrap_err().to_string().contains("vmm disk rebase"));
    rebase(&source).unwrap();
    open(&source).unwrap();
    fs::write(place.path("short"), [b'b'; 512]).unwrap();
    let short = [place.path("short")];
    assert!(
        rebase(&Source { path: &over, bases: &short })
            .unwrap_err()
            .to_string()
            .contains("70144 bytes")
    );
    let raw = place.path("raw");
    fs::write(&raw, [0; 8192]).unwrap();
    assert!(rebase(&Source { path: &raw, bases: &bases }).is_err());
}
