//! Main's end of the zygote.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::ForkError;
use super::images::Copy;
use super::words::{self, Answer, Ask, Brood};

/// How long an answer may take: children wait for locks of the host's network.
const PATIENCE: Duration = Duration::from_secs(50);

/// Who starts children. The process ends when this is dropped, and when its owner ends in whatever way.
pub struct Zygote {
    socket: File,
    api_socket: PathBuf,
    /// Where children log as well.
    log: Option<PathBuf>,
}

/// Makes the two ends of a zygote's socket; the owner's has the paths of the machine's API, and of the log that children
/// write to as well. Fails if the host has no descriptor left.
pub fn pair(api_socket: &Path, log: Option<&Path>) -> io::Result<(Zygote, File)> {
    let (ours, its) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    let socket = File::from(OwnedFd::from(ours));
    let (api_socket, log) = (api_socket.to_owned(), log.map(Path::to_owned));
    Ok((Zygote { socket, api_socket, log }, File::from(OwnedFd::from(its))))
}

impl Zygote {
    /// From here on children open nothing that is not in one of `places`. Fails if one of them is not there, or the
    /// host refuses.
    pub fn seal(&self, places: &[PathBuf]) -> io::Result<()> {
        let log = self.log.iter().filter(|log| log.exists());
        let places =
            places.iter().chain(log).map(|place| place.as_os_str().as_bytes().to_vec()).collect();
        match self.ask(&Ask::Seal(places), &[])? {
            Answer::Done => Ok(()),
            Answer::Refused(why) => Err(io::Error::other(why)),
            Answer::Born(_) | Answer::NoSharing(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Makes copies of images. Fails if one of them cannot be made; then none is there.
    pub fn copy(&self, copies: Vec<Copy>) -> Result<(), ForkError> {
        self.have_done(&Ask::Copy(copies))
    }

    /// Makes empty files. Fails if something is in the place of one; then none is there.
    pub fn make(&self, files: Vec<PathBuf>) -> Result<(), ForkError> {
        self.have_done(&Ask::Make(files))
    }

    fn have_done(&self, ask: &Ask) -> Result<(), ForkError> {
        match self.ask(ask, &[]).map_err(ForkError::Gone)? {
            Answer::Refused(why) => Err(ForkError::Child(why)),
            Answer::NoSharing(why) => Err(ForkError::NoSharing(why)),
            Answer::Done | Answer::Born(_) => Ok(()),
        }
    }

    /// Removes copies that were made, and that no child has.
    pub fn remove(&self, copies: Vec<PathBuf>) {
        // Who does not answer has said so before.
        let _ = self.ask(&Ask::Remove(copies), &[]);
    }

    /// Starts children on `memory`; returns the numbers of their processes once all of them go on. Fails if one of
    /// them cannot be what it is to be: then none is there.
    pub fn fork(&self, brood: Brood, memory: &File) -> Result<Vec<u32>, ForkError> {
        match self.ask(&Ask::Fork(Box::new(brood)), &[memory]).map_err(ForkError::Gone)? {
            Answer::Born(pids) => Ok(pids),
            Answer::Refused(why) | Answer::NoSharing(why) => Err(ForkError::Child(why)),
            Answer::Done => Err(ForkError::Gone(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Where the API of the machine is.
    pub fn api_socket(&self) -> &Path {
        &self.api_socket
    }

    fn ask(&self, ask: &Ask, files: &[&File]) -> io::Result<Answer> {
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        words::say(&self.socket, &serde_json::to_vec(ask)?, &files)?;
        let heard = words::hear(&self.socket)?;
        let (text, _) = heard.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_slice(&text)?)
    }
}
