//! Requests about what a guest has beside disks and network cards: vsock, metadata, balloon, entropy.

use serde::Deserialize;

use super::route::{Answer, Asked, Refused, Route, Verb, done, json_of};
use crate::action::{Action, Reply};
use crate::dialect;
use crate::dialect::balloon::{self, Balloon, BalloonPatch, BalloonStatsPatch, HintingStart};
use crate::dialect::entropy::Entropy;
use crate::dialect::mmds::{self, MmdsConfig};
use crate::dialect::vsock::Vsock;
use crate::vm::balloon::BalloonAsk;
use crate::vm::metadata::MetadataAsk;

/// Their rows of the API's table.
pub const ROUTES: &[Route] = &[
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
];

fn of_metadata(ask: MetadataAsk) -> Result<Asked, Refused> {
    Ok(Asked::Act(Action::OfMetadata(ask)))
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

/// Nothing is to be said.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct HintingStop {}
