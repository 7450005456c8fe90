//! The command line's form of a disk.

use std::path::PathBuf;
use std::str::FromStr;

use device_core::options::{Given, OptionError, parts};

use super::{Allowed, Cache, DiskSpec, Engine, Fault, Key, Model, Root};

/// Why a text describes no disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// An option is none, or cannot be so.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// It is not said where the bytes are.
    #[error("path is not given; say which image, such as path=disk.raw")]
    NoPath,
}

const MODELS: &[(&str, Model)] =
    &[("virtio", Model::Virtio), ("nvme", Model::Nvme), ("nvme-instance", Model::NvmeInstance)];

const CACHES: &[(&str, Cache)] = &[
    ("writeback", Cache::Writeback),
    ("writethrough", Cache::Writethrough),
    ("unsafe", Cache::Unsafe),
];

const ENGINES: &[(&str, Engine)] =
    &[("auto", Engine::Auto), ("uring", Engine::Uring), ("threads", Engine::Threads)];

const FAULTS: &[(&str, Fault)] = &[
    ("swallow", Fault::Swallow),
    ("error", Fault::Error),
    ("slow", Fault::Slow),
    ("vanish", Fault::Vanish),
    ("fatal", Fault::Fatal),
];

/// The command line's form: `path=disk.raw,ro,model=nvme`, or `disk.raw,ro`: what comes first may be the path
/// alone. A comma of a path is written twice. Without `id` the id is empty, and the caller must name the disk.
impl FromStr for DiskSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<DiskSpec, ParseSpecError> {
        let mut fields = Fields::default();
        let parts = parts(text);
        let alone = parts.len() == 1;
        for (at, part) in parts.iter().enumerate() {
            let word = Key::ALL.iter().find(|(_, word)| word == part).map(|(key, _)| *key);
            let given = match word {
                Some(Key::ReadOnly | Key::Root) if !alone => Given::new(part, "on", &Key::ALL)?,
                _ if at == 0 && !part.contains('=') => Given::new("path", part, &Key::ALL)?,
                _ => Given::of(part, &Key::ALL)?,
            };
            fields.take(given)?;
        }
        fields.into_spec()
    }
}

#[derive(Default)]
struct Fields {
    path: Option<PathBuf>,
    /// As often as there are some.
    bases: Vec<PathBuf>,
    id: Option<String>,
    read_only: Option<bool>,
    root: Option<bool>,
    partuuid: Option<String>,
    model: Option<Model>,
    queues: Option<u16>,
    cache: Option<Cache>,
    direct: Option<bool>,
    engine: Option<Engine>,
    serial: Option<String>,
    limits: Allowed,
    /// As often as there are some.
    faults: Vec<Fault>,
}

impl Fields {
    fn take(&mut self, given: Given<Key>) -> Result<(), OptionError> {
        let text = || given.value.clone();
        match given.key {
            Key::Path => given.put(&mut self.path, text().into()),
            Key::Base => {
                self.bases.push(text().into());
                Ok(())
            }
            Key::Id => given.put(&mut self.id, text()),
            Key::ReadOnly => given.put(&mut self.read_only, given.on_or_off()?),
            Key::Root => given.put(&mut self.root, given.on_or_off()?),
            Key::PartUuid => given.put(&mut self.partuuid, text()),
            Key::Model => given.put(&mut self.model, given.one_of(MODELS)?),
            Key::Queues => {
                let queues = text().parse().map_err(|_| given.bad("write a number"))?;
                given.put(&mut self.queues, queues)
            }
            Key::Cache => given.put(&mut self.cache, given.one_of(CACHES)?),
            Key::Direct => given.put(&mut self.direct, given.on_or_off()?),
            Key::Engine => given.put(&mut self.engine, given.one_of(ENGINES)?),
            Key::Serial => given.put(&mut self.serial, text()),
            Key::Bw => given.put(&mut self.limits.bw, given.quota()?),
            Key::Iops => given.put(&mut self.limits.iops, given.quota()?),
            Key::Fault => {
                self.faults.push(given.one_of(FAULTS)?);
                Ok(())
            }
        }
    }

    fn into_spec(self) -> Result<DiskSpec, ParseSpecError> {
        let root = match (self.root, self.partuuid) {
            (Some(false), Some(_)) => {
                let off = Given::new("root", "off", &Key::ALL)?;
                return Err(off.bad("partuuid names a part of it; give one of them").into());
            }
            (_, Some(uuid)) => Some(Root::Partition(uuid)),
            (Some(true), None) => Some(Root::Disk),
            (Some(false) | None, None) => None,
        };
        Ok(DiskSpec {
            id: self.id.unwrap_or_default(),
            path: self.path.ok_or(ParseSpecError::NoPath)?,
            bases: self.bases,
            read_only: self.read_only.unwrap_or_default(),
            root,
            model: self.model.unwrap_or_default(),
            queues: self.queues,
            cache: self.cache.unwrap_or_default(),
            direct: self.direct.unwrap_or_default(),
            engine: self.engine.unwrap_or_default(),
            serial: self.serial,
            limits: self.limits,
            faults: self.faults,
        })
    }
}
