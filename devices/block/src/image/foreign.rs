//! Formats that are not raw, told by their first bytes: to be refused, never to be opened as what they say.
//!
//! A guest can write any of them into its raw disk. That does no harm but that the disk is refused at the
//! next start: nothing in a header is ever followed.

/// Bytes of an image that are looked at.
pub(super) const HEAD: usize = 512;

/// What a file begins with, and what it then is.
const FORMATS: [(&[u8], &str); 8] = [
    (b"QFI\xfb", "qcow2"),
    (b"QED\0", "QED"),
    (b"conectix", "VHD"),
    (b"vhdxfile", "VHDX"),
    (b"KDMV", "VMDK"),
    (b"COWD", "VMDK"),
    (b"# Disk Descriptor", "VMDK"),
    (b"<<< ", "VDI"),
];

/// The format of an image that begins with `head`; `None` if it may be raw.
pub(super) fn format(head: &[u8]) -> Option<&'static str> {
    FORMATS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, format)| *format)
}
