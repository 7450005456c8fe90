//! The ioctls of `/dev/vhost-net` (linux/vhost.h), as safe functions.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use device_core::Ram;
use libc::{c_int, c_ulong};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::queue::Calls;
use crate::backend::interface::check;
use crate::lent::Ring;

const DEVICE: &str = "/dev/vhost-net";

const GET_FEATURES: c_ulong = 0x8008_af00;
const SET_FEATURES: c_ulong = 0x4008_af00;
const SET_OWNER: c_ulong = 0xaf01;
const SET_MEM_TABLE: c_ulong = 0x4008_af03;
const SET_VRING_NUM: c_ulong = 0x4008_af10;
const SET_VRING_ADDR: c_ulong = 0x4028_af11;
const SET_VRING_BASE: c_ulong = 0x4008_af12;
const GET_VRING_BASE: c_ulong = 0xc008_af12;
const SET_VRING_KICK: c_ulong = 0x4008_af20;
const SET_VRING_CALL: c_ulong = 0x4008_af21;
const SET_VRING_ERR: c_ulong = 0x4008_af22;
const NET_SET_BACKEND: c_ulong = 0x4008_af30;

/// VHOST_FILE_UNBIND: no descriptor.
const NONE: c_int = -1;

/// MRG_RXBUF, INDIRECT_DESC, EVENT_IDX and VERSION_1: what of a card's features concerns who reads its rings. The header
/// before each frame goes between guest and TAP as it is.
const OF_RINGS: u64 = 1 << 15 | 1 << 28 | 1 << 29 | 1 << 32;

/// Why vhost-net cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenVhostError {
    /// It is not there, or not for us.
    #[error(
        "cannot open {DEVICE}, which backend=vhost needs; load the kernel module `vhost_net`, give this process access to \
         the device (in a jail by --vhost-net), or leave backend=vhost out"
    )]
    Open {
        /// What the host said.
        source: io::Error,
    },
    /// It is too old.
    #[error(
        "this kernel's vhost-net lacks features {missing:#x} of rings; leave backend=vhost out"
    )]
    Features {
        /// Bits of the features that it does not have.
        missing: u64,
    },
    /// Any other failure of the host.
    #[error("cannot set up vhost-net: {what} failed")]
    Other {
        /// What was being done, in words.
        what: &'static str,
        /// What the host said.
        source: io::Error,
    },
}

/// The kernel's half of one pair of rings: an open `/dev/vhost-net`, ours.
pub struct Kernel(File);

/// Opens it `count` times: once for each pair, with a thread of the kernel's for each. Fails where it is not there.
pub fn open(count: u16) -> Result<Vec<Kernel>, OpenVhostError> {
    (0..count).map(|_| Kernel::open()).collect()
}

/// struct vhost_vring_state.
#[repr(C)]
struct State {
    index: u32,
    num: u32,
}

/// struct vhost_vring_file.
#[repr(C)]
struct Descriptor {
    index: u32,
    fd: c_int,
}

/// struct vhost_vring_addr.
#[repr(C)]
struct Addresses {
    index: u32,
    flags: u32,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// struct vhost_memory_region.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    guest: u64,
    size: u64,
    process: u64,
    flags: u64,
}

/// Most regions that a machine's memory has, by far.
const MAX_REGIONS: usize = 16;

/// struct vhost_memory.
#[repr(C)]
struct Memory {
    count: u32,
    padding: u32,
    regions: [Region; MAX_REGIONS],
}

impl Kernel {
    fn open() -> Result<Kernel, OpenVhostError> {
        let file = File::options().read(true).write(true).open(DEVICE);
        let kernel = Kernel(file.map_err(|source| OpenVhostError::Open { source })?);
        let other = |what| move |source| OpenVhostError::Other { what, source };
        kernel.own().map_err(other("becoming its owner"))?;
        let missing = OF_RINGS & !kernel.features().map_err(other("asking for its features"))?;
        if missing != 0 {
            return Err(OpenVhostError::Features { missing });
        }
        Ok(kernel)
    }

