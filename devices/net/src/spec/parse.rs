//! The command line's form of a card.

use std::os::fd::RawFd;
use std::str::FromStr;

use device_core::options::{Given, OptionError, parts};
use device_core::per_second;

use super::{BackendSpec, Key, Model, Mover, NicSpec, Rehearsal};
use crate::mac::MacAddr;
use crate::stage::limiter::Allowed;

/// Why a text describes no card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// An option is none, or cannot be so.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// It is not said where frames go.
    #[error("none of tap, dev and fd is given; say where frames go, such as tap=tap0")]
    NoBackend,
    /// It is said twice where frames go.
    #[error("tap, dev and fd exclude each other")]
    TwoBackends,
}

const MOVERS: &[(&str, Mover)] = &[("vmm", Mover::Vmm), ("vhost", Mover::Vhost)];

const MODELS: &[(&str, Model)] = &[("virtio", Model::Virtio), ("ena", Model::Ena)];

/// The command line's form: `tap=tap0,queues=2,mac=02:00:00:00:00:01`, `dev=veth0`, or
/// `fd=3:4,queues=2`.
/// Without `id` the id is empty, and the caller must name the card; without `queues` there are as
/// many as descriptors.
impl FromStr for NicSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<NicSpec, ParseSpecError> {
        let mut fields = Fields::default();
        for part in parts(text) {
            // A word may be written as in JSON.
            let given = match part.split_once('=') {
                Some((word, value)) => Given::new(&word.replace('_', "-"), value, &Key::ALL)?,
                None => Given::of(&part, &Key::ALL)?,
            };
            fields.take(given)?;
        }
        fields.into_spec()
    }
}

#[derive(Default)]
struct Fields {
    tap: Option<String>,
    dev: Option<String>,
    fds: Option<Vec<RawFd>>,
    mover: Option<Mover>,
    model: Option<Model>,
    mac: Option<MacAddr>,
    queues: Option<u16>,
    mtu: Option<u16>,
    id: Option<String>,
    limits: Allowed,
    llq: Option<bool>,
    /// The only key that may come more than once.
    faults: Vec<Rehearsal>,
}

impl Fields {
    fn take(&mut self, given: Given<Key>) -> Result<(), OptionError> {
        let text = || given.value.clone();
        match given.key {
            Key::Tap => given.put(&mut self.tap, text()),
            Key::Dev => given.put(&mut self.dev, text()),
            Key::Fd => given.put(&mut self.fds, fds(&given)?),
            Key::Backend => given.put(&mut self.mover, given.one_of(MOVERS)?),
            Key::Model => given.put(&mut self.model, given.one_of(MODELS)?),
            Key::Mac => given.put(&mut self.mac, given.parse()?),
            Key::Queues => given.put(&mut self.queues, given.parse()?),
            Key::Mtu => given.put(&mut self.mtu, given.parse()?),
            Key::Id => given.put(&mut self.id, text()),
            Key::BwIn => given.put(&mut self.limits.bw_in, given.quota()?),
            Key::BwOut => given.put(&mut self.limits.bw_out, given.quota()?),
            Key::Pps => given.put(&mut self.limits.pps, given.quota()?),
            Key::Conntrack => {
                let most = per_second::parse(&given.value).map_err(|why| given.bad(why))?;
                let most = u32::try_from(most).map_err(|_| given.bad("it is too large"))?;
                given.put(&mut self.limits.conntrack, most)
            }
            Key::Llq => given.put(&mut self.llq, given.on_or_off()?),
            Key::Fault => {
                self.faults.push(given.parse()?);
                Ok(())
            }
        }
    }

    fn into_spec(self) -> Result<NicSpec, ParseSpecError> {
        let (backend, queues) = match (self.tap, self.dev, self.fds) {
            (Some(name), None, None) => (BackendSpec::Tap(name), 1),
            (None, Some(name), None) => (BackendSpec::Dev(name), 1),
            (None, None, Some(fds)) => {
                let count = u16::try_from(fds.len()).unwrap_or(u16::MAX);
                (BackendSpec::Fd(fds), count)
            }
            (None, None, None) => return Err(ParseSpecError::NoBackend),
            _ => return Err(ParseSpecError::TwoBackends),
        };
        Ok(NicSpec {
            id: self.id.unwrap_or_default(),
            backend,
            mover: self.mover.unwrap_or_default(),
            model: self.model.unwrap_or_default(),
            mac: self.mac,
            queues: self.queues.unwrap_or(queues),
            mtu: self.mtu,
            limits: self.limits,
            llq: self.llq,
            faults: self.faults,
            outside: None,
        })
    }
}

/// Descriptors, with colons between.
fn fds(given: &Given<Key>) -> Result<Vec<RawFd>, OptionError> {
    let fd = |text: &str| text.parse().map_err(|why| given.bad(why));
    given.value.split(':').map(fd).collect()
}
