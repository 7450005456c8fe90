//! What of a part of the machine outlives its process: plain values of a kind and a version.
//!
//! A state holds no descriptor, path, GSI, thread or instant; times in it are what remains of them. It comes
//! back from a file that anybody may have written: [`Snapshot::load`] runs the checks that the guest's own
//! accesses run, and refuses by the name of the part and the field.

pub mod blob;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The state of one part, as it lies in a file.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// What it is the state of, such as `virtio-net`.
    pub kind: String,
    /// The form of `state`, from 1; each kind counts for itself.
    pub version: u16,
    /// Its fields.
    pub state: Value,
}

impl Saved {
    /// The `state` of a `kind` in its form `version`. Fails if there is no JSON for it.
    pub fn new(
        kind: &'static str,
        version: u16,
        state: &impl Serialize,
    ) -> Result<Saved, SaveError> {
        let state = serde_json::to_value(state)
            .map_err(|error| SaveError::Now(format!("the state of the {kind} {error}")))?;
        Ok(Saved { kind: kind.to_string(), version, state })
    }

    /// The state of a `kind` in its form `version`; `upgrade` brings an older one to the form after it. Fails if it
    /// is another kind's, newer, or not of its form.
    pub fn read<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        version: u16,
        upgrade: impl FnMut(u16, Value) -> Value,
    ) -> Result<T, LoadError> {
        if self.kind != kind {
            return Err(LoadError::Kind { wanted: kind, found: self.kind.clone() });
        }
        if self.version > version {
            return Err(LoadError::Newer { kind, found: self.version, known: version });
        }
        let mut upgrade = upgrade;
        let olds = self.version..version;
        let state = olds.fold(self.state.clone(), |state, from| upgrade(from, state));
        serde_json::from_value(state).map_err(|why| LoadError::Form {
            kind,
            version: self.version,
            why,
        })
    }
}

/// Why a part's state cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Not as it is now.
    #[error("{0}")]
    Now(String),
}

/// Why a part refuses a state.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is another part's.
    #[error("the state is that of a {found}, not of a {wanted}")]
    Kind {
        /// The part.
        wanted: &'static str,
        /// What the state says of itself.
        found: String,
    },
    /// A later vmm wrote it.
    #[error("the state of the {kind} has version {found}; this vmm knows {known} and older")]
    Newer {
        /// The part.
        kind: &'static str,
        /// The state's version.
        found: u16,
        /// The newest that can be read.
        known: u16,
    },
    /// It is not of the form that its version has.
    #[error("the state of the {kind} is not of version {version}: {why}")]
    Form {
        /// The part.
        kind: &'static str,
        /// The state's version.
        version: u16,
        /// What does not fit.
        why: serde_json::Error,
    },
    /// It has the form, and says what cannot be.
    #[error("{field} of the {kind} cannot be: {why}")]
    Field {
        /// The part.
        kind: &'static str,
        /// Its field.
        field: &'static str,
        /// What no guest could have brought about.
        why: String,
    },
}

impl LoadError {
    /// `field` of a state of `kind` says what cannot be.
    pub fn field(kind: &'static str, field: &'static str, why: impl Into<String>) -> LoadError {
        LoadError::Field { kind, field, why: why.into() }
    }
}

/// A part whose state can be taken and given.
///
/// Both only while the part rests: no vCPU runs, and its rings are home.
pub trait Snapshot {
    /// What is kept. A field may be added to it with a default; any other change is a new
    /// [`Snapshot::VERSION`], and [`Snapshot::upgrade`] learns the old one.
    type State: Serialize + DeserializeOwned;

    /// What this is, for people and for the file.
    const KIND: &'static str;

    /// The form of [`Snapshot::State`].
    const VERSION: u16;

    /// Takes the state.
    fn save(&self) -> Self::State;

    /// Becomes what `state` says, of a part that is as after power-on. Fails, with nothing changed that
    /// matters to the host, if a field says what no guest could have brought about.
    fn load(&self, state: Self::State) -> Result<(), LoadError>;

    /// The state of version `from`, in the form of the version after it.
    fn upgrade(_from: u16, state: Value) -> Value {
        state
    }

    /// The state as it goes into a file.
    fn to_saved(&self) -> Result<Saved, SaveError> {
        Saved::new(Self::KIND, Self::VERSION, &self.save())
    }

    /// [`Snapshot::load`] of what a file holds, of this version or an older one.
    fn load_saved(&self, saved: &Saved) -> Result<(), LoadError> {
        self.load(Self::read(saved)?)
    }

    /// The state that a file holds, in today's form.
    fn read(saved: &Saved) -> Result<Self::State, LoadError> {
        saved.read(Self::KIND, Self::VERSION, Self::upgrade)
    }
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
mod tests;
