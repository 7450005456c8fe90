//! Tests of where control groups are, and of what is in them.

use super::*;

const MOUNTS: &str = "\
proc /proc proc rw 0 0
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
short
";

#[test]
fn hierarchies_are_found_by_their_controllers() {
    let found = Hierarchies::of(MOUNTS);
    let at = |controller| found.first_of(controller).map(|path| path.to_str().unwrap().to_string());
    assert_eq!(at("cpuacct").as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct"));
    assert_eq!(at("cpuset").as_deref(), Some("/sys/fs/cgroup/cpuset"));
    assert_eq!(at("memory"), None);
    assert_eq!(found.second.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    assert_eq!(Hierarchies::of(""), Hierarchies::default());
}
