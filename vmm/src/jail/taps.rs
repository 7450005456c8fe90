//! TAPs in the machine's own network namespace: what is in it may be used by the program, and is made by who builds the jail.

use std::str::FromStr;

use devices::net::backend::tap;
use devices::net::spec::{MAX_QUEUES, is_iface_name};

use super::error::JailError;

/// A TAP to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSpec {
    name: String,
    /// Queues that it can have; several if more than 1.
    queues: u16,
    /// In bytes.
    mtu: Option<u16>,
}

impl FromStr for TapSpec {
    type Err = String;

    /// Of `NAME[,queues=N][,mtu=N]`.
    fn from_str(text: &str) -> Result<TapSpec, String> {
        let mut words = text.split(',');
        let name = words.next().unwrap_or_default();
        if !is_iface_name(name) {
            return Err(format!("{name:?} is no name of a TAP"));
        }
        let mut spec = TapSpec { name: name.to_string(), queues: 1, mtu: None };
        for word in words {
            let number = |value: &str| {
                value.parse::<u16>().map_err(|_| format!("{word}: the value is a number"))
            };
            match word.split_once('=') {
                Some(("queues", value)) => spec.queues = number(value)?,
                Some(("mtu", value)) => spec.mtu = Some(number(value)?),
                _ => return Err(format!("{word:?}: behind the name there are queues=N and mtu=N")),
            }
        }
        match (1..=MAX_QUEUES).contains(&spec.queues) {
            true => Ok(spec),
            false => Err(format!("queues={}: a TAP has 1 to {MAX_QUEUES}", spec.queues)),
        }
    }
}

/// Makes `taps`, which the user `owner` may use. Fails if the host refuses.
pub fn make(taps: &[TapSpec], owner: u32) -> Result<(), JailError> {
    for TapSpec { name, queues, mtu } in taps {
        tap::make(name, *queues, owner, *mtu).map_err(|error| {
            JailError::refused(format!("--tap: {}", crate::words::one_line(None, &error)))
        })?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "taps_test.rs"]
mod tests;
