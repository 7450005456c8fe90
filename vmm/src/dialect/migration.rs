//! The body of `/migration`: where a machine is to go on, and within which limits.

use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::{BodyError, bad};
use crate::migration::address::Address;
use crate::migration::spec::{AtLast, Limits, MigrateSpec};

/// Where a machine is to go on.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Where `vmm receive` waits for it: `unix:PATH`, or `tls:ADDRESS:PORT` or `tcp:ADDRESS:PORT`, an address by number.
    pub destination: String,
    /// Whom the certificate of a target by `tls:` is to be for, if not for its address.
    #[serde(default)]
    pub target_name: Option<String>,
    /// Whether its memory may go by TCP, where everybody on the way can read and change it.
    #[serde(default)]
    pub insecure: bool,
    /// Milliseconds that the machine may rest for: it is paused once what is left would go in this time.
    #[serde(default = "downtime")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 60000, default = 300))]
    pub max_downtime_ms: u64,
    /// How often memory is sent at most before that: all of it, then what was written meanwhile.
    #[serde(default = "rounds")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 1000, default = 30))]
    pub max_rounds: u32,
    /// What to do after so many rounds; the machine stays if not given.
    #[serde(default)]
    pub at_last: AtLastRound,
}

/// What to do with a machine that writes to its memory faster than that goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AtLastRound {
    /// It stays where it is, and goes on.
    #[default]
    GiveUp,
    /// It is paused for as long as it takes.
    GoOn,
}

fn downtime() -> u64 {
    u64::try_from(Limits::DOWNTIME.as_millis()).unwrap_or(u64::MAX)
}

fn rounds() -> u32 {
    Limits::ROUNDS
}

impl TryFrom<Migration> for MigrateSpec {
    type Error = BodyError;

    fn try_from(body: Migration) -> Result<MigrateSpec, BodyError> {
        let destination = body.destination.parse::<Address>();
        let destination = destination.map_err(|error| bad("destination", error.to_string()))?;
        let target_name = match (body.target_name, &destination) {
            (None, _) => None,
            (Some(name), Address::Tls(_)) => Some(ServerName::try_from(name).map_err(|_| {
                bad(
                    "target_name",
                    "it is neither a name that a certificate can be for, nor an address",
                )
            })?),
            (Some(_), _) => {
                return Err(bad("target_name", "only by tls: a target shows who it is"));
            }
        };
        let downtime = Duration::from_millis(body.max_downtime_ms);
        if downtime.is_zero() || downtime > Limits::MOST_DOWNTIME {
            return Err(bad("max_downtime_ms", "it can be 1 to 60000"));
        }
        if !(1..=Limits::MOST_ROUNDS).contains(&body.max_rounds) {
            return Err(bad("max_rounds", "it can be 1 to 1000"));
        }
        let at_last = match body.at_last {
            AtLastRound::GiveUp => AtLast::GiveUp,
            AtLastRound::GoOn => AtLast::GoOn,
        };
        let limits = Limits { downtime, rounds: body.max_rounds, at_last };
        Ok(MigrateSpec { destination, target_name, is_insecure: body.insecure, limits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::read;

    fn spec(text: &str) -> Result<MigrateSpec, String> {
        let body = read::<Migration>(text.as_bytes()).map_err(|error| error.to_string())?;
        MigrateSpec::try_from(body).map_err(|error| error.to_string())
    }

    #[test]
    fn a_machine_goes_with_limits_that_need_not_be_said() {
        let plain = spec(r#"{"destination":"unix:/s"}"#).unwrap();
        assert_eq!((plain.limits, plain.is_insecure), (Limits::default(), false));
        let all = spec(
            r#"{"destination":"tcp:192.0.2.7:7000","insecure":true,"max_downtime_ms":50,"max_rounds":3,
                "at_last":"go-on"}"#,
        );
        let all = all.unwrap();
        assert_eq!((all.limits.downtime.as_millis(), all.limits.rounds), (50, 3));
        assert_eq!((all.limits.at_last, all.is_insecure), (AtLast::GoOn, true));
        let named =
            spec(r#"{"destination":"tls:192.0.2.7:7000","target_name":"b.example"}"#).unwrap();
        assert_eq!(named.target_name, Some(ServerName::try_from("b.example").unwrap()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        for (more, word) in [
            (r#""destination":"host:1""#, "destination"),
            (r#""destination":"unix:/s","max_downtime_ms":0"#, "max_downtime_ms"),
            (r#""destination":"unix:/s","max_downtime_ms":60001"#, "max_downtime_ms"),
            (r#""destination":"unix:/s","max_rounds":0"#, "max_rounds"),
            (r#""destination":"unix:/s","at_last":"hope""#, "at_last"),
            (r#""destination":"unix:/s","speed":1"#, "speed"),
            (r#""destination":"tls:192.0.2.7:1","target_name":"a b""#, "target_name"),
            (r#""destination":"unix:/s","target_name":"a""#, "target_name"),
            ("", "destination"),
        ] {
            let error = spec(&format!("{{{more}}}")).unwrap_err();
            assert!(error.contains(word), "{more}: {error}");
        }
    }
}
