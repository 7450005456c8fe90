//! Load for benchmarks: bulk and ping-pong by TCP or vsock, and floods of small datagrams.
//!
//! Nothing is hashed and every buffer is used again, so that the network is the limit. A server in
//! the guest takes jobs from a client on the host, each over a connection of its own, and vsock for the first three if it
//! has one:
//!
//! ```text
//!  job       client sends                    server sends
//!  Push      bytes until it shuts down       how many came, u64
//!  Pull      –                               bytes until the client closes
//!  PingPong  a byte                          a byte
//!  Flood     datagrams; then shuts down      its UDP port, u16; how many came, u64
//!  Flooded   its UDP port, u16; a time, ms   datagrams for that time; then closes
//! ```

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{guest_vsock, vsock};

const CHUNK: usize = 128 << 10;

/// Bytes of a datagram that make a frame of 64 bytes with the headers of Ethernet, IPv4 and UDP.
pub const SMALL: usize = 22;

/// How long a count goes on after the other side has sent its last datagram, at most.
const PATIENCE: Duration = Duration::from_millis(200);

/// The guest's server, and the port of its vsock.
pub const VSOCK_PORT: u32 = 5001;

/// Where the guest's server is.
#[derive(Debug, Clone)]
pub struct Server {
    pub at: SocketAddr,
    /// The host's socket of the guest's vsock, if it has one.
    pub vsock: Option<PathBuf>,
}

/// A connection to it.
trait Line: Read + Write {
    /// Nothing more is sent.
    fn end(&self) -> io::Result<()>;
}

impl Line for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Line for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// What the server is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Job {
    /// Bulk to the server; bytes per second.
    Push,
    /// Bulk from the server; bytes per second.
    Pull,
    /// One byte there and back, again and again; round trips per second.
    PingPong,
    /// Small datagrams to the server; arrived ones per second.
    Flood,
    /// Small datagrams from the server; arrived ones per second.
    Flooded,
    /// As the first three, by vsock.
    VsockPush,
    VsockPull,
    VsockPingPong,
}

impl Job {
    pub const ALL: [Self; 8] = [
        Self::Push,
        Self::Pull,
        Self::PingPong,
        Self::Flood,
        Self::Flooded,
        Self::VsockPush,
        Self::VsockPull,
        Self::VsockPingPong,
    ];

    /// Whether its measure is bytes.
    pub fn is_bulk(self) -> bool {
        matches!(self.for_server(), Self::Push | Self::Pull)
    }

    /// Whether it goes by vsock.
    pub fn is_by_vsock(self) -> bool {
        self.for_server() != self
    }

    /// The same whatever it goes by.
    fn for_server(self) -> Self {
        match self {
            Self::VsockPush => Self::Push,
            Self::VsockPull => Self::Pull,
            Self::VsockPingPong => Self::PingPong,
            other => other,
        }
    }

    fn code(self) -> u8 {
        self as u8
    }

    fn of(code: u8) -> io::Result<Self> {
        let job = Self::ALL.into_iter().find(|job| job.code() == code);
        job.ok_or_else(|| io::Error::other("an unknown job"))
    }
}

/// Serves one connection after the other, for ever.
pub fn serve(at: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(at)?;
    loop {
        let (connection, peer) = listener.accept()?;
        // A client that goes away early ends its job, not the server.
        if let Err(error) = serve_one(connection, peer) {
            eprintln!("load: {error}");
        }
    }
}

/// The same of connections by vsock.
pub fn serve_vsock() -> io::Result<()> {
    let listener = guest_vsock::listener(VSOCK_PORT)?;
    loop {
        let mut connection = guest_vsock::accepted(&listener)?;
        let job = take::<1>(&mut connection).and_then(|[code]| Job::of(code));
        if let Err(error) = job.and_then(|job| serve_stream(&mut connection, job)) {
            eprintln!("load: {error}");
        }
    }
}

fn serve_stream(connection: &mut (impl Read + Write), job: Job) -> io::Result<()> {
    match job {
        Job::Push => {
            let bytes = drain(connection)?;
            connection.write_all(&bytes.to_le_bytes())
        }
        Job::Pull => {
            let chunk = vec![0; CHUNK];
            while connection.write(&chunk).is_ok() {}
            Ok(())
        }
        Job::PingPong => {
            let mut byte = [0];
            while connection.read(&mut byte)? == 1 {
                connection.write_all(&byte)?;
            }
            Ok(())
        }
        _ => Err(io::Error::other("another job than one of streams")),
    }
}

