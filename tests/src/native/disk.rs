//! The guest's disk: its image, and the report that the guest writes to its end.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Owned;

/// Bytes at the image's end that the report has.
const LEN: u64 = 4096;
const SECTOR: u64 = 512;
/// Of a guest that tells what it has flushed: its parts of the disk, and their sectors.
const PARTS: u64 = 64;
const SECTORS: u64 = 64;
/// What it begins with, and the numbers behind that.
const MARK: [u8; 8] = *b"nativeD1";
const NUMBERS: usize = 12;
/// Time between two looks: a look is cheap, but a load shall not notice it.
const PAUSE: Duration = Duration::from_millis(1);

/// Numbers of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Grows with each report of a guest; what it means depends on what was asked for.
    pub step: u64,
    /// Requests that were done, and bytes read and written by them.
    pub requests: u64,
    pub bytes: u64,
    /// Requests that the disk refused.
    pub refused: u64,
    /// Requests that read what nobody had written, or that touched memory that was not theirs.
    pub wrong: u64,
    /// Completions of what was not asked for.
    pub stray: u64,
    /// Ticks of the CPU's clock that it took.
    pub ticks: u64,
    /// Ticks that half, and 99 in a hundred, of the requests took at most, and the longest.
    pub p50: u64,
    pub p99: u64,
    pub longest: u64,
    /// Of all that the guest believes to be on the disk, in its first sectors.
    pub digest: u64,
    pub sectors: u64,
}

impl Report {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (mark, rest) = bytes.split_first_chunk::<8>()?;
        let (words, _) = rest.as_chunks::<8>();
        let (numbers, words) = words.split_first_chunk::<NUMBERS>()?;
        let numbers = numbers.map(u64::from_le_bytes);
        let check = u64::from_le_bytes(*words.first()?);
        // It may have been read while it was being written.
        let sum = numbers.iter().fold(u64::from_le_bytes(MARK), |sum, number| sum ^ number);
        if *mark != MARK || check != sum {
            return None;
        }
        let [step, requests, bytes, refused, wrong, stray, ..] = numbers;
        let [.., ticks, p50, p99, longest, digest, sectors] = numbers;
        Some(Self {
            step,
            requests,
            bytes,
            refused,
            wrong,
            stray,
            ticks,
            p50,
            p99,
            longest,
            digest,
            sectors,
        })
    }

    /// Whether all that the guest checked was right.
    pub fn is_clean(&self) -> bool {
        self.refused == 0 && self.wrong == 0 && self.stray == 0
    }
}

/// An image.
pub struct Image {
    path: PathBuf,
    file: File,
    /// The same past the host's page cache, for who looks while it is written so.
    direct: Option<File>,
    /// The disk in the file, if that is not all of it: where it begins, and its bytes.
    part: Option<(u64, u64)>,
}

/// What may be read and written past the page cache: `len` bytes that begin at a page.
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + LEN as usize];
        let from = bytes.as_ptr().align_offset(LEN as usize);
        Self { bytes, from, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..][..self.len]
    }
}

