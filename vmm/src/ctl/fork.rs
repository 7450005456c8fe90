//! `vmm ctl fork`.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;

/// What children get; `{n}` is the number of each.
#[derive(Debug, Args)]
pub struct Fork {
    /// How many
    #[arg(value_name = "N", default_value_t = 1)]
    count: u32,

    /// Number of the first
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    first: u32,

    /// TAP of a network card, once for each, such as eth0=tap{n}; the machine's TAP, - and the number if not given
    #[arg(long, value_name = "ID=TAP", value_parser = pair)]
    net: Vec<(String, String)>,

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
    let net = fork.net.iter().map(|(id, tap)| json!({ "iface_id": id, "host_dev_name": tap }));
    let disk = |(id, path): &(String, String)| {
        let path = absolute(Path::new(path))?;
        Ok::<_, Box<dyn Error>>(json!({ "drive_id": id, "path_on_host": path }))
    };
    let disks = fork.disk.iter().map(disk).collect::<Result<Vec<_>, _>>()?;
    let mut body = json!({
        "drive_overrides": disks,
        "count": fork.count,
        "first": fork.first,
        "network_overrides": net.collect::<Vec<_>>(),
        "resume_vm": !fork.paused,
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
}
