//! Which pages of a machine's memory may have changed since its last snapshot, or the one that it came from.
//!
//! Exact where the machine is tracked: KVM's log, and what our own threads note ([`device_core::dirty`]). Without that
//! the host's map of the process tells: of memory that is mapped from a file, all pages that are no longer the file's;
//! of other memory, all that there are. What was given back to the host is none of these, and noted in any case.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use device_core::{Ram, dirty};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::pages::PageSet;
use super::touched::Touched;
use super::{PAGE, barrier, whole};
use crate::kvm;
use crate::kvm::hot_region::HotSlots;

/// Since when pages are counted, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The last snapshot: pages are tracked.
    Last,
    /// The snapshot whose file the memory is mapped from, however many were written since.
    Origin,
    /// The beginning of the machine.
    Ever,
}

/// Pages that may have changed, of one machine.
pub struct Changes {
    since: Since,
    /// What the memory is mapped from, if it is: device and inode.
    file: Option<(u64, u64)>,
    /// Those that were found so far.
    pages: PageSet,
}

impl Changes {
    /// For the memory of a machine whose KVM has it by now: it is tracked if pages of it are noted. Of one that
    /// `is_restored` what nobody has touched is what its snapshot has; the memory comes from `file`, if from one that is ours.
    pub fn of(ram: &Ram, is_restored: bool, file: Option<&File>) -> Changes {
        let since = match (dirty::is_on(ram), is_restored) {
            (true, _) => Since::Last,
            (false, true) => Since::Origin,
            (false, false) => Since::Ever,
        };
        let pages = PageSet::none(whole::bytes(ram));
        Changes { since, file: file.and_then(inode), pages }
    }

    /// Since when pages are counted.
    pub fn since(&self) -> Since {
        self.since
    }

    /// Those that were found so far.
    pub fn pages(&self) -> &PageSet {
        &self.pages
    }

    /// Looks for more while the machine rests, whose memory is mapped from `file` now, if from one; KVM has some of it in
    /// the slots of `hot`. Fails if KVM does not tell: what it told before is kept.
    pub fn look(
        &mut self,
        vm: &VmFd,
        ram: &Ram,
        hot: Option<&HotSlots>,
        file: Option<&File>,
    ) -> io::Result<()> {
        // Of another file the host's map tells nothing about what was before.
        let is_moved = file.and_then(inode) != self.file;
        let mut touched = Touched::look();
        let mut first = 0u64;
        for (slot, region) in (0..).zip(ram.iter()) {
            let noted = dirty::of(region).take();
            self.pages.add_words(first, &noted);
            let pages = region.len() / PAGE as u64;
            let start = region.as_ptr().addr() as u64;
            match (self.since, hot) {
                (Since::Last, Some(hot)) if region.blocks().is_some() => {
                    let pages = &mut self.pages;
                    hot.take_logs(|page, log| pages.add_words(first.saturating_add(page), log))?;
                }
                (Since::Last, _) => {
                    let log = kvm::memory::take_log(vm, slot, region.size())?;
                    self.pages.add_words(first, &log);
                }
                (Since::Origin | Since::Ever, _) => {
                    // What is not plugged has nothing, whatever it had.
                    for (at, len) in region.parts() {
                        let (at, count) = (at / PAGE as u64, len / PAGE as u64);
                        let start = start.saturating_add(at.saturating_mul(PAGE as u64));
                        let first = first.saturating_add(at);
                        match self.since {
                            _ if is_moved => self.pages.add(first, count),
                            Since::Origin => {
                                touched.add_private(start, count, first, &mut self.pages);
                            }
                            _ => touched.add_present(start, count, first, &mut self.pages),
                        }
                    }
                }
            }
            first = first.saturating_add(pages);
        }
        Ok(())
    }

    /// Takes the pages that were written to since this was asked last, of a machine that is tracked and may run. They
    /// count for [`Changes::look`] as well. What was written to them before can be read once this returns. Fails if the
    /// host does not tell.
    pub fn take(&mut self, vm: &VmFd, ram: &Ram) -> io::Result<PageSet> {
        let mut taken = PageSet::none(whole::bytes(ram));
        let told = take_all(vm, ram, &mut taken);
        // Whatever was told is told but once.
        self.pages.add_all(&taken);
        told.and_then(|()| barrier::pass()).map(|()| taken)
    }

    /// Nobody knows which pages have changed: all may have.
    pub fn add_all(&mut self) {
        self.pages.add(0, u64::MAX);
    }

    /// A snapshot is written of all that was found: of a machine that is tracked, what comes now is since then.
    pub fn written(&mut self) {
        if self.since == Since::Last {
            self.pages.clear();
        }
    }
}

/// Adds what was noted, and what KVM has logged, to `taken`.
fn take_all(vm: &VmFd, ram: &Ram, taken: &mut PageSet) -> io::Result<()> {
    let mut first = 0u64;
    for (slot, region) in (0..).zip(ram.iter()) {
        taken.add_words(first, &dirty::of(region).take());
        taken.add_words(first, &kvm::memory::take_log(vm, slot, region.size())?);
        first = first.saturating_add(region.len() / PAGE as u64);
    }
    Ok(())
}

fn inode(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|found| (found.dev(), found.ino()))
}
