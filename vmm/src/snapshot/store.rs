//! Writing a snapshot so that it is there whole or not at all, and opening one.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use device_core::files::Files;
use rustix::rand::GetRandomFlags;
use serde_json::Value;

use super::error::{CreateError, LoadError};
use super::format::{self, ARCHITECTURE, Body, Head, Part};
use super::kept::Kept;
use super::lineage::{FileId, Lineage, Member};
use super::memory_file::{self, Sums};
use super::pair::{self, Pair};
use super::spec::CreateSpec;
use super::turn::Turn;
use super::unwritten::at;
use crate::memory::changes::Since;
use crate::memory::pages::PageSet;
use crate::memory::touched::Touched;
use crate::vm::Vm;
use crate::vm::saved::MachineState;

/// Writes the snapshot of a machine that is paused, made of what `config` says, with what is `kept` of it, and of the snapshots in `lineage` if
/// there are any; tells those that matter from now on. `files` makes the new ones. An older snapshot in its place is there until the new one is.
/// Fails with nothing left of the new one.
pub fn create(
    vm: &mut Vm,
    config: Value,
    kept: Kept,
    spec: &CreateSpec,
    lineage: Option<&Lineage>,
    files: &dyn Files,
) -> Result<(Head, Lineage), CreateError> {
    let state = vm.save()?;
    for path in [&spec.state, &spec.memory] {
        if fs::metadata(path).is_ok_and(|old| !old.is_file()) {
            return Err(CreateError::NoFile(path.clone()));
        }
    }
    if spec.state == spec.memory || is_one_file(&spec.state, &spec.memory) {
        return Err(CreateError::OneFile(spec.state.clone()));
    }
    // Of a full one too: what has changed has not since then.
    vm.look_for_changes().map_err(CreateError::Changes)?;
    let since = vm.changed_since();
    let extent = Extent::of(spec, lineage, vm.changes(), files)?;
    let pair = Pair::beside(&spec.state, &spec.memory, files)?;
    let sums = match &extent {
        Extent::Full => {
            let backing = vm.backing();
            let touched = if backing.is_unknown() { Touched::all() } else { Touched::look() };
            memory_file::write(vm.ram(), backing.file(), touched, pair.memory())
        }
        Extent::Pages { base, before, pages } => {
            memory_file::write_changed(vm.ram(), pages, (base, before), pair.memory())
        }
    };
    let sums = sums.map_err(at(&spec.memory))?;
    let id = new_id().map_err(CreateError::Name)?;
    let head = Head { turn: pair.turn(), ..head(&state, &sums, id) };
    let body = Body { config, state, kept, memory: sums };
    format::write(pair.state(), &head, &body).map_err(at(&spec.state))?;
    let file = FileId::of(pair.memory()).ok();
    pair.publish()?;
    vm.changes_are_written();
    let is_whole = body.memory.changed.is_none();
    let last = Member { id: head.id.clone(), memory: body.memory, is_whole, file };
    let origin = match (since, lineage) {
        (Since::Origin, Some(lineage)) => lineage.origin.clone(),
        _ => last.clone(),
    };
    Ok((head, Lineage { last, origin }))
}

/// How much of the memory is written.
enum Extent<'a> {
    Full,
    /// Pages over the snapshot `base`, whose memory, or that of a later one in which the others are the same, is as
    /// `before` says.
    Pages {
        base: &'a str,
        before: &'a Sums,
        pages: Cow<'a, PageSet>,
    },
}

