//! Tests of how missing things are told.

use super::*;

fn far(packages: &[&str]) -> Error {
    let packages = packages.iter().map(|&name| name.to_owned()).collect();
    Error::new(Unreachable { packages, why: "no such host".to_owned() }).context("cannot fetch it")
}

#[test]
fn all_that_no_mirror_can_be_asked_for_is_told_in_one_line() {
    let errors = vec![far(&["busybox-static"]), far(&["ethtool", "libmnl0"]), far(&["ethtool"])];
    let said = format!("{:#}", told(errors).unwrap_err());
    let wanted = "no network (no such host), and these packages are missing: busybox-static \
                  ethtool libmnl0; run the same command once with a network, or copy ";
    assert!(said.starts_with(wanted) && !said.contains('\n'), "{said}");
}

#[test]
fn what_fails_otherwise_is_told_first() {
    let errors = vec![far(&["ethtool"]), anyhow!("the disk is full"), anyhow!("it is full")];
    assert_eq!(told(errors).unwrap_err().to_string(), "the disk is full");
    assert!(told(Vec::new()).is_ok());
}
