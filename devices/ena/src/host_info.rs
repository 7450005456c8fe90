//! What the driver says of itself and its machine: for people, and never trusted (specification 6.13).

use std::fmt;

use device_core::GuestRam;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

/// Bytes that are read of the page.
const LEN: usize = 196;
/// Most of them that are the operating system's release.
const RELEASE: usize = 128;

/// The host information page (`ena_admin_host_info` of Linux
/// `drivers/net/ethernet/amazon/ena/ena_admin_defs.h`), as it was when the driver announced it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostInfo {
    /// Number of the operating system (`ena_admin_os_type`).
    pub os: u32,
    /// Of the operating system, printable characters only.
    pub release: String,
    /// Major, minor, sub-minor, module type.
    pub driver: [u8; 4],
    /// CPUs of the guest, as the driver counts them.
    pub cpus: u16,
    /// What the driver can do, as bits.
    pub features: u32,
}

impl HostInfo {
    /// The page at `address`, if there is RAM; what it holds may be garbage.
    pub fn read(address: u64, memory: &GuestRam) -> Option<HostInfo> {
        if address == 0 {
            return None;
        }
        let mut bytes = [0; LEN];
        memory.read_slice(&mut bytes, GuestAddress(address)).ok()?;
        let chunk = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
        let word = |at| chunk(at).map_or(0, u32::from_le_bytes);
        let release = bytes.get(4..132).unwrap_or_default();
        let release = release.iter().take_while(|byte| **byte != 0);
        let printable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        };
        Some(HostInfo {
            os: word(0),
            release: release.map(printable).collect(),
            driver: chunk(172).unwrap_or_default(),
            cpus: word(188) as u16,
            features: word(192),
        })
    }

    /// Whether [`HostInfo::read`] can have made it.
    pub fn is_possible(&self) -> bool {
        self.release.len() <= RELEASE
            && self.release.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    }

    fn os_name(&self) -> &'static str {
        match self.os {
            1 => "Linux",
            2 => "Windows",
            3 => "DPDK",
            4 => "FreeBSD",
            5 => "iPXE",
            6 => "ESXi",
            _ => "an unknown system",
        }
    }
}

impl fmt::Display for HostInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, sub, _] = self.driver;
        let (os, cpus) = (self.os_name(), self.cpus);
        // DPDK puts its name before its version.
        let release = self.release.strip_prefix(os).unwrap_or(&self.release).trim_start();
        write!(f, "{os} {release}, driver {major}.{minor}.{sub}, {cpus} CPUs")
    }
}

#[cfg(test)]
#[path = "host_info_test.rs"]
mod tests;
