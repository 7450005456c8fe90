//! Tests of finding libraries, on this test program itself.

use super::*;

#[test]
fn a_program_brings_its_interpreter_and_libc() {
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    let needs = needs(&me).unwrap();
    assert!(needs.interpreter.as_deref().unwrap().contains("ld-linux"));
    let search = Search::of(needs.libraries, &host_folders()).unwrap();
    assert!(search.nowhere.is_empty(), "{:?}", search.nowhere);
    assert!(search.found.contains_key("libc.so.6"), "{:?}", search.found);
}

#[test]
fn a_library_that_is_nowhere_is_named() {
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    let search = Search::of(needs(&me).unwrap().libraries, &[]).unwrap();
    assert!(search.found.is_empty() && search.nowhere.contains("libc.so.6"));
}

#[test]
fn a_library_tells_its_package() {
    let told = |library| package_of(library).unwrap();
    assert_eq!(told("librte_net_ena.so.23"), "librte-net-ena23");
    assert_eq!(told("librte_net_mlx5.so.23"), "librte-net-mlx5-23");
    assert_eq!(told("libpcap.so.0.8"), "libpcap0.8");
    assert_eq!(package_of("linux-vdso"), None);
}
