//! Tests of module names and lookups.

use super::*;

#[test]
fn names_are_those_the_kernel_uses() {
    assert_eq!(name_of(Path::new("a/b/virtio-net.ko.xz")).as_deref(), Some("virtio_net"));
    assert_eq!(name_of(Path::new("9p.ko")).as_deref(), Some("9p"));
    assert_eq!(name_of(Path::new("modules.builtin")), None);
}

#[test]
fn a_builtin_module_needs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("modules.builtin"), "kernel/drivers/virtio/virtio.ko\n").unwrap();
    assert!(in_load_order(folder.path(), &["virtio"]).unwrap().is_empty());
}

#[test]
fn a_module_that_is_nowhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("modules.builtin"), "").unwrap();
    let error = in_load_order(folder.path(), &["nosuch"]).err().unwrap().to_string();
    assert!(error.contains("nosuch"), "{error}");
}
