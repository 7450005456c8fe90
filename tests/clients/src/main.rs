//! Drives a program called `firecracker` with clients that know nothing of it: `clients firepilot|fctools
//! FIRECRACKER KERNEL DISK FOLDER`, in which the kernel halts for ever.
#![forbid(unsafe_code)]

mod fctools;
mod firepilot;

use std::path::PathBuf;

use anyhow::{Result, bail};

/// What a client is given.
pub struct Scene {
    firecracker: PathBuf,
    kernel: PathBuf,
    disk: PathBuf,
    /// An empty folder.
    folder: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().collect();
    let [_, client, firecracker, kernel, disk, folder] = &words[..] else {
        bail!("usage: clients firepilot|fctools FIRECRACKER KERNEL DISK FOLDER");
    };
    let scene = Scene {
        firecracker: firecracker.into(),
        kernel: kernel.into(),
        disk: disk.into(),
        folder: folder.into(),
    };
    match client.as_str() {
        "firepilot" => firepilot::live(&scene).await,
        "fctools" => fctools::live(&scene).await,
        other => bail!("{other} is no client"),
    }
}
