//! The process of one request: it forks the children, hears of each, and lets all of them go on, or none.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use device_core::thread;

use super::child::{self, Doorstep, Newborn};
use super::descriptors::keep_only;
use super::nature::Nature;
use super::words::{Answer, Brood};
use crate::kvm::{probe, vm};

/// How long all of them may take; less than who has asked waits.
const PATIENCE: Duration = Duration::from_secs(40);

/// A child that is on its way.
struct Awaited {
    id: String,
    pid: u32,
    /// Our end of its doorstep.
    end: UnixStream,
}

/// Raises the children of a machine whose memory is `memory`. In each child's process this does not return.
pub fn raise(brood: Brood, memory: &File, nature: &Nature) -> Answer {
    match try_raise(brood, memory, nature) {
        Ok(pids) => Answer::Born(pids),
        Err(why) => Answer::Refused(why),
    }
}

/// Asks the host once what each child would ask it again. What it does not tell, it refuses the children as well, and they
/// say so.
fn learn_host() {
    thread::cpus();
    if let Ok(kvm) = probe::open() {
        let _ = vm::supported_cpuid(&kvm);
    }
}

fn try_raise(brood: Brood, memory: &File, nature: &Nature) -> Result<Vec<u32>, String> {
    let begun = Instant::now();
    learn_host();
    let mut awaited = Vec::new();
    for at in 0..brood.children.len() {
        let Some(spec) = brood.children.get(at) else { break };
        let failed = |error: io::Error| format!("{}: cannot start its process: {error}", spec.id);
        let (end, its) = UnixStream::pair().map_err(failed)?;
        let memory = memory.try_clone().map_err(failed)?;
        // SAFETY: there is one thread, so that the child finds everything in order.
        match unsafe { libc::fork() } {
            -1 => return Err(failed(io::Error::last_os_error())),
            0 => {
                let its = File::from(OwnedFd::from(its));
                // What is left here of the others would keep them waiting if their parent dies.
                mem::forget((awaited, end));
                keep_only(&[&memory, &its]);
                let spec = spec.clone();
                let doorstep = Doorstep::new(its);
                let Brood { config, state, kept, resume, .. } = brood;
                let newborn = Newborn { spec, config, state, kept, memory, resume, doorstep };
                (nature.life)(nature.clone(), newborn)
            }
            pid => {
                let (id, pid) = (spec.id.clone(), pid.unsigned_abs());
                awaited.push(Awaited { id, pid, end });
            }
        }
    }
    for child in &awaited {
        let left = PATIENCE.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        let heard = match child.end.set_read_timeout(Some(left)) {
            Ok(()) => child::hear(&child.end),
            Err(error) => Err(error.to_string()),
        };
        heard.map_err(|why| format!("{}: {why}", child.id))?;
    }
    // From here on there is no way back: one that dies now has died as a machine.
    awaited.iter().for_each(|child| drop(child::let_go(&child.end)));
    Ok(awaited.iter().map(|child| child.pid).collect())
}
