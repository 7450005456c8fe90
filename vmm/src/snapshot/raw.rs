//! Memory files without a state beside them, as users of Firecracker's `snapshot-editor` know them: what is in a file of
//! changes and not in a hole goes over what is in the other.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use device_core::files::Own;

use super::error::MergeError;
use super::new_file::NewFile;
use super::turn::Turn;
use crate::memory::sparse;

/// Bytes that are copied at once.
const STEP: usize = 1 << 20;

/// Lays the file of changes at `diff` over the memory at `memory`, which has the old content until it has all of the new.
/// Fails, with nothing changed, if they are no files of one size.
pub fn rebase(memory: &Path, diff: &Path) -> Result<(), MergeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| MergeError::File { path, source }
    };
    let opened = |path: &Path| {
        // A FIFO would keep us waiting.
        let is_file = fs::metadata(path).map_err(failed(path))?.is_file();
        if !is_file {
            return Err(MergeError::NoFile(path.to_owned()));
        }
        let file = File::open(path).map_err(failed(path))?;
        let len = file.metadata().map_err(failed(path))?.len();
        Ok((file, len))
    };
    let ((base, wanted), (changes, found)) = (opened(memory)?, opened(diff)?);
    if wanted != found {
        return Err(MergeError::Length { path: diff.to_owned(), found, wanted });
    }
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| MergeError::Write { path, source }
    };
    let mut new = NewFile::beside(memory, Turn::A.name(), &Own).map_err(write(memory))?;
    new.file().set_len(wanted).map_err(write(memory))?;
    copy_data(&base, new.file(), wanted).map_err(write(memory))?;
    copy_data(&changes, new.file(), wanted).map_err(write(memory))?;
    new.sync().map_err(write(memory))?;
    new.publish().map_err(write(memory))
}

/// Copies the first `len` bytes of a file to the same places of another, but for those in holes.
fn copy_data(from: &File, to: &File, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; STEP];
    let mut at = 0;
    while let Some((begin, end)) = sparse::next_data(from, at, len) {
        at = begin;
        while at < end {
            let step = usize::try_from(end.saturating_sub(at)).unwrap_or(STEP).min(STEP);
            let part = buffer.get_mut(..step).unwrap_or_default();
            from.read_exact_at(part, at)?;
            to.write_all_at(part, at)?;
            at = at.saturating_add(step as u64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_no_hole_goes_over_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (memory, diff) = (folder.path().join("memory"), folder.path().join("diff"));
        for (path, parts) in
            [(&memory, [(0, 1u8), (1 << 20, 2)]), (&diff, [(1 << 20, 0), (5 << 20, 4)])]
        {
            let file = File::create(path).unwrap();
            file.set_len(8 << 20).unwrap();
            parts.iter().for_each(|(at, byte)| file.write_all_at(&[*byte; 4096], *at).unwrap());
        }
        rebase(&memory, &diff).unwrap();
        let bytes = fs::read(&memory).unwrap();
        let at = |mib: usize| bytes[mib << 20];
        assert_eq!((bytes.len(), at(0), at(1), at(5), at(7)), (8 << 20, 1, 0, 4, 0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        File::options().write(true).open(&diff).unwrap().set_len(4096).unwrap();
        assert!(rebase(&memory, &diff).unwrap_err().to_string().contains("it has 4096 bytes"));
        assert!(
            rebase(&memory, folder.path()).unwrap_err().to_string().contains("no regular file")
        );
        assert_eq!(fs::read(&memory).unwrap(), bytes);
    }
}
