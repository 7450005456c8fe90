//! Tests of which kernel is taken, with mirrors that have other ones than Debian 12.

use super::*;
use crate::mirror::{MAIN, Mirrors, Published};

const OLD: Published = ("linux-image-6.1.0-9-cloud-amd64", "6.1.9", "");
const CLOUD_6_1: Published = ("linux-image-6.1.0-47-cloud-amd64", "6.1.47", "");
const PC_6_1: Published = ("linux-image-6.1.0-47-amd64", "6.1.47", "");
const RT_6_1: Published = ("linux-image-6.1.0-48-rt-amd64", "6.1.48", "");
const OLD_6_12: Published = ("linux-image-6.12.9+deb12-cloud-amd64", "6.12.9", "");
const CLOUD_6_12: Published = ("linux-image-6.12.100+deb12-cloud-amd64", "6.12.100", "");
const CLOUD_6_16: Published = ("linux-image-6.16.3-cloud-amd64", "6.16.3", "");
const CLOUD_7_0: Published = ("linux-image-7.0.1-cloud-amd64", "7.0.1", "");

const META: &str = "linux-image-cloud-amd64";
const META_6_12: &str = "linux-image-6.12-cloud-amd64";

/// Name of the package that is fetched from a mirror of these by an apt with `known` lists.
fn fetched(release: Release, known: &[Published], published: &[Published]) -> Result<String> {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, known);
    mirrors.update();
    mirrors.publish(MAIN, published);
    let (apt, root) = (mirrors.apt(), mirrors.path("root"));
    let wanted = [release.meta_package()];
    let taken =
        apt.unpack_chosen(&wanted, &root, |is_new| Ok(vec![choose(&apt, release, is_new)?]))?;
    Ok(taken[0].name.clone())
}

fn taken(release: Release, published: &[Published]) -> String {
    fetched(release, published, published).unwrap()
}

#[test]
fn what_the_meta_package_stands_for_is_taken() {
    let published = [OLD, CLOUD_6_1, CLOUD_6_12, (META, "1", OLD.0), (META_6_12, "1", OLD_6_12.0)];
    assert_eq!(taken(Release::Guest6_1, &published), OLD.0);
    let published = [&published[..], &[OLD_6_12]].concat();
    assert_eq!(taken(Release::Guest6_12, &published), OLD_6_12.0);
}

#[test]
fn old_lists_without_the_meta_package_do_not_make_another_series_do() {
    let new = [CLOUD_6_1, CLOUD_6_12, (META_6_12, "1", CLOUD_6_12.0)];
    let name = fetched(Release::Guest6_12, &[CLOUD_6_1, CLOUD_6_16], &new).unwrap();
    assert_eq!(name, CLOUD_6_12.0);
}

#[test]
fn without_the_meta_package_the_newest_of_the_series_is_taken() {
    let published = [CLOUD_6_1, OLD_6_12, CLOUD_6_12, CLOUD_6_16];
    assert_eq!(taken(Release::Guest6_12, &published), CLOUD_6_12.0);
}

#[test]
fn without_the_series_the_next_one_is_taken_else_the_one_before() {
    let published = [CLOUD_6_1, CLOUD_6_16, CLOUD_7_0];
    assert_eq!(taken(Release::Guest6_12, &published), CLOUD_6_16.0);
    assert_eq!(taken(Release::Guest6_12, &[OLD, CLOUD_6_1]), CLOUD_6_1.0);
}

#[test]
fn a_meta_package_that_went_on_to_another_series_does_not_count() {
    // As Debian 13 has it.
    let meta = (META, "6.12", CLOUD_6_12.0);
    assert_eq!(taken(Release::Guest6_1, &[meta, CLOUD_6_12, CLOUD_6_1]), CLOUD_6_1.0);
    assert_eq!(taken(Release::Guest6_1, &[meta, OLD_6_12, CLOUD_6_12]), CLOUD_6_12.0);
}

#[test]
fn the_testbed_takes_any_series_but_no_other_flavour() {
    let published = [CLOUD_6_1, PC_6_1, RT_6_1, CLOUD_7_0];
    assert_eq!(taken(Release::Testbed, &published), PC_6_1.0);
}

#[test]
fn where_there_is_no_kernel_at_all_the_wanted_one_is_named() {
    let error = fetched(Release::Guest6_12, &[], &[("thing", "1", "")]).unwrap_err();
    assert_eq!(format!("{error:#}"), format!("apt knows no package {META_6_12}"));
}