impl Image {
    /// Makes one of zeroes that takes no room yet.
    pub fn empty(path: PathBuf, len: u64) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        file.set_len(len)?;
        Ok(Self { path, file, direct: None, part: None })
    }

    /// Makes one that has all of its room.
    pub fn filled(path: PathBuf, len: u64) -> Result<Self> {
        let image = Self::empty(path, len)?;
        let block = vec![0x5a; 1 << 20];
        for at in (0..len).step_by(block.len()) {
            let part = block.len().min((len - at) as usize);
            image.file.write_all_at(&block[..part], at).context("cannot fill an image")?;
        }
        image.file.sync_all()?;
        Ok(image)
    }

    /// Has it looked at past the host's page cache from now on. Who reads through the cache what is written past it
    /// has Linux fail the next flush, as the cache may then have what is old.
    pub fn past_cache(mut self) -> Result<Self> {
        let mut options = File::options();
        let file =
            options.read(true).write(true).custom_flags(nix::libc::O_DIRECT).open(&self.path);
        let file =
            file.with_context(|| format!("cannot pass by the cache of {}", self.path.display()))?;
        self.direct = Some(file);
        Ok(self)
    }

    fn now(&self) -> &File {
        self.direct.as_ref().unwrap_or(&self.file)
    }

    /// One that is there, and is read only to be looked at.
    pub fn at(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, file, direct: None, part: None })
    }

    /// An overlay, of which what it has itself is to be looked at.
    pub fn overlay(path: PathBuf) -> Result<Self> {
        let image = Self::at(path)?;
        let mut fields = [[0; 8]; 2];
        image.file.read_exact_at(fields.as_flattened_mut(), 24).context("it has no header")?;
        let [size, from] = fields.map(u64::from_le_bytes);
        Ok(Self { part: Some((from, size)), ..image })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes now.
    pub fn size(&self) -> Result<u64> {
        match self.part {
            Some((_, size)) => Ok(size),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    fn place(&self) -> Result<u64> {
        let from = self.part.map_or(0, |(from, _)| from);
        Ok(from + (self.size()? / LEN).saturating_sub(1) * LEN)
    }

    /// Removes the report of who had it before.
    pub fn forget(&self) -> Result<()> {
        Ok(self.now().write_all_at(Aligned::zeroed(LEN as usize).bytes(), self.place()?)?)
    }

    /// The report that is there now, if there is a whole one.
    pub fn report(&self) -> Result<Option<Report>> {
        let mut place = Aligned::zeroed(LEN as usize);
        self.now().read_exact_at(place.bytes(), self.place()?)?;
        Ok(Report::of(place.bytes()))
    }

    /// Waits for a report of this step or a later one, as long as the hypervisor runs.
    pub fn wait_for(&self, vmm: &mut Owned, step: u64, limit: Duration) -> Result<Report> {
        let begun = Instant::now();
        loop {
            if let Some(report) = self.report()?.filter(|report| report.step >= step) {
                return Ok(report);
            }
            if let Some(status) = vmm.child().try_wait()? {
                bail!("it has ended: {status}");
            }
            ensure!(
                begun.elapsed() < limit,
                "no report within {} s; the last was {:?}",
                limit.as_secs(),
                self.report()?
            );
            sleep(PAUSE);
        }
    }

    /// Checks that all steps of writes up to `step`, which a guest has flushed and told of, are there; of the step after
    /// that there may be anything. Returns how many parts were looked at.
    pub fn has_steps(&self, step: u64) -> Result<u64> {
        let mut part = Aligned::zeroed((SECTORS * SECTOR) as usize);
        let part = part.bytes();
        let steps = (step + 2).saturating_sub(PARTS).max(1)..=step;
        for step in steps.clone() {
            let from = step % PARTS * SECTORS;
            self.now().read_exact_at(part, from * SECTOR)?;
            for (sector, bytes) in (from..).zip(part.chunks(SECTOR as usize)) {
                let is_right = bytes == sector_of(sector, step);
                ensure!(is_right, "sector {sector} was flushed in step {step} and is lost");
            }
        }
        Ok(steps.count() as u64)
    }

    /// The digest of its first sectors, as the guest makes it of what it believes to be there.
    pub fn digest(&self, sectors: u64) -> Result<u64> {
        let mut file = BufReader::with_capacity(1 << 20, &self.file);
        file.seek(SeekFrom::Start(0))?;
        let (mut digest, mut word) = (0u64, [0; 8]);
        for _ in 0..sectors * (SECTOR / 8) {
            file.read_exact(&mut word)?;
            digest = add(digest, u64::from_le_bytes(word));
        }
        Ok(digest)
    }
}

/// What a guest writes to a sector for the `generation`th time.
fn sector_of(sector: u64, generation: u64) -> Vec<u8> {
    let word = |word: u64| {
        let seed = sector << 32 ^ generation << 8 ^ word;
        let mixed = (seed ^ seed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).to_le_bytes()
    };
    (0..SECTOR / 8).flat_map(word).collect()
}

fn add(digest: u64, word: u64) -> u64 {
    (digest.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

#[cfg(test)]
#[path = "disk_test.rs"]
mod tests;
