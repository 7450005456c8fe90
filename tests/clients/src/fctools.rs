//! The crate fctools: by requests and by a configuration file, with pause, reads and changes, and its own ways to
//! end a machine.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use fctools::process_spawner::DirectProcessSpawner;
use fctools::runtime::tokio::TokioRuntime;
use fctools::vm::api::{VmApi, VmApiError};
use fctools::vm::configuration::{InitMethod, VmConfiguration, VmConfigurationData};
use fctools::vm::models::{
    BootSource, Drive, LoggerSystem, MachineConfiguration, MetricsSystem, UpdateDrive,
};
use fctools::vm::shutdown::{VmShutdownAction, VmShutdownMethod};
use fctools::vm::{Vm, VmState};
use fctools::vmm::arguments::{VmmApiSocket, VmmArguments, VmmLogLevel};
use fctools::vmm::executor::unrestricted::UnrestrictedVmmExecutor;
use fctools::vmm::installation::VmmInstallation;
use fctools::vmm::ownership::VmmOwnershipModel;
use fctools::vmm::resource::system::ResourceSystem;
use fctools::vmm::resource::{CreatedResourceType, MovedResourceType, ResourceType};

use crate::Scene;

const PATIENCE: Duration = Duration::from_secs(60);

/// A life for each way to begin, each with another end.
pub async fn live(scene: &Scene) -> Result<()> {
    let file = scene.folder.join("config.json");
    one(scene, "by-requests", InitMethod::ViaApiCalls, VmShutdownMethod::PauseThenKill).await?;
    one(scene, "by-file", InitMethod::ViaJsonConfiguration(file), VmShutdownMethod::Kill).await
}

async fn one(
    scene: &Scene,
    name: &str,
    init_method: InitMethod,
    end: VmShutdownMethod,
) -> Result<()> {
    let by_requests = init_method == InitMethod::ViaApiCalls;
    let path = |part: &str| scene.folder.join(format!("{name}.{part}"));
    let mut resources =
        ResourceSystem::new(DirectProcessSpawner, TokioRuntime, VmmOwnershipModel::Shared);
    let copied = ResourceType::Moved(MovedResourceType::Copied);
    let file = ResourceType::Created(CreatedResourceType::File);
    let fifo = ResourceType::Created(CreatedResourceType::Fifo);
    let drive = resources.create_resource(&scene.disk, copied)?;
    let data = VmConfigurationData {
        boot_source: BootSource {
            kernel_image: resources.create_resource(&scene.kernel, copied)?,
            boot_args: Some(scene.boot_args()),
            initrd: match scene.initrd() {
                Some(initrd) => Some(resources.create_resource(initrd, copied)?),
                None => None,
            },
        },
        drives: vec![Drive {
            drive_id: "rootfs".into(),
            is_root_device: true,
            cache_type: None,
            partuuid: None,
            is_read_only: Some(true),
            block: Some(drive.clone()),
            rate_limiter: None,
            io_engine: None,
            socket: None,
        }],
        machine_configuration: MachineConfiguration {
            vcpu_count: 1,
            mem_size_mib: scene.memory_mib(),
            smt: None,
            track_dirty_pages: Some(true),
            huge_pages: None,
        },
        cpu_template: None,
        network_interfaces: Vec::new(),
        balloon_device: None,
        vsock_device: None,
        logger_system: by_requests
            .then(|| {
                Ok::<_, anyhow::Error>(LoggerSystem {
                    logs: Some(resources.create_resource(path("log"), file)?),
                    level: Some(VmmLogLevel::Info),
                    show_level: Some(true),
                    show_log_origin: None,
                    module: None,
                })
            })
            .transpose()?,
        metrics_system: by_requests
            .then(|| {
                let metrics = resources.create_resource(path("metrics"), fifo)?;
                Ok::<_, anyhow::Error>(MetricsSystem { metrics })
            })
            .transpose()?,
        mmds_configuration: None,
        entropy_device: None,
    };
    let arguments = VmmArguments::new(VmmApiSocket::Enabled(path("socket")))
        .log_level(VmmLogLevel::Info)
        .show_log_level()
        .show_log_origin()
        .enable_boot_timer()
        .api_max_payload_bytes(100_000)
        .disable_seccomp();
    let mut vm = Vm::prepare(
        UnrestrictedVmmExecutor::new(arguments),
        resources,
        // Nobody asks for the other two.
        VmmInstallation::new(&scene.firecracker, &scene.firecracker, &scene.firecracker),
        VmConfiguration::New { init_method, data },
    )
    .await?;
    vm.start(PATIENCE).await?;
    scene.is_up().await?;
    ensure!(vm.get_state() == VmState::Running, "{:?}", vm.get_state());
    let info = vm.get_info().await?;
    ensure!(info.app_name == "Firecracker" && !info.is_paused, "{info:?}");
    ensure!(vm.get_firecracker_version().await?.starts_with("1."), "no version of Firecracker");
    let machine = vm.get_machine_configuration().await?;
    ensure!(
        machine.mem_size_mib == scene.memory_mib() && machine.track_dirty_pages == Some(true),
        "{machine:?}"
    );
    vm.pause().await?;
    ensure!(vm.get_info().await?.is_paused, "it is not paused");
    vm.resume().await?;
    vm.flush_metrics().await?;
    let change = |drive_id: &str| UpdateDrive {
        drive_id: drive_id.into(),
        block: Some(drive.clone()),
        rate_limiter: None,
    };
    vm.update_drive(change("rootfs")).await?;
    match vm.update_drive(change("none")).await {
        Err(VmApiError::ReceivedErrorResponse { status_code, fault_message }) => {
            ensure!(status_code.as_u16() == 400, "{status_code}");
            ensure!(fault_message.contains("Device not found"), "{fault_message}");
        }
        other => return Err(anyhow!("a drive that is not there: {other:?}")),
    }
    let action = VmShutdownAction { method: end, timeout: Some(PATIENCE), graceful: true };
    let outcome = vm.shutdown([action]).await?;
    ensure!(outcome.errors.is_empty(), "{outcome:?}");
    vm.cleanup().await?;
    Ok(())
}
