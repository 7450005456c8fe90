//! Sockets of this process that are at their paths, for ends that skip destructors.
//!
//! A handler of a signal may read them at any moment and on any thread, so there is no lock: who takes one out frees it
//! only if nobody is reading.

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// Device and inode of our socket, so that only ours is removed.
pub(super) type Identity = (u64, u64);

/// A socket that [`remove_all`] removes.
struct Kept {
    path: CString,
    identity: Identity,
}

/// Some of them, each in a place of its own.
struct List {
    places: [AtomicPtr<Kept>; 8],
    /// Those who are reading now.
    readers: AtomicUsize,
}

static LIST: List = List::new();

/// Somebody is reading.
struct Reading<'a>(&'a List);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, SeqCst);
    }
}

impl List {
    const fn new() -> List {
        let places = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
        List { places, readers: AtomicUsize::new(0) }
    }

    fn read(&self) -> Reading<'_> {
        self.readers.fetch_add(1, SeqCst); // pairs with the load in `free`
        Reading(self)
    }

    /// Takes one in. One that finds no place is only removed by drop.
    fn remember(&self, path: &Path, identity: Identity) {
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return };
        let kept = Box::into_raw(Box::new(Kept { path, identity }));
        for place in &self.places {
            if place.compare_exchange(ptr::null_mut(), kept, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
        // SAFETY: from `into_raw` above, and nobody else has seen it.
        drop(unsafe { Box::from_raw(kept) });
    }

    /// Takes one out, which only its one owner does. Whether its memory is free again: it is lost if somebody is reading,
    /// who is about to end the process.
    fn forget(&self, identity: Identity) -> bool {
        for place in &self.places {
            let reading = self.read();
            let kept = place.load(SeqCst);
            // SAFETY: null, or from `remember` and not freed before `reading` ends.
            let is_it = unsafe { kept.as_ref() }.is_some_and(|kept| kept.identity == identity);
            drop(reading);
            // Nobody puts another one in its place before it is gone.
            if is_it && place.compare_exchange(kept, ptr::null_mut(), SeqCst, SeqCst).is_ok() {
                return self.free(kept);
            }
        }
        false
    }

    fn free(&self, kept: *mut Kept) -> bool {
        // Who begins to read now finds it no more: it was taken out before.
        let is_free = self.readers.load(SeqCst) == 0;
        if is_free {
            // SAFETY: from `remember`; it is in no place, and nobody has it from there.
            drop(unsafe { Box::from_raw(kept) });
        }
        is_free
    }

    /// Shows all to `each`.
    fn each(&self, mut each: impl FnMut(&Kept)) {
        let _reading = self.read();
        for place in &self.places {
            // SAFETY: null, or from `remember` and not freed while somebody is reading.
            if let Some(kept) = unsafe { place.load(SeqCst).as_ref() } {
                each(kept);
            }
        }
    }

    /// Takes all out, and shows them to `each`. Async-signal-safe if that is.
    fn take(&self, mut each: impl FnMut(&Kept)) {
        let _reading = self.read();
        for place in &self.places {
            // SAFETY: null, or from `remember`; who takes it out here does not free it, and nobody else does now.
            if let Some(kept) = unsafe { place.swap(ptr::null_mut(), SeqCst).as_ref() } {
                each(kept);
            }
        }
    }
}

pub(super) fn remember(path: &Path, identity: Identity) {
    LIST.remember(path, identity);
}

pub(super) fn forget(identity: Identity) {
    LIST.forget(identity);
}

/// Folders that sockets of this process are in, each once.
pub fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    LIST.each(|kept| {
        let path = Path::new(OsStr::from_bytes(kept.path.to_bytes()));
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if folders.iter().all(|known| known != folder) {
            folders.push(folder.to_path_buf());
        }
    });
    folders
}

/// Removes the sockets of this process from their paths. For ends that skip destructors, such as a
/// handler of a deadly signal: async-signal-safe, and harmless to call twice.
pub fn remove_all() {
    LIST.take(|kept| {
        if identity_of(&kept.path) == Some(kept.identity) {
            // SAFETY: the path ends with NUL.
            unsafe { libc::unlink(kept.path.as_ptr()) };
        }
    });
}

/// What is at the path, if anything is; by the one call that whoever removes sockets has for it. Async-signal-safe.
pub(super) fn identity_of(path: &CStr) -> Option<Identity> {
    let mut there = MaybeUninit::<libc::statx>::uninit();
    let (here, flags) = (libc::AT_FDCWD, libc::AT_SYMLINK_NOFOLLOW);
    let (path, mask) = (path.as_ptr(), libc::STATX_INO);
    // SAFETY: the path ends with NUL, and `there` has room.
    let found =
        unsafe { libc::syscall(libc::SYS_statx, here, path, flags, mask, there.as_mut_ptr()) };
    // SAFETY: the kernel has filled it.
    let there = (found == 0).then(|| unsafe { there.assume_init() })?;
    Some((libc::makedev(there.stx_dev_major, there.stx_dev_minor), there.stx_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &List) -> Vec<String> {
        let mut paths = Vec::new();
        list.each(|kept| paths.push(kept.path.to_string_lossy().into_owned()));
        paths
    }

    #[test]
    fn who_has_gone_leaves_no_memory_behind() {
        let list = List::new();
        for turn in 0..100 {
            list.remember(Path::new("/some/socket"), (1, turn));
            list.remember(Path::new("/other"), (2, turn));
            assert_eq!(paths(&list), ["/some/socket", "/other"]);
            assert!(list.forget((1, turn)) && list.forget((2, turn)));
            assert_eq!(paths(&list), [""; 0]);
            assert!(!list.forget((1, turn)), "it is gone");
        }
    }

    #[test]
    fn nothing_that_is_being_read_is_freed() {
        let list = List::new();
        list.remember(Path::new("/some/socket"), (1, 1));
        list.each(|kept| {
            assert!(!list.forget((1, 1)));
            assert_eq!(kept.path.to_str(), Ok("/some/socket"));
        });
        assert_eq!(paths(&list), [""; 0]);
        list.remember(Path::new("/other"), (1, 2));
        list.take(|kept| assert_eq!(kept.path.to_str(), Ok("/other")));
        assert!(!list.forget((1, 2)), "it was taken out");
    }

    #[test]
    fn one_too_many_is_not_kept() {
        let list = List::new();
        (0..9).for_each(|nth| list.remember(Path::new("/socket"), (1, nth)));
        assert_eq!(paths(&list).len(), 8);
        assert!(list.forget((1, 0)) && !list.forget((1, 8)));
        // Those that are left are freed with their owners.
        (1..8).for_each(|nth| assert!(list.forget((1, nth))));
    }
}
