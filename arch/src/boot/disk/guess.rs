//! What an image boots when no boot loader says so: its newest kernel, with the root where `/etc/fstab` is.

use super::choice::Choice;
use super::source::ReadError;
use super::version;
use super::volume::Volume;

/// Folders where kernels are, from the root of their file system.
const FOLDERS: [&str; 2] = ["/boot", ""];
const KERNEL: &str = "vmlinuz";
/// What says that a file system is the root.
const ROOTS: [&str; 3] = ["/etc/fstab", "/etc/os-release", "/sbin/init"];

/// The newest `vmlinuz` of all volumes, its initrd, and a command line that names the root by its
/// PARTUUID; `None` without a kernel or a root. Fails if a volume cannot be read.
pub(crate) fn guess(volumes: &[Volume]) -> Result<Option<Choice>, ReadError> {
    let mut newest: Option<(String, Choice)> = None;
    for (at, volume) in volumes.iter().enumerate() {
        for folder in FOLDERS {
            let names = volume.names(if folder.is_empty() { "/" } else { folder })?;
            for name in &names {
                let Some(version) = name.strip_prefix(KERNEL) else { continue };
                let path = format!("{folder}/{name}");
                let is_newer = newest
                    .as_ref()
                    .is_none_or(|(other, _)| version::compare(version, other).is_gt());
                if !is_newer || version.contains("rescue") || volume.file(&path)?.is_none() {
                    continue;
                }
                let initrd = initrd_of(version, &names).map(|name| format!("{folder}/{name}"));
                let choice = Choice {
                    volume: at,
                    kernel: path,
                    initrds: initrd.into_iter().map(|path| (at, path)).collect(),
                    ..Choice::default()
                };
                newest = Some((version.to_owned(), choice));
            }
        }
    }
    let Some((_, choice)) = newest else { return Ok(None) };
    let Some(root) = root(volumes)? else { return Ok(None) };
    let by = "the newest kernel, as no boot loader's configuration was found".to_owned();
    Ok(Some(Choice { options: format!("root={root} ro rootwait"), by, ..choice }))
}

/// The initrd for the kernel with this end of its name, by the names that distributions give it.
pub(crate) fn initrd_of(version: &str, names: &[String]) -> Option<String> {
    let version = version.trim_start_matches('-');
    let candidates = [
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initrd-{version}"),
        format!("initramfs-{version}"),
        if version.is_empty() { "initrd.img".to_owned() } else { format!("initrd-{version}.img") },
    ];
    candidates.into_iter().find(|candidate| names.contains(candidate))
}

/// How a kernel is told of the volume that has the system on it.
fn root(volumes: &[Volume]) -> Result<Option<String>, ReadError> {
    for mark in ROOTS {
        for volume in volumes {
            if volume.find(mark)?.is_none() {
                continue;
            }
            let (uuid, _) = volume.ids();
            return Ok(Some(match &volume.partition {
                Some(partition) => format!("PARTUUID={}", partition.uuid),
                None => format!("UUID={uuid}"),
            }));
        }
    }
    Ok(None)
}
