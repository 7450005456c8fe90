//! Tests of what a jail may be asked for.

use clap::Parser;

use super::*;

const ROOT: Caller = Caller { uid: 0, gid: 0 };
const USER: Caller = Caller { uid: 1000, gid: 1001 };

fn plan(words: &[&str]) -> Result<Plan, String> {
    plan_of(ROOT, words)
}

fn plan_of(caller: Caller, words: &[&str]) -> Result<Plan, String> {
    let always = ["jailer", "--exec-file", "/proc/self/exe", "--chroot-base-dir", "/tmp"];
    let args =
        Args::try_parse_from(always.iter().chain(words)).map_err(|error| error.to_string())?;
    Plan::new(args, caller).map_err(|error| error.to_string())
}

const WHO: [&str; 6] = ["--id", "a-1", "--uid", "1000", "--gid", "1001"];

fn with(words: &[&str]) -> Result<Plan, String> {
    plan(&[&WHO[..], words].concat())
}

#[test]
fn a_jail_is_named_by_the_program_and_the_id() {
    let plan = with(&["--", "--api-sock", "/run/vm.sock"]).unwrap();
    let program = std::fs::canonicalize("/proc/self/exe").unwrap();
    let name = program.file_name().unwrap();
    assert_eq!(plan.home(), Path::new("/tmp").join(name).join("a-1"));
    assert_eq!((plan.uid, plan.gid), (1000, 1001));
    assert_eq!(plan.extra, ["--api-sock", "/run/vm.sock"]);
    assert_eq!(plan.cgroup.parent, Path::new(name));
    assert_eq!(plan.limits, Limits { no_file: 2048, fsize: None });
    assert_eq!(plan.network, Network::Callers);
    assert!(!plan.daemonize && !plan.new_pid_ns && !plan.clean);
}

#[test]
fn an_id_cannot_lead_elsewhere() {
    let long = "a".repeat(65);
    for id in ["", "..", "a/b", "a b", "a_b", "ä", long.as_str()] {
        let refused = plan(&["--uid", "1", "--gid", "1", "--id", id]).unwrap_err();
        assert!(refused.starts_with("--id "), "{id}: {refused}");
    }
    assert!(plan(&["--uid", "1", "--gid", "1", "--id", &"a".repeat(64)]).is_ok());
}

#[test]
fn values_of_control_groups_name_a_file_and_one_line() {
    let plan = with(&["--cgroup", "cpu.weight=50", "--cgroup", "cpuset.cpus=0-1,3"]).unwrap();
    let [first, second] = &plan.cgroup.values[..] else { panic!() };
    assert_eq!((first.file.as_str(), first.value.as_str()), ("cpu.weight", "50"));
    assert_eq!((second.controller(), second.value.as_str()), ("cpuset", "0-1,3"));
    let wrong = [
        "",
        "=",
        "cpu.weight",
        "cpu.weight=",
        "=50",
        "cpu.weight=5=0",
        "../x.y=1",
        "a/b.c=1",
        "tasks=1",
        "cpu.max=1\n2",
    ];
    for wrong in wrong {
        let refused = with(&["--cgroup", wrong]).unwrap_err();
        assert!(refused.starts_with("--cgroup "), "{wrong}: {refused}");
    }
}

#[test]
fn a_parent_group_leads_down_only() {
    assert_eq!(with(&["--parent-cgroup", "ci/many"]).unwrap().cgroup.parent, Path::new("ci/many"));
    for wrong in ["", "/ci", "..", "ci/../x", "./ci", "ci/./x"] {
        let refused = with(&["--parent-cgroup", wrong]).unwrap_err();
        assert!(refused.starts_with("--parent-cgroup "), "{wrong}: {refused}");
    }
}

#[test]
fn limits_are_numbers_of_what_there_is() {
    let plan =
        with(&["--resource-limit", "fsize=1048576", "--resource-limit", "no-file=64"]).unwrap();
    assert_eq!(plan.limits, Limits { no_file: 64, fsize: Some(1 << 20) });
    for wrong in ["", "fsize", "fsize=", "fsize=-1", "fsize=1k", "core=1", "no-file=1=2"] {
        let refused = with(&["--resource-limit", wrong]).unwrap_err();
        assert!(refused.starts_with("--resource-limit "), "{wrong}: {refused}");
    }
}

