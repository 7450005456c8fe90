//! Tests of why there is no core scheduling.

use super::*;

#[test]
fn a_refusal_says_whether_the_kernel_or_the_processor_has_it_not() {
    let said = |errno| refusal(&io::Error::from_raw_os_error(errno)).to_string();
    assert!(said(libc::EINVAL).contains("CONFIG_SCHED_CORE"));
    assert!(said(libc::ENODEV).contains("leave it out"));
    for errno in [libc::EINVAL, libc::ENODEV, libc::EPERM] {
        assert!(said(errno).starts_with("--core-scheduling: "));
    }
}
