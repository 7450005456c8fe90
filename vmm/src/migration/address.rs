//! Where a machine goes to, or is awaited.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A socket that carries a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket of this host.
    Unix(PathBuf),
    /// An address of a network, by number.
    Tcp(SocketAddr),
    /// The same, by TLS.
    Tls(SocketAddr),
}

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    #[error("{0:?}: write unix:PATH, tls:ADDRESS:PORT or tcp:ADDRESS:PORT")]
    Kind(String),
    #[error("{0:?}: the path is missing")]
    Path(String),
    #[error(
        "{0:?}: write an address by number and a port, such as tls:192.0.2.7:7000 or tls:[2001:db8::7]:7000"
    )]
    Network(String),
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        match text.split_once(':') {
            Some(("unix", "")) => Err(ParseAddressError::Path(text.to_string())),
            Some(("unix", path)) => Ok(Address::Unix(path.into())),
            Some((kind @ ("tcp" | "tls"), address)) => match address.parse() {
                Ok(address) if kind == "tcp" => Ok(Address::Tcp(address)),
                Ok(address) => Ok(Address::Tls(address)),
                Err(_) => Err(ParseAddressError::Network(text.to_string())),
            },
            _ => Err(ParseAddressError::Kind(text.to_string())),
        }
    }
}

/// As it is written.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Tls(address) => write!(f, "tls:{address}"),
        }
    }
}

/// Where machines may go by TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// This address, or any.
    pub host: Option<IpAddr>,
    /// This port.
    pub port: u16,
}

impl Reach {
    /// Whether an address is among them.
    pub fn has(&self, address: &SocketAddr) -> bool {
        self.port == address.port() && self.host.is_none_or(|host| host == address.ip())
    }
}

impl FromStr for Reach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Reach, &'static str> {
        let port = |port: &str| port.parse().ok().filter(|port| *port > 0);
        let reach = match text.strip_prefix("*:") {
            Some(any) => port(any).map(|port| Reach { host: None, port }),
            None => match text.parse::<SocketAddr>() {
                Ok(one) => Some(Reach { host: Some(one.ip()), port: one.port() }),
                Err(_) => None,
            },
        };
        reach.ok_or("write an address by number, or *, then : and a port, such as 192.0.2.7:7000")
    }
}

/// As it is written.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Some(host) => SocketAddr::new(host, self.port).fmt(f),
            None => write!(f, "*:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in
            ["unix:/run/vm.sock", "unix:a:b", "tcp:192.0.2.7:7000", "tcp:[::1]:1", "tls:[::1]:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for (text, word) in [
            ("", "unix:PATH"),
            ("/run/vm.sock", "unix:PATH"),
            ("unix:", "path is missing"),
            ("tcp:host:7000", "by number"),
            ("tcp:192.0.2.7", "a port"),
            ("tls:host:7000", "by number"),
            ("udp:192.0.2.7:1", "unix:PATH"),
        ] {
            let why = text.parse::<Address>().unwrap_err().to_string();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn a_machine_goes_by_tcp_where_its_address_and_port_are_among_those() {
        let reach = |text: &str| text.parse::<Reach>().unwrap();
        let has = |reach: &Reach, text: &str| reach.has(&text.parse().unwrap());
        let (one, any) = (reach("192.0.2.7:7000"), reach("*:7000"));
        assert!(has(&one, "192.0.2.7:7000") && has(&any, "[::1]:7000"));
        assert!(!has(&one, "192.0.2.8:7000") && !has(&any, "192.0.2.7:7001"));
        for text in ["192.0.2.7:7000", "[::1]:5", "*:7000"] {
            assert_eq!(reach(text).to_string(), text);
        }
        assert!(
            ["*", "*:", "*:0", "*:70000", "host:1", "7000"]
                .iter()
                .all(|text| text.parse::<Reach>().is_err())
        );
    }
}
