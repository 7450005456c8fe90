//! The command line's form of a disk.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use device_core::rate::Quota;

use super::{Allowed, Cache, DiskSpec, Engine, Fault, Key, Model, Root};

/// Why a text describes no disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// A part that is no key and value.
    #[error("{0:?} has no '='; write key=value, and a comma of a path twice")]
    NoValue(String),
    /// A key that does not exist.
    #[error("unknown key {0:?}; known are {Known}")]
    UnknownKey(String),
    /// A key that may be given once.
    #[error("{0} is given twice")]
    Twice(Key),
    /// A value that its key cannot have.
    #[error("{key}={value}: {why}")]
    Value {
        /// What it was said of.
        key: Key,
        /// The text as given.
        value: String,
        /// What is wrong with it, in words.
        why: String,
    },
    /// It is not said where the bytes are.
    #[error("path is not given; say which image, such as path=disk.raw")]
    NoPath,
}

/// All keys, for people.
struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Key::ALL.map(|(_, word)| word).join(", "))
    }
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
        let mut given = Given::default();
        let parts = parts(text);
        let alone = parts.len() == 1;
        for (at, part) in parts.into_iter().enumerate() {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (known(key)?, value.to_string()),
                None => match known(&part) {
                    Ok(flag @ (Key::ReadOnly | Key::Root)) if !alone => (flag, "on".to_string()),
                    _ if at == 0 => (Key::Path, part),
                    _ => return Err(ParseSpecError::NoValue(part)),
                },
            };
            given.take(key, value)?;
        }
        given.into_spec()
    }
}

/// What stands between commas; two of them are one of the text.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ',' if letters.next_if_eq(&',').is_none() => parts.push(std::mem::take(&mut part)),
            letter => part.push(letter),
        }
    }
    parts.push(part);
    parts
}

fn known(key: &str) -> Result<Key, ParseSpecError> {
    let known = Key::ALL.into_iter().find(|(_, known)| *known == key);
    known.map(|(key, _)| key).ok_or_else(|| ParseSpecError::UnknownKey(key.to_string()))
}

#[derive(Default)]
struct Given {
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

impl Given {
    fn take(&mut self, key: Key, value: String) -> Result<(), ParseSpecError> {
        match key {
            Key::Path => put(key, &mut self.path, value.into()),
            Key::Base => {
                self.bases.push(value.into());
                Ok(())
            }
            Key::Id => put(key, &mut self.id, value),
            Key::ReadOnly => put(key, &mut self.read_only, on_or_off(key, &value)?),
            Key::Root => put(key, &mut self.root, on_or_off(key, &value)?),
            Key::PartUuid => put(key, &mut self.partuuid, value),
            Key::Model => put(key, &mut self.model, one_of(key, &value, MODELS)?),
            Key::Queues => {
                let queues = value.parse().map_err(|_| bad(key, &value, "write a number"))?;
                put(key, &mut self.queues, queues)
            }
            Key::Cache => put(key, &mut self.cache, one_of(key, &value, CACHES)?),
            Key::Direct => put(key, &mut self.direct, on_or_off(key, &value)?),
            Key::Engine => put(key, &mut self.engine, one_of(key, &value, ENGINES)?),
            Key::Serial => put(key, &mut self.serial, value),
            Key::Bw => put(key, &mut self.limits.bw, quota(key, &value)?),
            Key::Iops => put(key, &mut self.limits.iops, quota(key, &value)?),
            Key::Fault => {
                self.faults.push(one_of(key, &value, FAULTS)?);
                Ok(())
            }
        }
    }

    fn into_spec(self) -> Result<DiskSpec, ParseSpecError> {
        let root = match (self.root, self.partuuid) {
            (Some(false), Some(_)) => {
                return Err(bad(Key::Root, "off", "partuuid names a part of it; give one of them"));
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

fn put<T>(key: Key, place: &mut Option<T>, value: T) -> Result<(), ParseSpecError> {
    match place.replace(value) {
        Some(_) => Err(ParseSpecError::Twice(key)),
        None => Ok(()),
    }
}

fn bad(key: Key, value: &str, why: &str) -> ParseSpecError {
    ParseSpecError::Value { key, value: value.to_string(), why: why.to_string() }
}

fn on_or_off(key: Key, value: &str) -> Result<bool, ParseSpecError> {
    one_of(key, value, &[("on", true), ("off", false)])
}

fn one_of<T: Copy>(key: Key, value: &str, known: &[(&str, T)]) -> Result<T, ParseSpecError> {
    match known.iter().find(|(word, _)| *word == value) {
        Some((_, known)) => Ok(*known),
        None => {
            let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
            Err(bad(key, value, &format!("write one of {}", words.join(", "))))
        }
    }
}

/// A limit.
fn quota(key: Key, value: &str) -> Result<Quota, ParseSpecError> {
    device_core::per_second::quota(value).map_err(|why| bad(key, value, &why.to_string()))
}
