//! The metadata service with this host's kernel as its guest, by a TAP in a network namespace of the test's
//! own. Needs root; else skipped.

#[path = "metadata/on_tap.rs"]
mod on_tap;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use net::service::metadata::{Metadata, Settings, Version};
use net::service::store::{Store, USUAL_LIMIT};

const ADDRESSES: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];
/// Most that a request may take, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let name = "a_kernels_own_tcp_reads_by_either_address_kept_or_not_and_in_large_segments";
    let trial = Trial::ignorable_test(name, in_namespace);
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn in_namespace() -> Result<Completion, Failed> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        return Ok(Completion::ignored_with(format!("/dev/net/tun cannot be opened: {error}")));
    }
    let thread = std::thread::spawn(|| {
        // SAFETY: moves this thread, and nothing else, into a new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = io::Error::last_os_error();
            return Ok(Completion::ignored_with(format!("no network namespace: {error}")));
        }
        reads().map(|()| Completion::Completed)
    });
    match thread.join() {
        Ok(Ok(completion)) => Ok(completion),
        Ok(Err(error)) => Err(error.to_string().into()),
        Err(_) => Err("it panicked".into()),
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn reads() -> io::Result<()> {
    let store = Arc::new(Store::new(USUAL_LIMIT));
    let long = "x".repeat(40_000);
    let content = serde_json::json!({ "a": "b", "long": long });
    store.put(content).map_err(io::Error::other)?;
    let settings = Settings { version: Version::V2, ..Settings::default() };
    let metadata = Arc::new(Metadata::new(settings, store, "test", ([1; 64], 1)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let served = scope.spawn(|| {
            let ready = move || {
                let _ = ready.send(());
            };
            on_tap::serve("imds0", &metadata, ready, &done).map_err(|error| error.to_string())
        });
        let asked = match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => ask_all(&long),
            Err(_) => Err(io::Error::other("the TAP is not served")),
        };
        done.store(true, Ordering::Relaxed);
        match served.join() {
            Ok(served) => served.map_err(io::Error::other)?,
            Err(_) => return Err(io::Error::other("the service panicked")),
        }
        asked
    })
}

fn ask_all(long: &str) -> io::Result<()> {
    ip("address add 192.0.2.7/24 dev imds0");
    ip("route add 169.254.169.254 dev imds0");
    ip("-6 address add fd00::7/64 dev imds0 nodad");
    ip("-6 route add fd00:ec2::254 dev imds0");
    for address in ADDRESSES {
        let mut kept = Client::connect(address)?;
        let ttl = "X-metadata-token-ttl-seconds: 60\r\n";
        let (status, token) = kept.ask("PUT", "/latest/api/token", ttl)?;
        assert_eq!(status, 200, "{token}");
        let header = format!("X-metadata-token: {token}\r\n");
        for _ in 0..200 {
            assert_eq!(kept.ask("GET", "/a", &header)?, (200, "b".into()));
        }
        for _ in 0..200 {
            let mut fresh = Client::connect(address)?;
            assert_eq!(fresh.ask("GET", "/a", &header)?, (200, "b".into()));
        }
        // More than a packet has, which this kernel leaves to its card to cut; and an answer of many.
        let large = format!("{header}X-Large: {}\r\n", "y".repeat(3500));
        assert_eq!(kept.ask("GET", "/long", &large)?, (200, long.into()));
        assert_eq!(kept.ask("GET", "/a", "")?.0, 401);
        // All that may be served at once.
        let mut crowd =
            (0..31).map(|_| Client::connect(address)).collect::<io::Result<Vec<_>>>()?;
        for client in &mut crowd {
            assert_eq!(client.ask("GET", "/a", &header)?, (200, "b".into()));
        }
    }
    Ok(())
}

/// A client with one connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> io::Result<Client> {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Asks, and reads status and body.
    fn ask(&mut self, method: &str, path: &str, headers: &str) -> io::Result<(u16, String)> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut len) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let line = line.trim_end();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            }
            if let Some(text) = line.strip_prefix("Content-Length: ") {
                len = text.parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).map_err(io::Error::other)?))
    }
}
