//! Unified kernel images (UAPI.5): EFI programs with a kernel, its initrd and its command line among their
//! sections (Microsoft's PE format). The program itself is not run.

use super::files::{Run, cut};
use super::source::{Fields, ReadError};
use super::version;
use super::volume::Volume;

/// A unified kernel image, by where its parts lie.
#[derive(Debug)]
pub(crate) struct Unified {
    /// Index of the volume that it is on.
    pub volume: usize,
    /// Its path there.
    pub path: String,
    pub kernel: Vec<Run>,
    /// In their order; may be empty.
    pub initrds: Vec<Vec<Run>>,
    /// The kernel's command line.
    pub options: String,
}

/// Where systemd-boot finds them.
const FOLDER: &str = "/EFI/Linux";
const MOST_IMAGE: u64 = 2 << 30;
const MOST_OPTIONS: u64 = 64 << 10;
const MOST_SECTIONS: u16 = 96;
const X86_64: u16 = 0x8664;
const SECTION: u64 = 40;

/// The newest image of the volume with the index `at`; `None` without one for this processor. Fails if the
/// volume cannot be read.
pub(crate) fn boot(at: usize, volume: &Volume) -> Result<Option<Unified>, ReadError> {
    let mut names = volume.names(FOLDER)?;
    names.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
    names.sort_by(|one, other| version::compare(other, one));
    for name in names {
        let path = format!("{FOLDER}/{name}");
        if let Some(found) = image(at, volume, path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The image at `path`; `None` if it is none, or one for another processor.
fn image(at: usize, volume: &Volume, path: String) -> Result<Option<Unified>, ReadError> {
    let (Some(files), Some(node)) = (volume.files(), volume.file(&path)?) else { return Ok(None) };
    let image = files.runs(&node, MOST_IMAGE)?;
    let read = |offset: u64, len: u64| match cut(&image, offset, len) {
        Some(runs) => files.bytes(&runs).map(Some),
        None => Ok(None),
    };
    let Some(dos) = read(0, 64)?.filter(|dos| dos.starts_with(b"MZ")) else { return Ok(None) };
    let header_at = u64::from(Fields(&dos).u32(60));
    let Some(header) = read(header_at, 24)?.filter(|h| h.starts_with(b"PE\0\0")) else {
        return Ok(None);
    };
    let header = Fields(&header);
    let (count, optional) = (header.u16(6).min(MOST_SECTIONS), u64::from(header.u16(20)));
    if header.u16(4) != X86_64 {
        return Ok(None);
    }
    let table_at = header_at.saturating_add(24).saturating_add(optional);
    let Some(table) = read(table_at, u64::from(count).saturating_mul(SECTION))? else {
        return Ok(None);
    };
    let sections = table.chunks_exact(SECTION as usize).map(|section| {
        let fields = Fields(section);
        // What is in memory behind what is in the file is zeros, and what is behind that padding.
        let len = fields.u32(8).min(fields.u32(16));
        (fields.bytes(0, 8).to_vec(), cut(&image, fields.u32(20).into(), len.into()))
    });
    // Behind the first profile come parts of others.
    let is_base = |(name, _): &(Vec<u8>, _)| !name.starts_with(b".profile");
    let sections: Vec<_> = sections.take_while(is_base).collect();
    let all = |wanted: &'static [u8; 8]| {
        sections.iter().filter(move |(name, _)| name == wanted).filter_map(|(_, runs)| runs.clone())
    };
    let Some(kernel) = all(b".linux\0\0").next() else { return Ok(None) };
    let options = match all(b".cmdline").next() {
        Some(runs) if length(&runs) <= MOST_OPTIONS => files.bytes(&runs)?,
        _ => Vec::new(),
    };
    let options = String::from_utf8_lossy(&options).trim_matches(['\0', '\n', ' ']).to_owned();
    let initrds = all(b".ucode\0\0").chain(all(b".initrd\0")).filter(|runs| length(runs) > 0);
    Ok(Some(Unified { volume: at, path, kernel, initrds: initrds.collect(), options }))
}

/// Bytes of `runs`.
pub(crate) fn length(runs: &[Run]) -> u64 {
    runs.iter().fold(0, |len, run| len.saturating_add(run.len))
}

#[cfg(test)]
#[path = "uki_test.rs"]
mod tests;
