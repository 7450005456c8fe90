//! Tests of what a program needs.

use super::*;

#[test]
fn a_loaders_list_names_files() {
    let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f1)\n\
                \tlibnone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n\tstatically linked\n";
    let expected = ["/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib64/ld-linux-x86-64.so.2"];
    assert_eq!(files(list), expected.map(PathBuf::from));
}

#[test]
fn the_loader_is_found_in_the_program_headers() {
    let own = File::open("/proc/self/exe").unwrap();
    let loader = loader(&own).unwrap();
    assert!(loader.is_none_or(|path| path.exists()));
}

#[test]
fn what_is_no_program_has_no_loader() {
    let file = tempfile::tempfile().unwrap();
    for bytes in [&b""[..], b"#!/bin/sh\n", &[0x7f; 64], &[MAGIC, &[0xff; 58]].concat()] {
        file.set_len(0).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        assert!(loader(&file).is_err(), "{bytes:?}");
    }
}
