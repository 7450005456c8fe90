//! A bzImage unpacked by us: the vmlinux in it and the relocations behind that, so that no guest spends
//! its first instructions on it, and a caller can keep the result for the next start.

mod payload;
mod relocations;

use std::fs::File;

pub use relocations::RelocationError;
pub(crate) use relocations::relocate;

use super::elf;
use super::file::InputFile;
use super::image::{Image, KernelError, KernelFormat, Part};
use super::kernel::Kernel;
use payload::Packing;

/// Why a bzImage cannot be unpacked by us; it may still be able to do it itself.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// What its header calls its payload is none, or is packed by bzip2, LZMA, LZO or something newer.
    #[error("its payload is packed in a way that is not known here")]
    Packing,
    /// A payload that says that it is larger than any kernel.
    #[error("its payload says that it has {0} bytes unpacked")]
    Size(u64),
    /// A payload that its packing's reader refuses.
    #[error("its payload does not unpack: {0}")]
    Damaged(String),
    /// What was in it cannot be booted, or a file cannot be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The packed kernel of a bzImage, still in its file.
#[derive(Debug)]
pub struct Packed<'a> {
    input: &'a InputFile,
    payload: Part,
    packing: Packing,
    unpacked_len: usize,
}

/// No kernel has more; what says so is not unpacked.
const MOST_UNPACKED: u64 = 512 << 20;
/// Bytes at the end of a payload that say its length unpacked.
const LEN_LEN: usize = 4;

impl<'a> Packed<'a> {
    /// Looks at both ends of a bzImage's payload; `None` for other kernels. Fails if the file cannot be
    /// read or the payload is none that can be unpacked.
    pub fn of(kernel: &'a Kernel) -> Result<Option<Self>, UnpackError> {
        let Some(payload) = kernel.image.payload else { return Ok(None) };
        let (mut start, mut len) = ([0; payload::MAGIC_LEN], [0; LEN_LEN]);
        let len_at = payload.len.checked_sub(LEN_LEN as u64).ok_or(UnpackError::Packing)?;
        for (bytes, at) in [(&mut start[..], 0), (&mut len[..], len_at)] {
            let at = payload.offset.saturating_add(at);
            kernel.input.read_at(bytes, at).map_err(KernelError::from)?;
        }
        let packing = Packing::of(&start).ok_or(UnpackError::Packing)?;
        let len = u64::from(u32::from_le_bytes(len));
        if len == 0 || len > MOST_UNPACKED {
            return Err(UnpackError::Size(len));
        }
        Ok(Some(Self { input: &kernel.input, payload, packing, unpacked_len: len as usize }))
    }

    /// Reads it from the file, as it is there. Fails if the host cannot; what is missing then makes
    /// [`Packed::unpack`] fail.
    pub fn read(&self) -> Result<Vec<u8>, UnpackError> {
        let mut bytes = vec![0; self.payload.len as usize];
        let read =
            self.input.read_at(&mut bytes, self.payload.offset).map_err(KernelError::from)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Bytes that it has unpacked, as it says itself.
    pub fn unpacked_len(&self) -> usize {
        self.unpacked_len
    }

    /// What is in `bytes`, which [`Packed::read`] returned: [`Packed::unpacked_len`] bytes. Fails if
    /// they do not unpack to so many.
    pub fn unpack(&self, bytes: &[u8]) -> Result<Vec<u8>, UnpackError> {
        let packed = match self.packing {
            // Its own last word is the length.
            Packing::Gzip => bytes,
            _ => bytes.get(..bytes.len().saturating_sub(LEN_LEN)).unwrap_or_default(),
        };
        let unpacked = self.packing.unpack(packed, self.unpacked_len);
        let unpacked = unpacked.map_err(UnpackError::Damaged)?;
        match unpacked.len() == self.unpacked_len {
            true => Ok(unpacked),
            false => Err(UnpackError::Damaged(format!(
                "{} bytes instead of {}",
                unpacked.len(),
                self.unpacked_len
            ))),
        }
    }
}

impl Kernel {
    /// The same bzImage, but booted from `file`, which has what [`Packed::unpack`] returned of it. It is
    /// entered as before, behind its unpacking. Fails if that is no vmlinux, or none of the kernels that
    /// have a setup header.
    pub fn unpacked(&self, file: File) -> Result<Self, UnpackError> {
        let header = self.image.setup_header.ok_or(UnpackError::Packing)?;
        let input =
            InputFile::new(self.input.role, file, &self.input.name).map_err(KernelError::from)?;
        let elf = elf::read(&input)?;
        elf.check_entry(&input, elf.entry)?;
        let offset = elf.file_end(&input)?;
        let len = input.len.saturating_sub(offset);
        let image = Image {
            format: KernelFormat::BzImage,
            entry: elf.entry,
            memory_end: elf.memory_end,
            segments: elf.segments,
            relocations: (len > 0).then_some(Part { offset, len }),
            payload: None,
            setup_header: Some(header),
            ..self.image
        };
        Ok(Self { input, image })
    }
}

#[cfg(test)]
#[path = "unpack_test.rs"]
mod tests;
