//! Control groups: the machine's own, with its limits written before it is in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::error::{JailError, Step};
use super::occupant::Occupancy;
use super::plan::{CgroupPlan, CgroupValue, LANES, Plan, ThreadGroups, VCPUS};

/// Longest time that a group whose processes have ended is not empty, and how often it is looked at.
const MOMENT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// What version 1's cpuset does not give to a new group by itself.
const INHERITED: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Where the host has its hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hierarchies {
    /// Of version 1, by the options that name controllers.
    first: Vec<(PathBuf, Vec<String>)>,
    /// Of version 2.
    second: Option<PathBuf>,
}

impl Hierarchies {
    /// Of the text of `/proc/mounts`.
    fn of(mounts: &str) -> Hierarchies {
        let mut found = Hierarchies::default();
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(place), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            match kind {
                "cgroup" => found
                    .first
                    .push((place.into(), options.split(',').map(str::to_string).collect())),
                "cgroup2" => {
                    found.second.get_or_insert(place.into());
                }
                _ => {}
            }
        }
        found
    }

    fn first_of(&self, controller: &str) -> Option<&Path> {
        let has = |options: &Vec<String>| options.iter().any(|option| option == controller);
        self.first.iter().find(|(_, options)| has(options)).map(|(place, _)| place.as_path())
    }
}

fn hierarchies() -> Result<Hierarchies, JailError> {
    let mounts = fs::read_to_string("/proc/mounts").step(|| "cannot read /proc/mounts".into())?;
    Ok(Hierarchies::of(&mounts))
}

fn controllers(of: &Path) -> Vec<String> {
    let list = fs::read_to_string(of.join("cgroup.controllers")).unwrap_or_default();
    list.split_whitespace().map(str::to_string).collect()
}

fn write(path: &Path, value: &str) -> Result<(), JailError> {
    fs::write(path, value).step(|| format!("cannot write {value:?} to {}", path.display()))
}

fn make(path: &Path) -> Result<(), JailError> {
    fs::create_dir_all(path).step(|| format!("cannot make the control group {}", path.display()))
}

/// One hierarchy's part: the group, and the values that are its.
struct Group<'a> {
    /// The hierarchy's own folder.
    top: PathBuf,
    parent: PathBuf,
    path: PathBuf,
    values: Vec<&'a CgroupValue>,
    /// Of groups below it.
    threads: Option<&'a ThreadGroups>,
    /// The hierarchy is of version 2.
    is_second: bool,
}

/// Files by which threads go into their groups, of vCPUs and of devices.
pub type Doors = [OwnedFd; 2];

fn groups<'a>(plan: &'a Plan, found: &Hierarchies) -> Result<Vec<Group<'a>>, JailError> {
    let CgroupPlan { version, parent, values, .. } = &plan.cgroup;
    let by_second = |value: &CgroupValue| {
        let second = found.second.as_deref();
        second.is_some_and(|top| controllers(top).iter().any(|name| name == value.controller()))
    };
    let version = version.unwrap_or_else(|| if values.iter().all(by_second) { 2 } else { 1 });
    if plan.rootless && version == 1 {
        return Err(JailError::refused(
            "--cgroup: with --rootless only control groups of version 2 can be had, as others cannot be delegated; this host \
             does not have these controllers in it",
        ));
    }
    let own = match plan.rootless && !plan.cgroup.parent_said {
        true => own_group()?,
        false => parent.clone(),
    };
    let mut groups: Vec<Group<'_>> = Vec::new();
    let group = |top: &Path, values, is_second| {
        let parent = top.join(&own);
        let path = parent.join(&plan.id);
        let threads = plan.cgroup.threads.as_ref().filter(|_| is_second);
        Group { top: top.into(), parent, path, values, threads, is_second }
    };
    for value in values {
        let top = match version {
            2 => found.second.as_deref().filter(|_| by_second(value)),
            _ => found.first_of(value.controller()),
        };
        let top = top.ok_or_else(|| {
            JailError::refused(format!(
                "--cgroup {}={}: the host has no controller {:?} of version {version}",
                value.file,
                value.value,
                value.controller()
            ))
        })?;
        match groups.iter_mut().find(|group| group.top == top) {
            Some(group) => group.values.push(value),
            None => groups.push(group(top, vec![value], version == 2)),
        }
    }
    if plan.cgroup.threads.is_some() && !groups.iter().any(|group| group.is_second) {
        // What the others are of is as the host has it.
        let top = found.second.as_deref().ok_or_else(|| {
            JailError::refused("--thread-cgroups: the host has no control groups of version 2")
        })?;
        groups.push(group(top, Vec::new(), true));
    }
    Ok(groups)
}

