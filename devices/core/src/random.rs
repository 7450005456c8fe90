//! Random bytes of the host's kernel, straight into guest memory.

use std::io;

use crate::scatter::Scatter;

/// Fills the list from its front, but no more than `most` bytes of it; returns how many. Fails if the host has
/// none to give, such as before its own generator is seeded; then nothing was written.
pub fn fill(list: &Scatter, most: usize) -> io::Result<usize> {
    let filled = fill_pieces(list, most)?;
    list.wrote(0, filled);
    Ok(filled)
}

fn fill_pieces(list: &Scatter, most: usize) -> io::Result<usize> {
    let mut filled = 0usize;
    for piece in list.iovecs(0) {
        let mut done = 0usize;
        while done < piece.iov_len && filled < most {
            let len = piece.iov_len.saturating_sub(done).min(most.saturating_sub(filled));
            let at = piece.iov_base.cast::<u8>().wrapping_add(done);
            // SAFETY: `len` bytes from `at` lie in a piece of the list, which keeps guest memory mapped and
            // writable; nobody makes a reference to guest memory.
            let count = unsafe { libc::getrandom(at.cast(), len, libc::GRND_NONBLOCK) };
            match usize::try_from(count) {
                Ok(count) => {
                    done = done.saturating_add(count);
                    filled = filled.saturating_add(count);
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.kind() {
                        io::ErrorKind::Interrupted => {}
                        // What is there is good.
                        _ if filled > 0 => return Ok(filled),
                        _ => return Err(error),
                    }
                }
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::testing::ram_at;

    #[test]
    fn pieces_are_filled_in_order_and_nothing_beside_them() {
        let ram = ram_at(&[(0, 0x1000), (0x1000, 0x1000), (0x4000, 0x1000)]);
        let mut list = Scatter::new(ram.clone());
        list.push(0xff0, 0x20).unwrap();
        list.push(0x4100, 0x40).unwrap();
        assert_eq!(fill(&list, 0x50).unwrap(), 0x50);
        let read = |at, len| {
            let mut bytes = vec![0; len];
            ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
            bytes
        };
        let is_zero = |bytes: Vec<u8>| bytes.iter().all(|byte| *byte == 0);
        assert!(is_zero(read(0, 0xff0)) && is_zero(read(0x1010, 0xff0)));
        assert!(is_zero(read(0x4000, 0x100)) && is_zero(read(0x4130, 0xed0)));
        let filled = [read(0xff0, 0x20), read(0x4100, 0x30)].concat();
        // Of 80 random bytes more than 8 are 0 once in ten billion times.
        assert!(filled.iter().filter(|byte| **byte == 0).count() <= 8, "{filled:x?}");
    }
}
