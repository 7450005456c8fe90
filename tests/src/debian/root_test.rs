//! Tests of setting up a root.

use super::*;

#[test]
fn what_packages_have_beside_usr_comes_below_it_and_files_win_over_links_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root(folder.path());
    for (path, text) in [("bin/a", "a"), ("usr/bin/b", "b"), ("bin/deep/c", "c")] {
        root.write(path, 0o755, text).unwrap();
    }
    fs::create_dir(root.at("usr/bin/deep")).unwrap();
    for (link, target) in [("usr/bin/a", "/bin/a"), ("bin/b", "/usr/bin/b"), ("bin/d", "a")] {
        symlink(target, root.at(link)).unwrap();
    }
    root.merge("bin").unwrap();
    assert_eq!(fs::read_link(root.at("bin")).unwrap(), Path::new("usr/bin"));
    let read = |path: &str| fs::read_to_string(root.at(path)).unwrap();
    assert_eq!(["bin/a", "bin/b", "bin/deep/c", "bin/d"].map(read), ["a", "b", "c", "a"]);
    // As Debian 13 has it.
    root.merge("bin").unwrap();
    root.merge("sbin").unwrap();
    assert!(root.at("sbin").is_dir() && root.at("usr/sbin").is_dir());
}

#[test]
fn every_user_has_a_secret_and_only_root_has_one_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root(folder.path());
    let masters = "usr/share/base-passwd";
    root.write(&format!("{masters}/group.master"), 0o644, "root:*:0:\n").unwrap();
    let users = "root:*:0:0:root:/root:/bin/bash\nbin:*:2:2:bin:/bin:/usr/sbin/nologin\n";
    root.write(&format!("{masters}/passwd.master"), 0o644, users).unwrap();
    root.users().unwrap();
    let read = |path: &str| fs::read_to_string(root.at(path)).unwrap();
    assert_eq!(
        read("etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n"
    );
    let secrets = read("etc/shadow");
    let open: Vec<_> = secrets.lines().filter(|line| !line.contains(":*:")).collect();
    assert!(open.len() == 1 && open[0].starts_with(&format!("root:{CRYPTED}:")), "{secrets}");
}
