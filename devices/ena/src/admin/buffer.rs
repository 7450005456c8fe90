//! Control buffers of commands: read once into device memory, written as far as they reach.

use device_core::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use crate::abi::{ControlBuffer, Refusal};

/// The first `N` bytes of the buffer. One that is missing or shorter is malformed; one that is not
/// in RAM is an illegal parameter.
pub fn read<const N: usize>(
    buffer: Option<ControlBuffer>,
    memory: &GuestRam,
) -> Result<[u8; N], Refusal> {
    let buffer = buffer.filter(|buffer| u64::from(buffer.len) >= N as u64);
    let buffer = buffer.ok_or(Refusal::Malformed)?;
    let mut bytes = [0; N];
    let read = memory.read_slice(&mut bytes, GuestAddress(buffer.address));
    read.map_err(|_| Refusal::IllegalParameter)?;
    Ok(bytes)
}

/// Writes `bytes`, as many as the buffer holds; unless all of that is RAM nothing is written, and it is
/// an illegal parameter.
pub fn write(buffer: ControlBuffer, bytes: &[u8], memory: &GuestRam) -> Result<(), Refusal> {
    let len = bytes.len().min(buffer.len as usize);
    let (fits, _) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
    use vm_memory::GuestMemoryBackend;
    if !memory.check_range(GuestAddress(buffer.address), len) {
        return Err(Refusal::IllegalParameter);
    }
    memory.write_slice(fits, GuestAddress(buffer.address)).map_err(|_| Refusal::IllegalParameter)
}
