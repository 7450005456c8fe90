//! Requests about network cards.

use devices::Kind;

use super::route::{Answer, Asked, Refused, Route, Verb, done, json_of, unplug};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::flow::{Capture, FaultBody, Flow, Link, Measuring};
use crate::dialect::network::{NetworkInterface, NetworkInterfacePatch};
use crate::vm::nic::NicAsk;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
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
];

fn of_nic(id: &str, ask: NicAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfNic(id.to_string(), Box::new(ask))))
}

fn nic(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Nic(reply) => json_of(&reply),
        _ => None,
    }
}
