//! `vmm ctl fork`: starts children of the machine, and shows them.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use crate::snapshot::card::CardChange;
use crate::snapshot::spec::Rewritten;

/// What children get; `{n}` is the number of each.
#[derive(Debug, Args)]
pub struct Fork {
    /// How many
    #[arg(value_name = "N", default_value_t = 1)]
    count: u32,

    /// Number of the first
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    first: u32,

    /// TAP of a network card, once for each, such as eth0=tap{n}; the machine's TAP, - and the number if not given.
    /// identity=rewrite, mac=, ip= and guest-ip= behind it give it other addresses on the wire, the first child the ip and
    /// each next one the next; link=flap has the guest see its link go down and come again, driver=reset has it reset an
    /// ENA card
    #[arg(long, value_name = "ID=TAP")]
    net: Vec<CardChange>,

    /// Image of a disk that is written, once for each, such as root=/images/{n}.raw, which must not be there; the machine's
    /// image, . and the number if not given
    #[arg(long, value_name = "ID=FILE", value_parser = pair)]
    disk: Vec<(String, String)>,

    /// Names; the machine's, - and the number if not given
    #[arg(long, value_name = "NAME")]
    id: Option<String>,

    /// Sockets of their APIs; the machine's, . and the number if not given
    #[arg(long, value_name = "PATH")]
    api_sock: Option<PathBuf>,

    /// Sockets of their vsocks; the machine's, . and the number if not given
    #[arg(long, value_name = "PATH")]
    vsock: Option<PathBuf>,

    /// Serial consoles: file=PATH or socket=PATH; none if not given
    #[arg(long, value_name = "WHERE")]
    serial: Option<String>,

    /// Files of their logs; the machine's if not given
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Let them have children themselves
    #[arg(long)]
    forks: bool,

    /// Leave them paused
    #[arg(long)]
    paused: bool,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((id, tap)) if !id.is_empty() && !tap.is_empty() => Ok((id.into(), tap.into())),
        _ => Err("write the id, =, and what the children have, with {n} where their number goes"),
    }
}

/// Forks the machine; returns what became of it. Fails with what the machine says, or without one.
pub fn run(client: &mut Client, fork: &Fork) -> Result<Value, Box<dyn Error>> {
    let path = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
    let net = fork.net.iter().map(card).collect::<Result<Vec<_>, _>>()?;
    let disk = |(id, path): &(String, String)| {
        let path = absolute(Path::new(path))?;
        Ok::<_, Box<dyn Error>>(json!({ "drive_id": id, "path_on_host": path }))
    };
    let disks = fork.disk.iter().map(disk).collect::<Result<Vec<_>, _>>()?;
    let mut body = json!({
        "drive_overrides": disks,
        "count": fork.count,
        "first": fork.first,
        "network_overrides": net,
        "resume_vm": !fork.paused,
        "forks": fork.forks,
        "id": fork.id,
        "api_socket": path(&fork.api_sock)?,
        "serial": fork.serial,
        "log_path": path(&fork.log_file)?,
    });
    if let Some(path) = path(&fork.vsock)? {
        body["vsock_override"] = json!({ "uds_path": path });
    }
    Ok(client.put_for("/fork", &body)?)
}

/// What the API is told of a card. Fails if that is on no TAP.
fn card(change: &CardChange) -> Result<Value, String> {
    let CardChange { id, tap, identity } = change;
    let tap = tap.as_ref().ok_or_else(|| format!("--net {id}: name the children's TAPs too"))?;
    let mut body = json!({ "iface_id": id, "host_dev_name": tap });
    if let Some(Rewritten { mac, ip, guest_ip }) =
        identity.as_ref().and_then(|identity| identity.rewrite)
    {
        body["identity"] = json!("rewrite");
        body["mac"] = json!(mac);
        body["ip"] = json!(ip);
        body["guest_ip"] = json!(guest_ip);
    }
    if identity.as_ref().is_some_and(|identity| identity.flap) {
        body["link"] = json!("flap");
    }
    if identity.as_ref().is_some_and(|identity| identity.reset) {
        body["driver"] = json!("reset");
    }
    Ok(body)
}

/// The VMM may have another working directory.
fn absolute(path: &Path) -> Result<String, Box<dyn Error>> {
    Ok(std::path::absolute(path)?.to_str().ok_or("the path is not UTF-8")?.to_string())
}

/// The children, for people.
pub fn show(forked: &Value) -> String {
    let mut text = String::new();
    for child in forked["children"].as_array().into_iter().flatten() {
        let word = |field: &str| child[field].as_str().unwrap_or_default().to_string();
        let (id, socket) = (word("id"), word("api_socket"));
        text.push_str(&format!("{id}  pid {}  {socket}", child["pid"]));
        for nic in child["network_interfaces"].as_array().into_iter().flatten() {
            let word = |field: &str| nic[field].as_str().unwrap_or_default();
            text.push_str(&format!("  {}={}", word("iface_id"), word("host_dev_name")));
        }
        text.push('\n');
    }
    let ms = |field: &str| forked[field].as_f64().unwrap_or_default() / 1000.0;
    text.push_str(&format!(
        "paused for {:.1} ms, all in {:.1} ms\n",
        ms("pause_us"),
        ms("took_us")
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_shown_a_line_each() {
        let forked = json!({
            "children": [{
                "id": "a-1", "pid": 77, "api_socket": "/s.1",
                "network_interfaces": [{ "iface_id": "eth0", "host_dev_name": "tap0-1" }],
            }],
            "memory_bytes": 4096, "pause_us": 1500, "took_us": 12000,
        });
        let text = "a-1  pid 77  /s.1  eth0=tap0-1\npaused for 1.5 ms, all in 12.0 ms\n";
        assert_eq!(show(&forked), text);
        assert_eq!(pair("eth0=t{n}"), Ok(("eth0".into(), "t{n}".into())));
        assert!(pair("eth0").is_err() && pair("=t").is_err());
    }

    #[test]
    fn what_a_card_gets_is_said_as_the_api_wants_it() {
        let said = |text: &str| card(&text.parse().unwrap());
        let plain = json!({ "iface_id": "eth0", "host_dev_name": "t{n}" });
        assert_eq!(said("eth0=t{n}").unwrap(), plain);
        let other = said("eth0=t,identity=rewrite,ip=10.0.0.7,link=flap,driver=reset").unwrap();
        assert_eq!((&other["identity"], &other["ip"]), (&json!("rewrite"), &json!("10.0.0.7")));
        assert_eq!((&other["link"], &other["mac"]), (&json!("flap"), &Value::Null));
        assert_eq!(other["driver"], "reset");
        assert!(said("eth0,link=flap").unwrap_err().contains("name the children's TAPs"));
    }
}
