//! Opening a TAP by name or by descriptors, with errors that say what to do.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;

use libc::{EBADF, EBUSY, EINVAL, EPERM, c_int};

use device_core::files::{Attached, Files};

use super::ioctl;
use super::{Queue, Tap, tun_flags};
use crate::backend::interface::Interfaces;
use crate::backend::{Limits, vnet_hdr};
use crate::frame::Offloads;
use crate::rss::steer::{SteerError, Steerer};
use crate::spec::{MAX_QUEUES, is_iface_name};

/// Why a TAP could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenTapError {
    /// `/dev/net/tun` cannot be opened.
    #[error(
        "cannot open /dev/net/tun; load the kernel module `tun`, or give this process access to the device"
    )]
    NoTun {
        /// What the host said.
        source: io::Error,
    },
    /// The TAP is another user's.
    #[error(
        "no permission to open tap {name}; give the process CAP_NET_ADMIN, or make the tap with `user` or `group` of its owner"
    )]
    Permission {
        /// Name of the TAP.
        name: String,
    },
    /// There is no such TAP, and this process may not make it.
    #[error("tap {name} does not exist, and there is no permission to make it; make it first with `ip tuntap add {name} mode tap{}`", multi(*.queues))]
    Missing {
        /// Name of the TAP.
        name: String,
        /// Queue pairs asked for.
        queues: u16,
    },
    /// Its queues are taken.
    #[error("tap {name} is in use by another process, or has fewer free queues than {queues}")]
    Busy {
        /// Name of the TAP.
        name: String,
        /// Queue pairs asked for.
        queues: u16,
    },
    /// It was made without `multi_queue`.
    #[error(
        "tap {name} has a single queue, but queues is {queues}; make it with `ip tuntap add {name} mode tap multi_queue`"
    )]
    SingleQueue {
        /// Name of the TAP.
        name: String,
        /// Queue pairs asked for.
        queues: u16,
    },
    /// The interface is of another kind.
    #[error("interface {name} is not a tap; give one made with `ip tuntap add NAME mode tap`")]
    NotATap {
        /// Name of the interface.
        name: String,
    },
    /// This process has no such descriptor.
    #[error("fd {fd} is not open; pass an open tap to this process")]
    NotOpen {
        /// The descriptor.
        fd: RawFd,
    },
    /// The descriptor is of something else.
    #[error("fd {fd} is not a tap")]
    FdNotATap {
        /// The descriptor.
        fd: RawFd,
    },
    /// The TAP frames its packets in another way.
    #[error(
        "fd {fd} was opened without {flag}; open the tap with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR"
    )]
    FdFlags {
        /// The descriptor.
        fd: RawFd,
        /// The flag of TUNSETIFF that is missing.
        flag: &'static str,
    },
    /// The descriptors are of several TAPs.
    #[error("fd {fd} is tap {name}, but the first is tap {first}; all must be queues of one tap")]
    FdMixed {
        /// The first descriptor of another.
        fd: RawFd,
        /// Name of its TAP.
        name: String,
        /// Name of the first descriptor's TAP.
        first: String,
    },
    /// The MTU is another, and the host refuses to change it.
    #[error(
        "cannot set the mtu of tap {name} to {mtu}; give the process CAP_NET_ADMIN, or set it before with `ip link set {name} mtu {mtu}`"
    )]
    Mtu {
        /// Name of the TAP.
        name: String,
        /// MTU asked for, in bytes.
        mtu: u16,
        /// What the host said.
        source: io::Error,
    },
    /// There is one of that name already.
    #[error("there is an interface {name} already; choose another name")]
    There {
        /// Name of the interface.
        name: String,
    },
    /// Who opens TAPs for this process did not.
    #[error("cannot open tap {name} while the machine runs")]
    Elsewhere {
        /// Name of the TAP.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Any other failure of the host.
    #[error("cannot set up tap {name}: {what} failed")]
    Other {
        /// Name of the TAP.
        name: String,
        /// What was being done, in words.
        what: &'static str,
        /// What the host said.
        source: io::Error,
    },
}

