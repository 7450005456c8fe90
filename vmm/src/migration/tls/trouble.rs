//! What is wrong with the other end of TLS, in words that stand behind "the target" or "the source".

use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};

/// In one line, and what to do if that can be said.
pub fn told(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => "it shows no certificate".to_string(),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => "it does not speak TLS".to_string(),
        Error::PeerIncompatible(why) => {
            format!("it has no TLS 1.3 that this vmm has too ({why:?})")
        }
        Error::DecryptError => "what it says was changed on the way".to_string(),
        error => format!("TLS failed: {error}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext,
        NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    match error {
        UnknownIssuer => "its certificate is signed by no authority of --tls-ca".to_string(),
        BadSignature => {
            "a signature is wrong: its certificate may be of another authority with the name of one of --tls-ca"
                .to_string()
        }
        Expired => "its certificate has expired".to_string(),
        ExpiredContext { time, not_after } => {
            let since = time.as_secs().saturating_sub(not_after.as_secs());
            format!("its certificate has expired, by this host's clock {} ago", span(since))
        }
        NotValidYet => "its certificate is not valid yet".to_string(),
        NotValidYetContext { time, not_before } => {
            let until = not_before.as_secs().saturating_sub(time.as_secs());
            format!("its certificate is valid only in {}, by this host's clock", span(until))
        }
        NotValidForName => "its certificate is for another name".to_string(),
        NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_string() } else { names.join(", ") };
            format!("its certificate is for {names}, and not for {}", expected.to_str())
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "its certificate is for another purpose (extended key usage: a target's is to be a server's, a source's a client's)"
                .to_string()
        }
        error => format!("its certificate cannot be believed: {error}"),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, HandshakeFailure, ProtocolVersion, UnknownCA,
        UnsupportedCertificate,
    };
    match alert {
        DecryptError => {
            "a signature is wrong to it: this vmm's certificate may be of another authority with the name of one of its --tls-ca"
                .to_string()
        }
        UnknownCA => {
            "it refuses this vmm's certificate: no authority of its --tls-ca has signed it"
                .to_string()
        }
        CertificateExpired => {
            "it refuses this vmm's certificate: that has expired, by its clock".to_string()
        }
        CertificateRequired => "it wants a certificate".to_string(),
        BadCertificate
        | CertificateRevoked
        | CertificateUnknown
        | UnsupportedCertificate
        | AccessDenied => {
            format!("it refuses this vmm's certificate ({alert:?})")
        }
        HandshakeFailure | ProtocolVersion => {
            format!("it has no TLS 1.3 that this vmm has too ({alert:?})")
        }
        alert => format!("it ends TLS ({alert:?})"),
    }
}

/// A name without its kind, which stands around it: `DnsName("a.example")`, `IpAddress(192.0.2.7)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// So many seconds, for people.
fn span(seconds: u64) -> String {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        DAY.. => format!("{} days", seconds / DAY),
        HOUR.. => format!("{} h", seconds / HOUR),
        _ => format!("{:?}", Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_what_there_is_to_know() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired =
            CertificateError::ExpiredContext { time: at(3 * 86_400 + 9), not_after: at(8) };
        assert!(told(&expired.into()).contains("3 days ago"));
        let early = CertificateError::NotValidYetContext { time: at(8), not_before: at(20) };
        assert!(told(&early.into()).contains("in 12s"));
        let other = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.example").unwrap(),
            presented: vec!["DnsName(\"b.example\")".into(), "IpAddress(192.0.2.7)".into()],
        };
        assert_eq!(
            told(&other.into()),
            "its certificate is for b.example, 192.0.2.7, and not for a.example"
        );
        assert!(told(&CertificateError::UnknownIssuer.into()).contains("--tls-ca"));
        assert!(told(&Error::AlertReceived(AlertDescription::UnknownCA)).contains("--tls-ca"));
        assert_eq!(
            told(&Error::AlertReceived(AlertDescription::InternalError)),
            "it ends TLS (InternalError)"
        );
    }
}
