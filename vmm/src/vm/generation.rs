//! A new identity for a machine that begins, or goes on as another one.

use std::io;

use devices::legacy::NoRoom;

use super::board::Board;

/// Why a machine has no identity of its own.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    #[error("the host has no random numbers yet")]
    Random(#[source] io::Error),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// For a machine whose memory is new.
pub fn begin(board: &Board) -> Result<(), GenerationError> {
    Ok(board.generation.begin(random()?)?)
}

/// For a machine whose memory is that of another, whose state its parts have.
pub fn renew(board: &Board) -> Result<(), GenerationError> {
    Ok(board.generation.renew(random()?)?)
}

/// For a machine that goes on as itself, in another process.
pub fn move_on(board: &Board) -> Result<(), GenerationError> {
    Ok(board.generation.move_on()?)
}

fn random() -> Result<[u8; 16], GenerationError> {
    let mut id = [0; 16];
    let flags = rustix::rand::GetRandomFlags::empty();
    match rustix::rand::getrandom(&mut id, flags) {
        Ok(16) => Ok(id),
        Ok(_) => Err(GenerationError::Random(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(GenerationError::Random(error.into())),
    }
}
