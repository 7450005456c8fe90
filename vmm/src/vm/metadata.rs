//! The metadata service of a machine: how its guest reaches it, and what it tells.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use devices::net::service::metadata::{Metadata, Settings, Version};
use devices::net::service::store::{Store, StoreError};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::Value;

use super::imds::{Card, ImdsError, ImdsSpec, Tokens};
use super::nic::Nic;

/// How a guest reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSpec {
    /// How it answers.
    pub settings: Settings,
    /// Ids of the cards that it is reached by.
    pub cards: Vec<String>,
}

/// One thing to ask of its content.
#[derive(Debug)]
pub enum MetadataAsk {
    Put(Value),
    Patch(Value),
    Get,
}

/// Why there is no such service or content. In the words of the dialect, by which clients know them.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("MMMDS config error: The MMDS IPv4 address is not link local.")]
    NotLinkLocal,
    #[error(
        "MMMDS config error: The list of network interface IDs that allow forwarding MMDS requests is empty."
    )]
    NoCards,
    #[error(
        "MMMDS config error: The list of network interface IDs provided contains at least one ID that does not correspond to any existing network interface."
    )]
    NoSuchCard,
    #[error("MMDS error: {0}")]
    NotInitialized(StoreError),
    #[error("MMDS limit exceeded error: {0}")]
    TooLarge(StoreError),
    #[error(transparent)]
    Imds(#[from] ImdsError),
    #[error(
        "what the machine says of itself is larger than metadata may be; raise --mmds-size-limit"
    )]
    ImdsTooLarge,
    #[error("cannot serve metadata on network card {id:?}")]
    Serve { id: String, source: io::Error },
    #[error("the host has no random numbers")]
    Random(#[source] io::Error),
}

impl From<StoreError> for MetadataError {
    fn from(error: StoreError) -> MetadataError {
        match error {
            StoreError::NotInitialized => MetadataError::NotInitialized(error),
            StoreError::TooLarge => MetadataError::TooLarge(error),
        }
    }
}

/// Addresses of the link that a service may have (RFC 3927, 2.1).
const ADDRESSES: std::ops::RangeInclusive<Ipv4Addr> =
    Ipv4Addr::new(169, 254, 1, 0)..=Ipv4Addr::new(169, 254, 254, 255);

impl MetadataSpec {
    /// Checks it beside the cards that there are. Fails with what is found wrong first.
    pub fn validate<'a>(
        &self,
        cards: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), MetadataError> {
        if !ADDRESSES.contains(&self.settings.address) {
            return Err(MetadataError::NotLinkLocal);
        }
        if self.cards.is_empty() {
            return Err(MetadataError::NoCards);
        }
        match self.cards.iter().all(|id| cards.clone().any(|card| card == id)) {
            true => Ok(()),
            false => Err(MetadataError::NoSuchCard),
        }
    }

    /// How a machine with these cards is reached: as `given`, or as usual for one that says of itself what `imds`
    /// does; `None` if it is not.
    pub fn settled(
        given: Option<&MetadataSpec>,
        imds: Option<&ImdsSpec>,
        nics: &[Nic],
    ) -> Option<MetadataSpec> {
        given.cloned().or_else(|| imds.map(|imds| MetadataSpec::of_ec2(imds, nics)))
    }

    /// What a machine that describes itself has if nobody says otherwise: as EC2's, by all its cards.
    fn of_ec2(imds: &ImdsSpec, nics: &[Nic]) -> MetadataSpec {
        let version = match imds.tokens {
            Some(Tokens::Optional) => Version::V1,
            Some(Tokens::Required) | None => Version::V2,
        };
        let settings = Settings { version, imds_compat: true, ..Settings::default() };
        let cards = nics.iter().map(|nic| nic.control.id().to_string()).collect();
        MetadataSpec { settings, cards }
    }
}

/// Does one thing with the content; the content, if it was asked for.
pub fn answer(store: &Store, ask: MetadataAsk) -> Result<Option<Value>, MetadataError> {
    match ask {
        MetadataAsk::Put(content) => store.put(content)?,
        MetadataAsk::Patch(patch) => store.patch(patch)?,
        MetadataAsk::Get => {
            let content = store.get().map(|content| (*content).clone());
            return Ok(Some(content.unwrap_or_else(|| Value::Object(Default::default()))));
        }
    }
    Ok(None)
}

/// Lets the machine `instance` with these cards be reached as `spec` says, and lets it say of itself what
/// `imds` does. Fails if the host lacks what it takes.
pub fn serve(
    instance: &str,
    spec: Option<&MetadataSpec>,
    imds: Option<&ImdsSpec>,
    store: &Arc<Store>,
    nics: &[Nic],
) -> Result<(), MetadataError> {
    if let Some(imds) = imds {
        let cards = nics.iter().map(|nic| {
            let look = nic.control.inspect();
            Card { id: look.id, mac: look.mac.to_string() }
        });
        let tree = imds.tree(instance, &cards.collect::<Vec<_>>())?;
        store.set_machine(tree).map_err(|_| MetadataError::ImdsTooLarge)?;
    }
    let Some(spec) = MetadataSpec::settled(spec, imds, nics) else { return Ok(()) };
    let random = random().map_err(MetadataError::Random)?;
    let metadata = Arc::new(Metadata::new(spec.settings, store.clone(), instance, random));
    for nic in nics.iter().filter(|nic| spec.cards.iter().any(|id| id == nic.control.id())) {
        let id = || nic.control.id().to_string();
        let served = nic.control.serve(&metadata);
        served.map_err(|source| MetadataError::Serve { id: id(), source })?;
    }
    Ok(())
}

/// A key, and where sequence numbers begin.
fn random() -> io::Result<([u8; 64], u64)> {
    let mut key = [0; 64];
    let mut seed = [0; 8];
    for bytes in [&mut key[..], &mut seed[..]] {
        // As few as these come whole.
        if getrandom(&mut *bytes, GetRandomFlags::empty())? != bytes.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
    Ok((key, u64::from_ne_bytes(seed)))
}

#[cfg(test)]
#[path = "metadata_test.rs"]
mod tests;
