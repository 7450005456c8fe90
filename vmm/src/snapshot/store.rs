//! Writing a snapshot so that it is there whole or not at all, and opening one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use device_core::files::Files;
use serde_json::Value;

use super::error::{CreateError, LoadError};
use super::format::{self, ARCHITECTURE, Body, Head, Part};
use super::memory_file::{self, Sums};
use super::new_file::NewFile;
use super::spec::CreateSpec;
use crate::vm::Vm;
use crate::vm::saved::MachineState;

/// Writes the snapshot of a machine that is paused, made of what `config` says. An older snapshot in its place is
/// there until the new one is whole; between the two there may be none. `files` makes the new ones. Fails with nothing
/// left of them.
pub fn create(
    vm: &Vm,
    config: Value,
    spec: &CreateSpec,
    files: &dyn Files,
) -> Result<Head, CreateError> {
    let state = vm.save()?;
    for path in [&spec.state, &spec.memory] {
        if fs::metadata(path).is_ok_and(|old| !old.is_file()) {
            return Err(CreateError::NoFile(path.clone()));
        }
    }
    if spec.state == spec.memory || is_one_file(&spec.state, &spec.memory) {
        return Err(CreateError::OneFile(spec.state.clone()));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CreateError::Write { path, source }
    };
    let memory = NewFile::beside(&spec.memory, files).map_err(failed(&spec.memory))?;
    let sums = memory_file::write(vm.ram(), vm.memory_file(), memory.file());
    let sums = sums.map_err(failed(&spec.memory))?;
    let head = head(&state, &sums);
    let new_state = NewFile::beside(&spec.state, files).map_err(failed(&spec.state))?;
    let body = Body { config, state, memory: sums };
    format::write(new_state.file(), &head, &body).map_err(failed(&spec.state))?;
    memory.sync().map_err(failed(&spec.memory))?;
    new_state.sync().map_err(failed(&spec.state))?;
    // Never the old state with the new memory, whenever the power goes.
    files.retire(&spec.state).map_err(failed(&spec.state))?;
    memory.publish().map_err(failed(&spec.memory))?;
    new_state.publish().map_err(failed(&spec.state))?;
    Ok(head)
}

fn head(state: &MachineState, sums: &Sums) -> Head {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let parts = state.board.iter().chain(&state.devices).map(|part| Part {
        id: part.id.clone(),
        kind: part.saved.kind.clone(),
        version: part.saved.version,
    });
    Head {
        vmm_version: env!("VMM_VERSION").to_string(),
        architecture: ARCHITECTURE.to_string(),
        kind: "full".to_string(),
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
pub fn open(path: &Path) -> Result<Body, LoadError> {
    let body = format::open(path).and_then(|sealed| sealed.body());
    body.map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// Opens the memory of a snapshot whose machine has `bytes` of it. Fails if it is not that snapshot's, as far as
/// that shows without reading all of it.
pub fn open_memory(path: &Path, sums: &Sums, bytes: u64) -> Result<File, LoadError> {
    let failed = |source| LoadError::Memory { path: path.to_owned(), source };
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(LoadError::MemoryIsNoFile(path.to_owned()));
    }
    // Beyond its end nothing could be read: that would be the machine's death.
    let found = found.len();
    if let Some(&wanted) = [bytes, sums.bytes].iter().find(|wanted| **wanted != found) {
        return Err(LoadError::MemoryLength { path: path.to_owned(), found, wanted });
    }
    match memory_file::glance(&file, sums).map_err(failed)? {
        Some(differs) => Err(LoadError::OtherMemory { path: path.to_owned(), at: differs.at }),
        None => Ok(file),
    }
}
