//! Who the program is: one user, one group, and no capability, now or ever.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::error::{JailError, Step};
use super::plan::Plan;

/// Gives up everything that root has. In this order: to shrink the bounding set and to choose groups takes
/// capabilities, which go with the user.
pub fn drop_all(plan: &Plan) -> Result<(), JailError> {
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    let what = || "cannot give up capabilities".to_string();
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Newer than the kernel.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error).step(what),
        }
    }
    clear_ambient_capability_set().step(what)?;
    // A user namespace of somebody else than root lets nobody change groups; none of them is known in it, and
    // what they let in to elsewhere is not in the jail.
    if !plan.rootless {
        set_thread_groups(&[]).step(|| "cannot give up groups".into())?;
    }
    set_thread_res_gid(gid, gid, gid).step(|| format!("--gid {gid}: it cannot be had"))?;
    set_thread_res_uid(uid, uid, uid).step(|| format!("--uid {uid}: it cannot be had"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .step(what)?;
    set_no_new_privs(true).step(|| "cannot forbid new privileges".into())
}
