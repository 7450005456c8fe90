//! What a script knows and has made so far, and how much it may still do.

use std::collections::BTreeMap;

use super::lexer::{Piece, Word};
use super::menu::Entry;
use super::test::Files;
use crate::boot::disk::choice::Choice;
use crate::boot::disk::files::Kind;
use crate::boot::disk::source::ReadError;
use crate::boot::disk::volume::Volume;

/// Why a script leads to no kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrubError {
    /// A script that goes on for ever, or makes too much of little.
    #[error("it does not come to an end")]
    Endless,
    /// A disk that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The script is there but makes no menu.
    #[error("it has no entries{0}")]
    NoEntries(Reason),
    /// An entry that boots something else, or nothing.
    #[error("its entry {0:?} boots no Linux kernel{1}")]
    NoKernel(String, Reason),
}

/// What went wrong on the way, if anything did.
#[derive(Debug, Default)]
pub(crate) struct Reason(pub Option<String>);

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// Commands that one configuration may run.
const MOST_STEPS: u32 = 1 << 14;
/// Bytes that it may read as scripts, and bytes that its words may become.
const MOST_SCRIPT: u64 = 8 << 20;
const MOST_TEXT: usize = 16 << 20;
/// Longest text of a variable or a word.
const MOST_WORD: usize = 64 << 10;
const MOST_VARIABLES: usize = 4096;
const MOST_ENTRIES: usize = 4096;
/// Largest script.
const MOST_FILE: u64 = 1 << 20;

pub(crate) struct State<'v, 'a> {
    pub volumes: &'v [Volume<'a>],
    variables: BTreeMap<String, String>,
    pub entries: Vec<Entry>,
    /// What `linux` and `initrd` took last.
    pub kernel: Option<Choice>,
    /// What went wrong first.
    pub reason: Reason,
    steps: u32,
    script: u64,
    text: usize,
}

/// What GRUB says of itself, and scripts ask for.
const FEATURES: &[&str] = &[
    "feature_menuentry_id",
    "feature_menuentry_options",
    "feature_platform_search_hint",
    "feature_default_font_path",
    "feature_all_video_module",
    "feature_timeout_style",
    "feature_nativedisk_cmd",
    "feature_200_final",
    "feature_30_final",
];

