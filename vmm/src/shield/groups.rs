//! Control groups that threads put themselves into: one for vCPUs, and one for all that serves devices, so that a guest that computes takes
//! no time from its own disks and cards, and neither from who may stop it.
//!
//! They are threaded groups of version 2 (`Documentation/admin-guide/cgroup-v2.rst`, "Threads") below the machine's own. Who builds a jail makes
//! them, and hands over two descriptors of their files `cgroup.threads`, for no path leads there from a jail.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::str::FromStr;

use super::row::Kind;

/// The first descriptor that is no standard one.
const FIRST: RawFd = 3;
/// The thread that writes it.
const ITSELF: &[u8] = b"0";

/// Their descriptors, as they were handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    vcpus: RawFd,
    lanes: RawFd,
}

impl FromStr for Handed {
    type Err = &'static str;

    /// `VCPUS,LANES`, two numbers.
    fn from_str(text: &str) -> Result<Handed, &'static str> {
        let numbers = text.split_once(',').and_then(|(vcpus, lanes)| {
            Some(Handed { vcpus: vcpus.parse().ok()?, lanes: lanes.parse().ok()? })
        });
        let apart =
            numbers.filter(|fds| fds.vcpus.min(fds.lanes) >= FIRST && fds.vcpus != fds.lanes);
        apart.ok_or("take VCPUS,LANES: the numbers of two open files cgroup.threads, none of them a standard one")
    }
}

/// Files `cgroup.threads`, open for writing.
#[derive(Debug)]
pub struct Groups {
    vcpus: File,
    lanes: File,
}

/// A descriptor that is none of such a file.
#[derive(Debug, thiserror::Error)]
#[error(
    "--thread-groups: descriptor {0} is not open for writing; it is to be a file cgroup.threads"
)]
pub struct NotOpen(RawFd);

impl Groups {
    /// Takes the descriptors over, which no exec is to have. Call it before the process opens anything. Fails if one is not open for
    /// writing.
    pub fn take(handed: Handed) -> Result<Groups, NotOpen> {
        let file = |fd: RawFd| {
            // SAFETY: plain numbers; on a descriptor that is not open both calls fail.
            let (flags, set) = unsafe {
                (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))
            };
            match flags >= 0 && set >= 0 && flags & libc::O_ACCMODE != libc::O_RDONLY {
                // SAFETY: it is open, and as nothing was opened since, and it is taken once, nobody else here owns it.
                true => Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) })),
                false => Err(NotOpen(fd)),
            }
        };
        Ok(Groups { vcpus: file(handed.vcpus)?, lanes: file(handed.lanes)? })
    }

    /// Puts the calling thread, which is one of `kind`, into its group; what it starts is in there as well. Who is asked to stop the
    /// machine stays outside of both. Fails if the host refuses.
    pub fn join(&self, kind: Kind) -> io::Result<()> {
        let mut group = match kind {
            Kind::Main | Kind::Api | Kind::Broker => return Ok(()),
            Kind::Vcpu => &self.vcpus,
            _ => &self.lanes,
        };
        group.write_all(ITSELF).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the thread cannot go into its control group: {error}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn two_descriptors_are_asked_for_and_no_standard_ones() {
        assert_eq!("7,9".parse(), Ok(Handed { vcpus: 7, lanes: 9 }));
        for wrong in ["", "7", "7,7", "1,9", "9,2", "-1,9", "a,9", "7,9,11"] {
            assert!(wrong.parse::<Handed>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_thread_writes_itself_into_the_group_of_its_kind() {
        let files = [(); 2].map(|()| tempfile::tempfile().unwrap());
        let [vcpus, lanes] = files.each_ref().map(|file| file.try_clone().unwrap().into_raw_fd());
        let groups = Groups::take(Handed { vcpus, lanes }).unwrap();
        for kind in Kind::ALL {
            groups.join(kind).unwrap();
        }
        let [vcpus, lanes] = files.map(|mut file| {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!((vcpus.as_str(), lanes.len()), ("0", Kind::ALL.len() - 4));
        assert!(lanes.bytes().all(|byte| byte == b'0'));
    }

    #[test]
    fn what_cannot_be_written_to_is_refused() {
        let reader = File::open("/dev/null").unwrap().into_raw_fd();
        let refused = Groups::take(Handed { vcpus: reader, lanes: 1 << 20 }).unwrap_err();
        assert!(refused.to_string().contains(&format!("descriptor {reader} ")), "{refused}");
    }
}
