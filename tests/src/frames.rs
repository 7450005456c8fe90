//! Raw frames on a link of Linux, by a packet socket; and their text, for arguments and output.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Longer than any frame.
const LONGEST: usize = 0x1_0000;

/// What is there to fill a frame up.
const FILLER: u8 = 0x5a;

/// Silence after which nothing more is expected, once all that was expected is there.
const SILENCE: Duration = Duration::from_secs(1);

/// A link that frames are sent to and heard from as they are.
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Opens a link by its name, as root.
    pub fn open(name: &str) -> io::Result<Self> {
        let address = getifaddrs()?
            .filter(|interface| interface.interface_name == name)
            .find_map(|interface| interface.address?.as_link_addr().copied())
            .ok_or_else(|| io::Error::other(format!("there is no link {name}")))?;
        let all = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, all)?;
        bind(socket.as_raw_fd(), &address)?;
        // Until then it hears all links.
        while recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok() {}
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))?;
        Ok(Self { socket })
    }

    /// Sends a frame; Linux sends none shorter than its header or longer than the link's MTU allows.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// The next frame of this station, if one comes within `limit`.
    pub fn hear_first(&self, from: &[u8], limit: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + limit;
        let mut frame = vec![0; LONGEST];
        while Instant::now() < end {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) if frame.get(6..12) == Some(from) => {
                    return Ok(frame.get(..length).map(<[u8]>::to_vec));
                }
                Ok(_) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Frames from one station: `count` of them and what follows at once, or those that come until
    /// nothing does for `limit`.
    ///
    /// Linux has taken a VLAN's tag off them.
    pub fn hear(&self, from: &[u8], count: usize, limit: Duration) -> io::Result<Vec<Vec<u8>>> {
        let (mut heard, mut patience) = (Vec::new(), limit);
        while let Some(frame) = self.hear_first(from, patience)? {
            heard.push(frame);
            patience = if heard.len() < count { limit } else { SILENCE };
        }
        Ok(heard)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Bytes of hexadecimal digits, colons between them or not; `/N` after them fills up to N bytes.
pub fn bytes(text: &str) -> io::Result<Vec<u8>> {
    let wrong = || io::Error::other(format!("{text:?} is no frame"));
    let (digits, length) = text.split_once('/').unwrap_or((text, "0"));
    let digits: Vec<_> = digits.bytes().filter(|&byte| byte != b':').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let (mut bytes, length) = (bytes.ok_or_else(wrong)?, length.parse().map_err(|_| wrong())?);
    if bytes.len() < length {
        bytes.resize(length, FILLER);
    }
    Ok(bytes)
}

/// The bytes as digits.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "frames_test.rs"]
mod tests;