    fn own(&self) -> io::Result<()> {
        // SAFETY: takes no argument.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), SET_OWNER as _, 0) }).map(drop)
    }

    fn features(&self) -> io::Result<u64> {
        let mut features = 0u64;
        self.call(GET_FEATURES, &mut features)?;
        Ok(features)
    }

    /// `code` is to be one that takes a `T`.
    fn call<T>(&self, code: c_ulong, argument: &mut T) -> io::Result<()> {
        let argument = std::ptr::from_mut(argument);
        // SAFETY: the structures of here are laid out as the kernel's, and each code below is called with its own. What
        // addresses in them lead to is checked guest memory, which who lends rings keeps mapped.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), code as _, argument) }).map(drop)
    }

    fn set_state(&self, code: c_ulong, index: u32, num: u16) -> io::Result<()> {
        self.call(code, &mut State { index, num: num.into() })
    }

    fn set_fd(&self, code: c_ulong, index: u32, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.call(code, &mut Descriptor { index, fd: fd.map_or(NONE, |fd| fd.as_raw_fd()) })
    }
}

impl Calls for Kernel {
    fn set_features(&mut self, negotiated: u64) -> io::Result<()> {
        self.call(SET_FEATURES, &mut (negotiated & OF_RINGS))
    }

    fn set_memory(&mut self, ram: &Ram) -> io::Result<()> {
        let mut memory = Memory { count: 0, padding: 0, regions: Default::default() };
        for region in ram.iter() {
            let place = memory.regions.get_mut(memory.count as usize);
            let place = place.ok_or_else(|| io::Error::other("memory has too many regions"))?;
            let process = region.get_host_address(MemoryRegionAddress(0));
            let process = process.map_err(io::Error::other)? as u64;
            *place = Region { guest: region.start_addr().0, size: region.len(), process, flags: 0 };
            memory.count = memory.count.saturating_add(1);
        }
        self.call(SET_MEM_TABLE, &mut memory)
    }

    fn set_ring(&mut self, number: u32, ring: &Ring) -> io::Result<()> {
        self.set_state(SET_VRING_NUM, number, ring.entries)?;
        self.set_state(SET_VRING_BASE, number, ring.next)?;
        let parts = ring.parts;
        let mut addresses = Addresses {
            index: number,
            flags: 0,
            descriptors: parts.descriptors,
            used: parts.used,
            available: parts.available,
            log: 0,
        };
        self.call(SET_VRING_ADDR, &mut addresses)
    }

    fn next(&mut self, number: u32) -> io::Result<u16> {
        let mut state = State { index: number, num: 0 };
        self.call(GET_VRING_BASE, &mut state)?;
        u16::try_from(state.num).map_err(io::Error::other)
    }

    fn set_kick(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.set_fd(SET_VRING_KICK, number, event)
    }

    fn set_call(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.set_fd(SET_VRING_CALL, number, event)
    }

    fn set_error(&mut self, number: u32, event: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.set_fd(SET_VRING_ERR, number, event)
    }

    fn set_backend(&mut self, number: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.set_fd(NET_SET_BACKEND, number, tap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_codes_say() {
        let len = |code: c_ulong| (code >> 16 & 0x3fff) as usize;
        assert_eq!(len(SET_FEATURES), size_of::<u64>());
        for code in [SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE] {
            assert_eq!(len(code), size_of::<State>());
        }
        for code in [SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, NET_SET_BACKEND] {
            assert_eq!(len(code), size_of::<Descriptor>());
        }
        assert_eq!(len(SET_VRING_ADDR), size_of::<Addresses>());
        // Of the memory the code has the header alone.
        assert_eq!(len(SET_MEM_TABLE), std::mem::offset_of!(Memory, regions));
        assert_eq!(size_of::<Region>(), 32);
    }

    #[test]
    fn where_there_is_no_vhost_net_one_line_says_what_to_do() {
        if std::path::Path::new(DEVICE).exists() {
            return;
        }
        let refused = open(1).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("cannot open /dev/vhost-net"), "{refused}");
        assert!(refused.contains("vhost_net") && !refused.contains('\n'), "{refused}");
    }
}
