//! `/balloon` and what is under it.

use devices::balloon::{BalloonSpec, PAGES_PER_MIB};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::vm::balloon::{BalloonAsk, BalloonReply};

/// The balloon: takes memory that the guest does not need back to the host.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Balloon {
    /// What the guest is to give up, in MiB.
    pub amount_mib: u32,
    /// Whether the guest takes pages back before it runs out of memory.
    pub deflate_on_oom: bool,
    /// Seconds between two reports of the guest about its memory; 0 for none.
    #[serde(default)]
    pub stats_polling_interval_s: u16,
    /// Whether the guest tells of free pages on demand.
    #[serde(default)]
    pub free_page_hinting: bool,
    /// Whether the guest tells of free pages all the time.
    #[serde(default)]
    pub free_page_reporting: bool,
}

/// How much the guest is to give up.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BalloonPatch {
    /// In MiB.
    pub amount_mib: u32,
}

/// How often the guest reports about its memory.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BalloonStatsPatch {
    /// Seconds between two reports. Reports cannot be turned on or off by it.
    pub stats_polling_interval_s: u16,
}

/// How hints of free pages are asked for. Fields that are not known are ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct HintingStart {
    /// Whether the pages are the guest's again as soon as it has told of all; else when hinting is stopped.
    #[serde(default = "yes")]
    pub acknowledge_on_stop: bool,
}

fn yes() -> bool {
    true
}

/// Without a body all is as usual.
impl Default for HintingStart {
    fn default() -> HintingStart {
        HintingStart { acknowledge_on_stop: yes() }
    }
}

impl From<Balloon> for BalloonSpec {
    fn from(body: Balloon) -> BalloonSpec {
        BalloonSpec {
            amount_mib: body.amount_mib,
            deflate_on_oom: body.deflate_on_oom,
            statistics_s: body.stats_polling_interval_s,
            hinting: body.free_page_hinting,
            reporting: body.free_page_reporting,
        }
    }
}

impl From<&BalloonSpec> for Balloon {
    fn from(spec: &BalloonSpec) -> Balloon {
        Balloon {
            amount_mib: spec.amount_mib,
            deflate_on_oom: spec.deflate_on_oom,
            stats_polling_interval_s: spec.statistics_s,
            free_page_hinting: spec.hinting,
            free_page_reporting: spec.reporting,
        }
    }
}

impl From<HintingStart> for BalloonAsk {
    fn from(body: HintingStart) -> BalloonAsk {
        BalloonAsk::StartHinting { acknowledges: body.acknowledge_on_stop }
    }
}

/// An answer of the balloon, if it is one that shows something.
pub fn shown(reply: &BalloonReply) -> Option<Value> {
    Some(match reply {
        BalloonReply::Done => return None,
        BalloonReply::Spec(spec) => json!(Balloon::from(spec)),
        BalloonReply::Statistics { target, actual, told } => {
            let mut all = json!({
                "target_pages": target,
                "actual_pages": actual,
                "target_mib": target / PAGES_PER_MIB,
                "actual_mib": actual / PAGES_PER_MIB,
            });
            told.iter().for_each(|(name, value)| all[name] = json!(value));
            all
        }
        BalloonReply::Hinting(status) => {
            json!({ "host_cmd": status.host_cmd, "guest_cmd": status.guest_cmd })
        }
    })
}

#[cfg(test)]
#[path = "balloon_test.rs"]
mod tests;
