//! The host's side of a vsock: clients of its socket, and who listens beside it (Firecracker's protocol).

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::exchange::exchange;
use crate::host::{PATIENCE, eventually};

/// A connection to the guest's port, as soon as somebody listens there.
pub fn to_guest(vsock: &Path, port: u32) -> Result<UnixStream> {
    let mut found = None;
    eventually("a connection to the guest", PATIENCE, || {
        found = try_guest(vsock, port)?;
        Ok(found.is_some())
    })?;
    found.context("no connection")
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The same at once, if it is accepted; it is not before the socket is there, as it is with the machine.
pub fn try_guest(vsock: &Path, port: u32) -> Result<Option<UnixStream>> {
    let mut stream = match UnixStream::connect(vsock) {
        Err(error) if is_early(&error) => return Ok(None),
        stream => stream?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    if writeln!(stream, "CONNECT {port}").is_err() {
        return Ok(None);
    }
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => answer.extend(byte),
            _ => return Ok(None),
        }
    }
    ensure!(answer.starts_with(b"OK "), "{:?}", String::from_utf8_lossy(&answer));
    Ok(Some(stream))
}

/// Listens for the guest's connections to a port. Nobody waits for one for ever.
pub fn listener(vsock: &Path, port: u32) -> Result<UnixListener> {
    let mut path = vsock.as_os_str().to_owned();
    path.push(format!("_{port}"));
    let path = PathBuf::from(path);
    // Of a round before.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path);
    let listener = listener.with_context(|| format!("cannot listen at {}", path.display()))?;
    // Of accepting, too.
    let limit = TimeVal::seconds(PATIENCE.as_secs() as i64);
    setsockopt(&listener, sockopt::ReceiveTimeout, &limit)?;
    Ok(listener)
}

/// The host's side of streams both ways; `seed` says which, and is another one than the guest's of the same number.
pub fn host_side(stream: &UnixStream, seed: u32, bytes: u64) -> Result<()> {
    let shut = || stream.shutdown(Shutdown::Write);
    exchange(stream, stream, shut, u64::from(seed) | 1 << 32, bytes).context("the host's side")
}

/// Takes the guest's calls and drops each at another point, until it is `over`; counts how many were taken.
pub fn drop_calls(listener: &UnixListener, over: &AtomicBool, taken: &AtomicUsize) -> Result<()> {
    listener.set_nonblocking(true)?;
    while !over.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let nth = taken.fetch_add(1, Ordering::Relaxed) + 1;
        stream.set_nonblocking(true)?;
        let _ = stream.read(&mut vec![0; nth * 997 % 30_000]);
    }
    Ok(())
}

/// Calls one of the guest's ports and goes without having read all that comes, again and again until it is `over`; how
/// many calls were accepted.
pub fn call_and_go(vsock: &Path, port: u32, over: &AtomicBool) -> Result<usize> {
    let (mut nth, mut accepted) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        nth += 1;
        if let Some(mut stream) = try_guest(vsock, port)? {
            accepted += 1;
            stream.set_nonblocking(true)?;
            let _ = stream.write(&vec![1; nth * 1009 % 100_000]);
            let _ = stream.read(&mut vec![0; nth * 499 % 10_000]);
        }
    }
    Ok(accepted)
}
