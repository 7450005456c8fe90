//! What will be done, decided before anything is.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::process::{getegid, geteuid};

use super::args::{Args, NAME};
use super::error::{JailError, Step};
use super::taps::TapSpec;

/// Groups of threads, and controllers that those have (`Documentation/admin-guide/cgroup-v2.rst`, "Threads").
pub const VCPUS: &str = "vcpus";
pub const LANES: &str = "lanes";
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];
/// Descriptors that the program may have, if nothing else is said.
const DESCRIPTORS: u64 = 2048;
const MOST_ID: usize = 64;

/// A jail, as asked for and checked.
#[derive(Debug)]
pub struct Plan {
    /// Name of the machine.
    pub id: String,
    /// The program's file, with no link in its path.
    pub program: PathBuf,
    /// Its name there and in the jail.
    pub name: OsString,
    /// Folder of all jails.
    pub base: PathBuf,
    /// The program is this VMM.
    pub is_vmm: bool,
    /// User and group of the program.
    pub uid: u32,
    pub gid: u32,
    /// All is done in a user namespace of who is not root.
    pub rootless: bool,
    /// Whose network it has.
    pub network: Network,
    /// TAPs to make in it.
    pub taps: Vec<TapSpec>,
    /// `/dev/vhost-net` is in it.
    pub vhost_net: bool,
    /// Descriptors that the program is handed.
    pub handed: Vec<RawFd>,
    /// Those of them that it says by that it is ready.
    pub ready: Vec<RawFd>,
    pub daemonize: bool,
    pub new_pid_ns: bool,
    /// Who starts the jail stays until the program has ended.
    pub keeps: bool,
    pub cgroup: CgroupPlan,
    pub limits: Limits,
    /// Nobody else is on a core while the program is.
    pub core_scheduling: bool,
    /// The jail is to be removed.
    pub clean: bool,
    /// Arguments of the program.
    pub extra: Vec<OsString>,
}

/// The network namespace.
#[derive(Debug, PartialEq, Eq)]
pub enum Network {
    /// That of who starts the jail.
    Callers,
    /// The one behind this handle.
    Handle(PathBuf),
    /// A new one.
    New,
}

/// The control group.
#[derive(Debug)]
pub struct CgroupPlan {
    /// 1 or 2, if it was said.
    pub version: Option<u8>,
    /// Under the hierarchy's root, relative.
    pub parent: PathBuf,
    /// It was said, and is not the program's name.
    pub parent_said: bool,
    pub values: Vec<CgroupValue>,
    /// Groups below it for threads.
    pub threads: Option<ThreadGroups>,
}

/// Values of the groups that threads are in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ThreadGroups {
    pub vcpus: Vec<CgroupValue>,
    pub lanes: Vec<CgroupValue>,
}

impl ThreadGroups {
    /// Their names, and the values of each.
    pub fn each(&self) -> [(&'static str, &[CgroupValue]); 2] {
        [(VCPUS, &self.vcpus), (LANES, &self.lanes)]
    }

    /// Of what was asked for, if it was.
    fn of(args: &Args) -> Result<Option<ThreadGroups>, JailError> {
        if !args.thread_cgroups {
            return Ok(None);
        }
        let refused = |why: &str| Err(JailError::refused(format!("--thread-cgroups: {why}")));
        if args.exec_file.is_some() {
            return refused(
                "the program must be this VMM, whose threads go where they belong; leave --exec-file out",
            );
        }
        if args.cgroup_version == Some(1) {
            return refused("such groups are of version 2");
        }
        let values = |flag: &str, texts: &[String]| -> Result<Vec<_>, JailError> {
            let values = values_of(flag, texts)?;
            match values.iter().find(|value| !THREADED.contains(&value.controller())) {
                None => Ok(values),
                Some(value) => Err(JailError::refused(format!(
                    "{flag} {}={}: of threads there are the controllers {}; others are of the whole process, by --cgroup",
                    value.file,
                    value.value,
                    THREADED.join(", ")
                ))),
            }
        };
        Ok(Some(ThreadGroups {
            vcpus: values("--vcpu-cgroup", &args.vcpu_cgroup)?,
            lanes: values("--lane-cgroup", &args.lane_cgroup)?,
        }))
    }
}

/// A file of a control group and what is to be written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupValue {
    pub file: String,
    pub value: String,
}

impl CgroupValue {
    /// Of `FILE=VALUE`. Fails with the reason.
    fn parse(text: &str) -> Result<CgroupValue, &'static str> {
        let (file, value) =
            text.split_once('=').ok_or("it is FILE=VALUE, such as cpu.weight=50")?;
        if file.is_empty() || value.is_empty() || value.contains('=') {
            return Err("it is FILE=VALUE, such as cpu.weight=50, with one =");
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        if !file.chars().all(is_name) || file.contains("..") || !file.contains('.') {
            return Err("FILE is a controller's file, such as cpu.weight, and no path");
        }
        if value.contains('\n') {
            return Err("VALUE is one line");
        }
        Ok(CgroupValue { file: file.to_string(), value: value.to_string() })
    }

    /// Whose file it is.
    pub fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}

/// Limits of the process, soft and hard.
#[derive(Debug, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors.
    pub no_file: u64,
    /// Bytes of each file it writes.
    pub fsize: Option<u64>,
}

impl Limits {
    fn parse(texts: &[String]) -> Result<Limits, JailError> {
        let mut limits = Limits { no_file: DESCRIPTORS, fsize: None };
        for text in texts {
            let refused = |why: &str| JailError::refused(format!("--resource-limit {text}: {why}"));
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| refused("it is NAME=VALUE, such as no-file=4096"))?;
            let value = value.parse().map_err(|_| refused("the value is a number"))?;
            match name {
                "no-file" => limits.no_file = value,
                "fsize" => limits.fsize = Some(value),
                _ => return Err(refused("there are no-file and fsize")),
            }
        }
        Ok(limits)
    }
}

