//! `vmm ctl migrate`.

use std::error::Error;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use crate::migration::spec::Limits;

/// Where a machine is to go on.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Where vmm receive waits for it: unix:PATH, tls:HOST:PORT or tcp:HOST:PORT
    #[arg(value_name = "WHERE", required_unless_present = "stop")]
    destination: Option<String>,

    /// Whom the certificate of a target by tls: is to be for; its HOST if not given
    #[arg(long, value_name = "NAME")]
    target_name: Option<String>,

    /// Send its memory by TCP, where everybody on the way can read and change it
    #[arg(long)]
    insecure: bool,

    /// Milliseconds that the machine may rest for: it is paused once what is left would go in this time
    #[arg(long, value_name = "MS", default_value_t = Limits::DOWNTIME.as_millis() as u64)]
    max_downtime: u64,

    /// How often memory is sent at most before that: all of it, then what was written meanwhile
    #[arg(long, value_name = "N", default_value_t = Limits::ROUNDS)]
    max_rounds: u32,

    /// Pause it after so many rounds for as long as it takes; it stays, and goes on, if not given
    #[arg(long)]
    regardless: bool,

    /// Have it stay that is being migrated
    #[arg(long, conflicts_with_all = ["destination", "target_name", "insecure", "regardless"])]
    stop: bool,
}

/// Migrates the machine; what became of it, or nothing if it is to stay. Fails with what the machine says, or without one.
pub fn run(client: &mut Client, migrate: &Migrate) -> Result<Option<Value>, Box<dyn Error>> {
    let Some(destination) = migrate.destination.as_ref().filter(|_| !migrate.stop) else {
        client.remove("/migration")?;
        return Ok(None);
    };
    let mut body = json!({
        "destination": by_number(destination)?,
        "insecure": migrate.insecure,
        "max_downtime_ms": migrate.max_downtime,
        "max_rounds": migrate.max_rounds,
        "at_last": if migrate.regardless { "go-on" } else { "give-up" },
    });
    if let Some(name) = migrate.target_name.clone().or_else(|| name_in(destination)) {
        body["target_name"] = name.into();
    }
    Ok(Some(client.put_for_long("/migration", &body)?))
}

/// Who a target by tls: is by where it is, if that is no number.
fn name_in(destination: &str) -> Option<String> {
    let (host, _) = destination.strip_prefix("tls:")?.rsplit_once(':')?;
    let is_number = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    (!is_number).then(|| host.to_string())
}

/// The VMM may have another working directory, and asks nobody for names.
fn by_number(destination: &str) -> Result<String, Box<dyn Error>> {
    if let Some(path) = destination.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        let path = std::path::absolute(Path::new(path))?;
        return Ok(format!("unix:{}", path.to_str().ok_or("the path is not UTF-8")?));
    }
    let Some((kind @ ("tcp" | "tls"), host)) = destination.split_once(':') else {
        return Ok(destination.to_string());
    };
    let mut found = host.to_socket_addrs().map_err(|error| format!("{destination}: {error}"))?;
    let address = found.next().ok_or_else(|| format!("{destination}: it has no address"))?;
    Ok(format!("{kind}:{address}"))
}

/// What became of it, for people.
pub fn show(migrated: &Value) -> String {
    let number = |field: &str| migrated[field].as_f64().unwrap_or_default();
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    format!(
        "it rested for {:.1} ms, all in {:.1} ms: {} rounds, {:.1} MiB, {} pages and {} zero ones, {:.0} MiB/s\n",
        number("downtime_ms"),
        number("total_ms"),
        migrated["rounds"],
        mib(number("bytes")),
        migrated["pages"],
        migrated["zero_pages"],
        mib(number("bytes_per_second")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_become_what_anybody_understands() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(by_number("unix:s").unwrap(), format!("unix:{}", here.join("s").display()));
        assert_eq!(by_number("tcp:[::1]:7000").unwrap(), "tcp:[::1]:7000");
        assert_eq!(by_number("else").unwrap(), "else");
        assert!(by_number("tcp:192.0.2.7").is_err());
        assert_eq!(by_number("tls:192.0.2.7:7000").unwrap(), "tls:192.0.2.7:7000");
        let name = |destination| name_in(destination);
        assert_eq!(name("tls:b.example:7000").as_deref(), Some("b.example"));
        assert!(
            ["tls:192.0.2.7:1", "tls:[::1]:1", "tcp:b.example:1", "unix:a:b"]
                .map(name)
                .iter()
                .all(Option::is_none)
        );
    }

    #[test]
    fn what_became_of_it_is_a_line() {
        let migrated = json!({
            "rounds": 3, "pages": 1000, "zero_pages": 7, "bytes": 4 << 20, "bytes_per_second": 1 << 30,
            "downtime_ms": 12.34, "total_ms": 99.5,
        });
        let text = "it rested for 12.3 ms, all in 99.5 ms: 3 rounds, 4.0 MiB, 1000 pages and 7 zero ones, 1024 MiB/s\n";
        assert_eq!(show(&migrated), text);
    }
}
