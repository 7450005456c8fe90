//! Every request there is: the table that serves them, and that the API's description is printed from.
//!
//! long because the table is one: a row for each request.

use std::fmt;

use devices::Kind;
use hyper::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::action::{Action, Instance, Reply};
use crate::dialect::balloon::{self, Balloon, BalloonPatch, BalloonStatsPatch, HintingStart};
use crate::dialect::cpu::CpuConfig;
use crate::dialect::drives::{self, DiskFaultBody, Drive, DrivePatch};
use crate::dialect::entropy::Entropy;
use crate::dialect::flow::{Capture, FaultBody, Flow, Link, Measuring};
use crate::dialect::full;
use crate::dialect::machine::{BootSource, MachineConfig, MachinePatchBody};
use crate::dialect::mmds::{self, MmdsConfig};
use crate::dialect::network::{NetworkInterface, NetworkInterfacePatch};
use crate::dialect::pmem::{Pmem, PmemPatchBody};
use crate::dialect::snapshot::{SnapshotCreate, SnapshotLoad};
use crate::dialect::vsock::Vsock;
use crate::dialect::watch::{Logger, Metrics, Serial};
use crate::dialect::{self, BodyError};
use crate::observe::openmetrics;
use crate::shield;
use crate::vm::balloon::BalloonAsk;
use crate::vm::config::Config;
use crate::vm::disk::DiskAsk;
use crate::vm::metadata::MetadataAsk;
use crate::vm::nic::NicAsk;

/// What to do for a request.
pub enum Asked {
    /// To be done by the main thread.
    Act(Action),
    /// The same whatever the machine does.
    Show(Answer),
}

/// What a client gets if all is well.
pub enum Answer {
    /// 204.
    Done,
    /// 200 with this JSON.
    Json(String),
    /// 200 with text of another kind.
    Text(&'static str, String),
    /// 200 and lines without end; the first tells this state.
    Events(String),
    /// 200 with all settings.
    Config(serde_json::Value),
    /// 200 with name and state of the machine, and what serves it.
    Instance(Instance),
}

/// Why there is nothing to do for a request.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("there is no resource {0}")]
    NoResource(String),
    #[error("{path} does not exist here yet: {why}")]
    Absent { path: String, why: &'static str },
    #[error("{method} is not possible on {path}; {known} is")]
    Method { method: String, path: String, known: String },
    #[error("{path} takes no query")]
    Query { path: String },
    #[error("a {method} has no body")]
    UnwantedBody { method: Verb },
    #[error("the body is missing")]
    NoBody,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the machine gave an answer to another question")]
    WrongReply,
}

/// Methods of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Patch,
    Post,
    Delete,
}

