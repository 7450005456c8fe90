//! What a TAP costs without a VMM: a bare loop of `writev` or `readv`, as the floor of benchmarks.
//!
//! `bare-tap TAP send|receive BYTES SECONDS` prints frames a second and nanoseconds of CPU time a frame. It
//! opens a TAP as a machine does, with a vnet header, and hands over each frame in three pieces.

use std::error::Error;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use libc::{c_int, iovec};
use net::backend::tap::open_by_name;
use net::backend::{NetQueue, vnet_hdr};
use net::frame::HEAD;

const LONGEST: usize = 65_536;
/// Frames between two looks at the clock.
const ROUND: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tap, way, bytes, seconds] = arguments.as_slice() else {
        return Err("usage: bare-tap TAP send|receive BYTES SECONDS".into());
    };
    let (len, seconds) = (bytes.parse::<usize>()?.clamp(14, LONGEST), seconds.parse::<f64>()?);
    let sends = match way.as_str() {
        "send" => true,
        "receive" => false,
        _ => return Err(format!("send or receive, not {way}").into()),
    };
    let (_tap, queues) = open_by_name(tap, 1, None)?;
    let fd = queues.first().and_then(NetQueue::poll_fd).ok_or("no queue")?.as_raw_fd();
    let mut header = [0u8; vnet_hdr::LEN];
    let mut frame = vec![0u8; if sends { len } else { LONGEST }];
    // From and to stations that nobody is, and an EtherType for experiments.
    for (to, from) in frame.iter_mut().zip([2, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]) {
        *to = from;
    }
    let (head, body) = frame.split_at_mut(HEAD.min(if sends { len } else { LONGEST }));
    let pieces = [piece(&mut header), piece(head), piece(body)];
    let (begun, spent) = (Instant::now(), cpu_time()?);
    let mut frames = 0u64;
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        for _ in 0..ROUND {
            // SAFETY: the pieces are slices that live until the end of this function, and nothing else
            // looks at them.
            let done = unsafe {
                match sends {
                    true => libc::writev(fd, pieces.as_ptr(), pieces.len() as c_int),
                    false => libc::readv(fd, pieces.as_ptr(), pieces.len() as c_int),
                }
            };
            if done > 0 {
                frames = frames.saturating_add(1);
            } else if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
                return Err(io::Error::last_os_error().into());
            }
        }
    }
    let (took, spent) = (begun.elapsed(), cpu_time()?.saturating_sub(spent));
    let rate = frames as f64 / took.as_secs_f64();
    println!("{rate:.0} {:.1}", spent.as_nanos() as f64 / frames.max(1) as f64);
    Ok(())
}

fn piece(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

/// CPU time of this process.
fn cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a timespec, which lives during the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)) // below 10^9
}