fn multi(queues: u16) -> &'static str {
    if queues > 1 { " multi_queue" } else { "" }
}

/// An open TAP and its queues, all attached.
pub type Opened = (Tap, Vec<Queue>);

const FLAGS: c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Opens `queues` queues of the TAP `name`, as it was made; makes it if there is none and brings
/// it up. The name was checked by the spec. `mtu` is in bytes; without one the TAP's stays. Fails if the
/// TAP is not to be had with so many queues, or not with that MTU.
pub fn open_by_name(name: &str, queues: u16, mtu: Option<u16>) -> Result<Opened, OpenTapError> {
    finish(name, attach_all(name, queues, mtu, &ioctl::open_clone_device)?)
}

/// The same by `files`, which may be a process apart.
pub fn open_by(
    name: &str,
    queues: u16,
    mtu: Option<u16>,
    files: &dyn Files,
) -> Result<Opened, OpenTapError> {
    if files.is_own() {
        return open_by_name(name, queues, mtu);
    }
    let attached = files.tap(name, queues, mtu);
    finish(
        name,
        attached.map_err(|source| OpenTapError::Elsewhere { name: name.to_string(), source })?,
    )
}

/// Opens queues of a TAP for another process, in which a guest may have broken out: of none that anybody uses. `open` opens
/// `/dev/net/tun`, not blocking. Fails as [`open_by_name`] does, and if the name is none.
pub fn attach_for_others(
    name: &str,
    queues: u16,
    mtu: Option<u16>,
    open: &dyn Fn() -> io::Result<File>,
) -> Result<Attached, OpenTapError> {
    let other = |what| move |source| OpenTapError::Other { name: name.to_string(), what, source };
    if !is_iface_name(name) || !(1..=MAX_QUEUES).contains(&queues) {
        return Err(other("reading its name")(io::ErrorKind::InvalidInput.into()));
    }
    let interfaces = Interfaces::open().map_err(other("opening a socket"))?;
    let flags = interfaces.flags(name).map_err(other("asking for its flags"))?;
    // One with several queues would let us in beside its owner.
    if flags.is_some() && interfaces.has_carrier(name).map_err(other("asking for its carrier"))? {
        return Err(OpenTapError::Busy { name: name.to_string(), queues });
    }
    attach_all(name, queues, mtu, open)
}

fn attach_all(
    name: &str,
    queues: u16,
    mtu: Option<u16>,
    open: &dyn Fn() -> io::Result<File>,
) -> Result<Attached, OpenTapError> {
    let other = |what| move |source| OpenTapError::Other { name: name.to_string(), what, source };
    let interfaces = Interfaces::open().map_err(other("opening a socket"))?;
    let existing = interfaces.flags(name).map_err(other("asking for its flags"))?;
    let mut files = vec![attach_first(name, queues, existing.is_some(), open)?];
    for _ in 1..queues {
        files.push(attach(name, libc::IFF_MULTI_QUEUE, open).map_err(|e| e.explain(name, queues))?);
    }
    let is_up = match existing {
        None => {
            let flags = interfaces.flags(name).map_err(other("asking for its flags"))?;
            interfaces
                .bring_up(name, flags.unwrap_or_default())
                .map_err(other("bringing it up"))?;
            true
        }
        Some(flags) => flags & libc::IFF_UP != 0,
    };
    let mtu = settle_mtu(name, &interfaces, mtu)?;
    Ok(Attached { queues: files, mtu, is_up })
}

