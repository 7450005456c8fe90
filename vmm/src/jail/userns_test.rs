//! Tests of why there is no user namespace.

use super::*;

fn policy(most: &str, unprivileged: &str, apparmor: &str) -> Policy {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_string());
    Policy { most: said(most), unprivileged: said(unprivileged), apparmor: said(apparmor) }
}

#[test]
fn what_is_in_the_way_is_found_by_the_error_and_the_hosts_settings() {
    assert_eq!(policy("0", "", "").why(Errno::NOSPC), Why::NoneMayBe);
    assert_eq!(policy("7", "", "").why(Errno::NOSPC), Why::TooMany);
    assert_eq!(policy("7", "1", "0").why(Errno::USERS), Why::TooMany);
    assert_eq!(policy("7", "0", "1").why(Errno::PERM), Why::OnlyRoot);
    assert_eq!(policy("7", "1", "1").why(Errno::PERM), Why::AppArmor);
    assert_eq!(policy("7", "", "1").why(Errno::ACCESS), Why::AppArmor);
    assert_eq!(policy("7", "1", "0").why(Errno::PERM), Why::Refused);
    assert_eq!(policy("", "", "").why(Errno::INVAL), Why::NotInKernel);
    assert_eq!(policy("0", "0", "1").why(Errno::NOMEM), Why::Other);
}

#[test]
fn a_refusal_names_the_setting() {
    for (why, setting) in [
        (Why::NoneMayBe, "user.max_user_namespaces"),
        (Why::TooMany, "user.max_user_namespaces"),
        (Why::OnlyRoot, "kernel.unprivileged_userns_clone"),
        (Why::AppArmor, "kernel.apparmor_restrict_unprivileged_userns"),
        (Why::NotInKernel, "CONFIG_USER_NS"),
    ] {
        assert!(why.to_string().contains(setting), "{why:?}");
    }
}