/// The group of version 2 that this process is in, relative.
fn own_group() -> Result<PathBuf, JailError> {
    let what = "/proc/self/cgroup";
    let list = fs::read_to_string(what).step(|| format!("cannot read {what}"))?;
    let path = list.lines().find_map(|line| line.strip_prefix("0::/"));
    path.map(PathBuf::from)
        .ok_or_else(|| JailError::refused("--cgroup: the host has no control groups of version 2"))
}

/// What somebody has let this user do there: make groups, and put processes into them.
fn check_delegated(parent: &Path) -> Result<(), JailError> {
    let may =
        [parent.to_path_buf(), parent.join("cgroup.procs"), parent.join("cgroup.subtree_control")];
    for path in may {
        accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS).step(|| {
            format!(
                "the control group {} is not delegated: cannot write {}; start it by systemd-run --user --scope -p \
                 Delegate=yes, or name one by --parent-cgroup",
                parent.display(),
                path.display()
            )
        })?;
    }
    Ok(())
}

/// Makes the machine's groups and goes into them; `occupancy` keeps what was made. Returns by what threads go into theirs, if they are
/// to have some.
pub fn enter(plan: &Plan, occupancy: &mut Occupancy) -> Result<Option<Doors>, JailError> {
    if plan.cgroup.values.is_empty() && plan.cgroup.threads.is_none() {
        return enter_parent(plan).map(|()| None);
    }
    let mut doors = None;
    for group in groups(plan, &hierarchies()?)? {
        if plan.rootless {
            check_delegated(&group.parent)?;
        }
        occupancy.add_group(&group.path)?;
        match group.is_second {
            true => group.delegate(plan)?,
            false => group.inherit()?,
        }
        for value in &group.values {
            write(&group.path.join(&value.file), &value.value)?;
        }
        if let Some(threads) = group.threads {
            doors = Some(group.part(threads, occupancy)?);
        }
        let members = if group.is_second { "cgroup.procs" } else { "tasks" };
        write(&group.path.join(members), &process::id().to_string())?;
    }
    Ok(doors)
}

/// Without values a parent of version 2 that was named, and is there, is what the machine goes into.
fn enter_parent(plan: &Plan) -> Result<(), JailError> {
    let CgroupPlan { version, parent, parent_said, .. } = &plan.cgroup;
    if !parent_said || *version == Some(1) {
        return Ok(());
    }
    match hierarchies()?.second.map(|top| top.join(parent)) {
        Some(parent) if parent.is_dir() => {
            if plan.rootless {
                check_delegated(&parent)?;
            }
            write(&parent.join("cgroup.procs"), &process::id().to_string())
        }
        _ => Ok(()),
    }
}