/// Makes the TAP `name`, with several queues if `queues` is more than 1, for the user `owner`; it is up, and is there
/// until it is deleted or its network namespace goes. `mtu` is in bytes. Fails if there is an interface of that name, or the
/// caller may not make one.
pub fn make(name: &str, queues: u16, owner: u32, mtu: Option<u16>) -> Result<(), OpenTapError> {
    let other = |what| move |source| OpenTapError::Other { name: name.to_string(), what, source };
    let interfaces = Interfaces::open().map_err(other("opening a socket"))?;
    if interfaces.flags(name).map_err(other("asking for its flags"))?.is_some() {
        return Err(OpenTapError::There { name: name.to_string() });
    }
    let tap = attach_first(name, queues, false, &ioctl::open_clone_device)?;
    ioctl::set_owner(&tap, owner).map_err(other("setting its owner"))?;
    settle_mtu(name, &interfaces, mtu)?;
    let flags = interfaces.flags(name).map_err(other("asking for its flags"))?;
    interfaces.bring_up(name, flags.unwrap_or_default()).map_err(other("bringing it up"))?;
    ioctl::set_persistent(&tap).map_err(other("keeping it"))
}

/// Takes copies of the open descriptors `fds`, each a queue of one TAP. `mtu` is in bytes; without one
/// the TAP's stays. Fails if one is no such queue, or the MTU cannot be set.
pub fn open_by_fds(fds: &[RawFd], mtu: Option<u16>) -> Result<Opened, OpenTapError> {
    let mut files = Vec::with_capacity(fds.len());
    let mut first: Option<String> = None;
    for &fd in fds {
        let file = ioctl::duplicate(fd).map_err(|_| OpenTapError::NotOpen { fd })?;
        let interface = ioctl::interface(&file).map_err(|_| OpenTapError::FdNotATap { fd })?;
        if interface.flags & libc::IFF_TAP == 0 {
            return Err(OpenTapError::FdNotATap { fd });
        }
        for (bit, flag) in [(libc::IFF_NO_PI, "IFF_NO_PI"), (libc::IFF_VNET_HDR, "IFF_VNET_HDR")] {
            if interface.flags & bit == 0 {
                return Err(OpenTapError::FdFlags { fd, flag });
            }
        }
        let first = first.get_or_insert_with(|| interface.name.clone());
        if *first != interface.name {
            return Err(OpenTapError::FdMixed { fd, name: interface.name, first: first.clone() });
        }
        if fds.len() > 1 && interface.flags & libc::IFF_MULTI_QUEUE == 0 {
            let queues = u16::try_from(fds.len()).unwrap_or(u16::MAX);
            return Err(OpenTapError::SingleQueue { name: interface.name, queues });
        }
        files.push(file);
    }
    let name = first.unwrap_or_default();
    let interfaces = Interfaces::open().map_err(|source| OpenTapError::Other {
        name: name.clone(),
        what: "opening a socket",
        source,
    })?;
    let mtu = settle_mtu(&name, &interfaces, mtu)?;
    finish(&name, Attached { queues: files, mtu, is_up: true })
}

enum AttachError {
    NoTun(io::Error),
    Refused(io::Error),
}

impl AttachError {
    fn is(&self, errno: c_int) -> bool {
        matches!(self, AttachError::Refused(error) if error.raw_os_error() == Some(errno))
    }

    fn explain(self, name: &str, queues: u16) -> OpenTapError {
        let name = name.to_string();
        match self {
            AttachError::NoTun(source) => OpenTapError::NoTun { source },
            AttachError::Refused(source) => match source.raw_os_error() {
                Some(EPERM) => OpenTapError::Permission { name },
                // E2BIG: all queues of the TAP are taken.
                Some(EBUSY | libc::E2BIG) => OpenTapError::Busy { name, queues },
                _ => OpenTapError::Other { name, what: "attaching", source },
            },
        }
    }
}

fn attach(
    name: &str,
    more_flags: c_int,
    open: &dyn Fn() -> io::Result<File>,
) -> Result<File, AttachError> {
    let file = open().map_err(AttachError::NoTun)?;
    ioctl::set_interface(&file, name, FLAGS | more_flags).map_err(AttachError::Refused)?;
    Ok(file)
}

