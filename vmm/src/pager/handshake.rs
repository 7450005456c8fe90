//! What an external pager is told, as Firecracker tells it: one message with regions as JSON, and the descriptor.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;

use super::regions::Regions;

/// One region (Firecracker's `GuestRegionUffdMapping`).
#[derive(Debug, Serialize)]
struct Mapping {
    base_host_virt_addr: u64,
    size: u64,
    /// In the memory's file.
    offset: u64,
    /// In bytes.
    page_size: u64,
    /// In bytes too, whatever it is called: there are handlers that read this one.
    page_size_kib: u64,
}

/// The message's text.
fn text(regions: &Regions, page_size: u64) -> io::Result<Vec<u8>> {
    let mapping = |region: super::regions::Region| Mapping {
        base_host_virt_addr: region.host,
        size: region.len,
        offset: region.offset,
        page_size,
        page_size_kib: page_size,
    };
    let mappings: Vec<_> = regions.iter().map(mapping).collect();
    serde_json::to_vec(&mappings).map_err(io::Error::from)
}

/// Hands `uffd`, which tells of faults in `regions`, to who listens behind `socket`. Nothing is answered. Fails if it is not taken
/// whole.
pub fn send(
    socket: &UnixStream,
    uffd: BorrowedFd<'_>,
    regions: &Regions,
    page_size: u64,
) -> io::Result<()> {
    let text = text(regions, page_size)?;
    let fds = [uffd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let sent = sendmsg(socket.as_fd(), &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Pages, map, release};

    #[test]
    fn regions_are_told_in_firecrackers_words() {
        let ram = map(5 << 30, Pages::Small).unwrap();
        let told: serde_json::Value =
            serde_json::from_slice(&text(&Regions::of(&ram), 4096).unwrap()).unwrap();
        let regions = told.as_array().unwrap();
        assert_eq!(regions.len(), 2);
        for (region, (size, offset)) in regions.iter().zip([(3u64 << 30, 0), (2 << 30, 3u64 << 30)])
        {
            let names: Vec<_> = region.as_object().unwrap().keys().collect();
            let wanted = ["base_host_virt_addr", "offset", "page_size", "page_size_kib", "size"];
            assert_eq!(names, wanted);
            assert_eq!((&region["size"], &region["offset"]), (&size.into(), &offset.into()));
            assert_eq!(
                (&region["page_size"], &region["page_size_kib"]),
                (&4096.into(), &4096.into())
            );
        }
        release(ram);
    }
}
