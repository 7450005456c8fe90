//! What a record names is brought into a mapping of the memory's file before it is touched.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::helper::{Bell, Helper};
use super::regions::Regions;
use super::working_set::{PAGE, Run};

/// Pages that are brought at once: who changes mappings meanwhile waits for as many.
const AT_ONCE: u64 = 256;

/// Begins to fetch what `runs` name, in their order, from `file` into the memory of `regions`, which is mapped from it.
/// It is over with what is returned. Fails if the host has no thread left.
pub fn start(file: &File, regions: Regions, runs: Vec<Run>) -> io::Result<Helper> {
    let file = file.try_clone()?;
    Helper::start(move |bell| {
        fetch(&file, &regions, &runs, &bell);
        drop((file, runs));
        bell.rest();
    })
}

fn fetch(file: &File, regions: &Regions, runs: &[Run], bell: &Bell) {
    // The disk begins with all of it, and is not waited for.
    for run in runs {
        let (at, len) =
            (u64::from(run.first).wrapping_mul(PAGE), u64::from(run.pages).wrapping_mul(PAGE));
        let (Ok(at), Ok(len)) = (libc::off_t::try_from(at), libc::off_t::try_from(len)) else {
            return;
        };
        // SAFETY: no memory is involved. It is advice, and nothing is lost without.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), at, len, libc::POSIX_FADV_WILLNEED) };
    }
    for run in runs {
        let (mut offset, mut left) =
            (u64::from(run.first).wrapping_mul(PAGE), u64::from(run.pages));
        while left > 0 {
            if bell.heed() {
                return;
            }
            let Some((host, behind)) = regions.host_of(offset) else { return };
            let pages = left.min(AT_ONCE).min(behind / PAGE).max(1);
            let len = pages.wrapping_mul(PAGE);
            if populate(host, len, run.written).is_err() {
                // An older kernel; what the disk was asked for comes all the same.
                return;
            }
            offset = offset.wrapping_add(len);
            left = left.saturating_sub(pages);
        }
    }
}

/// Brings pages in, as copies of this process's own if they are to be written to.
fn populate(host: u64, len: u64, to_write: bool) -> io::Result<()> {
    let advice = if to_write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    let (at, len) = (std::ptr::without_provenance_mut(host as usize), len as usize);
    // SAFETY: it changes no content: pages of the guest's memory are what they would be once they are touched.
    match unsafe { libc::madvise(at, len, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::memory::touched::Touched;
    use crate::memory::{release, restored};

    #[test]
    fn pages_of_a_record_are_there_and_have_what_the_file_has() {
        use vm_memory::{Bytes, GuestAddress};

        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[5; 8192], 40 << 20).unwrap();
        let ram = restored::map(64 << 20, &file).unwrap();
        let regions = Regions::of(&ram);
        let run = |first: u64, pages, written| Run { first: first as u32, pages, written };
        let runs = vec![run((40 << 20) / PAGE, 2, true), run(0, 1, false)];
        let (tell, heard) = std::sync::mpsc::channel();
        let helper = Helper::start({
            let (file, regions) = (file.try_clone().unwrap(), regions.clone());
            move |bell| {
                fetch(&file, &regions, &runs, &bell);
                tell.send(()).unwrap();
                bell.rest();
            }
        });
        heard.recv().unwrap();
        drop(helper);
        let (host, _) = regions.host_of(0).unwrap();
        let mut touched = Touched::look();
        assert!(touched.any(host, 4096));
        assert!(touched.any(host + (40 << 20), 8192));
        assert!(!touched.any(host + (50 << 20), 4096));
        assert_eq!(ram.read_obj::<u8>(GuestAddress((40 << 20) + 8191)).unwrap(), 5);
        release(ram);
    }
}
