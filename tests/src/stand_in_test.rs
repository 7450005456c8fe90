//! Tests of stand-ins, for libraries of this test program itself.

use super::*;
use crate::host;

fn library(name: &str) -> Vec<u8> {
    let folders = host::library_folders();
    let path = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn a_program_looks_for_names_that_its_libraries_have() {
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    let (wanted, libc) = (wanted(&me).unwrap(), own(&library("libc.so.6")).unwrap());
    let of_libc = wanted.iter().filter(|(key, _)| key.as_ref().is_some_and(|k| k.0 == "libc.so.6"));
    let names: BTreeSet<_> = of_libc.flat_map(|(_, names)| names).cloned().collect();
    assert!(names.contains("memcpy") && names.is_subset(&libc));
    assert!(!own(&me).unwrap().contains("memcpy"));
}

#[test]
fn a_stand_in_has_what_is_wanted_of_its_library_in_that_version_and_nothing_else() {
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let name = "libgcc_s.so.1";
    make(&me, &[library("libc.so.6")], &[name], folder.path()).unwrap();
    let made = fs::read(folder.path().join(name)).unwrap();
    let names = own(&made).unwrap();
    assert!(names.iter().any(|name| name.starts_with("_Unwind_")), "{names:?}");
    assert!(!names.contains("memcpy"), "{names:?}");
    assert!(names.contains("GCC_3.0"), "{names:?}");
}