/// Who starts a jail.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
}

impl Caller {
    /// This process.
    pub fn now() -> Caller {
        Caller { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    /// The user and the group that the program gets. Fails if the caller cannot have it run as these.
    fn inmate(self, args: &Args) -> Result<(u32, u32), JailError> {
        let is_root = self.uid == 0;
        match (args.rootless, is_root) {
            (false, false) if !args.clean => {
                return Err(JailError::refused(
                    "this takes root; other users who may open /dev/kvm build jails by --rootless",
                ));
            }
            (true, true) => {
                return Err(JailError::refused(
                    "--rootless: root would be root in the jail; leave it out, and say --uid and --gid",
                ));
            }
            (false, _) => return Ok((args.uid.unwrap_or_default(), args.gid.unwrap_or_default())),
            (true, false) => {}
        }
        for (flag, asked, own) in [("--uid", args.uid, self.uid), ("--gid", args.gid, self.gid)] {
            if let Some(asked) = asked.filter(|asked| *asked != own) {
                return Err(JailError::refused(format!(
                    "{flag} {asked}: with --rootless it is that of who starts the jail, {own}"
                )));
            }
        }
        if let Some(netns) = &args.netns {
            return Err(JailError::refused(format!(
                "--netns {}: to join a network namespace takes root; with --rootless there are --new-net-ns with --tap, \
                 and --fd for TAPs that somebody else has opened",
                netns.display()
            )));
        }
        Ok((self.uid, self.gid))
    }
}

impl Plan {
    /// Of what `caller` has asked for. Fails if that cannot be, or a file named is not there.
    pub fn new(args: Args, caller: Caller) -> Result<Plan, JailError> {
        check_id(&args.id)?;
        let threads = ThreadGroups::of(&args)?;
        let (uid, gid) = caller.inmate(&args)?;
        let is_this = args.exec_file.is_none();
        let asked = match args.exec_file {
            Some(file) => file,
            None => env::current_exe().step(|| "cannot find this program's file".into())?,
        };
        let program = fs::canonicalize(&asked)
            .step(|| format!("--exec-file {}: it cannot be found", asked.display()))?;
        if !program.is_file() {
            return Err(JailError::refused(format!(
                "--exec-file {}: it is no file",
                asked.display()
            )));
        }
        let name = match program.file_name().unwrap_or_default() {
            // It would build another jail.
            jailer if is_this && jailer == NAME => "vmm".into(),
            name => name.to_os_string(),
        };
        let base = fs::canonicalize(&args.chroot_base_dir).step(|| {
            format!("--chroot-base-dir {}: it cannot be found", args.chroot_base_dir.display())
        })?;
        let parent = match &args.parent_cgroup {
            Some(parent) => relative(parent)
                .ok_or_else(|| JailError::refused(format!(
                    "--parent-cgroup {parent}: it is a relative path without . and .., such as machines/ci"
                )))?,
            None => PathBuf::from(&name),
        };
        let values = values_of("--cgroup", &args.cgroup)?;
        Ok(Plan {
            id: args.id,
            program,
            name,
            base,
            is_vmm: is_this,
            uid,
            gid,
            rootless: args.rootless,
            network: match (args.netns, args.new_net_ns) {
                (Some(handle), _) => Network::Handle(handle),
                (None, true) => Network::New,
                (None, false) => Network::Callers,
            },
            taps: args.tap,
            vhost_net: args.vhost_net,
            handed: args.fd.iter().chain(&args.ready_fd).copied().collect(),
            ready: args.ready_fd,
            daemonize: args.daemonize,
            // Without one it could signal all that its user runs.
            new_pid_ns: args.new_pid_ns || args.rootless,
            keeps: args.rootless && !args.new_pid_ns && !args.daemonize,
            cgroup: CgroupPlan {
                version: args.cgroup_version,
                parent,
                parent_said: args.parent_cgroup.is_some(),
                values,
                threads,
            },
            limits: Limits::parse(&args.resource_limit)?,
            core_scheduling: args.core_scheduling,
            clean: args.clean,
            extra: args.extra,
        })
    }

    /// The folder that is the machine's.
    pub fn home(&self) -> PathBuf {
        self.base.join(&self.name).join(&self.id)
    }

    /// Name of the file with the PID.
    pub fn pid_file(&self) -> OsString {
        let mut name = self.name.clone();
        name.push(".pid");
        name
    }
}

fn values_of(flag: &str, texts: &[String]) -> Result<Vec<CgroupValue>, JailError> {
    let values = texts.iter().map(|text| {
        CgroupValue::parse(text).map_err(|why| JailError::refused(format!("{flag} {text}: {why}")))
    });
    values.collect()
}

fn check_id(id: &str) -> Result<(), JailError> {
    let is_right = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if id.is_empty() || id.len() > MOST_ID || !id.chars().all(is_right) {
        return Err(JailError::refused(format!(
            "--id {id:?}: it is 1 to {MOST_ID} letters, digits and hyphens"
        )));
    }
    Ok(())
}

/// A path that leads down only.
fn relative(path: &str) -> Option<PathBuf> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    // Components hide a `.` within a path.
    let has_dots =
        Path::new(path).as_os_str().as_bytes().split(|c| *c == b'/').any(|part| part == b".");
    let path = Path::new(path);
    (path != Path::new("") && !has_dots && path.components().all(is_plain)).then(|| path.into())
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
