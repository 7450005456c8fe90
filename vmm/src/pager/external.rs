//! A pager that is somebody else's process: it gets the descriptor by Firecracker's handshake, and a thread of ours
//! looks whether it is still there and pages come.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::handshake;
use super::helper::{Bell, Helper};
use super::progress::Progress;
use super::regions::Regions;
use super::uffd::{EVENT_REMOVE, MISSING_HUGETLBFS, Uffd};
use crate::end::{End, Ends};
use crate::signals;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// For how long somebody may wait for a page, while no other page comes, until the machine is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the main thread has to hear of it, which may be among those who wait.
const GRACE: Duration = Duration::from_secs(2);

/// Why a pager does not get a machine's memory.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    #[error("pager {}: nobody can be reached there", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("page faults of the guest cannot be handed to a pager")]
    Uffd(#[source] io::Error),
    #[error("pager {}: it was not told", path.display())]
    Tell { path: PathBuf, source: io::Error },
    #[error("cannot watch the pager")]
    Watch(#[source] io::Error),
}

struct Watch {
    path: PathBuf,
    /// It sees our end by its end.
    socket: UnixStream,
    /// Ours too: if it were the pager's alone, pages that are missing would read as zeroes once that ends.
    _uffd: Uffd,
    progress: Progress,
    ends: Arc<Ends>,
    code: u8,
}

/// Hands memory in `regions`, of pages of `page_size` bytes, to who listens at `path`. What becomes of it is reported
/// to `ends`; if nobody hears that, the process exits with `code`. Fails if nobody listens, or the host has no such faults.
pub fn start(
    path: &Path,
    regions: &Regions,
    page_size: u64,
    ends: &Arc<Ends>,
    code: u8,
) -> Result<Helper, ExternalError> {
    let named = || path.to_owned();
    let socket =
        connect(path).map_err(|source| ExternalError::Connect { path: named(), source })?;
    let huge = if page_size > 4096 { MISSING_HUGETLBFS } else { 0 };
    let uffd = Uffd::open(EVENT_REMOVE | huge).map_err(ExternalError::Uffd)?;
    for region in regions.iter() {
        uffd.register(region.host, region.len, false).map_err(ExternalError::Uffd)?;
    }
    handshake::send(&socket, uffd.as_fd(), regions, page_size)
        .map_err(|source| ExternalError::Tell { path: named(), source })?;
    let progress = Progress::of(uffd.as_fd()).map_err(ExternalError::Watch)?;
    let ends = ends.clone();
    let watch = Watch { path: named(), socket, _uffd: uffd, progress, ends, code };
    Helper::start(move |bell| watch.run(&bell)).map_err(ExternalError::Watch)
}

/// Never waits: neither one who accepts nobody nor one who takes nothing keeps us.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

impl Watch {
    fn run(mut self, bell: &Bell) {
        let why = loop {
            if bell.heed() {
                return;
            }
            let Ok(seen) = bell.wait(Some(self.socket.as_raw_fd()), Some(LOOK)) else { return };
            if seen != 0 && self.has_ended() {
                break "it has ended, and pages that the guest has not touched are lost"
                    .to_string();
            }
            match self.progress.stands_still(Instant::now()) {
                Ok(stood) if stood >= PATIENCE => {
                    break format!(
                        "no page has come for {} s, and one is waited for",
                        stood.as_secs()
                    );
                }
                _ => {}
            }
        };
        let end = End::Pager { path: self.path.clone(), why };
        let line = end.to_string();
        self.ends.report(end);
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            if bell.heed() {
                return;
            }
            let left = GRACE.saturating_sub(begun.elapsed());
            if bell.wait(None, Some(left)).is_err() {
                break;
            }
        }
        signals::leave(&line, self.code);
        bell.rest();
    }

    /// Takes what it says, which means nothing to us. Whether it says no more.
    fn has_ended(&self) -> bool {
        let mut said = [0; 256];
        loop {
            // SAFETY: writes no more than there is room for.
            let got = unsafe {
                libc::read(self.socket.as_raw_fd(), said.as_mut_ptr().cast(), said.len())
            };
            match got {
                0 => return true,
                1.. => {}
                _ => return io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}
