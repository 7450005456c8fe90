//! What the kernel's command line says of the disk, or the persistent memory, with the root file system.

use devices::block::spec::{DiskSpec, Model, Root};
use devices::pmem::PmemSpec;

use super::pmem;

/// The command line with the root's words behind it, if one of `disks`, the first, or of `pmems` has it. Of several
/// `root=` a kernel takes the last.
pub fn named(cmdline: &str, disks: &[DiskSpec], pmems: &[PmemSpec]) -> String {
    let words = disks.first().and_then(words).or_else(|| pmem::root_words(pmems));
    match words {
        Some(words) if cmdline.is_empty() => words,
        Some(words) => format!("{cmdline} {words}"),
        None => cmdline.to_string(),
    }
}

fn words(disk: &DiskSpec) -> Option<String> {
    let (name, wait) = match disk.model {
        Model::Virtio => ("/dev/vda", ""),
        // Its driver finds its disks while the kernel boots on.
        Model::Nvme | Model::NvmeInstance => ("/dev/nvme0n1", " rootwait"),
    };
    let root = match disk.root.as_ref()? {
        Root::Disk => name.to_string(),
        Root::Partition(uuid) => format!("PARTUUID={uuid}"),
    };
    let mode = if disk.read_only { "ro" } else { "rw" };
    Some(format!("root={root} {mode}{wait}"))
}

/// The `root=` that a kernel takes, if the command line has several.
pub fn last_of_several(cmdline: &str) -> Option<&str> {
    let mut roots = cmdline.split_ascii_whitespace().filter(|word| word.starts_with("root="));
    roots.next()?;
    roots.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_named_as_the_guest_will_find_it() {
        for (disk, words) in [
            ("d", ""),
            ("d,root", "root=/dev/vda rw"),
            ("d,root,ro", "root=/dev/vda ro"),
            ("d,partuuid=0eaa91a0-01", "root=PARTUUID=0eaa91a0-01 rw"),
            ("d,root,model=nvme", "root=/dev/nvme0n1 rw rootwait"),
            ("d,ro,partuuid=1-2,model=nvme-instance", "root=PARTUUID=1-2 ro rootwait"),
        ] {
            let disks: [DiskSpec; 2] = [disk.parse().unwrap(), "other".parse().unwrap()];
            assert_eq!(named("", &disks, &[]), words);
            assert_eq!(named("a=b", &disks, &[]), format!("a=b {words}").trim_end());
        }
        assert_eq!(named("a=b", &[], &[]), "a=b");
    }

    #[test]
    fn persistent_memory_can_have_the_root_too() {
        let pmem = PmemSpec { root: true, ..PmemSpec::default() };
        assert_eq!(named("quiet", &[], &[pmem]), "quiet root=/dev/pmem0 rw");
    }

    #[test]
    fn of_several_roots_the_last_one_is_told() {
        assert_eq!(last_of_several("root=/dev/sda quiet root=/dev/vda rw"), Some("root=/dev/vda"));
        assert_eq!(last_of_several("root=/dev/vda rw rootwait"), None);
        assert_eq!(last_of_several("quiet"), None);
    }
}
