//! What can be asked of a network card while its machine lives.

use std::sync::Arc;

use device_core::interrupt::{MsiMessage, MsiSet};
use devices::net::control::inspect::{Inspection, RssState};
use devices::net::control::{ExplainError, Fault, NicControl, NoSuchFault};
use devices::net::rss::{Explained, FlowKey};
use serde::Serialize;

use crate::dialect::network::LimitPatch;

/// A card that lets itself be looked into, and its interrupts.
#[derive(Clone)]
pub struct Nic {
    pub control: Arc<dyn NicControl>,
    pub msi: Option<Arc<dyn MsiSet>>,
    /// vCPUs of the machine.
    pub cpus: u8,
}

/// One thing to ask.
#[derive(Debug)]
pub enum NicAsk {
    Inspect,
    Rss,
    Explain(FlowKey),
    Limit(LimitPatch),
    SetLink(bool),
    Inject(Fault),
    ClearFaults,
}

/// What a card answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum NicReply {
    Done,
    Inspection(Box<Inspection>),
    Rss(Box<RssState>),
    Explained(Way),
}

/// The way of a flow, down to the vCPU that is interrupted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    #[serde(flatten)]
    explained: Explained,
    /// vCPUs that the vector may interrupt, as the guest routed it; `None` while it is not.
    vcpus: Option<Vec<u8>>,
}

/// Why a card did not do or tell something. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    #[error("the guest's driver has set no hash key and table")]
    NoRss,
    #[error("flow")]
    Explain(#[from] ExplainError),
    #[error("fault")]
    Fault(#[from] NoSuchFault),
}

impl Nic {
    pub fn answer(&self, ask: NicAsk) -> Result<NicReply, NicError> {
        let card = &self.control;
        match ask {
            NicAsk::Inspect => Ok(NicReply::Inspection(Box::new(card.inspect()))),
            NicAsk::Rss => {
                card.rss().map(|rss| NicReply::Rss(Box::new(rss))).ok_or(NicError::NoRss)
            }
            NicAsk::Explain(flow) => {
                let explained = card.explain(&flow)?;
                let vcpus = explained.vector.and_then(|vector| self.interrupted_by(vector));
                Ok(NicReply::Explained(Way { explained, vcpus }))
            }
            NicAsk::Limit(patch) => {
                card.limit(&patch.apply(&card.allowed()));
                Ok(NicReply::Done)
            }
            NicAsk::SetLink(up) => {
                card.set_link(up);
                Ok(NicReply::Done)
            }
            NicAsk::Inject(fault) => {
                card.inject(fault)?;
                Ok(NicReply::Done)
            }
            NicAsk::ClearFaults => {
                card.clear_faults();
                Ok(NicReply::Done)
            }
        }
    }

    fn interrupted_by(&self, vector: u16) -> Option<Vec<u8>> {
        Some(vcpus_of(self.msi.as_ref()?.target(vector)?, self.cpus))
    }
}

/// Bits of a message's address (Intel SDM 3, 11.11.1): where the destination is, whether it is a set
/// of processors, and the destination that means all.
const DESTINATION: u32 = 12;
const LOGICAL: u64 = 1 << 2;
const ALL: u8 = 0xff;

/// The vCPUs, of `cpus`, that a message may interrupt. Their APIC ids are their indices, and so are
/// their places in a set.
fn vcpus_of(message: MsiMessage, cpus: u8) -> Vec<u8> {
    let destination = (message.address >> DESTINATION) as u8;
    let hit = |cpu: &u8| match message.address & LOGICAL {
        _ if destination == ALL => true,
        0 => *cpu == destination,
        _ => *cpu < 8 && destination >> cpu & 1 == 1,
    };
    (0..cpus).filter(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_one_vcpu_or_a_set_or_all() {
        let vcpus = |address| vcpus_of(MsiMessage { address, data: 0x21 }, 12);
        assert_eq!(vcpus(0xfee0_3000), [3]);
        assert_eq!(vcpus(0xfee0_b000), [11]);
        assert_eq!(vcpus(0xfee0_c000), Vec::<u8>::new());
        assert_eq!(vcpus(0xfee8_100c), [0, 7]);
        assert_eq!(vcpus(0xfeef_f004).len(), 12);
    }
}
