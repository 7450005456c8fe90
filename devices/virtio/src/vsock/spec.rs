//! What a user says about the device, and its socket, which listens before there is a machine.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use device_core::options::{self, Given, OptionError, parts};
use device_core::socket::{BindError, ListeningSocket};

/// A guest's address that its own machine cannot have (virtio 1.2, 5.10.4): what is not 0, which launchers
/// leave where they have no use for it, and not in this range.
const CIDS: std::ops::RangeInclusive<u32> = 3..=u32::MAX - 1;

/// What a user says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VsockSpec {
    /// The guest's address.
    pub cid: u32,
    /// Where clients connect to reach the guest; with `_PORT` behind it, where the guest's connections go.
    pub path: PathBuf,
}

/// One thing that a user says about it; the command line's word is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The guest's address.
    Cid,
    /// The socket.
    Path,
}

const KEYS: [(Key, &str); 2] = [(Key::Cid, "cid"), (Key::Path, "path")];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(options::word(self, &KEYS))
    }
}

/// What is wrong with a [`VsockSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An address that is somebody else's.
    #[error("{0} is reserved; take 3 or more, such as 3")]
    Cid(u32),
    /// No path at all.
    #[error("it is empty; name the socket to be made")]
    Path,
}

impl SpecError {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            SpecError::Cid(_) => Key::Cid,
            SpecError::Path => Key::Path,
        }
    }
}

/// Why a text describes no vsock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpecError {
    /// An option is none, or cannot be so.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Something that must be said.
    #[error("{0} is not given; write such as cid=3,path=v.sock")]
    Missing(&'static str),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The host's part of it.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The path cannot be made absolute.
    #[error("cannot tell where {} is", path.display())]
    Place {
        /// The path asked for.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

impl VsockSpec {
    /// Checks every field by itself. Fails with what is found wrong first.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.cid != 0 && !CIDS.contains(&self.cid) {
            return Err(SpecError::Cid(self.cid));
        }
        if self.path.as_os_str().is_empty() {
            return Err(SpecError::Path);
        }
        Ok(())
    }
}

/// The command line's form: `cid=3,path=v.sock`. A comma of the path is written twice.
impl FromStr for VsockSpec {
    type Err = ParseSpecError;

    fn from_str(text: &str) -> Result<VsockSpec, ParseSpecError> {
        let (mut cid, mut path) = (None, None);
        for part in parts(text) {
            let given = Given::of(&part, &KEYS)?;
            match given.key {
                Key::Cid => {
                    let number = given.value.parse().ok().filter(|number| CIDS.contains(number));
                    let why = format_args!("it is no number from 3 to {}", CIDS.end());
                    given.put(&mut cid, number.ok_or_else(|| given.bad(why))?)?;
                }
                Key::Path => given.put(&mut path, PathBuf::from(&given.value))?,
            }
        }
        let path = path.filter(|path| !path.as_os_str().is_empty());
        Ok(VsockSpec {
            cid: cid.ok_or(ParseSpecError::Missing("cid"))?,
            path: path.ok_or(ParseSpecError::Missing("path"))?,
        })
    }
}

/// A vsock whose socket listens: clients may come before there is a machine, and wait. The socket is removed
/// from its path with the last of its owners.
#[derive(Clone, Debug)]
pub struct OpenVsock {
    spec: VsockSpec,
    absolute: PathBuf,
    socket: Arc<ListeningSocket>,
}

impl OpenVsock {
    /// Makes the socket, as [`ListeningSocket::bind`] does.
    pub fn open(spec: VsockSpec) -> Result<OpenVsock, OpenError> {
        let socket = Arc::new(ListeningSocket::bind(&spec.path)?);
        OpenVsock::on(spec, socket)
    }

    /// The same socket for another address.
    pub fn with_cid(&self, cid: u32) -> OpenVsock {
        OpenVsock { spec: VsockSpec { cid, ..self.spec.clone() }, ..self.clone() }
    }

    fn on(spec: VsockSpec, socket: Arc<ListeningSocket>) -> Result<OpenVsock, OpenError> {
        let absolute = std::path::absolute(&spec.path)
            .map_err(|source| OpenError::Place { path: spec.path.clone(), source })?;
        Ok(OpenVsock { spec, absolute, socket })
    }

    /// What was asked for.
    pub fn spec(&self) -> &VsockSpec {
        &self.spec
    }

    /// The socket's path for whoever has another working directory.
    pub fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// Where clients come.
    pub fn socket(&self) -> &Arc<ListeningSocket> {
        &self.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_form_has_both_keys_once() {
        let spec = |text: &str| text.parse::<VsockSpec>();
        let wanted = VsockSpec { cid: 3, path: "a,b.sock".into() };
        assert_eq!(spec("path=a,,b.sock,cid=3"), Ok(wanted));
        assert_eq!(spec("cid=3"), Err(ParseSpecError::Missing("path")));
        assert_eq!(spec("cid=3,path="), Err(ParseSpecError::Missing("path")));
        assert_eq!(spec("path=x"), Err(ParseSpecError::Missing("cid")));
        let refused = |text: &str| spec(text).unwrap_err().to_string();
        assert_eq!(refused("cid=3,cid=4,path=x"), "cid is given twice");
        assert!(refused("x").starts_with("\"x\" has no '='"));
        assert_eq!(refused("port=1"), "unknown key \"port\"; known are cid, path");
        for cid in ["0", "1", "2", "4294967295", "x", "-1", ""] {
            let wanted = format!("cid={cid}: it is no number from 3 to 4294967294");
            assert_eq!(refused(&format!("cid={cid},path=x")), wanted);
        }
        assert!(spec("cid=4294967294,path=x").is_ok());
    }

    #[test]
    fn reserved_addresses_are_refused_but_for_the_one_that_launchers_leave() {
        let check = |cid| VsockSpec { cid, path: "x".into() }.validate();
        for cid in [1, 2, u32::MAX] {
            assert_eq!(check(cid), Err(SpecError::Cid(cid)));
        }
        for cid in [0, 3, u32::MAX - 1] {
            assert_eq!(check(cid), Ok(()));
        }
        let no_path = VsockSpec { cid: 3, path: PathBuf::new() };
        assert_eq!(no_path.validate().unwrap_err().key(), Key::Path);
    }
}
