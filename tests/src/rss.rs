//! Receive-side scaling as a card's user can check it: the table and key that `ethtool` shows, and where they send a flow.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

/// The Microsoft verification suite's key, as `ethtool` takes and shows one.
pub const MICROSOFT_KEY: &str = "6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa";

/// The bytes of a key as `ethtool` shows it.
pub fn key(text: &str) -> Result<Vec<u8>> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    bytes.collect::<Result<_, _>>().with_context(|| format!("the key is {text:?}"))
}

/// What `ethtool -x` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaling {
    /// A queue for each bucket.
    pub table: Vec<u16>,
    pub key: Vec<u8>,
}

/// A connection or a pair of datagram ports, as the receiver sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub from: IpAddr,
    pub from_port: u16,
    pub to: IpAddr,
    pub to_port: u16,
}

impl Scaling {
    /// Reads the output of `ethtool -x`.
    pub fn parse(text: &str) -> Result<Self> {
        let (table, rest) = text.split_once("RSS hash key:").context("no key is shown")?;
        let mut queues = Vec::new();
        for row in table.lines().skip(1) {
            let (bucket, row) = row.split_once(':').context("a row of the table has no number")?;
            ensure!(bucket.trim().parse() == Ok(queues.len()), "row {bucket} is out of order");
            for queue in row.split_whitespace() {
                queues.push(queue.parse().with_context(|| format!("queue {queue:?}"))?);
            }
        }
        let key = key(rest.trim().lines().next().unwrap_or_default())?;
        Ok(Self { table: queues, key })
    }

    /// The queues that the table names, each once.
    pub fn queues(&self) -> BTreeSet<u16> {
        self.table.iter().copied().collect()
    }

    /// The queue on which an ENA card gives a flow to a Linux guest.
    ///
    /// The card takes the key's bytes in reverse order, and Linux makes it start at all ones.
    pub fn queue(&self, flow: &Flow) -> Result<u16> {
        let mut key = self.key.clone();
        key.reverse();
        self.of_hash(!toeplitz(&key, &flow.hashed()))
    }

    /// The queue on which a virtio card gives a flow to its guest: the hash is by the key as it is, of
    /// the addresses and perhaps the ports (virtio 1.2, 5.1.6.4.3).
    pub fn queue_by_plain_key(&self, flow: &Flow, with_ports: bool) -> Result<u16> {
        let mut hashed = flow.hashed();
        if !with_ports {
            hashed.truncate(hashed.len() - 4);
        }
        self.of_hash(toeplitz(&self.key, &hashed))
    }

    fn of_hash(&self, hash: u32) -> Result<u16> {
        let bucket = usize::try_from(hash)?.checked_rem(self.table.len()).context("no table")?;
        Ok(self.table[bucket])
    }
}

impl Flow {
    /// The hash by a key as it is, from zero: what DPDK has an ENA card make of its user's key.
    pub fn hash(&self, key: &[u8]) -> u32 {
        toeplitz(key, &self.hashed())
    }

    /// What is hashed of it: both addresses, then both ports, as they are in a packet.
    fn hashed(&self) -> Vec<u8> {
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let ports = [self.from_port, self.to_port].map(u16::to_be_bytes).concat();
        [octets(self.from), octets(self.to), ports].concat()
    }
}

/// The Toeplitz hash: for each bit of the input that is set, the 32 bits of the key from there on.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit =
        |bytes: &[u8], n: usize| bytes.get(n / 8).is_some_and(|byte| byte & (0x80 >> (n % 8)) != 0);
    let window = |from: usize| (from..from + 32).fold(0, |w, n| w << 1 | u32::from(bit(key, n)));
    (0..8 * input.len()).filter(|&n| bit(input, n)).fold(0, |hash, n| hash ^ window(n))
}

#[cfg(test)]
#[path = "rss_test.rs"]
mod tests;
