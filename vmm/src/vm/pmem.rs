//! Persistent memory as a user says it, and how large its files are.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use device_core::options::{Given, OptionError, parts};
use device_core::rate::Quota;
use devices::limiter::Limits;
use devices::pmem::{GRANULE, PmemSpec};

/// The command line's form: `[path=]FILE[,ro][,root][,id=ID][,bw=RATE][,iops=RATE]`. Without an id it is empty, and
/// the caller must name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PmemArgument(pub PmemSpec);

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PmemArgumentError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("path is not given; say which file, such as path=pmem.raw")]
    NoPath,
}

#[derive(Clone, Copy)]
enum Key {
    Path,
    ReadOnly,
    Root,
    Id,
    Bw,
    Iops,
}

const KEYS: [(Key, &str); 6] = [
    (Key::Path, "path"),
    (Key::ReadOnly, "ro"),
    (Key::Root, "root"),
    (Key::Id, "id"),
    (Key::Bw, "bw"),
    (Key::Iops, "iops"),
];

impl std::str::FromStr for PmemArgument {
    type Err = PmemArgumentError;

    fn from_str(text: &str) -> Result<PmemArgument, PmemArgumentError> {
        let (mut path, mut id) = (None, None);
        let (mut read_only, mut root) = (None, None);
        let mut limits = Limits::default();
        for (at, part) in parts(text).iter().enumerate() {
            let given = match part.as_str() {
                "ro" | "root" if at > 0 => Given::new(part, "on", &KEYS)?,
                file if at == 0 && !file.contains('=') => Given::new("path", file, &KEYS)?,
                option => Given::of(option, &KEYS)?,
            };
            match given.key {
                Key::Path => given.put(&mut path, PathBuf::from(&given.value))?,
                Key::ReadOnly => given.put(&mut read_only, given.on_or_off()?)?,
                Key::Root => given.put(&mut root, given.on_or_off()?)?,
                Key::Id => given.put(&mut id, given.value.clone())?,
                Key::Bw => given.put(&mut limits.bytes, given.quota()?)?,
                Key::Iops => given.put(&mut limits.operations, given.quota()?)?,
            }
        }
        let path = path.filter(|path| !path.as_os_str().is_empty());
        Ok(PmemArgument(PmemSpec {
            id: id.unwrap_or_default(),
            path: path.ok_or(PmemArgumentError::NoPath)?,
            read_only: read_only.unwrap_or_default(),
            root: root.unwrap_or_default(),
            limits,
        }))
    }
}

/// What to change of the limits of persistent memory; the inner `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PmemPatch {
    pub bytes: Option<Option<Quota>>,
    pub operations: Option<Option<Quota>>,
}

impl PmemPatch {
    pub fn apply(&self, limits: Limits) -> Limits {
        Limits {
            bytes: self.bytes.unwrap_or(limits.bytes),
            operations: self.operations.unwrap_or(limits.operations),
        }
    }
}

/// Bytes of address space that the guest needs for the file; 0 for one that cannot be had.
pub fn guest_bytes(path: &Path) -> u64 {
    let size = || {
        let kind = path.metadata().ok()?.file_type();
        // Opening a pipe waits for its writer.
        if !kind.is_file() && !kind.is_block_device() {
            return None;
        }
        File::open(path).ok()?.seek(SeekFrom::End(0)).ok()
    };
    size().and_then(|size| size.checked_next_multiple_of(GRANULE)).unwrap_or(0)
}

/// The words of the kernel's command line for the one that has the root file system, if one has.
pub fn root_words(all: &[PmemSpec]) -> Option<String> {
    let (nth, root) = all.iter().enumerate().find(|(_, pmem)| pmem.root)?;
    Some(format!("root=/dev/pmem{nth} {}", if root.read_only { "ro" } else { "rw" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PmemSpec {
        text.parse::<PmemArgument>().unwrap().0
    }

    #[test]
    fn a_file_comes_first_and_words_behind_it() {
        let plain = PmemSpec { path: "a,b".into(), ..PmemSpec::default() };
        assert_eq!(spec("a,,b"), plain);
        assert_eq!(spec("id=x,path=a,,b"), PmemSpec { id: "x".into(), ..plain.clone() });
        let limits =
            Limits { bytes: Quota::per_second(1_000_000), operations: Quota::per_second(5) };
        let all = PmemSpec { read_only: true, root: true, limits, ..plain };
        assert_eq!(spec("a,,b,ro,root,bw=1M,iops=5"), all);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<PmemArgument>().unwrap_err().to_string();
        assert!(error("id=x").starts_with("path is not given"));
        assert!(error("").starts_with("path is not given"));
        assert!(error("a,rw").starts_with("\"rw\" has no '='"));
        assert!(error("a,size=1").starts_with("unknown key \"size\"; known are path, ro, root"));
        assert_eq!(error("a,path=b"), "path is given twice");
        assert_eq!(error("a,ro,ro"), "ro is given twice");
        assert!(error("a,bw=0").starts_with("bw=0: 0 would let nothing through"));
    }

    #[test]
    fn a_file_takes_whole_2_mib_of_addresses_and_what_is_no_file_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap().set_len((2 << 20) + 1).unwrap();
        assert_eq!(guest_bytes(&path), 4 << 20);
        assert_eq!((guest_bytes(folder.path()), guest_bytes(Path::new("nowhere"))), (0, 0));
    }

    #[test]
    fn the_root_is_named_by_its_place_among_them() {
        assert_eq!(root_words(&[spec("a"), spec("b,root")]), Some("root=/dev/pmem1 rw".into()));
        assert_eq!(root_words(&[spec("a,root,ro")]), Some("root=/dev/pmem0 ro".into()));
        assert_eq!(root_words(&[spec("a")]), None);
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let limits = Limits { bytes: Quota::per_second(1), operations: Quota::per_second(2) };
        assert_eq!(PmemPatch::default().apply(limits), limits);
        let patch = PmemPatch { bytes: Some(None), operations: None };
        assert_eq!(patch.apply(limits), Limits { bytes: None, operations: Quota::per_second(2) });
    }
}
