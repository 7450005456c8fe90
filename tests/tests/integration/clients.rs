//! Clients of Firecracker by others, through their whole lives with a Linux guest.

use anyhow::Result;
use tests::clients::{Scene, unbuilt};
use tests::kernel::Release;

use crate::scenario::{Scenario, long};

pub fn scenarios() -> Vec<Scenario> {
    if !long() {
        return Vec::new();
    }
    vec![
        Scenario::new("clients::firecracker_python_drives_linux", || {
            let scene = scene()?;
            scene.finish(&mut scene.script("firecracker_python.py")?)
        }),
        Scenario::new("clients::firepilot_drives_linux", || of_crate("firepilot")).unless(unbuilt),
        Scenario::new("clients::fctools_drives_linux", || of_crate("fctools")).unless(unbuilt),
    ]
}

fn scene() -> Result<Scene> {
    Scene::linux(Release::Guest6_1)
}

fn of_crate(client: &str) -> Result<()> {
    let scene = scene()?;
    scene.finish(&mut scene.of_crate(client)?)
}
