//! Persistent memory as a user says it, and how large its files are.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use device_core::rate::Quota;
use devices::limiter::Limits;
use devices::per_second;
use devices::pmem::{GRANULE, PmemSpec};

use super::pairs::parts;

/// The command line's form: `[path=]FILE[,ro][,root][,id=ID][,bw=RATE][,iops=RATE]`. Without an id it is empty, and
/// the caller must name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PmemArgument(pub PmemSpec);

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PmemArgumentError {
    #[error(
        "{0:?} is unknown; known are path, ro, root, id, bw and iops, and a comma of a path is written twice"
    )]
    Unknown(String),
    #[error("{0} is given twice")]
    Twice(String),
    #[error("path is not given; say which file, such as path=pmem.raw")]
    NoPath,
    #[error("{key}: {why}")]
    Value { key: String, why: String },
}

impl std::str::FromStr for PmemArgument {
    type Err = PmemArgumentError;

    fn from_str(text: &str) -> Result<PmemArgument, PmemArgumentError> {
        let mut spec = PmemSpec::default();
        let mut seen = Vec::new();
        for (at, part) in parts(text).into_iter().enumerate() {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key, value),
                None if at > 0 && matches!(part.as_str(), "ro" | "root") => (part.as_str(), ""),
                None if at == 0 && !part.is_empty() => ("path", part.as_str()),
                None => return Err(PmemArgumentError::Unknown(part)),
            };
            if seen.iter().any(|known| known == key) {
                return Err(PmemArgumentError::Twice(key.to_string()));
            }
            seen.push(key.to_string());
            let quota = || per_second::quota(value).map(Some).map_err(|why| why.to_string());
            let bad = |why| PmemArgumentError::Value { key: key.to_string(), why };
            match (key, value) {
                ("path", path) if !path.is_empty() => spec.path = path.into(),
                ("id", id) => spec.id = id.to_string(),
                ("ro", "") => spec.read_only = true,
                ("root", "") => spec.root = true,
                ("bw", _) => spec.limits.bytes = quota().map_err(bad)?,
                ("iops", _) => spec.limits.operations = quota().map_err(bad)?,
                _ => return Err(PmemArgumentError::Unknown(part)),
            }
        }
        match spec.path.as_os_str().is_empty() {
            true => Err(PmemArgumentError::NoPath),
            false => Ok(PmemArgument(spec)),
        }
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
        assert!(error("").starts_with("\"\" is unknown"));
        assert!(error("a,rw").starts_with("\"rw\" is unknown; known are path, ro, root"));
        assert!(error("a,size=1").starts_with("\"size=1\" is unknown"));
        assert_eq!(error("a,path=b"), "path is given twice");
        assert_eq!(error("a,ro,ro"), "ro is given twice");
        assert!(error("a,bw=0").starts_with("bw: 0 would let nothing through"));
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