fn serve_one(mut connection: TcpStream, peer: SocketAddr) -> io::Result<()> {
    connection.set_nodelay(true)?;
    match Job::of(take::<1>(&mut connection)?[0])? {
        Job::Flood => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            connection.write_all(&socket.local_addr()?.port().to_le_bytes())?;
            let arrived = count(&socket, &mut connection)?;
            connection.write_all(&arrived.to_le_bytes())
        }
        Job::Flooded => {
            let port = u16::from_le_bytes(take(&mut connection)?);
            let time = Duration::from_millis(u64::from_le_bytes(take(&mut connection)?));
            flood(SocketAddr::new(peer.ip(), port), time)
        }
        job => serve_stream(&mut connection, job),
    }
}

/// Has a job done for a time; returns how much there was per second of it.
pub fn measure(server: &Server, job: Job, time: Duration) -> io::Result<f64> {
    if !job.is_by_vsock() {
        let connection = TcpStream::connect_timeout(&server.at, Duration::from_secs(10))?;
        connection.set_nodelay(true)?;
        return measure_by(connection, server.at.ip(), job, time);
    }
    let socket = server.vsock.as_deref().ok_or(io::ErrorKind::NotConnected)?;
    let connection = vsock::to_guest(socket, VSOCK_PORT).map_err(io::Error::other)?;
    measure_by(connection, Ipv4Addr::UNSPECIFIED.into(), job.for_server(), time)
}

fn measure_by(
    mut connection: impl Line + Send,
    server: IpAddr,
    job: Job,
    time: Duration,
) -> io::Result<f64> {
    connection.write_all(&[job.code()])?;
    let begin = Instant::now();
    let per_second = |amount: u64, took: Duration| amount as f64 / took.as_secs_f64();
    match job {
        Job::Push => {
            let chunk = vec![0; CHUNK];
            while begin.elapsed() < time {
                connection.write_all(&chunk)?;
            }
            connection.end()?;
            let bytes = u64::from_le_bytes(take(&mut connection)?);
            Ok(per_second(bytes, begin.elapsed()))
        }
        Job::Pull => {
            let (mut chunk, mut bytes) = (vec![0; CHUNK], 0);
            while begin.elapsed() < time {
                bytes += connection.read(&mut chunk)? as u64;
            }
            Ok(per_second(bytes, begin.elapsed()))
        }
        Job::PingPong => {
            let mut rounds = 0;
            while begin.elapsed() < time {
                connection.write_all(&[1])?;
                take::<1>(&mut connection)?;
                rounds += 1;
            }
            Ok(per_second(rounds, begin.elapsed()))
        }
        Job::Flood => {
            let port = u16::from_le_bytes(take(&mut connection)?);
            flood(SocketAddr::new(server, port), time)?;
            connection.end()?;
            let arrived = u64::from_le_bytes(take(&mut connection)?);
            Ok(per_second(arrived, time))
        }
        Job::Flooded => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            connection.write_all(&socket.local_addr()?.port().to_le_bytes())?;
            let wanted = u64::try_from(time.as_millis()).map_err(io::Error::other)?;
            connection.write_all(&wanted.to_le_bytes())?;
            let arrived = count(&socket, &mut connection)?;
            Ok(per_second(arrived, time))
        }
        Job::VsockPush | Job::VsockPull | Job::VsockPingPong => {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

fn take<const N: usize>(connection: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    connection.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads until the end; how many bytes there were.
fn drain(connection: &mut impl Read) -> io::Result<u64> {
    let (mut chunk, mut bytes) = (vec![0; CHUNK], 0);
    loop {
        match connection.read(&mut chunk)? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}

/// Counts datagrams until the other side shuts its connection down.
fn count(socket: &UdpSocket, connection: &mut (impl Read + Send)) -> io::Result<u64> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counter = scope.spawn(|| {
            let (mut arrived, mut datagram) = (0, [0; 2048]);
            while !over.load(Ordering::Relaxed) {
                arrived += u64::from(socket.recv(&mut datagram).is_ok());
            }
            arrived
        });
        let ended = drain(connection);
        over.store(true, Ordering::Relaxed);
        let arrived = counter.join().map_err(|_| io::Error::other("the counting thread died"));
        ended.and(arrived)
    })
}

/// Sends small datagrams for a time, as fast as the kernel takes them.
fn flood(to: SocketAddr, time: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        for _ in 0..16 {
            // Full queues are part of a flood.
            let _ = socket.send(&[0x5a; SMALL]);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
