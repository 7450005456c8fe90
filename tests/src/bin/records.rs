//! `records`: writes records that are synced and told of, and checks later that none of them is lost.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use tests::records;

/// Write and check records.
#[derive(Parser)]
enum Arguments {
    /// Write records to a folder for ever, and print the number of each once it is synced
    Write { folder: PathBuf },
    /// Check that a folder has all records up to one; print the last that is there
    Check { folder: PathBuf, said: u64 },
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Write { folder } => records::write(&folder, |n| {
            // In one piece: others print too.
            io::stdout().write_all(format!("{}={n};\n", folder.display()).as_bytes())
        })?,
        Arguments::Check { folder, said } => println!("{}", records::check(&folder, said)?),
    }
    Ok(())
}
