//! The keys that a terminal's user types for the machine and not for its guest.

/// Ctrl-A, which begins every escape.
const CTRL_A: u8 = 0x01;

/// The terminal itself returns the carriage.
pub(super) const HELP: &[u8] = b"
Ctrl-A x       quit: the machine stops at once
Ctrl-A h       this help
Ctrl-A Ctrl-A  send Ctrl-A to the guest
";

/// What one key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// It is typed for the guest.
    Guest(u8),
    /// The user has enough.
    Quit,
    /// He wants to know what there is.
    Help,
    /// The first half of an escape, or one that means nothing.
    Nothing,
}

/// Keys that come one by one.
#[derive(Debug, Default)]
pub struct Escape {
    begun: bool,
}

impl Escape {
    /// What a key typed means.
    pub fn key(&mut self, byte: u8) -> Key {
        if !std::mem::take(&mut self.begun) {
            self.begun = byte == CTRL_A;
            return if self.begun { Key::Nothing } else { Key::Guest(byte) };
        }
        match byte {
            CTRL_A | b'a' => Key::Guest(CTRL_A),
            b'x' | b'X' => Key::Quit,
            b'h' | b'H' | b'?' => Key::Help,
            _ => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(typed: &[u8]) -> Vec<Key> {
        let mut escape = Escape::default();
        let keys = typed.iter().map(|&byte| escape.key(byte));
        keys.filter(|&key| key != Key::Nothing).collect()
    }

    #[test]
    fn plain_keys_go_to_the_guest() {
        assert_eq!(keys(b"xh\x03"), [Key::Guest(b'x'), Key::Guest(b'h'), Key::Guest(3)]);
    }

    #[test]
    fn ctrl_a_x_quits_in_either_case() {
        assert_eq!(keys(b"\x01x"), [Key::Quit]);
        assert_eq!(keys(b"\x01X"), [Key::Quit]);
    }

    #[test]
    fn ctrl_a_twice_or_with_a_sends_one() {
        assert_eq!(keys(b"\x01\x01x"), [Key::Guest(CTRL_A), Key::Guest(b'x')]);
        assert_eq!(keys(b"\x01ax"), [Key::Guest(CTRL_A), Key::Guest(b'x')]);
    }

    #[test]
    fn an_unknown_escape_is_swallowed_whole() {
        assert_eq!(keys(b"\x01qx"), [Key::Guest(b'x')]);
        assert_eq!(keys(b"\x01h"), [Key::Help]);
    }
}
