//! Packet sockets (packet(7)): the system calls, as safe functions. Each fails as its system call does.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use libc::{c_int, iovec, sockaddr_ll, socklen_t};

use crate::backend::interface::{check, request};

/// Bytes of the header before each frame: `virtio_net_hdr` without `num_buffers`, which kernels before 6.5 do
/// not know here.
pub const HEADER: usize = 10;

/// Where an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Frames can pass.
    Up,
    /// It may come up again.
    Down,
    /// It was removed, or moved to another network.
    Gone,
}

/// A packet socket of whole Ethernet frames, not blocking.
pub struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// One that receives nothing before [`Socket::bind`].
    pub fn open() -> io::Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain numbers; returns a new descriptor or an error.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: fresh descriptor, owned by nobody else.
        Ok(Socket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn raw(&self) -> c_int {
        self.0.as_raw_fd()
    }

    /// Number of the interface `name`.
    pub fn index_of(&self, name: &str) -> io::Result<c_int> {
        let mut request = request(name);
        // SAFETY: the request is an ifreq, as SIOCGIFINDEX takes.
        check(unsafe { libc::ioctl(self.raw(), libc::SIOCGIFINDEX as _, &raw mut request) })?;
        // SAFETY: SIOCGIFINDEX filled the index.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    /// Where the interface of that number is.
    pub fn presence(&self, index: c_int) -> io::Result<Presence> {
        let mut request = request("");
        request.ifr_ifru.ifru_ifindex = index;
        for code in [libc::SIOCGIFNAME, libc::SIOCGIFFLAGS] {
            // SAFETY: the request is an ifreq, as both take; the first fills in the name that the second reads.
            match check(unsafe { libc::ioctl(self.raw(), code as _, &raw mut request) }) {
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                    return Ok(Presence::Gone);
                }
                result => result?,
            };
        }
        // SAFETY: SIOCGIFFLAGS filled the flags.
        let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        Ok(if flags & libc::IFF_UP == 0 { Presence::Down } else { Presence::Up })
    }

    /// Sets an option of packet sockets that is a number.
    pub fn set(&self, option: c_int, value: c_int) -> io::Result<()> {
        self.set_as(libc::SOL_PACKET, option, &value)
    }

    /// Whether the kernel knows an option of packet sockets.
    pub fn knows(&self, option: c_int) -> bool {
        self.get(libc::SOL_PACKET, option).is_ok()
    }

    /// Takes all frames that come to the interface, whoever they are for.
    pub fn be_promiscuous(&self, index: c_int) -> io::Result<()> {
        let member = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as _,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set_as(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &member)
    }

    /// Lets `bytes` of the kernel's memory be on their way out, and wait to be read, or as much as this process
    /// may have.
    pub fn set_buffers(&self, bytes: c_int) -> io::Result<()> {
        for (forced, plain) in
            [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)]
        {
            match self.set_as(libc::SOL_SOCKET, forced, &bytes) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    self.set_as(libc::SOL_SOCKET, plain, &bytes)?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Makes a ring for received frames and maps it. Its blocks lie one behind the other.
    pub fn map_ring(&self, ring: &libc::tpacket_req) -> io::Result<NonNull<u8>> {
        self.set(libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as c_int)?;
        self.set_as(libc::SOL_PACKET, libc::PACKET_RX_RING, ring)?;
        let len = (ring.tp_block_size as usize).saturating_mul(ring.tp_block_nr as usize);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping anywhere, of a descriptor that is open.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, self.raw(), 0) };
        match NonNull::new(at.cast::<u8>()) {
            Some(memory) if at != libc::MAP_FAILED => Ok(memory),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// From now on frames of the interface come.
    pub fn bind(&self, index: c_int) -> io::Result<()> {
        // SAFETY: an address of zeros is valid.
        let mut to: sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as _;
        to.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        to.sll_ifindex = index;
        // SAFETY: an address and its true length.
        check(unsafe { libc::bind(self.raw(), (&raw const to).cast(), len_of(&to)) }).map(drop)
    }

    /// Joins the sockets that share the frames of the interface, by a program ([`Socket::share_out`]); makes
    /// the group, whose number is then to be asked for, if `group` is `None`.
    pub fn join(&self, group: Option<u16>) -> io::Result<()> {
        let new = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
        let kind = libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | new;
        let args = kind << 16 | u32::from(group.unwrap_or_default());
        self.set_as(libc::SOL_PACKET, libc::PACKET_FANOUT, &args)
    }

    /// Number of the group that it has joined.
    pub fn group(&self) -> io::Result<u16> {
        self.get(libc::SOL_PACKET, libc::PACKET_FANOUT).map(|args| args as u16) // its low half
    }

    /// From now on each frame goes to the member of the group that `program` names.
    pub fn share_out(&self, program: &mut [libc::sock_filter]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
        self.set_as(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)
    }

    /// What went wrong since this was asked last.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let errno = self.get(libc::SOL_SOCKET, libc::SO_ERROR)?;
        Ok((errno != 0).then(|| io::Error::from_raw_os_error(errno)))
    }

    /// How many frames found no room since this was asked last.
    pub fn take_losses(&self) -> io::Result<u32> {
        let mut counts = [0u32; 2]; // struct tpacket_stats: all, and those lost
        let (at, mut len) = ((&raw mut counts).cast::<c_void>(), len_of(&counts));
        let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        // SAFETY: room with its true length.
        check(unsafe { libc::getsockopt(self.raw(), level, option, at, &raw mut len) })?;
        Ok(counts[1])
    }

    /// Receives a frame that waits beside the ring, header first. Says how many bytes there are, or
    /// `None` if the pieces were too short for it.
    ///
    /// # Safety
    /// The pieces are to be memory that may be written during the call.
    pub unsafe fn receive(&self, pieces: &mut [iovec]) -> io::Result<Option<usize>> {
        // SAFETY: a message of zeros is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = pieces.as_mut_ptr();
        message.msg_iovlen = pieces.len() as _;
        loop {
            // SAFETY: as the caller promises.
            let received = unsafe { libc::recvmsg(self.raw(), &raw mut message, 0) };
            if let Ok(received) = usize::try_from(received) {
                let cut = message.msg_flags & libc::MSG_TRUNC != 0;
                return Ok((!cut).then_some(received));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn set_as<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let at = std::ptr::from_ref(value).cast::<c_void>();
        // SAFETY: a value with its true length, of the type that the option has.
        check(unsafe { libc::setsockopt(self.raw(), level, option, at, len_of(value)) }).map(drop)
    }

    fn get(&self, level: c_int, option: c_int) -> io::Result<c_int> {
        let mut value: c_int = 0;
        let (at, mut len) = ((&raw mut value).cast::<c_void>(), len_of(&value));
        // SAFETY: room with its true length.
        check(unsafe { libc::getsockopt(self.raw(), level, option, at, &raw mut len) })?;
        Ok(value)
    }
}

fn len_of<T>(value: &T) -> socklen_t {
    size_of_val(value) as socklen_t // of a few bytes
}
