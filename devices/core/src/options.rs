//! What a user says of one thing in one word of the command line: `key=value`, with commas between.

use std::fmt::Display;
use std::str::FromStr;

use crate::per_second;
use crate::rate::Quota;

/// Keys and the words that they are written by.
pub type Keys<K> = [(K, &'static str)];

/// The word that a key is written by.
pub fn word<K: PartialEq>(key: &K, keys: &Keys<K>) -> &'static str {
    keys.iter().find(|(known, _)| known == key).map_or("", |(_, word)| *word)
}

/// What is wrong with such a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A part that is no key and value.
    #[error(
        "{part:?} has no '='; write key=value, with a comma of a value twice; known are {known}"
    )]
    NoValue {
        /// The part as given.
        part: String,
        /// All keys.
        known: String,
    },
    /// A key that does not exist.
    #[error("unknown key {key:?}; known are {known}")]
    Unknown {
        /// The key as given.
        key: String,
        /// All keys.
        known: String,
    },
    /// A key that may be given once.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// A value that its key cannot have.
    #[error("{key}={value}: {why}")]
    Value {
        /// What it was said of.
        key: &'static str,
        /// The text as given.
        value: String,
        /// What is wrong with it, in words.
        why: String,
    },
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<K> {
    /// What it is about.
    pub key: K,
    /// What it is to be.
    pub value: String,
    word: &'static str,
}

impl<K: Copy> Given<K> {
    /// The option that `part` is, of those that there are. Fails if it is none.
    pub fn of(part: &str, keys: &Keys<K>) -> Result<Given<K>, OptionError> {
        match part.split_once('=') {
            Some((word, value)) => Given::new(word, value, keys),
            None => Err(OptionError::NoValue { part: part.to_string(), known: known(keys) }),
        }
    }

    /// The option that is written by `word`. Fails if there is none.
    pub fn new(word: &str, value: &str, keys: &Keys<K>) -> Result<Given<K>, OptionError> {
        match keys.iter().find(|(_, known)| *known == word) {
            Some(&(key, word)) => Ok(Given { key, value: value.to_string(), word }),
            None => Err(OptionError::Unknown { key: word.to_string(), known: known(keys) }),
        }
    }

    /// Puts what was made of it to where nothing is yet. Fails if something is.
    pub fn put<T>(&self, place: &mut Option<T>, made: T) -> Result<(), OptionError> {
        match place.replace(made) {
            Some(_) => Err(OptionError::Twice(self.word)),
            None => Ok(()),
        }
    }

    /// Says why it cannot have its value.
    pub fn bad(&self, why: impl Display) -> OptionError {
        OptionError::Value { key: self.word, value: self.value.clone(), why: why.to_string() }
    }

    /// The value as a `T`. Fails as that does.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, OptionError> {
        self.value.parse().map_err(|why| self.bad(why))
    }

    /// The value as one of some words. Fails if it is none of them.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, OptionError> {
        let found = words.iter().find(|(word, _)| *word == self.value);
        found.map(|(_, meant)| *meant).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.bad(format_args!("write one of {}", words.join(", ")))
        })
    }

    /// The value as a switch. Fails if it is neither `on` nor `off`.
    pub fn on_or_off(&self) -> Result<bool, OptionError> {
        self.one_of(&[("on", true), ("off", false)])
    }

    /// The value as a limit ([`per_second::quota`]).
    pub fn quota(&self) -> Result<Quota, OptionError> {
        per_second::quota(&self.value).map_err(|why| self.bad(why))
    }
}

fn known<K>(keys: &Keys<K>) -> String {
    keys.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

/// `text` cut at single commas, with double ones made single.
pub fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_end = letter == ',' && letters.next_if_eq(&',').is_none();
        match parts.last_mut() {
            Some(last) if !is_end => last.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts
}

/// A size of memory as `256M`, `2G` or `0`, in MiB; nothing for what is none.
pub fn mib(text: &str) -> Option<u32> {
    if text == "0" {
        return Some(0);
    }
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "M" | "m" => 1u32,
        "G" | "g" => 1 << 10,
        "T" | "t" => 1 << 20,
        _ => return None,
    };
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u32>().ok().filter(|_| all_digits)?.checked_mul(factor)
}

#[cfg(test)]
#[path = "options_test.rs"]
mod tests;
