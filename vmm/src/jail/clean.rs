//! What a machine that has ended leaves: its folder and its control groups.

use std::fs;
use std::io;

use super::cgroup;
use super::error::{JailError, Step};
use super::occupant::Occupancy;
use super::plan::Plan;
use super::tree::Jail;

/// Removes them. Fails if a program runs in the jail; nothing is wrong if there is none.
pub fn clean(plan: &Plan) -> Result<(), JailError> {
    let home = plan.home();
    match fs::symlink_metadata(&home) {
        Ok(_) => {
            // Folders above are nobody else's, and what is removed is never followed.
            let jail = Jail::open(plan)?;
            // Held until all of it is gone.
            let occupancy = Occupancy::take(&jail.home)?;
            cgroup::remove(plan, occupancy.groups())?;
            fs::remove_dir_all(&home).step(|| format!("cannot remove {}", home.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => cgroup::remove(plan, &[]),
        Err(error) => Err(error).step(|| format!("cannot look at {}", home.display())),
    }
}
