//! Reading a snapshot's state that anybody may have written, without a machine, for fuzzing.

use super::error::ReadError;
use super::format;
use crate::dialect::file;

/// Reads a file's bytes, and once more with the digest that they should have, as who writes a hostile file can make
/// it. The errors, which are lines for a user; none of what is as good as a vmm's own.
pub fn read(bytes: Vec<u8>) -> Vec<String> {
    let honest = format::sealed_again(bytes.clone());
    [bytes, honest].into_iter().filter_map(|bytes| read_one(bytes).err()).collect()
}

fn read_one(bytes: Vec<u8>) -> Result<(), String> {
    let line = |error: ReadError| crate::words::one_line(None, &error);
    let sealed = format::unseal(bytes).map_err(line)?;
    sealed.head().map_err(line)?;
    let body = sealed.body().map_err(line)?;
    let actions = file::of_snapshot(body.config);
    actions.map(drop).map_err(|error| crate::words::one_line(None, &error))
}