#[test]
fn what_is_not_there_is_told_by_its_flag() {
    let args = |exec: &str, base: &str| {
        let words = ["jailer", "--exec-file", exec, "--chroot-base-dir", base];
        Plan::new(Args::try_parse_from(words.iter().chain(&WHO)).unwrap(), ROOT)
            .unwrap_err()
            .to_string()
    };
    assert!(args("/nowhere", "/tmp").starts_with("--exec-file /nowhere: "));
    assert!(args("/tmp", "/tmp").starts_with("--exec-file /tmp: "));
    assert!(args("/proc/self/exe", "/nowhere").starts_with("--chroot-base-dir /nowhere: "));
    let both = with(&["--netns", "/proc/self/ns/net", "--new-net-ns"]);
    assert!(both.unwrap_err().contains("--new-net-ns"));
}

#[test]
fn who_it_runs_as_has_to_be_said() {
    let missing = plan(&["--id", "a"]).unwrap_err();
    assert!(missing.contains("--uid") && missing.contains("--gid"), "{missing}");
    assert!(plan(&["--id", "a", "--clean"]).unwrap().clean);
}

#[test]
fn who_is_not_root_builds_jails_for_himself_in_a_pid_namespace() {
    let plan = |words: &[&str]| plan_of(USER, &[&["--id", "a"], words].concat());
    let own = plan(&["--rootless"]).unwrap();
    assert_eq!((own.uid, own.gid), (1000, 1001));
    assert!(own.rootless && own.new_pid_ns && own.keeps);
    for flag in ["--new-pid-ns", "--daemonize"] {
        let own = plan(&["--rootless", flag, "--uid", "1000", "--gid", "1001"]).unwrap();
        assert!(own.new_pid_ns && !own.keeps, "{flag}");
    }
    assert!(plan(&["--rootless", "--uid", "0"]).unwrap_err().starts_with("--uid 0: "));
    assert!(plan(&["--rootless", "--gid", "7"]).unwrap_err().starts_with("--gid 7: "));
    assert!(plan(&["--rootless", "--netns", "/x"]).unwrap_err().starts_with("--netns /x: "));
    assert!(plan(&["--uid", "1000", "--gid", "1001"]).unwrap_err().contains("--rootless"));
    assert!(plan(&["--clean"]).unwrap().clean);
    assert!(plan_of(ROOT, &["--id", "a", "--rootless"]).unwrap_err().starts_with("--rootless: "));
    assert!(!with(&[]).unwrap().keeps);
}

#[test]
fn what_the_program_is_handed_is_named() {
    let given = with(&["--fd", "5", "--ready-fd", "4", "--fd", "7"]).unwrap();
    assert_eq!(given.handed, [5, 7, 4]);
    assert_eq!(given.ready, [4]);
    assert!(with(&["--tap", "tap0"]).unwrap_err().contains("--new-net-ns"));
    assert_eq!(with(&["--new-net-ns", "--tap", "tap0"]).unwrap().taps.len(), 1);
}

#[test]
fn threads_are_put_apart_for_this_program_alone_and_by_controllers_of_threads() {
    let plan = |words: &[&str]| {
        let words = [&["jailer", "--chroot-base-dir", "/tmp"], &WHO[..], words].concat();
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        Plan::new(args, ROOT).map_err(|error| error.to_string())
    };
    assert_eq!(plan(&[]).unwrap().cgroup.threads, None);
    let asked = plan(&["--thread-cgroups", "--vcpu-cgroup", "cpu.weight=50"]).unwrap();
    let [(vcpus, of_vcpus), (lanes, of_lanes)] = asked.cgroup.threads.as_ref().unwrap().each();
    assert_eq!((vcpus, of_vcpus.len(), lanes, of_lanes.len()), ("vcpus", 1, "lanes", 0));
    assert!(plan(&["--lane-cgroup", "cpu.weight=50"]).unwrap_err().contains("--thread-cgroups"));
    let of_process = plan(&["--thread-cgroups", "--lane-cgroup", "memory.max=1"]).unwrap_err();
    assert!(of_process.starts_with("--lane-cgroup memory.max=1: "), "{of_process}");
    let old = plan(&["--thread-cgroups", "--cgroup-version", "1"]).unwrap_err();
    assert!(old.starts_with("--thread-cgroups: "), "{old}");
    let other = with(&["--thread-cgroups"]).unwrap_err();
    assert!(other.contains("--exec-file"), "{other}");
}
