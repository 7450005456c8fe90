//! What can be asked of a network card while its machine lives.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use device_core::files::Files;
use device_core::interrupt::{MsiMessage, MsiSet};
use devices::net::control::capture::{CaptureError, CaptureSpec, CaptureState};
use devices::net::control::inspect::{Inspection, RssState};
use devices::net::control::latency::Latency;
use devices::net::control::{ExplainError, Fault, NicControl, NoSuchFault};
use devices::net::rss::{Explained, FlowKey};
use serde::Serialize;

use super::patch::LimitPatch;

/// A card that lets itself be looked into, and its interrupts.
#[derive(Clone)]
pub struct Nic {
    /// The card.
    pub control: Arc<dyn NicControl>,
    /// Its vectors, if it has some.
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
    Limit(Box<LimitPatch>),
    SetLink(bool),
    Inject(Fault),
    ClearFaults,
    /// Into this file, which is made.
    StartCapture(PathBuf, CaptureSpec),
    StopCapture,
    Capture,
    MeasureLatency(bool),
    Latency,
}

/// What a card answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum NicReply {
    Done,
    Inspection(Box<Inspection>),
    Rss(Box<RssState>),
    Explained(Way),
    Capture(Box<CaptureState>),
    Latency(Box<Latency>),
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
    #[error("there is no capture")]
    NoCapture,
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(
        "path: {} exists; a capture is written to a new file, so remove it or choose another path",
        path.display()
    )]
    CaptureExists { path: PathBuf },
    #[error("path: cannot make {}", path.display())]
    CaptureFile { path: PathBuf, source: io::Error },
    #[error("latency was never measured; PUT .../latency begins to")]
    NoLatency,
    #[error(
        "{0}: the host's kernel moves the frames of this card (backend=vhost), and they pass the VMM by; start the machine \
         with the card's backend=vmm for it"
    )]
    PassedBy(&'static str),
}

impl NicAsk {
    /// What it is about, if it takes somebody who has each frame in his hands.
    fn needs_lanes(&self) -> Option<&'static str> {
        match self {
            NicAsk::Limit(_) => Some("limits"),
            NicAsk::SetLink(_) => Some("link"),
            NicAsk::StartCapture(..) => Some("capture"),
            NicAsk::MeasureLatency(true) => Some("latency"),
            NicAsk::Inspect
            | NicAsk::Rss
            | NicAsk::Explain(_)
            | NicAsk::Inject(_)
            | NicAsk::ClearFaults
            | NicAsk::StopCapture
            | NicAsk::Capture
            | NicAsk::MeasureLatency(false)
            | NicAsk::Latency => None,
        }
    }
}

/// Nobody knows the address that another is to take the place of.
#[derive(Debug, thiserror::Error)]
#[error(
    "network card {0}: its guest's IPv4 address, which another is to take the place of, is not known, as its frames \
     have shown none; say it by guest-ip"
)]
pub struct NoGuestIp(String);

/// Whether the wire sees of each card what it is to see. Fails for a guest whose address is not known.
pub fn check_outside(nics: &[Nic]) -> Result<(), NoGuestIp> {
    for nic in nics {
        let outside = nic.control.outside();
        if outside.is_some_and(|outside| outside.ip.is_some() && outside.guest_ip.is_none()) {
            return Err(NoGuestIp(nic.control.id().to_string()));
        }
    }
    Ok(())
}

impl Nic {
    /// Asks the card, for which `files` makes captures. Fails if it has no answer.
    pub fn answer(&self, ask: NicAsk, files: &dyn Files) -> Result<NicReply, NicError> {
        let card = &self.control;
        if let Some(what) = ask.needs_lanes().filter(|_| card.port().is_passed_by()) {
            return Err(NicError::PassedBy(what));
        }
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
            NicAsk::StartCapture(path, spec) => self.start_capture(&path, &spec, files),
            NicAsk::StopCapture => capture(card.stop_capture()),
            NicAsk::Capture => capture(card.capture()),
            NicAsk::MeasureLatency(on) => {
                card.measure_latency(on);
                Ok(NicReply::Done)
            }
            NicAsk::Latency => {
                let latency = card.latency().ok_or(NicError::NoLatency)?;
                Ok(NicReply::Latency(Box::new(latency)))
            }
        }
    }

    fn start_capture(
        &self,
        path: &Path,
        spec: &CaptureSpec,
        files: &dyn Files,
    ) -> Result<NicReply, NicError> {
        let pairs = u16::try_from(self.control.inspect().pairs.len()).unwrap_or(u16::MAX);
        // Before the file is made.
        spec.validate(pairs)?;
        let file = create(path, files)?;
        if let Err(error) = self.control.start_capture(file, spec) {
            // Ours, and empty. Nothing more can be done for it.
            let _ = files.remove_new(path);
            return Err(error.into());
        }
        Ok(NicReply::Done)
    }

    fn interrupted_by(&self, vector: u16) -> Option<Vec<u8>> {
        Some(vcpus_of(self.msi.as_ref()?.target(vector)?, self.cpus))
    }
}

fn capture(state: Option<CaptureState>) -> Result<NicReply, NicError> {
    state.map(|state| NicReply::Capture(Box::new(state))).ok_or(NicError::NoCapture)
}

/// Makes a file that was not there.
fn create(path: &Path, files: &dyn Files) -> Result<File, NicError> {
    let new = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    files.open(path, new).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => NicError::CaptureExists { path: path.into() },
        _ => NicError::CaptureFile { path: path.into(), source },
    })
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
    use device_core::files::Own;

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

    #[test]
    fn a_capture_never_takes_the_place_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        let create = |path: &Path| super::create(path, &Own);
        create(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(create(&path), Err(NicError::CaptureExists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let nowhere = folder.path().join("no/where");
        assert!(matches!(create(&nowhere), Err(NicError::CaptureFile { .. })));
    }
}
