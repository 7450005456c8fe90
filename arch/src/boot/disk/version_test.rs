//! Which kernels are newer.

use std::cmp::Ordering;

use super::*;
use proptest::prelude::*;

#[test]
fn kernels_of_distributions_are_in_their_order() {
    for (older, newer) in [
        ("6.1.0-9-cloud-amd64", "6.1.0-13-cloud-amd64"),
        ("5.15.0-91-generic", "6.8.0-31-generic"),
        ("6.1.61-85.141.amzn2023.x86_64", "6.1.109-118.189.amzn2023.x86_64"),
        ("6.5.6-300.fc39.x86_64", "6.5.6-301.fc39.x86_64"),
        ("6.8.0-rc7", "6.8.0-11"),
        ("6.8~rc7", "6.8"),
        ("6.8", "6.8.1"),
        ("0-rescue-3f", "6.1.0"),
        ("", "6.1.0"),
    ] {
        assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
        assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
    }
    assert_eq!(compare("6.1-2", "6.1.2"), Ordering::Equal);
    assert_eq!(compare("6.01", "6.1"), Ordering::Equal);
}

proptest! {
    #[test]
    fn it_is_an_order(a in "[0-9a-c.~-]{0,8}", b in "[0-9a-c.~-]{0,8}", c in "[0-9a-c.~-]{0,8}") {
        prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        if compare(&a, &b).is_lt() && compare(&b, &c).is_lt() {
            prop_assert_eq!(compare(&a, &c), Ordering::Less);
        }
    }
}
