//! Streams that go both ways over one connection at once, each checked by the side that receives it.

use std::io::{self, Read, Write};
use std::thread;

use xxhash_rust::xxh3::Xxh3;

use crate::traffic::Stream;

const CHUNK: usize = 64 << 10;

/// The hash of a stream of so many bytes, as `seed` decides it.
pub fn hash_of(seed: u64, bytes: u64) -> u64 {
    let mut hash = Xxh3::new();
    // It cannot fail: nothing is written anywhere.
    let _ = each_chunk(seed, bytes, |chunk| {
        hash.update(chunk);
        Ok(())
    });
    hash.digest()
}

fn each_chunk(
    seed: u64,
    bytes: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut stream, mut chunk, mut left) = (Stream(seed), vec![0; CHUNK], bytes);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        stream.fill(&mut chunk[..length]);
        take(&chunk[..length])?;
        left -= length as u64;
    }
    Ok(())
}

/// Sends the stream of `ours`, with its seed before it, and ends that direction by `shut`; receives meanwhile what
/// the other side sends in the same way. Fails if that is not `bytes` bytes of the stream that its seed says.
pub fn exchange(
    mut from: impl Read + Send,
    mut to: impl Write,
    shut: impl FnOnce() -> io::Result<()>,
    ours: u64,
    bytes: u64,
) -> io::Result<()> {
    thread::scope(|scope| {
        let receiver = scope.spawn(move || -> io::Result<()> {
            let mut seed = [0; 8];
            from.read_exact(&mut seed)?;
            let (mut hash, mut chunk, mut got) = (Xxh3::new(), vec![0; CHUNK], 0u64);
            loop {
                let length = from.read(&mut chunk)?;
                if length == 0 {
                    break;
                }
                hash.update(&chunk[..length]);
                got += length as u64;
            }
            let wanted = hash_of(u64::from_le_bytes(seed), bytes);
            match got == bytes && hash.digest() == wanted {
                true => Ok(()),
                false => {
                    Err(io::Error::other(format!("{got} bytes came, or others than were sent")))
                }
            }
        });
        to.write_all(&ours.to_le_bytes())?;
        each_chunk(ours, bytes, |chunk| to.write_all(chunk))?;
        shut()?;
        receiver.join().map_err(|_| io::Error::other("the receiver has panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn both(bytes: u64, other: u64) -> (io::Result<()>, io::Result<()>) {
        let (one, two) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let first =
                scope.spawn(|| exchange(&one, &one, || one.shutdown(Shutdown::Write), 1, bytes));
            let second = exchange(&two, &two, || two.shutdown(Shutdown::Write), 2, other);
            (first.join().unwrap(), second)
        })
    }

    #[test]
    fn both_sides_agree_or_both_say_that_they_do_not() {
        let (one, two) = both(300_001, 300_001);
        assert!(one.is_ok() && two.is_ok());
        let (one, two) = both(1000, 1001);
        assert!(one.is_err() && two.is_err());
    }
}
