//! Files that are named while the guest runs, and who opens them then.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use device_core::files::{Files, Own};
use device_core::socket;

use crate::migration::address::Reach;
use crate::migration::tls::credentials::Credentials;
use crate::shield::broker::{Broker, TUN};
use crate::vm::config::Config;

/// How such files are opened.
#[derive(Default)]
pub struct Late {
    /// `None` where nobody can name one.
    pub broker: Option<Arc<Broker>>,
    /// Where the user lets it open files; if nowhere, then beside what the configuration names.
    pub places: Vec<PathBuf>,
    /// Whether anybody can name one: there is an API.
    pub is_asked: bool,
    /// Files of the snapshot that the machine was made from.
    pub origin: Vec<PathBuf>,
    /// Where the machine may go by TCP.
    pub reach: Vec<Reach>,
    /// Who this process is there, by TLS.
    pub credentials: Option<Credentials>,
}

impl Late {
    /// Who opens them.
    pub fn files(&self) -> &dyn Files {
        match &self.broker {
            Some(broker) => &**broker,
            None => &Own,
        }
    }

    /// Who opens what a device needs that comes into a machine that runs, whose main thread `is_shut` in.
    pub fn for_devices(&self, is_shut: bool) -> Arc<dyn Files> {
        match &self.broker {
            Some(broker) if is_shut => broker.clone(),
            _ => Arc::new(Own),
        }
    }

    /// The machine is made from a snapshot in these files.
    pub fn came_from(&mut self, files: &[&Path]) {
        self.origin = files.iter().map(|path| path.to_path_buf()).collect();
    }

    /// Tells the broker its places, for good; cards can come later if `may_plug`. Fails if one is not there, or the
    /// host refuses.
    pub fn seal(&self, config: &Config, may_plug: bool) -> io::Result<()> {
        let Some(broker) = &self.broker else { return Ok(()) };
        if let Some(vsock) = &config.vsock {
            broker.dial_beside(&vsock.spec().path)?;
        }
        self.reach.iter().try_for_each(|place| broker.reach(place))?;
        let mut places = self.places(config);
        if self.places.is_empty() && may_plug && Path::new(TUN).exists() {
            places.push(TUN.into());
        }
        broker.seal(&places)
    }

    /// The places of a machine.
    pub fn places(&self, config: &Config) -> Vec<PathBuf> {
        if !self.places.is_empty() {
            return self.places.clone();
        }
        let mut places = socket::folders();
        let images = config.disks.iter().map(|disk| &disk.path);
        // Another overlay may come on a base, and nothing in its place.
        let bases = config.disks.iter().flat_map(|disk| &disk.bases).filter(|base| base.exists());
        let folders = images.chain(&self.origin).filter_map(|file| place_of(file));
        for place in folders.chain(bases.cloned()) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }
}

/// The folder of an image, and of a block device only itself: others in its folder are the host's. `None` for what is
/// in memory.
fn place_of(image: &Path) -> Option<PathBuf> {
    let about = fs::metadata(image).ok()?;
    if about.file_type().is_block_device() {
        return Some(image.to_path_buf());
    }
    match image.parent() {
        Some(folder) if folder.starts_with("/proc") => None,
        Some(folder) if folder != Path::new("") => Some(folder.to_path_buf()),
        _ => Some(PathBuf::from(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_may_be_changed_for_their_neighbours_and_devices_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::write(&image, "text").unwrap();
        assert_eq!(place_of(&image).as_deref(), Some(folder.path()));
        assert_eq!(place_of(Path::new("Cargo.toml")).as_deref(), Some(Path::new(".")));
        assert_eq!(place_of(&folder.path().join("nothing")), None);
        assert_eq!(place_of(Path::new("/proc/self/fd/0")), None);
    }
}