/// The first queue. An existing TAP is attached to as it was made: the kernel refuses the other
/// way with EINVAL.
fn attach_first(
    name: &str,
    queues: u16,
    exists: bool,
    open: &dyn Fn() -> io::Result<File>,
) -> Result<File, OpenTapError> {
    let wanted = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let refused = match attach(name, wanted, open) {
        Ok(file) => return Ok(file),
        Err(refused) => refused,
    };
    if !exists && refused.is(EPERM) {
        return Err(OpenTapError::Missing { name: name.to_string(), queues });
    }
    if !refused.is(EINVAL) {
        return Err(refused.explain(name, queues));
    }
    match attach(name, wanted ^ libc::IFF_MULTI_QUEUE, open) {
        Ok(file) if queues == 1 => Ok(file),
        Err(error) if error.is(EINVAL) => Err(OpenTapError::NotATap { name: name.to_string() }),
        Err(error) if queues == 1 => Err(error.explain(name, queues)),
        _ => Err(OpenTapError::SingleQueue { name: name.to_string(), queues }),
    }
}

fn finish(name: &str, attached: Attached) -> Result<Opened, OpenTapError> {
    let other = |what| move |source| OpenTapError::Other { name: name.to_string(), what, source };
    let Attached { queues: files, mtu, is_up } = attached;
    if !is_up {
        tracing::warn!("tap {name} is down; bring it up with `ip link set {name} up`");
    }
    let offloads = match files.first() {
        Some(first) => probe_offloads(first).map_err(other("setting offloads"))?,
        None => Offloads::empty(),
    };
    let control = files.first().map(File::try_clone).transpose().map_err(other("duplicating"))?;
    let Some(control) = control else {
        let source = io::Error::from_raw_os_error(EBADF);
        return Err(other("finding a queue")(source));
    };
    let steered = files.len() > 1;
    let mut queues = Vec::with_capacity(files.len());
    for file in files {
        ioctl::set_header_len(&file, vnet_hdr::LEN).map_err(other("setting the header length"))?;
        queues.push(Queue::new(file, steered));
    }
    let limits = Limits { tx: offloads, rx: offloads, mtu };
    let steerer = if steered { load_steerer(name, &control) } else { None };
    let name = format!("tap {name}");
    Ok((Tap { name, control, limits, steerer, steering: false }, queues))
}

/// The program for a guest's table, if this process may have it; while privileges last.
fn load_steerer(name: &str, tap: &File) -> Option<Steerer> {
    // A TAP may have the program of a process that died.
    let steerer = match ioctl::set_steering(tap, None) {
        Ok(()) => Steerer::load(),
        Err(error) => Err(SteerError::Unsupported(error)),
    };
    let why = match steerer {
        Ok(steerer) => return Some(steerer),
        Err(why) => why,
    };
    let info = "if a guest asks for a table, a thread will sort the frames of tap";
    tracing::info!("{info} {name}: {why}");
    None
}

/// Sets the MTU if one is asked for and it is another; says which it is, if that can be known: an
/// interface in another namespace cannot be asked.
fn settle_mtu(
    name: &str,
    interfaces: &Interfaces,
    wanted: Option<u16>,
) -> Result<Option<u16>, OpenTapError> {
    let now = interfaces.mtu(name).ok().map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    match wanted {
        Some(mtu) if Some(mtu) != now => match interfaces.set_mtu(name, mtu) {
            Ok(()) => Ok(Some(mtu)),
            Err(source) => Err(OpenTapError::Mtu { name: name.to_string(), mtu, source }),
        },
        _ => Ok(now),
    }
}

/// What this kernel's TAPs can do; leaves all of it off, until a guest wants it. UDP needs 6.2.
fn probe_offloads(tap: &File) -> io::Result<Offloads> {
    let old = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::ECN;
    for offloads in [Offloads::all(), old] {
        match ioctl::set_offload(tap, tun_flags(offloads)) {
            Ok(()) => {
                ioctl::set_offload(tap, 0)?;
                return Ok(offloads);
            }
            Err(error) if error.raw_os_error() == Some(EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Offloads::empty())
}
