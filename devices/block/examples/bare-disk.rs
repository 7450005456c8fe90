//! What an image costs without a VMM: a bare loop of `pread` and `pwrite`, or of io_uring, as the floor of
//! benchmarks.
//!
//! `bare-disk FILE read|write random|sequential BYTES DEPTH SECONDS calls|uring` prints requests a second,
//! nanoseconds of CPU time a request, and the microseconds that half and 99 in a hundred of them took at most. The
//! last 4096 bytes of the file are left alone. Plain calls know no depth: each ends before the next begins.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};

/// Bytes at the end of the file that are not its load's.
const REST: u64 = 4096;
/// Most times that are kept; of more, only each second, fourth and so on.
const MOST_TIMES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let &[file, way, order, bytes, depth, seconds, calls] = arguments.as_slice() else {
        return Err(
            "usage: bare-disk FILE read|write random|sequential BYTES DEPTH SECONDS calls|uring"
                .into(),
        );
    };
    let writes = one_of(way, "read", "write")?;
    let file = OpenOptions::new().read(true).write(writes).open(file)?;
    let len: u64 = bytes.parse()?;
    let places = file.metadata()?.len().saturating_sub(REST).checked_div(len).unwrap_or(0);
    if places == 0 {
        return Err("the file is too short".into());
    }
    let mut load = Load {
        file,
        writes,
        len: usize::try_from(len)?,
        places: Places {
            count: places,
            is_sequential: one_of(order, "random", "sequential")?,
            last: 1,
        },
        times: Times::default(),
        end: Instant::now() + Duration::from_secs_f64(seconds.parse()?),
    };
    let (begun, spent) = (Instant::now(), cpu_time()?);
    if one_of(calls, "calls", "uring")? {
        load.uring(depth.parse()?)?;
    } else {
        load.calls()?;
    }
    let (took, spent) = (begun.elapsed(), cpu_time()?.saturating_sub(spent));
    let count = load.times.count.max(1) as f64;
    let (rate, cpu) = (count / took.as_secs_f64(), spent.as_nanos() as f64 / count);
    let [p50, p99] = [50, 99].map(|percent| load.times.percentile(percent));
    println!("{rate:.0} {cpu:.1} {p50:.2} {p99:.2}");
    Ok(())
}

/// Whether it is the second of two words.
fn one_of(word: &str, first: &str, second: &str) -> Result<bool, String> {
    match word {
        _ if word == first => Ok(false),
        _ if word == second => Ok(true),
        _ => Err(format!("{first} or {second}, not {word}")),
    }
}

struct Load {
    file: File,
    writes: bool,
    len: usize,
    places: Places,
    times: Times,
    end: Instant,
}

impl Load {
    fn calls(&mut self) -> io::Result<()> {
        let mut buffer = vec![0x5a; self.len];
        let mut begun = Instant::now();
        while begun < self.end {
            let at = self.places.next().wrapping_mul(self.len as u64);
            match self.writes {
                true => self.file.write_all_at(&buffer, at)?,
                false => self.file.read_exact_at(&mut buffer, at)?,
            }
            let now = Instant::now();
            self.times.add(now - begun);
            begun = now;
        }
        Ok(())
    }

    fn uring(&mut self, depth: u32) -> Result<(), Box<dyn Error>> {
        let mut ring: IoUring =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(depth)?;
        let mut buffers = vec![vec![0x5a_u8; self.len]; depth as usize];
        let mut begun = vec![Instant::now(); depth as usize];
        let mut free: Vec<usize> = (0..depth as usize).collect();
        let mut now = Instant::now();
        while now < self.end || free.len() < depth as usize {
            while now < self.end
                && let Some(index) = free.pop()
            {
                let at = self.places.next().wrapping_mul(self.len as u64);
                let (Some(buffer), Some(begun)) = (buffers.get_mut(index), begun.get_mut(index))
                else {
                    return Err("more completions than requests".into());
                };
                (*begun, now) = (Instant::now(), Instant::now());
                let (fd, len) = (types::Fd(self.file.as_raw_fd()), self.len as u32);
                let entry = match self.writes {
                    true => opcode::Write::new(fd, buffer.as_ptr(), len).offset(at).build(),
                    false => opcode::Read::new(fd, buffer.as_mut_ptr(), len).offset(at).build(),
                };
                // SAFETY: buffer and file live until all requests are done, which the loop waits for, and nobody
                // else looks at the buffer.
                unsafe { ring.submission().push(&entry.user_data(index as u64))? };
            }
            ring.submit_and_wait(1)?;
            now = Instant::now();
            for entry in ring.completion() {
                if entry.result() != self.len as i32 {
                    return Err(format!("a request ended with {}", entry.result()).into());
                }
                let index = entry.user_data() as usize;
                if let Some(begun) = begun.get(index) {
                    self.times.add(now.saturating_duration_since(*begun));
                }
                free.push(index);
            }
        }
        Ok(())
    }
}

/// Where requests go: one behind the other, or anywhere (Marsaglia's xorshift).
struct Places {
    count: u64,
    is_sequential: bool,
    last: u64,
}

impl Places {
    fn next(&mut self) -> u64 {
        if self.is_sequential {
            self.last = self.last.wrapping_add(1);
        } else {
            self.last ^= self.last << 13;
            self.last ^= self.last >> 7;
            self.last ^= self.last << 17;
        }
        self.last.checked_rem(self.count).unwrap_or(0)
    }
}

/// How long requests took.
#[derive(Default)]
struct Times {
    count: u64,
    /// Of as many only one is kept, as a power of two.
    sparse: u32,
    kept: Vec<f32>,
}

impl Times {
    fn add(&mut self, took: Duration) {
        self.count = self.count.wrapping_add(1);
        if self.count.trailing_zeros() < self.sparse {
            return;
        }
        if self.kept.len() == MOST_TIMES {
            let mut keep = false;
            self.kept.retain(|_| {
                keep = !keep;
                keep
            });
            self.sparse = self.sparse.saturating_add(1);
        }
        self.kept.push(took.as_secs_f32() * 1e6);
    }

    fn percentile(&mut self, percent: usize) -> f32 {
        self.kept.sort_by(f32::total_cmp);
        let last = self.kept.len().saturating_sub(1);
        let place = last.saturating_mul(percent).checked_div(100).unwrap_or(0);
        self.kept.get(place).copied().unwrap_or(f32::NAN)
    }
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