impl Verb {
    /// As in a request.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One request: how it is read, and how its reply is shown.
#[cfg_attr(not(test), expect(dead_code, reason = "some of it is for the description alone"))]
pub struct Route {
    pub verb: Verb,
    /// `{id}` stands for one part of the path.
    pub path: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// Name of the body's schema; a request without one has no body.
    pub body: Option<&'static str>,
    /// Name of the answer's schema; a request without one is answered with 204.
    pub answer: Option<&'static str>,
    read: fn(&str, &[u8]) -> Result<Asked, Refused>,
    show: fn(Reply) -> Option<Answer>,
}

/// Requests whose body may be left out.
const WITHOUT_BODY: [&str; 2] = ["/balloon/hinting/start", "/balloon/hinting/stop"];

impl Route {
    /// Whether its body may be left out.
    pub fn may_lack_body(&self) -> bool {
        WITHOUT_BODY.contains(&self.path)
    }
}

/// The table.
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
        path: "/drives",
        about: "Tells all about each disk.",
        body: None,
        answer: Some("DiskInspections"),
        read: |_, _| Ok(Asked::Act(Action::ShowDisks(None))),
        show: |reply| json_of(&shown_disks(reply)?),
    },
    Route {
        verb: Verb::Put,
        path: "/drives/{id}",
        about: "Adds a disk, or replaces the one with this id, before the start; later plugs one in. The image must be there.",
        body: Some("Drive"),
        answer: None,
        read: |id, body| {
            let disk = dialect::read::<Drive>(body)?.into_spec(id)?;
            Ok(Asked::Act(Action::SetDisk(Box::new(disk))))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/drives/{id}",
        about: "Gives a disk another image or other limits, while the machine runs or is paused.",
        body: Some("DrivePatch"),
        answer: None,
        read: |id, body| {
            let patch = dialect::read::<DrivePatch>(body)?.into_patch(id)?;
            of_disk(id, DiskAsk::Change(patch))
        },
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/drives/{id}",
        about: "Unplugs a disk from a machine that is started: the guest is asked, and this is answered when the disk is gone.",
        body: None,
        answer: None,
        read: |id, _| unplug(Kind::Disk, id),
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/drives/{id}",
        about: "Tells all about a disk: what was asked for and, once the machine is started, size, limits, requests in flight, counters.",
        body: None,
        answer: Some("DiskInspection"),
        read: |id, _| Ok(Asked::Act(Action::ShowDisks(Some(id.to_string())))),
        show: |reply| json_of(shown_disks(reply)?.first()?),
    },
    Route {
        verb: Verb::Post,
        path: "/drives/{id}/refresh",
        about: "Looks at the size of a disk's image again, and tells the guest if it has changed.",
        body: None,
        answer: Some("DiskSize"),
        read: |id, _| of_disk(id, DiskAsk::Refresh),
        show: disk,
    },
    Route {
        verb: Verb::Put,
        path: "/drives/{id}/faults",
        about: "Makes a disk go wrong, until that is cleared.",
        body: Some("DiskFaultBody"),
        answer: None,
        read: |id, body| of_disk(id, DiskAsk::Inject(dialect::read::<DiskFaultBody>(body)?.fault)),
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/drives/{id}/faults",
        about: "Lets a disk behave well again; what it had swallowed completes.",
        body: None,
        answer: None,
        read: |id, _| of_disk(id, DiskAsk::ClearFaults),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/network-interfaces/{id}",
        about: "Adds a network card, or replaces the one with this id, before the start; later plugs one in.",
        body: Some("NetworkInterface"),
        answer: None,
        read: |id, body| {
            let nic = dialect::read::<NetworkInterface>(body)?.into_spec(id)?;
            Ok(Asked::Act(Action::SetNic(Box::new(nic))))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/network-interfaces/{id}",
        about: "Changes a card's limits, while the machine runs or is paused.",
        body: Some("NetworkInterfacePatch"),
        answer: None,
        read: |id, body| {
            let patch = dialect::read::<NetworkInterfacePatch>(body)?.into_patch(id)?;
            of_nic(id, NicAsk::Limit(Box::new(patch)))
        },
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/network-interfaces/{id}",
        about: "Unplugs a network card from a machine that is started: the guest is asked, and this is answered when the card is gone.",
        body: None,
        answer: None,
        read: |id, _| unplug(Kind::Nic, id),
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/network-interfaces/{id}",
        about: "Tells all about a card: driver, queues, vectors, counters, limits, last reset.",
        body: None,
        answer: Some("Inspection"),
        read: |id, _| of_nic(id, NicAsk::Inspect),
        show: nic,
    },
    Route {
        verb: Verb::Get,
        path: "/network-interfaces/{id}/rss",
        about: "Tells the card's hash key, its table, and how often each bucket was hit.",
        body: None,
        answer: Some("Rss"),
        read: |id, _| of_nic(id, NicAsk::Rss),
        show: nic,
    },
    Route {
        verb: Verb::Post,
        path: "/network-interfaces/{id}/explain-flow",
        about: "Tells where packets of a flow go and why: hash, bucket, queue, vector, vCPUs.",
        body: Some("Flow"),
        answer: Some("ExplainedFlow"),
        read: |id, body| of_nic(id, NicAsk::Explain(dialect::read::<Flow>(body)?.into())),
        show: nic,
    },
    Route {
        verb: Verb::Put,
        path: "/network-interfaces/{id}/faults",
        about: "Makes an ENA card go wrong, until its driver's next reset.",
        body: Some("FaultBody"),
        answer: None,
        read: |id, body| of_nic(id, NicAsk::Inject(dialect::read::<FaultBody>(body)?.fault)),
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/network-interfaces/{id}/faults",
        about: "Lets a card behave well again.",
        body: None,
        answer: None,
        read: |id, _| of_nic(id, NicAsk::ClearFaults),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/network-interfaces/{id}/link",
        about: "Pulls a card's cable out, or puts it in again.",
        body: Some("Link"),
        answer: None,
        read: |id, body| of_nic(id, NicAsk::SetLink(dialect::read::<Link>(body)?.up)),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/network-interfaces/{id}/capture",
        about: "Begins to write a card's frames to a new pcapng file; ends a capture that runs.",
        body: Some("Capture"),
        answer: None,
        read: |id, body| {
            let (path, spec) = dialect::read::<Capture>(body)?.into_spec();
            of_nic(id, NicAsk::StartCapture(path, spec))
        },
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/network-interfaces/{id}/capture",
        about: "Ends a card's capture, and tells how it went.",
        body: None,
        answer: Some("CaptureState"),
        read: |id, _| of_nic(id, NicAsk::StopCapture),
        show: nic,
    },
    Route {
        verb: Verb::Get,
        path: "/network-interfaces/{id}/capture",
        about: "Tells how a card's capture goes, or how the last one went.",
        body: None,
        answer: Some("CaptureState"),
        read: |id, _| of_nic(id, NicAsk::Capture),
        show: nic,
    },
    Route {
        verb: Verb::Put,
        path: "/network-interfaces/{id}/latency",
        about: "Begins to measure a card's latencies, or anew.",
        body: Some("Measuring"),
        answer: None,
        read: |id, body| of_nic(id, NicAsk::MeasureLatency(dialect::read::<Measuring>(body)?.on)),
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/network-interfaces/{id}/latency",
        about: "Tells a card's latencies in nanoseconds, by queue pair.",
        body: None,
        answer: Some("Latency"),
        read: |id, _| of_nic(id, NicAsk::Latency),
        show: nic,
    },
    Route {
        verb: Verb::Put,
        path: "/vsock",
        about: "Gives the machine a vsock, before the start. Its socket listens from now on.",
        body: Some("Vsock"),
        answer: None,
        read: |_, body| Ok(Asked::Act(Action::SetVsock(dialect::read::<Vsock>(body)?.into()))),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/mmds/config",
        about: "Sets how the guest reaches metadata, before the start. The cards must be there.",
        body: Some("MmdsConfig"),
        answer: None,
        read: |_, body| {
            let spec = dialect::read::<MmdsConfig>(body)?.try_into()?;
            Ok(Asked::Act(Action::SetMetadata(spec)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/pmem/{id}",
        about: "Adds persistent memory, or replaces that with this id, before the start; later plugs some in. The file must be there.",
        body: Some("Pmem"),
        answer: None,
        read: |id, body| {
            let pmem = dialect::read::<Pmem>(body)?.into_spec(id)?;
            Ok(Asked::Act(Action::SetPmem(Box::new(pmem))))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/mmds",
        about: "Replaces what the guest is told by metadata.",
        body: Some("MmdsContents"),
        answer: None,
        read: |_, body| of_metadata(MetadataAsk::Put(mmds::contents(body)?)),
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/mmds",
        about: "Merges into what the guest is told by metadata, as RFC 7396 has it: null takes away.",
        body: Some("MmdsContents"),
        answer: None,
        read: |_, body| of_metadata(MetadataAsk::Patch(mmds::contents(body)?)),
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/pmem/{id}",
        about: "Changes the limits of persistent memory, while the machine runs or is paused.",
        body: Some("PmemPatch"),
        answer: None,
        read: |id, body| {
            let patch = dialect::read::<PmemPatchBody>(body)?.into_patch(id)?;
            Ok(Asked::Act(Action::LimitPmem(id.to_string(), patch)))
        },
        show: done,
    },
    Route {
        verb: Verb::Delete,
        path: "/pmem/{id}",
        about: "Unplugs persistent memory from a machine that is started: the guest is asked, and this is answered when it is gone.",
        body: None,
        answer: None,
        read: |id, _| unplug(Kind::Pmem, id),
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
        verb: Verb::Put,
        path: "/balloon",
        about: "Gives the machine a balloon, before the start.",
        body: Some("Balloon"),
        answer: None,
        read: |_, body| Ok(Asked::Act(Action::SetBalloon(dialect::read::<Balloon>(body)?.into()))),
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/vsock",
        about: "Tells all about the vsock: its socket, connections, counters.",
        body: None,
        answer: Some("VsockInspection"),
        read: |_, _| Ok(Asked::Act(Action::ShowVsock)),
        show: |reply| match reply {
            Reply::Vsock(view) => json_of(&*view),
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/mmds",
        about: "Tells what the guest is told by metadata.",
        body: None,
        answer: Some("MmdsContents"),
        read: |_, _| of_metadata(MetadataAsk::Get),
        show: |reply| match reply {
            Reply::Metadata(content) => json_of(&content),
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/balloon",
        about: "Tells how the balloon is set.",
        body: None,
        answer: Some("Balloon"),
        read: |_, _| of_balloon(BalloonAsk::Describe),
        show: of_balloon_shown,
    },
    Route {
        verb: Verb::Patch,
        path: "/balloon",
        about: "Changes how much the guest is to give up, while the machine runs or is paused.",
        body: Some("BalloonPatch"),
        answer: None,
        read: |_, body| {
            of_balloon(BalloonAsk::SetAmount(dialect::read::<BalloonPatch>(body)?.amount_mib))
        },
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/balloon/statistics",
        about: "Tells the guest's last report about its memory.",
        body: None,
        answer: Some("BalloonStats"),
        read: |_, _| of_balloon(BalloonAsk::Statistics),
        show: of_balloon_shown,
    },
    Route {
        verb: Verb::Patch,
        path: "/balloon/statistics",
        about: "Changes how often the guest reports about its memory.",
        body: Some("BalloonStatsPatch"),
        answer: None,
        read: |_, body| {
            let seconds = dialect::read::<BalloonStatsPatch>(body)?.stats_polling_interval_s;
            of_balloon(BalloonAsk::SetInterval(seconds))
        },
        show: done,
    },
    Route {
        verb: Verb::Patch,
        path: "/balloon/hinting/start",
        about: "Asks the guest to tell of its free pages, which go back to the host.",
        body: Some("HintingStart"),
        answer: None,
        read: |_, body| {
            let start = match body {
                [] => HintingStart::default(),
                body => dialect::read::<HintingStart>(body)?,
            };
            of_balloon(start.into())
        },
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/balloon/hinting/status",
        about: "Tells where hinting of free pages stands.",
        body: None,
        answer: Some("HintingStatus"),
        read: |_, _| of_balloon(BalloonAsk::Hinting),
        show: of_balloon_shown,
    },
    Route {
        verb: Verb::Patch,
        path: "/balloon/hinting/stop",
        about: "Ends hinting: the guest uses all pages again that it told of.",
        body: Some("HintingStop"),
        answer: None,
        read: |_, body| {
            if !body.is_empty() {
                dialect::read::<HintingStop>(body)?;
            }
            of_balloon(BalloonAsk::StopHinting)
        },
        show: done,
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
        path: "/entropy",
        about: "Sets the source of entropy, or turns it off, before the start.",
        body: Some("Entropy"),
        answer: None,
        read: |_, body| {
            Ok(Asked::Act(Action::SetEntropy(dialect::read::<Entropy>(body)?.try_into()?)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/serial",
        about: "Sets where the serial console goes, before the start.",
        body: Some("Serial"),
        answer: None,
        read: |_, body| {
            Ok(Asked::Act(Action::SetSerial(dialect::read::<Serial>(body)?.try_into()?)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/logger",
        about: "Changes the VMM's log, before the start.",
        body: Some("Logger"),
        answer: None,
        read: |_, body| Ok(Asked::Act(Action::SetLog(dialect::read::<Logger>(body)?.try_into()?))),
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/metrics",
        about: "Sets the file for metrics, before the start.",
        body: Some("Metrics"),
        answer: None,
        read: |_, body| {
            let path = dialect::read::<Metrics>(body)?.metrics_path;
            Ok(Asked::Act(Action::SetMetrics(path)))
        },
        show: done,
    },
    Route {
        verb: Verb::Get,
        path: "/metrics",
        about: "Tells all figures as OpenMetrics text.",
        body: None,
        answer: Some("Exposition"),
        read: |_, _| Ok(Asked::Act(Action::ShowFigures)),
        show: |reply| match reply {
            Reply::Figures(instance, figures) => {
                let state = instance.state.to_string();
                let text = openmetrics::text(&instance.id, &state, *figures).ok()?;
                Some(Answer::Text(openmetrics::CONTENT_TYPE, text))
            }
            _ => None,
        },
    },
    Route {
        verb: Verb::Put,
        path: "/snapshot/create",
        about: "Writes state and memory of the machine, which is paused and stays so, to files.",
        body: Some("SnapshotCreate"),
        answer: None,
        read: |_, body| {
            let spec = dialect::read::<SnapshotCreate>(body)?.try_into()?;
            Ok(Asked::Act(Action::CreateSnapshot(spec)))
        },
        show: done,
    },
    Route {
        verb: Verb::Put,
        path: "/snapshot/load",
        about: "Makes the machine from a snapshot, before anything else is set; if that fails, the VMM ends.",
        body: Some("SnapshotLoad"),
        answer: None,
        read: |_, body| {
            let spec = dialect::read::<SnapshotLoad>(body)?.try_into()?;
            Ok(Asked::Act(Action::LoadSnapshot(Box::new(spec))))
        },
        show: done,
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
    Route {
        verb: Verb::Get,
        path: "/events",
        about: "Follows what happens to the machine: one JSON object a line, until it ends.",
        body: None,
        answer: Some("Event"),
        read: |_, _| Ok(Asked::Act(Action::Describe)),
        show: |reply| match reply {
            Reply::Instance(instance) => Some(Answer::Events(instance.state.to_string())),
            _ => None,
        },
    },
    Route {
        verb: Verb::Get,
        path: "/openapi.json",
        about: "Tells this description.",
        body: None,
        answer: Some("OpenApi"),
        read: |_, _| Ok(Asked::Show(Answer::Json(OPENAPI.to_string()))),
        show: |_| None,
    },
];

/// The API's description, as printed from the table.
pub const OPENAPI: &str = include_str!("../../../resources/openapi.json");

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Firecracker whose dialect this is.
pub const DIALECT: &str = "1.16.1";

/// What the dialect has and this machine does not, and why.
const ABSENT: &[(&str, &str)] =
    &[("/hotplug", "memory cannot be plugged into a machine that runs")];

fn unplug(kind: Kind, id: &str) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::Unplug(kind, id.to_string())))
}

fn of_disk(id: &str, ask: DiskAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfDisk(id.to_string(), Box::new(ask))))
}

fn shown_disks(reply: Reply) -> Option<Vec<Value>> {
    let Reply::Disks(disks) = reply else { return None };
    disks.iter().map(|disk| drives::shown(disk).ok()).collect()
}

fn disk(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Disk(reply) => json_of(&reply),
        _ => None,
    }
}

fn of_metadata(ask: MetadataAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfMetadata(ask)))
}

fn of_nic(id: &str, ask: NicAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfNic(id.to_string(), Box::new(ask))))
}

fn nic(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Nic(reply) => json_of(&reply),
        _ => None,
    }
}

fn of_balloon(ask: BalloonAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfBalloon(ask)))
}

fn of_balloon_shown(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Balloon(reply) => json_of(&balloon::shown(&reply)?),
        _ => None,
    }
}

