//! The crate firepilot: copies kernel and drives into a folder, sets drives first, and ends by SIGKILL.

use anyhow::{Result, anyhow, ensure};
use firepilot::builder::drive::DriveBuilder;
use firepilot::builder::executor::FirecrackerExecutorBuilder;
use firepilot::builder::kernel::KernelBuilder;
use firepilot::builder::{Builder, Configuration};
use firepilot::machine::Machine;

use crate::Scene;

/// One whole life.
pub async fn live(scene: &Scene) -> Result<()> {
    let wrong = |error: firepilot::builder::BuilderError| anyhow!("{error:?}");
    let failed = |error: firepilot::machine::FirepilotError| anyhow!("{error:?}");
    let mut kernel = KernelBuilder::new()
        .with_kernel_image_path(scene.kernel.display().to_string())
        .with_boot_args(scene.boot_args());
    if let Some(initrd) = scene.initrd() {
        kernel = kernel.with_initrd_path(initrd.display().to_string());
    }
    let kernel = kernel.try_build().map_err(wrong)?;
    let drive = DriveBuilder::new()
        .with_drive_id("rootfs".into())
        .with_path_on_host(scene.disk.clone())
        .as_read_only()
        .as_root_device()
        .try_build()
        .map_err(wrong)?;
    let executor = FirecrackerExecutorBuilder::new()
        .with_chroot(scene.folder.display().to_string())
        .with_exec_binary(scene.firecracker.clone())
        .try_build()
        .map_err(wrong)?;
    let config = Configuration::new("pilot".into())
        .with_kernel(kernel)
        .with_executor(executor)
        .with_drive(drive);
    let mut machine = Machine::new();
    machine.create(config).await.map_err(failed)?;
    machine.start().await.map_err(failed)?;
    scene.is_up().await?;
    machine.pause().await.map_err(failed)?;
    machine.resume().await.map_err(failed)?;
    machine.stop().await.map_err(failed)?;
    // A machine starts once.
    ensure!(machine.start().await.is_err(), "a second start was not refused");
    machine.kill().await.map_err(failed)
}
