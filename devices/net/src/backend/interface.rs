//! Interfaces of the host: what is asked and said about one by its name, as safe functions. Each fails as its
//! system call does.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_char, c_int, c_short, ifreq};

/// Whether an error of an open backend says that there is nothing to talk to any more.
pub fn is_gone(errno: c_int) -> bool {
    use libc::{EBADF, EBADFD, ENODEV, ENOENT, ENOTTY, ENXIO};
    matches!(errno, EBADFD | EBADF | ENODEV | ENXIO | ENOENT | ENOTTY)
}

/// linux/sockios.h, linux/ethtool.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GLINK: u32 = 0x0a;

/// Asks about interfaces of this process's network namespace.
pub struct Interfaces(OwnedFd);

impl Interfaces {
    /// Fails if the host has no socket left.
    pub fn open() -> io::Result<Interfaces> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: plain numbers; returns a new descriptor or an error.
        let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
        // SAFETY: fresh descriptor, owned by nobody else.
        Ok(Interfaces(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The interface's flags (`IFF_UP` and so on), or `None` if there is no such interface.
    pub fn flags(&self, name: &str) -> io::Result<Option<c_int>> {
        let mut request = request(name);
        match self.call(libc::SIOCGIFFLAGS, &mut request) {
            // SAFETY: SIOCGIFFLAGS filled the flags.
            Ok(()) => Ok(Some(c_int::from(unsafe { request.ifr_ifru.ifru_flags } as u16))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets IFF_UP besides `flags`, those that it has. Fails without the privilege.
    pub fn bring_up(&self, name: &str, flags: c_int) -> io::Result<()> {
        let mut request = request(name);
        request.ifr_ifru.ifru_flags = (flags | libc::IFF_UP) as c_short;
        self.call(libc::SIOCSIFFLAGS, &mut request)
    }

    /// Whether somebody is at its other end: of a TAP, one who reads it. At once, as flags are not. Fails if the
    /// interface does not tell.
    pub fn has_carrier(&self, name: &str) -> io::Result<bool> {
        // A struct ethtool_value: what is asked, and the answer.
        let mut value: [u32; 2] = [ETHTOOL_GLINK, 0];
        let mut request = request(name);
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        self.call(SIOCETHTOOL, &mut request)?;
        let [_, carrier] = value;
        Ok(carrier != 0)
    }

    /// Its MTU in bytes. Fails if there is no such interface here.
    pub fn mtu(&self, name: &str) -> io::Result<u32> {
        let mut request = request(name);
        self.call(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU filled the MTU.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        u32::try_from(mtu).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Sets its MTU in bytes. Fails without the privilege.
    pub fn set_mtu(&self, name: &str, mtu: u16) -> io::Result<()> {
        let mut request = request(name);
        request.ifr_ifru.ifru_mtu = c_int::from(mtu);
        self.call(libc::SIOCSIFMTU, &mut request)
    }

    /// Its kind of hardware, as ARP numbers them (`ARPHRD_*`).
    pub fn hardware(&self, name: &str) -> io::Result<u16> {
        let mut request = request(name);
        self.call(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR filled the address, whose family is the hardware's kind.
        Ok(unsafe { request.ifr_ifru.ifru_hwaddr }.sa_family)
    }

    fn call(&self, code: libc::c_ulong, request: &mut ifreq) -> io::Result<()> {
        // SAFETY: all codes used take an ifreq; what it leads to, if it does, its maker keeps.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), code as _, request) }).map(drop)
    }
}

/// A request about `name`, cut to what fits with its terminator.
pub fn request(name: &str) -> ifreq {
    // SAFETY: an ifreq of zeros is valid.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len().saturating_sub(1);
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from as c_char;
    }
    request
}

/// What a system call returned, or why it failed.
pub fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
