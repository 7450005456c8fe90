//! The kernel command line, checked before anything is built on it.

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