fn done(reply: Reply) -> Option<Answer> {
    matches!(reply, Reply::Done).then_some(Answer::Done)
}

fn instance(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Instance(instance) => Some(Answer::Instance(instance)),
        _ => None,
    }
}

fn full_config(config: &Config) -> Option<Answer> {
    full::shown(config).ok().map(Answer::Config)
}

fn json_of(value: &impl Serialize) -> Option<Answer> {
    serde_json::to_string(value).ok().map(Answer::Json)
}

/// A row of the table that fits a request, and what its path named.
pub struct Found {
    route: &'static Route,
    id: String,
}

impl Found {
    /// Method and path of the row.
    pub fn kind(&self) -> (&'static str, &'static str) {
        (self.route.verb.name(), self.route.path)
    }

    /// What the request asks for.
    pub fn read(&self, body: &[u8]) -> Result<Asked, Refused> {
        match self.route.body {
            None if !body.is_empty() => {
                return Err(Refused::UnwantedBody { method: self.route.verb });
            }
            Some(_) if body.is_empty() && !self.route.may_lack_body() => {
                return Err(Refused::NoBody);
            }
            _ => {}
        }
        (self.route.read)(&self.id, body)
    }

    /// What its client gets.
    pub fn show(&self, reply: Reply) -> Result<Answer, Refused> {
        (self.route.show)(reply).ok_or(Refused::WrongReply)
    }
}

