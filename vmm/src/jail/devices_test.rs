//! Tests of what is brought into a jail.

use super::*;

#[test]
fn a_minor_number_is_found_by_its_devices_name() {
    let list = "257 userfaultfd\n126 rfkill\n  1 psaux\nnone here\n";
    assert_eq!(minor(list, "userfaultfd"), Some(257));
    assert_eq!(minor(list, "psaux"), Some(1));
    assert_eq!(minor(list, "here"), None);
    assert_eq!(minor("", "kvm"), None);
}