impl<'a> Extent<'a> {
    /// What `spec` asks for of a machine with these `changes` since the snapshots of its `lineage`. A file that has
    /// the last one's memory is to have this one's. Fails if there is another of that size.
    fn of(
        spec: &CreateSpec,
        lineage: Option<&'a Lineage>,
        changes: &'a PageSet,
        files: &dyn Files,
    ) -> Result<Extent<'a>, CreateError> {
        // Before the first snapshot everything has changed.
        let Some(lineage) = lineage.filter(|_| spec.is_diff) else { return Ok(Extent::Full) };
        let Lineage { last, origin } = lineage;
        let is_file = fs::metadata(&spec.memory).is_ok_and(|there| there.is_file());
        let old = is_file.then(|| files.open(&spec.memory, libc::O_RDONLY).ok()).flatten();
        let old =
            old.filter(|old| old.metadata().is_ok_and(|found| found.len() == last.memory.bytes));
        let Some(old) = old else {
            let pages = Cow::Borrowed(changes);
            return Ok(Extent::Pages { base: &origin.id, before: &origin.memory, pages });
        };
        if !last.is_in(&old) {
            return Err(CreateError::OtherMemory(spec.memory.clone()));
        }
        // What is there with the changes in it is what memory is now: so much of it.
        let changed = last.memory.changed.as_ref().filter(|_| !last.is_whole);
        let Some(changed) = changed else { return Ok(Extent::Full) };
        let mut pages = changed.pages(last.memory.bytes);
        pages.add_all(changes);
        let pages = Cow::Owned(pages);
        Ok(Extent::Pages { base: &changed.base, before: &last.memory, pages })
    }
}

/// A name that no other snapshot has. Fails if the host has no random bytes.
pub fn new_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    // So few come whole.
    if rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())? != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn head(state: &MachineState, sums: &Sums, id: String) -> Head {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let parts = state.board.iter().chain(&state.devices).map(|part| Part {
        id: part.id.clone(),
        kind: part.saved.kind.clone(),
        version: part.saved.version,
    });
    Head {
        vmm_version: env!("VMM_VERSION").to_string(),
        architecture: ARCHITECTURE.to_string(),
        kind: if sums.changed.is_some() { "diff" } else { "full" }.to_string(),
        id,
        turn: Turn::A,
        base: sums.changed.as_ref().map(|changed| changed.base.clone()),
        created_s: since.as_secs(),
        vcpus: state.vcpus.len(),
        memory_bytes: sums.bytes,
        memory_data_bytes: sums.data_bytes,
        parts: parts.collect(),
    }
}

/// Whether two paths lead to one file that is there.
fn is_one_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Reads the state of the snapshot at `path`, all of which is looked at before anything of it is believed.
pub fn open(path: &Path) -> Result<(Head, Body), LoadError> {
    let read = format::open(path).and_then(|sealed| Ok((sealed.head()?, sealed.body()?)));
    read.map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// Opens a memory's file that has, or has a part of, `bytes` bytes. Fails if it is another, as its length tells.
pub fn open_any_memory(path: &Path, bytes: u64) -> Result<File, LoadError> {
    let failed = |source| LoadError::Memory { path: path.to_owned(), source };
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(LoadError::MemoryIsNoFile(path.to_owned()));
    }
    // Beyond its end nothing could be read: that would be the machine's death.
    match found.len() {
        found if found == bytes => Ok(file),
        found => Err(LoadError::MemoryLength { path: path.to_owned(), found, wanted: bytes }),
    }
}

/// Opens the memory of a snapshot whose machine has `bytes` of it. Fails if it is not that snapshot's, as far as
/// that shows without reading all of it.
pub fn open_memory(path: &Path, turn: Turn, sums: &Sums, bytes: u64) -> Result<File, LoadError> {
    let path = &pair::memory_at(path, turn);
    let file = open_any_memory(path, bytes)?;
    if sums.bytes != bytes {
        let (found, wanted) = (bytes, sums.bytes);
        return Err(LoadError::MemoryLength { path: path.to_owned(), found, wanted });
    }
    let found = memory_file::glance(&file, sums);
    match found.map_err(|source| LoadError::Memory { path: path.to_owned(), source })? {
        Some(_) if sums.changed.is_some() => Err(LoadError::NotMerged(path.to_owned())),
        Some(differs) => Err(LoadError::OtherMemory { path: path.to_owned(), at: differs.at }),
        None => Ok(file),
    }
}
