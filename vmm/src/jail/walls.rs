//! Namespaces: the program sees no mount, IPC object or host name of the host's, and a network only as asked.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::error::{JailError, Step};
use super::plan::{Network, Plan};
use super::tree::Jail;

/// Goes into the network namespace that was named. Its path is the operator's, and may have links.
pub fn join_network(plan: &Plan) -> Result<(), JailError> {
    let Network::Handle(path) = &plan.network else { return Ok(()) };
    let handle =
        File::open(path).step(|| format!("--netns {}: it cannot be opened", path.display()))?;
    move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
        .step(|| format!("--netns {}: it cannot be joined", path.display()))
}

/// Parts with the host's namespaces. What the host unmounts from now on goes from here as well, and nothing that is
/// mounted here is seen there.
pub fn part(plan: &Plan) -> Result<(), JailError> {
    let mut spaces = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    spaces |= UnshareFlags::NEWCGROUP;
    if plan.network == Network::New {
        spaces |= UnshareFlags::NEWNET;
    }
    // SAFETY: of what is unshared nothing is a table of descriptors.
    unsafe { unshare_unsafe(spaces) }.step(|| "cannot make namespaces".into())?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).step(|| "cannot part with the host's mounts".into())
}

/// Makes the jail's root the root, and lets go of the host's.
pub fn move_in(jail: &Jail) -> Result<(), JailError> {
    let what = || "cannot make the jail the root".to_string();
    fchdir(&jail.root).step(what)?;
    // A root is a mount.
    mount_bind_recursive(".", ".").step(what)?;
    // The folder that was opened is below that mount.
    let path = jail.root.path_of("");
    chdir(&path).step(what)?;
    let (opened, now) =
        (rustix::fs::fstat(&jail.root).step(what)?, rustix::fs::stat(".").step(what)?);
    if (opened.st_dev, opened.st_ino) != (now.st_dev, now.st_ino) {
        return Err(JailError::refused(format!(
            "{}: somebody has put another folder in its place",
            path.display()
        )));
    }
    // The host's root goes under the new one, and then away.
    pivot_root(".", ".").step(what)?;
    unmount(".", UnmountFlags::DETACH).step(what)?;
    chdir("/").step(what)
}
