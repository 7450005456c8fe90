//! The kernel command line, checked before anything is built on it.

/// What a guest gets when its user says nothing: serial console, reset by the keyboard controller,
/// reset at once on a panic.
pub const DEFAULT_CMDLINE: &str = "console=ttyS0 reboot=k panic=-1";

/// Characters that a kernel can take: ASCII without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmdline(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    #[error("the kernel command line has a NUL character at position {at}")]
    Nul { at: usize },
    #[error(
        "the kernel command line has the character {character:?} at position {at}, but kernels take ASCII only"
    )]
    NotAscii { character: char, at: usize },
}

impl Cmdline {
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

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes without the final NUL.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
