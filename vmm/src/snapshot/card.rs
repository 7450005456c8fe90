//! How a card of a machine that goes on differs from the one that was: the command line's form.

use std::net::Ipv4Addr;
use std::str::FromStr;

use devices::net::mac::{MacAddr, ParseMacError};

use super::spec::{CardIdentity, Rewritten};

/// `ID=TAP`, or `ID` alone, and `key=value` behind it, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardChange {
    /// The card.
    pub id: String,
    /// Another TAP.
    pub tap: Option<String>,
    /// What the network sees of it, if that is to differ.
    pub identity: Option<CardIdentity>,
}

/// Why a text says no such thing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardChangeError {
    #[error("write the id that it has in the snapshot, =, and what is to take its place")]
    NoId,
    #[error("{0:?} is not known behind the card; the keys are {KEYS}")]
    Unknown(String),
    #[error("{0} is given twice")]
    Twice(String),
    #[error("identity={0}: it can only be rewrite")]
    Identity(String),
    #[error("link={0}: it can only be flap")]
    Link(String),
    #[error("driver={0}: it can only be reset")]
    Driver(String),
    #[error("mac={0}")]
    Mac(#[from] ParseMacError),
    #[error("{key}={text}: it is no IPv4 address")]
    Ip { key: String, text: String },
    #[error("{0} is of no use without identity=rewrite")]
    NoRewrite(&'static str),
}

const KEYS: &str = "identity, mac, ip, guest-ip, link and driver";

impl FromStr for CardChange {
    type Err = CardChangeError;

    fn from_str(text: &str) -> Result<CardChange, CardChangeError> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (id, tap) = match first.split_once('=') {
            Some((id, tap)) => (id, Some(tap)),
            None => (first, None),
        };
        let mut given = Given::default();
        for part in parts {
            given.take(part)?;
        }
        let identity = given.into_identity(id)?;
        // Nothing would differ.
        let says_nothing = tap.is_none() && identity.is_none();
        if id.is_empty() || tap == Some("") || says_nothing {
            return Err(CardChangeError::NoId);
        }
        Ok(CardChange { id: id.to_string(), tap: tap.map(str::to_string), identity })
    }
}

#[derive(Default)]
struct Given {
    rewrite: bool,
    mac: Option<MacAddr>,
    ip: Option<Ipv4Addr>,
    guest_ip: Option<Ipv4Addr>,
    flap: bool,
    reset: bool,
}

impl Given {
    fn take(&mut self, part: &str) -> Result<(), CardChangeError> {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let ip = || {
            let (key, text) = (key.to_string(), value.to_string());
            value.parse::<Ipv4Addr>().map_err(|_| CardChangeError::Ip { key, text })
        };
        let twice = match key {
            "identity" if value == "rewrite" => std::mem::replace(&mut self.rewrite, true),
            "identity" => return Err(CardChangeError::Identity(value.to_string())),
            "link" if value == "flap" => std::mem::replace(&mut self.flap, true),
            "link" => return Err(CardChangeError::Link(value.to_string())),
            "driver" if value == "reset" => std::mem::replace(&mut self.reset, true),
            "driver" => return Err(CardChangeError::Driver(value.to_string())),
            "mac" => self.mac.replace(value.parse()?).is_some(),
            "ip" => self.ip.replace(ip()?).is_some(),
            "guest-ip" | "guest_ip" => self.guest_ip.replace(ip()?).is_some(),
            _ => return Err(CardChangeError::Unknown(key.to_string())),
        };
        if twice { Err(CardChangeError::Twice(key.to_string())) } else { Ok(()) }
    }

    fn into_identity(self, id: &str) -> Result<Option<CardIdentity>, CardChangeError> {
        let Given { rewrite, mac, ip, guest_ip, flap, reset } = self;
        let keys = [("mac", mac.is_some()), ("ip", ip.is_some()), ("guest-ip", guest_ip.is_some())];
        if !rewrite && let Some((key, _)) = keys.into_iter().find(|(_, given)| *given) {
            return Err(CardChangeError::NoRewrite(key));
        }
        let rewrite = rewrite.then_some(Rewritten { mac, ip, guest_ip });
        let is_something = rewrite.is_some() || flap || reset;
        Ok(is_something.then(|| CardIdentity { id: id.to_string(), rewrite, flap, reset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> CardChange {
        text.parse().unwrap()
    }

    #[test]
    fn a_card_has_another_tap_another_identity_or_both() {
        let tap = change("eth0=tap3");
        assert_eq!((&*tap.id, tap.tap.as_deref(), tap.identity), ("eth0", Some("tap3"), None));
        let all = "eth0=tap3,identity=rewrite,mac=02:00:00:00:00:07,ip=10.0.0.7,guest-ip=10.0.0.1";
        let rewrite = Rewritten {
            mac: Some(MacAddr([2, 0, 0, 0, 0, 7])),
            ip: Some(Ipv4Addr::new(10, 0, 0, 7)),
            guest_ip: Some(Ipv4Addr::new(10, 0, 0, 1)),
        };
        let identity = change(all).identity.unwrap();
        assert_eq!((identity.id, identity.rewrite), ("eth0".to_string(), Some(rewrite)));
        let flap = change("eth0,link=flap");
        assert_eq!(
            (flap.tap, flap.identity.map(|it| (it.rewrite, it.flap))),
            (None, Some((None, true)))
        );
        let reset = change("eth0,driver=reset").identity.unwrap();
        assert_eq!((reset.rewrite, reset.flap, reset.reset), (None, false, true));
        let bare = change("eth0,identity=rewrite").identity.unwrap();
        assert_eq!(bare.rewrite, Some(Rewritten::default()));
    }

    #[test]
    fn what_is_wrong_is_said_by_its_key() {
        let why = |text: &str| text.parse::<CardChange>().unwrap_err().to_string();
        for text in ["", "eth0", "=tap0", "eth0="] {
            assert!(why(text).starts_with("write the id"), "{text}");
        }
        for (text, key) in [
            ("e=t,identity=other", "identity=other"),
            ("e=t,link=down", "link=down"),
            ("e=t,driver=none", "driver=none"),
            ("e=t,driver=reset,driver=reset", "driver is given twice"),
            ("e=t,identity=rewrite,mac=1", "mac="),
            ("e=t,identity=rewrite,ip=10.0.0", "ip=10.0.0"),
            ("e=t,identity=rewrite,guest-ip=::1", "guest-ip=::1"),
            ("e=t,ip=10.0.0.1", "ip is of no use"),
            ("e=t,identity=rewrite,identity=rewrite", "identity is given twice"),
            ("e=t,colour=red", "colour"),
        ] {
            assert!(why(text).contains(key), "{text}: {}", why(text));
        }
    }
}
