//! Refusals of the API in Firecracker's words, as far as its clients and tests look for them, with our
//! reason in or behind them.

use devices::Kind;

use crate::action::ActionError;
use crate::api::routes::Refused;
use crate::dialect;
use crate::vm::hotplug::{PlugError, UnplugError};
use crate::vm::state::State;

/// What stands before a reason, by method and first part of the path.
const AREAS: &[(&str, &str, &str)] = &[
    ("PUT", "boot-source", "Boot source error: "),
    ("PUT", "machine-config", "Machine config error: "),
    ("PATCH", "machine-config", "Machine config error: "),
    ("PUT", "cpu-config", "Configure CPU error: "),
    ("PUT", "drives", "Drive config error: "),
    ("PATCH", "drives", "Internal VMM error: "),
    ("PUT", "network-interfaces", "Network config error: "),
    ("PATCH", "network-interfaces", "Network config error: "),
    ("PUT", "vsock", "Vsock config error: "),
    ("PUT", "entropy", "Entropy config error: "),
    ("PUT", "balloon", "Balloon config error: "),
    ("GET", "balloon", "Balloon config error: "),
    ("PATCH", "balloon", "Balloon update error: "),
    ("PUT", "pmem", "Pmem config error: "),
    ("PATCH", "pmem", "Internal VMM error: "),
    ("PUT", "hotplug", "Memory hotplug config error: "),
    ("PATCH", "hotplug", "Memory hotplug update error: "),
    // So it is written there.
    ("PUT", "mmds/config", "MMMDS config error: "),
    ("PUT", "mmds", "MMDS error: "),
    ("PATCH", "mmds", "MMDS error: "),
    ("GET", "mmds", "MMDS error: "),
    ("PUT", "logger", "Logger error: "),
    ("PUT", "metrics", "Metrics error: "),
    ("PUT", "actions", "Start microvm error: "),
    ("PUT", "snapshot/create", "Create snapshot error: "),
    ("PUT", "snapshot/load", "Load snapshot error: "),
];

/// What Firecracker says of a request that it cannot read, and our reason.
pub fn refused(method: &str, path: &str, refused: &Refused) -> String {
    match refused {
        Refused::NoResource(_) | Refused::Method { .. } | Refused::Query { .. } => {
            let token = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let token: String = token.chars().take(80).collect();
            format!("Invalid request method and/or path: {method} {token}. ({refused})")
        }
        Refused::UnwantedBody { method } => format!("{method} request cannot have a body."),
        Refused::NoBody => match method {
            "PATCH" => "Empty PATCH request.".into(),
            "DELETE" => "Empty Delete request.".into(),
            _ => format!("Empty {method} request."),
        },
        Refused::Body(dialect::BodyError::Nothing) => {
            format!("Empty {method} request. ({refused})")
        }
        Refused::Body(dialect::BodyError::Json(_) | dialect::BodyError::NoObject) => {
            format!("An error occurred when deserializing the json body of a request: {refused}")
        }
        Refused::Body(dialect::BodyError::Field { .. }) => {
            format!("{}{refused}", area(method, path))
        }
        Refused::WrongReply => refused.to_string(),
    }
}

/// What Firecracker says of a request that it does not do, and our reason; `None` for what is as well as
/// done there.
pub fn failed(method: &str, path: &str, error: &ActionError) -> Option<String> {
    let why = dialect::complaint(error);
    Some(match error {
        // There is nobody to read them.
        ActionError::NoMetrics => return None,
        ActionError::NotNow { state: State::Configuring, .. } => {
            format!("The requested operation is not supported before starting the microVM. ({why})")
        }
        ActionError::NotNow { .. } => {
            format!("The requested operation is not supported after starting the microVM. ({why})")
        }
        ActionError::NotFresh => {
            const NOT_ALLOWED: &str = "Load snapshot error: Loading a microVM snapshot not allowed after \
                                       configuring boot-specific resources.";
            format!("{NOT_ALLOWED} ({why})")
        }
        ActionError::NoKernel => {
            format!(
                "Start microvm error: Cannot start microvm without kernel configuration. ({why})"
            )
        }
        ActionError::Plug(refusal) => match &refusal.why {
            PlugError::IdInUse => format!("Device ID in use ({why})"),
            PlugError::NoPci => format!("PCI is not enabled ({why})"),
            PlugError::Root => {
                let what = if refusal.kind == Kind::Pmem { "pmem" } else { "block" };
                format!("{}A root {what} device already exists! ({why})", area(method, path))
            }
            PlugError::Attach(_) => format!("{}{why}", area(method, path)),
        },
        ActionError::Unplug(refusal) => match &refusal.why {
            UnplugError::NoPci => format!("PCI is not enabled ({why})"),
            UnplugError::NoSuch => format!("Device not found ({why})"),
            UnplugError::Root => format!("Cannot unplug root device ({why})"),
            UnplugError::Paused | UnplugError::Twice | UnplugError::Kept { .. } => why,
        },
        ActionError::NoSuchDisk(_) | ActionError::NoSuchNic(_) => {
            format!("{}Device not found ({why})", area(method, path))
        }
        // They are in these words already.
        ActionError::Metadata(_) => why,
        _ => format!("{}{why}", area(method, path)),
    })
}

fn area(method: &str, path: &str) -> &'static str {
    let path = path.trim_start_matches('/');
    let fits = |part: &str| {
        path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let row = AREAS.iter().find(|(verb, part, _)| *verb == method && fits(part));
    row.map_or("", |(_, _, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_behind_the_words_of_its_area() {
        for (method, path, words) in [
            ("PUT", "/drives/rootfs", "Drive config error: "),
            ("PATCH", "/drives/rootfs", "Internal VMM error: "),
            ("PUT", "/mmds", "MMDS error: "),
            ("PUT", "/mmds/config", "MMMDS config error: "),
            ("PATCH", "/balloon/statistics", "Balloon update error: "),
            ("GET", "/vm/config", ""),
            ("PUT", "/vsocket", ""),
        ] {
            assert_eq!(area(method, path), words, "{method} {path}");
        }
    }
}
