//! Images one above the other, as files: opened, refused, locked, read.

use std::fs;

use tempfile::TempDir;

use super::*;

const WRITABLE: Mode = Mode { read_only: false, direct: false };
const K64: usize = 64 << 10;

/// A folder with files of so many bytes, each full of its own letter.
fn folder(files: &[(&str, usize)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, len) in files {
        fs::write(folder.path().join(name), name.as_bytes()[..1].repeat(*len)).unwrap();
    }
    folder
}

fn open(folder: &TempDir, names: &[&str], mode: Mode) -> Result<Image, OpenError> {
    let paths: Vec<_> = names.iter().map(|name| folder.path().join(name)).collect();
    Image::open_source(&Source { path: &paths[0], bases: &paths[1..] }, mode, &Own)
}

fn refused(folder: &TempDir, names: &[&str]) -> String {
    let error = open(folder, names, WRITABLE).expect_err("it is to be refused");
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
        .replace(&folder.path().display().to_string(), "")
}

/// Writes a whole cluster, as a lane would.
fn put(image: &Image, cluster: u64, letter: u8) {
    let overlay = image.overlay().unwrap();
    image.file().write_all_at(&[letter; K64], overlay.place(cluster * CLUSTER)).unwrap();
    overlay.map.add(&(cluster..cluster + 1));
    image.settle();
}

/// The letters at the begin of each cluster.
fn letters(image: &Image) -> String {
    let letter = |at: u64| {
        let mut byte = [0];
        image.read_disk_at(&mut byte, at).unwrap();
        if byte[0] == 0 { '.' } else { char::from(byte[0]) }
    };
    (0..image.size()).step_by(K64).map(letter).collect()
}

#[test]
fn an_overlay_is_made_where_there_is_nothing_and_found_again() {
    let folder = folder(&[("base", 3 * K64 + 512), ("empty", 0)]);
    for name in ["new", "empty"] {
        let image = open(&folder, &[name, "base"], WRITABLE).unwrap();
        assert_eq!((image.size(), letters(&image).as_str()), (3 * K64 as u64 + 512, "bbbb"));
        assert_eq!(image.overlay_bytes(), Some(0));
        put(&image, 1, b'x');
        drop(image);
        let image =
            open(&folder, &[name, "base"], Mode { read_only: true, direct: false }).unwrap();
        assert_eq!(letters(&image), "bxbb");
        assert_eq!(image.bases(), [folder.path().join("base")]);
    }
    assert_eq!(fs::read(folder.path().join("base")).unwrap(), b"b".repeat(3 * K64 + 512));
}

#[test]
fn overlays_stand_on_overlays() {
    let folder = folder(&[("base", 4 * K64)]);
    let one = open(&folder, &["1", "base"], WRITABLE).unwrap();
    put(&one, 1, b'1');
    put(&one, 2, b'1');
    drop(one);
    let two = open(&folder, &["2", "1", "base"], WRITABLE).unwrap();
    put(&two, 2, b'2');
    assert_eq!(letters(&two), "b12b");
    assert_eq!(two.locate(0, 9 * CLUSTER), (Part::In { below: 2, at: 0 }, CLUSTER));
    let place = two.overlay().unwrap().place(0);
    assert_eq!(two.locate(CLUSTER, 512), (Part::In { below: 1, at: place + CLUSTER }, 512));
    assert_eq!(two.bases().len(), 2);
    // Another on the same two, at the same time.
    assert_eq!(letters(&open(&folder, &["3", "1", "base"], WRITABLE).unwrap()), "b11b");
    assert!(refused(&folder, &["2", "1", "base"]).contains("in use"));
    assert!(refused(&folder, &["1", "base"]).contains("in use"), "who stands below is not written");
}

#[test]
fn a_base_that_is_shorter_reads_as_zeroes_behind_its_end() {
    let folder = folder(&[("base", K64 + 512)]);
    let path = folder.path().join("long");
    let file = File::create_new(&path).unwrap();
    let base = open(&folder, &["base"], WRITABLE).unwrap().identity_as_base().unwrap();
    Overlay::create(&file, 3 * CLUSTER, base).unwrap();
    let image = open(&folder, &["long", "base"], WRITABLE).unwrap();
    assert_eq!((image.size(), letters(&image).as_str()), (3 * CLUSTER, "bb."));
    assert_eq!(image.locate(CLUSTER, CLUSTER), (Part::In { below: 1, at: CLUSTER }, 512));
    assert_eq!(image.locate(CLUSTER + 512, CLUSTER), (Part::Nowhere, CLUSTER));
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let folder = folder(&[("base", K64), ("other", 2 * K64), ("raw", K64)]);
    drop(open(&folder, &["over", "base"], WRITABLE).unwrap());
    for (names, line) in [
        (&["over"][..], "/over is an overlay; name its base too: base=FILE"),
        (&["new", "over"], "/over is an overlay; name its base too: base=FILE"),
        (&["raw", "base"], "/raw cannot be an overlay: it does not begin as an overlay"),
        (
            &["over", "other"],
            "/other is not as it was when the overlay /over was made on it: it had 65536 bytes, and has 131072",
        ),
        (
            &["over", "raw"],
            "/raw is not as it was when the overlay /over was made on it: it has been written, or copied, since; if its bytes are the same all the same: vmm disk rebase /over /raw",
        ),
        (&["new", "nothing"], "cannot open /nothing: No such file or directory (os error 2)"),
        (
            &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
            "/1 has 8 bases below it, and a disk at most 7; make one image of some: vmm disk flatten",
        ),
    ] {
        // Where time has grains as coarse as the test is fast, two files are equally old.
        if names == ["over", "raw"] {
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
            File::options()
                .write(true)
                .open(folder.path().join("raw"))
                .unwrap()
                .set_modified(later)
                .unwrap();
        }
        assert_eq!(refused(&folder, names), line, "{names:?}");
    }
    let _writer = open(&folder, &["base"], WRITABLE).unwrap();
    assert!(refused(&folder, &["over", "base"]).contains("/base is in use"));
}

#[test]
fn a_base_that_was_written_since_is_refused() {
    let folder = folder(&[("base", K64)]);
    drop(open(&folder, &["over", "base"], WRITABLE).unwrap());
    let file = File::options().write(true).open(folder.path().join("base")).unwrap();
    file.write_all_at(b"B", 0).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
    assert!(refused(&folder, &["over", "base"]).contains("it has been written"));
}

#[test]
fn one_is_read_beside_whoever_writes_it() {
    let folder = folder(&[("base", K64)]);
    let writer = open(&folder, &["over", "base"], WRITABLE).unwrap();
    put(&writer, 0, b'x');
    let (path, bases) = (folder.path().join("over"), [folder.path().join("base")]);
    let reader = Image::open_beside(&Source { path: &path, bases: &bases }).unwrap();
    assert_eq!(letters(&reader), "x");
    assert!(reader.shares_with(&writer));
}

#[test]
fn an_overlay_is_on_no_file_that_is_itself() {
    let folder = folder(&[("base", K64)]);
    drop(open(&folder, &["one", "base"], WRITABLE).unwrap());
    std::os::unix::fs::symlink("base", folder.path().join("link")).unwrap();
    fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
    for names in [&["base", "base"][..], &["base", "link"], &["two", "one", "base"]] {
        let said = refused(&folder, names);
        assert_eq!(
            said,
            format!(
                "/{} cannot be an overlay on itself; name another file for what is written",
                names[0]
            )
        );
    }
}
