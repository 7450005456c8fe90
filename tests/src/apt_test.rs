//! Tests of apt, with mirrors and lists of their own.

use super::*;
use crate::mirror::{MAIN, Mirrors, SECURITY};

#[test]
fn the_first_paragraph_counts() {
    let text = "Package: a\nVersion: 2\nDepends: libc6 (>= 2.34), libx | liby, z\nSHA256: 00ff\n\nPackage: a\nVersion: 1\n";
    let package = Package::parse(text).unwrap();
    assert_eq!((package.name.as_str(), package.version.as_str()), ("a", "2"));
    assert_eq!(package.depends(), ["libc6", "libx", "z"]);
}

#[test]
fn an_entry_without_a_hash_is_refused() {
    assert!(Package::parse("Package: a\nVersion: 2\n").is_err());
}

/// What a package left below `root`.
fn version_in(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join("usr/share").join(name)).unwrap()
}

/// Unpacks the newest `thing`; returns its version.
fn unpacked(mirrors: &Mirrors) -> Result<String> {
    let root = tempfile::tempdir()?;
    let packages = mirrors.apt().unpack(&["thing"], root.path())?;
    assert_eq!(packages[0].version, version_in(root.path(), "thing"));
    assert_eq!(fs::read_dir(root.path())?.count(), 1, "the package file is left behind");
    Ok(packages[0].version.clone())
}

fn list_of(mirrors: &Mirrors, mirror: &str) -> PathBuf {
    let lists = fs::read_dir(mirrors.path("lists")).unwrap().flatten().map(|list| list.path());
    let name = |list: &PathBuf| list.to_string_lossy().ends_with(&format!("_{mirror}_._Packages"));
    lists.into_iter().find(name).unwrap()
}

#[test]
fn an_apt_without_lists_gets_some() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("thing", "1", "")]);
    assert_eq!(unpacked(&mirrors).unwrap(), "1");
}

#[test]
fn what_old_lists_do_not_know_is_found_in_new_ones() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("other", "1", "")]);
    mirrors.update();
    mirrors.publish(MAIN, &[("other", "1", ""), ("thing", "1", "")]);
    assert!(mirrors.apt().newest("thing").unwrap_err().is::<Unknown>());
    assert_eq!(unpacked(&mirrors).unwrap(), "1");
    let root = tempfile::tempdir().unwrap();
    mirrors.apt().unpack(&["other", "thing"], root.path()).unwrap();
}

#[test]
fn a_list_that_is_missing_is_fetched() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("other", "1", "")]);
    mirrors.publish(SECURITY, &[("thing", "1", "")]);
    mirrors.update();
    fs::remove_file(list_of(&mirrors, SECURITY)).unwrap();
    assert_eq!(unpacked(&mirrors).unwrap(), "1");
}

#[test]
fn a_list_that_is_cut_short_is_fetched() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("other", "1", ""), ("thing", "1", "")]);
    mirrors.update();
    let list = list_of(&mirrors, MAIN);
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, &text[..text.find("\n\n").unwrap() + 2]).unwrap();
    assert_eq!(unpacked(&mirrors).unwrap(), "1");
}

#[test]
fn a_version_that_the_mirror_dropped_is_looked_up_anew() {
    let mirrors = Mirrors::new();
    mirrors.publish(SECURITY, &[("thing", "1", "")]);
    mirrors.update();
    mirrors.publish(SECURITY, &[("thing", "2", "")]);
    assert_eq!(mirrors.apt().newest("thing").unwrap().version, "1");
    assert_eq!(unpacked(&mirrors).unwrap(), "2");
}

#[test]
fn what_a_meta_package_stands_for_is_looked_up_anew_too() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("meta", "1", "thing-1"), ("thing-1", "1", "")]);
    mirrors.update();
    mirrors.publish(MAIN, &[("meta", "2", "thing-2"), ("thing-2", "2", "")]);
    let (apt, root) = (mirrors.apt(), tempfile::tempdir().unwrap());
    let chosen = apt.unpack_chosen(&["meta"], root.path(), |_| Ok(vec![apt.behind("meta")?]));
    assert_eq!(chosen.unwrap()[0].name, "thing-2");
    assert_eq!(version_in(root.path(), "thing-2"), "2");
}

#[test]
fn what_is_installed_in_a_version_of_its_own_is_fetched_in_another() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("thing", "1", "")]);
    let installed = "Package: thing\nStatus: install ok installed\nVersion: 5\n\
                     Architecture: all\nMaintainer: nobody\nDescription: nothing\n\n";
    fs::write(mirrors.path("status"), installed).unwrap();
    assert_eq!(unpacked(&mirrors).unwrap(), "1", "with no list but dpkg's");
    assert_eq!(unpacked(&mirrors).unwrap(), "1");
}

#[test]
fn all_that_packages_need_is_told_whatever_is_installed() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("a", "1", "b"), ("b", "1", "c"), ("c", "1", ""), ("d", "1", "")]);
    mirrors.update();
    let installed = "Package: c\nStatus: install ok installed\nVersion: 1\n\
                     Architecture: all\nMaintainer: nobody\nDescription: nothing\n\n";
    fs::write(mirrors.path("status"), installed).unwrap();
    let mut names = mirrors.apt().with_all_needed(&["a"]).unwrap();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    let error = mirrors.apt().with_all_needed(&["a", "x", "y"]).unwrap_err();
    assert_eq!(error.downcast_ref::<Unknown>().unwrap().0, ["x", "y"]);
}

#[test]
fn a_mirror_that_fails_does_not_hinder_the_others() {
    let mirrors = Mirrors::new();
    mirrors.cut_off(MAIN);
    mirrors.publish(SECURITY, &[("thing", "1", "")]);
    assert_eq!(unpacked(&mirrors).unwrap(), "1");
    let error = mirrors.apt().unpack(&["other"], &mirrors.path("root")).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.starts_with("not all mirrors answered ("), "{said}");
    assert!(said.ends_with("apt knows no package other") && !said.contains('\n'), "{said}");
}

#[test]
fn without_a_network_one_line_tells_what_is_missing() {
    let mirrors = Mirrors::new();
    mirrors.publish(MAIN, &[("thing", "1", "")]);
    mirrors.update();
    mirrors.cut_off(MAIN);
    mirrors.cut_off(SECURITY);
    for name in ["thing", "unknown"] {
        let error = mirrors.apt().unpack(&[name], &mirrors.path("root")).unwrap_err();
        let Unreachable { packages, .. } = error.downcast_ref().unwrap();
        assert_eq!(packages, &[name]);
        assert!(!format!("{error:#}").contains('\n'), "{error:#}");
    }
}

#[test]
fn lists_are_refreshed_once_in_a_process() {
    let mirrors = Mirrors::new();
    let (apt, root) = (mirrors.apt(), mirrors.path("root"));
    let ask = |apt: &Apt| apt.unpack(&["thing"], &root).map(drop);
    assert!(ask(&apt).unwrap_err().is::<Unknown>());
    mirrors.publish(MAIN, &[("thing", "1", "")]);
    assert!(ask(&apt).unwrap_err().is::<Unknown>());
    ask(&mirrors.apt()).unwrap();
}
