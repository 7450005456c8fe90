//! The metadata service of a machine: how its guest reaches it, and what it tells.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use devices::net::control::NicControl;
use devices::net::service::metadata::{Metadata, Settings, Version};
use devices::net::service::store::{Store, StoreError};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::Value;

use super::imds::{self, Card, ImdsError, ImdsSpec, Tokens};
use super::nic::Nic;

/// How a guest reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSpec {
    /// How it answers.
    pub settings: Settings,
    /// Ids of the cards that it is reached by.
    pub cards: Vec<String>,
    /// It is reached by cards as well that are plugged in while the machine runs.
    pub later: bool,
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
        if self.cards.is_empty() && !self.later {
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
        MetadataSpec { settings, cards, later: true }
    }

    /// Whether a card of this id is among them that comes while the machine runs.
    pub fn has(&self, id: &str) -> bool {
        self.later || self.cards.iter().any(|card| card == id)
    }

    /// The card `id` is gone; whether there is still a way to it, or may be one.
    pub fn lose(&mut self, id: &str) -> bool {
        self.cards.retain(|card| card != id);
        self.later || !self.cards.is_empty()
    }
}

/// The service of a machine that lives.
pub struct Serving {
    metadata: Arc<Metadata>,
    /// As it was when the machine was made.
    spec: MetadataSpec,
}

impl Serving {
    /// How it is reached.
    pub fn spec(&self) -> &MetadataSpec {
        &self.spec
    }

    /// Lets it be reached by a card, if it is to be. Fails if the host lacks what it takes.
    pub fn join(&self, card: &dyn NicControl) -> io::Result<()> {
        match self.spec.has(card.id()) {
            true => card.serve(&self.metadata),
            false => Ok(()),
        }
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
/// `imds` does; the service, if there is one. Fails if the host lacks what it takes.
pub fn serve(
    instance: &str,
    spec: Option<&MetadataSpec>,
    imds: Option<&ImdsSpec>,
    store: &Arc<Store>,
    nics: &[Nic],
) -> Result<Option<Serving>, MetadataError> {
    if let Some(imds) = imds {
        let tree = imds.tree(instance, &nics.iter().map(shown).collect::<Vec<_>>())?;
        store.set_machine(tree).map_err(|_| MetadataError::ImdsTooLarge)?;
    }
    let Some(spec) = MetadataSpec::settled(spec, imds, nics) else { return Ok(None) };
    let random = random().map_err(MetadataError::Random)?;
    let metadata = Metadata::new(spec.settings.clone(), store.clone(), instance, random);
    let serving = Serving { metadata: Arc::new(metadata), spec };
    // Who is there already is named.
    let is_named = |nic: &&Nic| serving.spec.cards.iter().any(|id| id == nic.control.id());
    for nic in nics.iter().filter(is_named) {
        let id = || nic.control.id().to_string();
        let joined = serving.join(&*nic.control);
        joined.map_err(|source| MetadataError::Serve { id: id(), source })?;
    }
    Ok(Some(serving))
}

fn shown(nic: &Nic) -> Card {
    let look = nic.control.inspect();
    Card { id: look.id, mac: look.mac.to_string() }
}

/// A machine that says of itself what it is has this card besides from now on.
pub fn tell_of(store: &Store, nic: &Nic) {
    let told = store.change_machine(|tree| imds::add_card(tree, &shown(nic)));
    if let Err(error) = told {
        // The card is there all the same.
        tracing::warn!("network card {:?} is not in the metadata: {error}", nic.control.id());
    }
}

/// It has the card `id` no more.
pub fn forget(store: &Store, id: &str) {
    // There is less to tell than before.
    let _ = store.change_machine(|tree| imds::remove_card(tree, id));
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