/// Finds the row for a request.
pub fn find(method: &Method, uri: &Uri) -> Result<Found, Refused> {
    let path = uri.path();
    let shown = || shorten(path);
    if uri.query().is_some() {
        return Err(Refused::Query { path: shown() });
    }
    let fits = || ROUTES.iter().filter_map(|route| Some((route, matching(route.path, path)?)));
    let mut known = Vec::new();
    for (route, id) in fits() {
        if method.as_str() == route.verb.to_string() {
            return Ok(Found { route, id: id.to_string() });
        }
        known.push(route.verb.to_string());
    }
    if !known.is_empty() {
        let method = shorten(method.as_str());
        return Err(Refused::Method { method, path: shown(), known: known.join(" or ") });
    }
    let under = |root: &str| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match ABSENT.iter().find(|(root, _)| under(root)) {
        Some((_, why)) => Err(Refused::Absent { path: shown(), why }),
        None => Err(Refused::NoResource(shown())),
    }
}

/// What stands in `path` for `{id}` of the `pattern`, which it fits; empty without one.
fn matching<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (mut id, mut parts) = ("", path.split('/'));
    for wanted in pattern.split('/') {
        match (wanted, parts.next()?) {
            ("{id}", "") => return None,
            ("{id}", given) => id = given,
            (wanted, given) if wanted == given => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(id)
}

/// Text of a client, as much of it as fits a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
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

/// Nothing is to be said.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct HintingStop {}

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

#[cfg(test)]
#[path = "routes_test.rs"]
mod tests;
