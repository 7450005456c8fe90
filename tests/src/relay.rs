//! A port of this machine's own network that leads to a Unix socket, for clients that know only TCP.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

/// Relays until it is finished or dropped.
pub struct Relay {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Relay {
    /// Leads each client to the stream that `connect` makes for it; the first that cannot be made
    /// ends the relay.
    pub fn start(connect: impl FnMut() -> Result<UnixStream> + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = Some(std::thread::spawn(move || accept(&listener, &told, connect)));
        Ok(Self { address, over, thread })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and tells why it ended before.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.over.store(true, Ordering::Relaxed);
        // Wakes it up, if it is still there.
        drop(TcpStream::connect(self.address));
        thread.join().map_err(|_| anyhow!("the relay panicked"))?
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Whoever wants to know calls `finish`.
        let _ = self.end();
    }
}

fn accept(
    listener: &TcpListener,
    over: &AtomicBool,
    mut connect: impl FnMut() -> Result<UnixStream>,
) -> Result<()> {
    loop {
        let (client, _) = listener.accept().context("the relay cannot accept")?;
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let server = connect()?;
        let (to_server, to_client) = (server.try_clone()?, client.try_clone()?);
        // They end with the two streams; what is wrong with those, the client notices.
        std::thread::spawn(move || {
            copy(client, to_server, |server| server.shutdown(Shutdown::Write))
        });
        std::thread::spawn(move || {
            copy(server, to_client, |client| client.shutdown(Shutdown::Write))
        });
    }
}

fn copy<T: io::Write>(mut from: impl io::Read, mut to: T, close: impl Fn(&T) -> io::Result<()>) {
    let _ = io::copy(&mut from, &mut to);
    let _ = close(&to);
}

#[cfg(test)]
#[path = "relay_test.rs"]
mod tests;
