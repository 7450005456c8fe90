//! Records that are written to files, synced, and told of: what was told must be there whatever happens next.
//!
//! Record `n`, from 1 on, is a function of its number. It goes to the end of a log and over the last record but 63 of a ring;
//! each eighth also takes the place of a file of its own by a rename.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Bytes of a record in the log, in the ring, and as a file.
const LOGGED: usize = 1024;
const SLOT: usize = 4096;
const WHOLE: usize = 10_000;
const SLOTS: u64 = 64;
/// Of so many records one becomes a file, of which there are so many.
const EACH: u64 = 8;
const FILES: u64 = 4;

/// The first `len` bytes of record `n`.
fn record(n: u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).flat_map(|word| {
        let mixed = (n << 32 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29 | 1).to_le_bytes()
    });
    words.take(len).collect()
}

fn file_of(n: u64) -> String {
    format!("file-{}", n / EACH % FILES)
}

/// Empties `folder`, writes records to it for ever, and tells `told` of each once it is synced. Fails if the system does.
pub fn write(folder: &Path, mut told: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(folder)?,
    }
    let (log, ring) =
        (File::create_new(folder.join("log"))?, File::create_new(folder.join("ring"))?);
    ring.write_all_at(&vec![0; SLOT * SLOTS as usize], 0)?;
    ring.sync_all()?;
    let itself = File::open(folder)?;
    itself.sync_all()?;
    for n in 1.. {
        log.write_all_at(&record(n, LOGGED), (n - 1) * LOGGED as u64)?;
        log.sync_data()?;
        ring.write_all_at(&record(n, SLOT), n % SLOTS * SLOT as u64)?;
        ring.sync_data()?;
        if n.is_multiple_of(EACH) {
            let part = folder.join("part");
            let mut file = File::create(&part)?;
            file.write_all(&record(n, WHOLE))?;
            file.sync_all()?;
            fs::rename(part, folder.join(file_of(n)))?;
            itself.sync_all()?;
        }
        told(n)?;
    }
    Ok(())
}

/// Checks that all records up to `said` are in `folder`, as far as later ones have not taken their place. Returns the
/// last record that is there.
pub fn check(folder: &Path, said: u64) -> Result<u64> {
    let read = |name: &str| fs::read(folder.join(name)).with_context(|| format!("no {name}"));
    let (log, ring) = (read("log")?, read("ring")?);
    let logged = log.chunks(LOGGED).zip(1..).take_while(|(bytes, n)| *bytes == record(*n, LOGGED));
    let last = logged.count() as u64;
    ensure!(last >= said, "{said} records were synced, and {last} are in the log");
    // The next one may have been under way.
    let unsaid = said + 1..=last + 1;
    for (slot, bytes) in ring.chunks(SLOT).zip(0..SLOTS).map(|(bytes, slot)| (slot, bytes)) {
        let of_slot = |n: &u64| n % SLOTS == slot;
        if unsaid.clone().any(|n| of_slot(&n)) {
            continue;
        }
        let expected = (1..=said).rev().find(of_slot);
        let bytes_expected = expected.map_or_else(|| vec![0; SLOT], |n| record(n, SLOT));
        ensure!(bytes == bytes_expected, "record {expected:?} was synced to the ring and is lost");
    }
    ensure!(ring.len() as u64 == SLOTS * SLOT as u64, "the ring has {} bytes", ring.len());
    let made = |n: &u64| n.is_multiple_of(EACH);
    for n in (1..=said).rev().filter(made).take(FILES as usize) {
        let (name, may_be) = (file_of(n), unsaid.clone().filter(made));
        let file = read(&name)?;
        let mut candidates = may_be.filter(|later| file_of(*later) == name).chain([n]);
        ensure!(
            candidates.any(|n| file == record(n, WHOLE)),
            "record {n} was synced as {name} and is lost"
        );
    }
    Ok(last)
}

#[cfg(test)]
#[path = "records_test.rs"]
mod tests;
