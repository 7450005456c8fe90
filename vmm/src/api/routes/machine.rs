//! Requests about the machine as a whole.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::route::{Answer, Asked, Route, Verb, done, json_of};
use crate::action::Instance;
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::cpu::CpuConfig;
use crate::dialect::full;
use crate::dialect::machine::{BootSource, MachineConfig, MachinePatchBody};
use crate::shield;
use crate::vm::config::Config;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/",
        about: "Tells the machine's name and state.",
        body: None,
        answer: Some("InstanceInfo"),
        read: |_, _| Ok(Asked::Act(Action::Describe)),
        show: instance,
    },
    Route {
        verb: Verb::Get,
        path: "/version",
        about: "Tells the version of Firecracker whose dialect this is, and that of the VMM.",
        body: None,
        answer: Some("Version"),
        read: |_, _| {
            let version = json!({ "firecracker_version": DIALECT, "vmm_version": VERSION });
            Ok(Asked::Show(Answer::Json(version.to_string())))
        },
        show: |_| None,
    },
    Route {
        verb: Verb::Get,
        path: "/vm",
        about: "Tells the machine's state.",
        body: None,
        answer: Some("Vm"),
        read: |_, _| Ok(Asked::Act(Action::Describe)),
        show: |reply| match reply {
            Reply::Instance(instance) => {
                Some(Answer::Json(json!({ "state": instance.state.to_string() }).to_string()))
            }
            _ => None,
        },
    },
    Route {
        verb: Verb::Patch,
        path: "/vm",
        about: "Pauses or resumes the machine. What is so already stays so.",
        body: Some("VmPatch"),
        answer: None,
        read: |_, body| {
            Ok(Asked::Act(match dialect::read::<VmPatch>(body)?.state {
                WantedState::Paused => Action::Pause,
                WantedState::Resumed => Action::Resume,
            }))
        },
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/vm/config",
        about: "Tells all settings, in the layout of a configuration file.",
        body: None,
        answer: Some("FullConfig"),
        read: |_, _| Ok(Asked::Act(Action::ShowConfig)),
        show: |reply| match reply {
            Reply::Config(config) => full_config(&config),
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/machine-config",
        about: "Tells CPUs and memory.",
        body: None,
        answer: Some("MachineConfig"),
        read: |_, _| Ok(Asked::Act(Action::ShowConfig)),
        show: |reply| match reply {
            Reply::Config(config) => json_of(&MachineConfig::from(&config.machine)),
            _ => None,
        },
    },
    Route {
        verb: Verb::Put,
        path: "/machine-config",
        about: "Sets CPUs and memory, before the start.",
        body: Some("MachineConfig"),
        answer: None,
        read: |_, body| {
            let machine = dialect::read::<MachineConfig>(body)?.try_into()?;
            Ok(Asked::Act(Action::SetMachine(machine)))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/machine-config",
        about: "Changes CPUs or memory, before the start.",
        body: Some("MachinePatchBody"),
        answer: None,
        read: |_, body| {
            let patch = dialect::read::<MachinePatchBody>(body)?.try_into()?;
            Ok(Asked::Act(Action::PatchMachine(patch)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/cpu-config",
        about: "Changes bits of CPUID and MSRs that the guest sees, before the start.",
        body: Some("CpuConfig"),
        answer: None,
        read: |_, body| {
            let template = dialect::read::<CpuConfig>(body)?.try_into()?;
            Ok(Asked::Act(Action::SetTemplate(template)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/boot-source",
        about: "Sets what to boot, before the start. The files must be there.",
        body: Some("BootSource"),
        answer: None,
        read: |_, body| Ok(Asked::Act(Action::SetBoot(dialect::read::<BootSource>(body)?.into()))),
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/devices",
        about: "Tells all devices of a machine that is started, their PCI slots, and whether the guest is asked to let one go.",
        body: None,
        answer: Some("Devices"),
        read: |_, _| Ok(Asked::Act(Action::ShowDevices)),
        show: |reply| match reply {
            Reply::Devices(devices) => json_of(&devices),
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/memory",
        about: "Tells what the machine's memory comes to on the host.",
        body: None,
        answer: Some("MemoryReport"),
        read: |_, _| Ok(Asked::Act(Action::ShowMemory)),
        show: |reply| match reply {
            Reply::Memory(report) => json_of(&report),
            _ => None,
        },
    },
    Route {
        verb: Verb::Put,
        path: "/actions",
        about: "Does something to the machine.",
        body: Some("ActionBody"),
        answer: None,
        read: |_, body| {
            Ok(Asked::Act(match dialect::read::<ActionBody>(body)?.action_type {
                ActionType::InstanceStart => Action::Start,
                ActionType::SendCtrlAltDel => Action::PressCtrlAltDel,
                ActionType::FlushMetrics => Action::FlushMetrics,
                ActionType::PowerButton => Action::PressPowerButton,
                ActionType::Reset => Action::Reset,
                ActionType::Kill => Action::Kill,
            }))
        },
        show: done,
    },
];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Firecracker whose dialect this is.
pub const DIALECT: &str = "1.16.1";

fn instance(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Instance(instance) => Some(Answer::Instance(instance)),
        _ => None,
    }
}

fn full_config(config: &Config) -> Option<Answer> {
    full::shown(config).ok().map(Answer::Config)
}

/// Name and state of the machine.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct InstanceInfo {
    app_name: &'static str,
    /// As given by `--id`.
    id: String,
    /// `Not started`, `Running` or `Paused`.
    state: String,
    vmm_version: &'static str,
    /// What becomes of a system call that the VMM never makes: it ends the VMM, is logged by the kernel, or is made.
    seccomp: shield::Mode,
    /// Version of Landlock by which no path is open to the threads of a guest that runs; null where the kernel has none.
    landlock: Option<u8>,
}

impl InstanceInfo {
    /// An instance that is served by a program of this name and version.
    pub fn new(instance: Instance, app_name: &'static str, version: &'static str) -> InstanceInfo {
        let Instance { id, state, shield } = instance;
        InstanceInfo {
            app_name,
            id,
            state: state.to_string(),
            vmm_version: version,
            seccomp: shield.seccomp,
            landlock: shield.landlock,
        }
    }
}

/// What to change of the machine's state.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmPatch {
    state: WantedState,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum WantedState {
    Paused,
    Resumed,
}

/// Something to do.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ActionBody {
    action_type: ActionType,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum ActionType {
    /// Builds the machine and lets it run.
    InstanceStart,
    /// Presses Ctrl-Alt-Del on the guest's keyboard.
    SendCtrlAltDel,
    /// Writes a line of metrics now.
    FlushMetrics,
    /// Presses the guest's power button.
    PowerButton,
    /// Ends the VMM with exit code 3, as a reset by the guest does.
    Reset,
    /// Ends the VMM, whatever the guest does.
    Kill,
}
