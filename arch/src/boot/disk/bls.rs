//! Entries of the Boot Loader Specification (UAPI.1, type 1), which systemd-boot, and GRUB's `blscfg`,
//! boot; and which of them systemd-boot takes.

use std::cmp::Ordering;

use super::choice::Choice;
use super::source::ReadError;
use super::version;
use super::volume::Volume;

/// An entry, as its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlsEntry {
    /// The file's name without its end, and without the counters of tries in it.
    pub id: String,
    pub title: String,
    pub version: String,
    pub machine_id: String,
    pub sort_key: String,
    pub architecture: String,
    /// Path of the kernel; empty in entries that boot something else.
    pub linux: String,
    pub initrds: Vec<String>,
    pub options: Option<String>,
    /// Whether it was tried so often that it is bad.
    pub is_bad: bool,
}

/// Where entries are.
pub(crate) const FOLDER: &str = "/loader/entries";
const MOST_ENTRIES: usize = 256;
const MOST_FILE: u64 = 64 << 10;
const MOST_PATTERN: usize = 255;

/// The entries in `folder` of `volume` that this machine could boot, in the order of their names; none if
/// it has none. Fails if they cannot be read.
pub(crate) fn entries(volume: &Volume, folder: &str) -> Result<Vec<BlsEntry>, ReadError> {
    let mut entries = Vec::new();
    for name in volume.names(folder)? {
        let Some(id) = name.strip_suffix(".conf") else { continue };
        let Some(bytes) = volume.read(&format!("{folder}/{name}"), MOST_FILE)? else { continue };
        let entry = parse(id, &String::from_utf8_lossy(&bytes));
        let is_ours = matches!(&*entry.architecture.to_ascii_lowercase(), "" | "x64" | "x86_64");
        if is_ours && !entry.linux.is_empty() && entries.len() < MOST_ENTRIES {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn parse(name: &str, text: &str) -> BlsEntry {
    let (id, is_bad) = without_tries(name);
    let mut entry = BlsEntry { id: id.to_owned(), is_bad, ..BlsEntry::default() };
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
        let value = value.trim();
        match key {
            "title" => entry.title = value.into(),
            "version" => entry.version = value.into(),
            "machine-id" => entry.machine_id = value.into(),
            "sort-key" => entry.sort_key = value.into(),
            "architecture" => entry.architecture = value.into(),
            "linux" => entry.linux = value.into(),
            "initrd" => entry.initrds.extend(value.split_ascii_whitespace().map(str::to_owned)),
            "options" => {
                let options = entry.options.get_or_insert_default();
                if !options.is_empty() {
                    options.push(' ');
                }
                options.push_str(value);
            }
            _ => {}
        }
    }
    entry
}

/// The name without `+LEFT` or `+LEFT-DONE` at its end, and whether no tries are left.
fn without_tries(name: &str) -> (&str, bool) {
    let Some((id, counters)) = name.rsplit_once('+') else { return (name, false) };
    let (left, done) = counters.split_once('-').unwrap_or((counters, "0"));
    match (left.parse::<u32>(), done.parse::<u32>()) {
        (Ok(left), Ok(_)) => (id, left == 0),
        _ => (name, false),
    }
}

/// Which of two comes first in systemd-boot's menu.
fn menu_order(one: &BlsEntry, other: &BlsEntry) -> Ordering {
    let by_key = match (one.sort_key.is_empty(), other.sort_key.is_empty()) {
        (false, false) => one
            .sort_key
            .cmp(&other.sort_key)
            .then_with(|| one.machine_id.cmp(&other.machine_id))
            .then_with(|| version::compare(&other.version, &one.version)),
        (one, other) => one.cmp(&other),
    };
    let by_name = || version::compare(&other.id, &one.id);
    one.is_bad.cmp(&other.is_bad).then(by_key).then_with(by_name)
}

/// What systemd-boot boots from the volume with the index `at`; `None` if it has no entries. Fails if they
/// cannot be read.
pub(crate) fn boot(at: usize, volume: &Volume) -> Result<Option<Choice>, ReadError> {
    let mut entries = entries(volume, FOLDER)?;
    entries.sort_by(menu_order);
    let loader = volume.read("/loader/loader.conf", MOST_FILE)?.unwrap_or_default();
    let loader = String::from_utf8_lossy(&loader);
    let default = loader.lines().find_map(|line| line.trim().strip_prefix("default "));
    let default = default.map_or("", |pattern| pattern.trim().trim_end_matches(".conf"));
    // Names are shorter, and matching takes as long as both together.
    let default = if default.len() > MOST_PATTERN { "" } else { default };
    let wanted = entries.iter().find(|entry| is_like(&entry.id, default));
    let Some(entry) = wanted.or(entries.first()) else { return Ok(None) };
    Ok(Some(Choice {
        volume: at,
        kernel: entry.linux.clone(),
        initrds: entry.initrds.iter().map(|path| (at, path.clone())).collect(),
        options: entry.options.clone().unwrap_or_default(),
        by: format!("{FOLDER}/{}.conf on {}", entry.id, volume.name()),
    }))
}

/// Whether `name` is what `pattern` says, in which `*` stands for any text and `?` for a character.
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut at, mut in_pattern) = (0usize, 0usize);
    // Where the last star is, and how far the name was when it came.
    let mut star = None;
    while let Some(c) = name.get(at) {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                star = Some((in_pattern, at));
                in_pattern = in_pattern.saturating_add(1);
            }
            Some(p) if p == c || *p == b'?' => {
                at = at.saturating_add(1);
                in_pattern = in_pattern.saturating_add(1);
            }
            _ => match star {
                Some((place, taken)) => {
                    in_pattern = place.saturating_add(1);
                    at = taken.saturating_add(1);
                    star = Some((place, at));
                }
                None => return false,
            },
        }
    }
    pattern.get(in_pattern..).unwrap_or_default().iter().all(|c| *c == b'*')
}

#[cfg(test)]
#[path = "bls_test.rs"]
mod tests;
