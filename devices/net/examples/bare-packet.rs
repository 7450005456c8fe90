//! What an interface costs without a VMM: a bare loop on a packet socket's queue, as the floor of benchmarks.
//!
//! `bare-packet INTERFACE send|receive BYTES SECONDS` prints frames a second and nanoseconds of CPU time a frame.
//! It sends in batches of 32, and sleeps while nothing comes.

use std::error::Error;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use device_core::scatter::Scatter;
use device_core::testing::ram;
use net::backend::packet::{Queue, open_by_name};
use net::backend::{NetQueue, QueueError, Room};
use net::frame::{HEAD, MAX_FRAME, RxFrame, TxFrame};
use vm_memory::{Bytes, GuestAddress};

/// Frames of a batch, and between two looks at the clock.
const BATCH: u64 = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, way, bytes, seconds] = arguments.as_slice() else {
        return Err("usage: bare-packet INTERFACE send|receive BYTES SECONDS".into());
    };
    let (len, seconds) = (bytes.parse::<usize>()?, seconds.parse::<f64>()?);
    let (_packet, mut queues) = open_by_name(interface, 1, None)?;
    let queue = queues.first_mut().ok_or("no queue")?;
    let (begun, spent) = (Instant::now(), cpu_time()?);
    let goes_on = || begun.elapsed() < Duration::from_secs_f64(seconds);
    let frames = match way.as_str() {
        "send" => send(queue, len.clamp(14, MAX_FRAME), goes_on)?,
        "receive" => receive(queue, goes_on)?,
        _ => return Err(format!("send or receive, not {way}").into()),
    };
    let (took, spent) = (begun.elapsed(), cpu_time()?.saturating_sub(spent));
    let rate = frames as f64 / took.as_secs_f64();
    println!("{rate:.0} {:.1}", spent.as_nanos() as f64 / frames.max(1) as f64);
    Ok(())
}

fn send(queue: &mut Queue, len: usize, goes_on: impl Fn() -> bool) -> Result<u64, Box<dyn Error>> {
    let memory = ram(0x2_0000);
    // From and to stations that nobody is, and an EtherType for experiments.
    memory.write_slice(&[2, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5], GuestAddress(0))?;
    let (mut frame, mut frames) = (TxFrame::new(memory), 0u64);
    while goes_on() {
        for _ in 0..BATCH {
            frame.clear();
            frame.body.push(0, len as u32)?; // at most a frame's
            frame.pull_head();
            queue.send(&frame)?;
        }
        let refused = queue.flush();
        if let Some(error) = refused.error {
            return Err(error.into());
        }
        frames = frames.saturating_add(BATCH);
    }
    Ok(frames)
}

fn receive(queue: &mut Queue, goes_on: impl Fn() -> bool) -> Result<u64, Box<dyn Error>> {
    let mut buffers = Scatter::new(ram(0x2_0000));
    buffers.push(0, 0x1_0000)?;
    let (mut spill, mut frame, mut frames) = (vec![0; MAX_FRAME], RxFrame::default(), 0u64);
    while goes_on() {
        for _ in 0..BATCH {
            let room = Room { buffers: &buffers, skip: HEAD, spill: &mut spill };
            match queue.recv(room, &mut frame) {
                Ok(()) => {
                    buffers.write_at(0, frame.head.bytes());
                    frames = frames.saturating_add(1);
                }
                Err(QueueError::NotReady) => sleep(queue)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(frames)
}

/// Until there is a frame, or for a while.
fn sleep(queue: &Queue) -> io::Result<()> {
    let fd = queue.poll_fd().map_or(-1, |fd| fd.as_raw_fd());
    let mut waits = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as its length says.
    if unsafe { libc::poll(&mut waits, 1, 100) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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
