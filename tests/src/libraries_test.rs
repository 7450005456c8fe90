//! Tests of finding libraries, on this test program itself.

use super::*;

#[test]
fn a_program_brings_its_interpreter_and_libc() {
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    let needs = needs(&me).unwrap();
    assert!(needs.interpreter.unwrap().contains("ld-linux"));
    let mut found = Libraries::new();
    assert_eq!(collect(&me, &host_folders(), &mut found).unwrap(), None);
    assert!(found.contains_key("libc.so.6"), "{found:?}");
}

#[test]
fn a_library_that_is_nowhere_is_named() {
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    let missing = collect(&me, &[], &mut Libraries::new()).unwrap();
    assert!(missing.unwrap().contains(".so"));
}
