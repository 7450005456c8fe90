//! What boot loaders of all kinds come down to: a kernel, what it takes along, and by whose word.

/// A kernel of a disk with all it takes along, by its paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Index of the volume that the kernel is on.
    pub volume: usize,
    /// Its path there.
    pub kernel: String,
    /// Volume and path of what becomes its initrd, in order.
    pub initrds: Vec<(usize, String)>,
    /// Its command line.
    pub options: String,
    /// Who chose it, as a part of a sentence: "entry X of /boot/grub/grub.cfg on partition 1".
    pub by: String,
}