impl Group<'_> {
    /// Version 2: each group above says that the ones below it have the controllers.
    fn delegate(&self, plan: &Plan) -> Result<(), JailError> {
        make(&self.path)?;
        if plan.rootless {
            return self.delegate_own();
        }
        let mut above: Vec<_> =
            self.parent.ancestors().take_while(|path| path.starts_with(&self.top)).collect();
        above.reverse();
        above.into_iter().try_for_each(|path| self.enable(path))
    }

    /// The same from where it is this user's. A group with processes gives no controllers to those below it, so this
    /// process goes out of the way; others cannot be in it.
    fn delegate_own(&self) -> Result<(), JailError> {
        if self.enable(&self.parent).is_ok() {
            return Ok(());
        }
        let aside = self.parent.join(format!("{}.start", process::id()));
        make(&aside)?;
        let moved = write(&aside.join("cgroup.procs"), &process::id().to_string());
        let enabled = moved
            .and_then(|()| self.enable(&self.parent))
            .and_then(|()| write(&self.path.join("cgroup.procs"), &process::id().to_string()));
        // If it did not work this process is still in it, and leaves it to who cleans up behind a scope.
        let _ = fs::remove_dir(&aside);
        enabled.map_err(|error| {
            JailError::refused(format!(
                "{error}: the control group must be delegated, and have no other process in it: start it by systemd-run \
                 --user --scope -p Delegate=yes"
            ))
        })
    }

    /// Gives the controllers of the values to the groups below `path`.
    fn enable(&self, path: &Path) -> Result<(), JailError> {
        let threads = self.threads.iter().flat_map(|threads| threads.each());
        let of_threads = threads.flat_map(|(_, values)| values);
        enable(path, self.values.iter().copied().chain(of_threads))
    }

    /// Makes the groups of threads below it. None of them can be a process's any more: the machine's own is, and has what is common.
    fn part(&self, threads: &ThreadGroups, occupancy: &mut Occupancy) -> Result<Doors, JailError> {
        let groups = threads.each().map(|(name, values)| (self.path.join(name), values));
        for (path, _) in &groups {
            occupancy.add_group(path)?;
            make(path)?;
            write(&path.join("cgroup.type"), "threaded")?;
        }
        enable(&self.path, groups.iter().flat_map(|(_, values)| *values))?;
        let [vcpus, lanes] = groups.map(|(path, values)| {
            for value in values {
                write(&path.join(&value.file), &value.value)?;
            }
            let door = path.join("cgroup.threads");
            let open = File::options().write(true).open(&door);
            open.map(OwnedFd::from).step(|| format!("cannot open {}", door.display()))
        });
        Ok([vcpus?, lanes?])
    }

    /// Version 1: what a new group of cpuset lacks is as in the one above it.
    fn inherit(&self) -> Result<(), JailError> {
        make(&self.path)?;
        let mut down: Vec<_> = self.path.ancestors().take_while(|path| *path != self.top).collect();
        down.reverse();
        for path in down {
            for file in INHERITED {
                let (own, above) = (path.join(file), path.parent().map(|above| above.join(file)));
                let (Ok(has), Some(above)) = (fs::read_to_string(&own), above) else { continue };
                if has.trim().is_empty()
                    && let Ok(value) = fs::read_to_string(above)
                {
                    write(&own, value.trim())?;
                }
            }
        }
        Ok(())
    }
}

/// Gives the controllers of `values` to the groups below `path`.
fn enable<'a>(
    path: &Path,
    mut values: impl Iterator<Item = &'a CgroupValue>,
) -> Result<(), JailError> {
    values.try_for_each(|value| {
        write(&path.join("cgroup.subtree_control"), &format!("+{}", value.controller()))
    })
}

/// Removes the machine's groups: those that are `known`, and those that the plan says, wherever they are.
pub fn remove(plan: &Plan, known: &[PathBuf]) -> Result<(), JailError> {
    let found = hierarchies()?;
    let tops = found.first.iter().map(|(top, _)| top).chain(&found.second);
    let said = tops.map(|top| top.join(&plan.cgroup.parent).join(&plan.id));
    let said = said.flat_map(|group| [group.clone(), group.join(VCPUS), group.join(LANES)]);
    let all: Vec<_> = known.iter().cloned().chain(said).collect();
    for group in &all {
        // What the program has left behind in it, where the kernel can do that.
        let _ = fs::write(group.join("cgroup.kill"), "1");
    }
    // What is below others goes first.
    for group in all.iter().rev() {
        match remove_when_empty(group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error)
                    .step(|| format!("cannot remove the control group {}", group.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A process is in its group for a moment after it has been waited for; version 1 tells nobody of its end.
fn remove_when_empty(group: &Path) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        match fs::remove_dir(group) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && begin.elapsed() < MOMENT =>
            {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
#[path = "cgroup_test.rs"]
mod tests;
