//! The kernel command line, checked before anything is built on it.

use crate::layout::{VIRTIO_MMIO_SIZE, VirtioMmioSlot, virtio_mmio_slots};

/// What a guest gets when its user says nothing: serial console, reset by the keyboard controller,
/// reset at once on a panic.
pub const DEFAULT_CMDLINE: &str = "console=ttyS0 reboot=k panic=-1";

/// Characters that a kernel can take: ASCII without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmdline(String);

/// Why a text is no kernel command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// It has a NUL, which would end it early.
    #[error("the kernel command line has a NUL character at position {at}")]
    Nul {
        /// Position in characters, from 0.
        at: usize,
    },
    /// It has a character outside ASCII.
    #[error(
        "the kernel command line has the character {character:?} at position {at}, but kernels take ASCII only"
    )]
    NotAscii {
        /// That character.
        character: char,
        /// Position in characters, from 0.
        at: usize,
    },
}

impl Cmdline {
    /// Checks `text`. Fails at the first NUL or character outside ASCII.
    pub fn new(text: &str) -> Result<Self, CmdlineError> {
        for (at, character) in text.chars().enumerate() {
            match character {
                '\0' => return Err(CmdlineError::Nul { at }),
                _ if character.is_ascii() => {}
                _ => return Err(CmdlineError::NotAscii { character, at }),
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, without a final NUL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes without the final NUL.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether it has no characters at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it keeps a kernel from using PCI: `off` is among what it says of `pci`.
    pub fn is_pci_off(&self) -> bool {
        let of_kernel = self.0.get(..self.end_of_kernel()).unwrap_or_default();
        let said = of_kernel.split_ascii_whitespace().filter_map(|word| word.strip_prefix("pci="));
        said.flat_map(|said| said.split(',')).any(|said| said == "off")
    }

    /// The same, with the virtio devices in the first `count` of their slots announced in it: for kernels
    /// without ACPI, or that are told to leave it alone. Others find them in ACPI's tables; a kernel that
    /// reads both takes each once, as registers have one owner.
    pub fn with_virtio_mmio(&self, count: usize) -> Cmdline {
        let word = |slot: VirtioMmioSlot| {
            let (size, address, gsi) = (VIRTIO_MMIO_SIZE >> 10, slot.address, slot.gsi);
            format!("virtio_mmio.device={size}K@{address:#x}:{gsi}")
        };
        self.with_words(virtio_mmio_slots().take(count).map(word))
    }

    /// The same, with a word that has a kernel use memory as it is plugged, and in such a way that it can be unplugged
    /// again; unless there is one that says what becomes of it.
    pub fn with_hot_memory(&self) -> Cmdline {
        const KEY: &str = "memhp_default_state=";
        let of_kernel = self.0.get(..self.end_of_kernel()).unwrap_or_default();
        match of_kernel.split_ascii_whitespace().any(|word| word.starts_with(KEY)) {
            true => self.clone(),
            false => self.with_words([format!("{KEY}online_movable")].into_iter()),
        }
    }

    /// The same, with more words for the kernel behind its others.
    fn with_words(&self, words: impl Iterator<Item = String>) -> Cmdline {
        let (of_kernel, rest) = self.0.split_at(self.end_of_kernel());
        let mut line = of_kernel.trim_end().to_owned();
        for word in words {
            line.push(' ');
            line.push_str(&word);
        }
        if !rest.is_empty() {
            line.push(' ');
        }
        line.push_str(rest);
        Cmdline(line)
    }

    /// Where the words for the kernel end and those for init begin: at the first `--` outside of quotes.
    fn end_of_kernel(&self) -> usize {
        let (mut is_quoted, mut word_at) = (false, 0);
        for (at, character) in self.0.char_indices().chain([(self.0.len(), ' ')]) {
            if character == '"' {
                is_quoted = !is_quoted;
            } else if character.is_ascii_whitespace() && !is_quoted {
                if self.0.get(word_at..at) == Some("--") {
                    return word_at;
                }
                word_at = at.saturating_add(1);
            }
        }
        self.0.len()
    }

    /// Whether a word of it is `name`, or `name=` and something.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is_it = |word: &str| word.split_once('=').map_or(word, |(name, _)| name) == name;
        self.0.split_ascii_whitespace().any(is_it)
    }

    /// The bytes as they go to memory, with the final NUL.
    pub(crate) fn to_bytes_with_nul(&self) -> Vec<u8> {
        let mut bytes = self.0.clone().into_bytes();
        bytes.push(0);
        bytes
    }
}

#[cfg(test)]
#[path = "cmdline_test.rs"]
mod tests;