impl<'v, 'a> State<'v, 'a> {
    /// As GRUB is when it begins to read `folder` on the volume with the index `at`.
    pub fn new(volumes: &'v [Volume<'a>], at: usize, folder: &str) -> Self {
        let root = volumes.get(at).map(Volume::grub_name).unwrap_or_default();
        let prefix = format!("({root}){folder}");
        let mut variables = BTreeMap::new();
        let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        for feature in FEATURES {
            set(feature, "y");
        }
        set("grub_platform", "pc");
        set("grub_cpu", "i386");
        for name in ["prefix", "cmdpath", "config_directory"] {
            set(name, &prefix);
        }
        set("root", &root);
        Self {
            volumes,
            variables,
            entries: Vec::new(),
            kernel: None,
            reason: Reason::default(),
            steps: MOST_STEPS,
            script: MOST_SCRIPT,
            text: MOST_TEXT,
        }
    }

    /// Counts a command. Fails if there were too many.
    pub fn step(&mut self) -> Result<(), GrubError> {
        self.steps = self.steps.checked_sub(1).ok_or(GrubError::Endless)?;
        Ok(())
    }

    /// Counts bytes that the script's words have become. Fails if they were too many.
    fn charge(&mut self, bytes: usize) -> Result<(), GrubError> {
        self.text = self.text.checked_sub(bytes.max(1)).ok_or(GrubError::Endless)?;
        Ok(())
    }

    /// The variable's text; empty if it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Sets a variable. Fails if there are too many, or too much was written.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), GrubError> {
        self.charge(value.len())?;
        if self.variables.len() >= MOST_VARIABLES && !self.variables.contains_key(name) {
            return Err(GrubError::Endless);
        }
        self.variables.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Adds an entry to the menu. Fails if there are too many.
    pub fn add(&mut self, entry: Entry) -> Result<(), GrubError> {
        if self.entries.len() >= MOST_ENTRIES {
            return Err(GrubError::Endless);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Notes what went wrong, if nothing did before.
    pub fn blame(&mut self, reason: impl FnOnce() -> String) {
        self.reason.0.get_or_insert_with(reason);
    }

    /// The script at `path`; `None` if there is none. Fails if it is too long or cannot be read.
    pub fn script(&mut self, path: &str) -> Result<Option<String>, GrubError> {
        let Some((at, path)) = self.place(path) else { return Ok(None) };
        let Some(volume) = self.volumes.get(at) else { return Ok(None) };
        let Some(bytes) = volume.read(&path, MOST_FILE)? else { return Ok(None) };
        self.script = self.script.checked_sub(bytes.len() as u64).ok_or(GrubError::Endless)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The volume that GRUB calls `device`, with or without parentheses; numbers of disks do not count,
    /// as there is one.
    pub fn volume(&self, device: &str) -> Option<usize> {
        let device = device.trim_start_matches('(').trim_end_matches(')');
        let (disk, part) = device.split_once(',').unwrap_or((device, ""));
        let is_disk = disk.strip_prefix("hd")?.bytes().all(|byte| byte.is_ascii_digit());
        let number = part.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse::<u32>();
        let is_it = |volume: &Volume| match (&volume.partition, &number) {
            (Some(partition), Ok(number)) => partition.number == *number,
            (None, _) => part.is_empty(),
            _ => false,
        };
        self.volumes.iter().position(is_it).filter(|_| is_disk)
    }

    /// The volume and the path on it that `path` means: `(device)/path`, or a path on `$root`.
    pub fn place(&self, path: &str) -> Option<(usize, String)> {
        let (device, path) = match path.strip_prefix('(') {
            Some(rest) => rest.split_once(')')?,
            None => (self.get("root"), path),
        };
        Some((self.volume(device)?, path.to_owned()))
    }

    /// What `words` become when their variables are replaced: unquoted ones become as many words as they
    /// have, or none. `arguments` are those of the function, its name first. Fails if they become too
    /// long.
    pub fn expand(
        &mut self,
        words: &[Word],
        arguments: &[String],
    ) -> Result<Vec<String>, GrubError> {
        let mut expanded = Vec::new();
        for word in words {
            let mut current: Option<String> = None;
            for piece in &word.0 {
                match piece {
                    Piece::Text(text, _) => {
                        self.charge(text.len())?;
                        current.get_or_insert_default().push_str(text);
                    }
                    Piece::Variable(name, quoted) => {
                        let value = self.value(name, arguments);
                        self.charge(value.len())?;
                        if *quoted {
                            current.get_or_insert_default().push_str(&value);
                            continue;
                        }
                        let is_space = |c: char| c.is_ascii_whitespace();
                        for (nth, part) in value.split(is_space).enumerate() {
                            if nth > 0 {
                                expanded.extend(current.take());
                            }
                            if !part.is_empty() {
                                current.get_or_insert_default().push_str(part);
                            }
                        }
                    }
                }
                if current.as_ref().is_some_and(|word| word.len() > MOST_WORD) {
                    return Err(GrubError::Endless);
                }
            }
            expanded.extend(current);
        }
        Ok(expanded)
    }

    fn value(&self, name: &str, arguments: &[String]) -> String {
        let after = arguments.get(1..).unwrap_or_default();
        match name {
            "#" => after.len().to_string(),
            "*" | "@" => after.join(" "),
            _ => match name.parse::<usize>() {
                Ok(number) => arguments.get(number).cloned().unwrap_or_default(),
                Err(_) => self.get(name).to_owned(),
            },
        }
    }
}

impl Files for State<'_, '_> {
    fn look(&mut self, path: &str) -> Option<(bool, u64)> {
        let (at, path) = self.place(path)?;
        let node = self.volumes.get(at)?.find(&path).ok()??;
        Some((node.kind == Kind::Folder, node.size))
    }
}
