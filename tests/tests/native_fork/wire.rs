//! A fork whose children have other addresses on the wire.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::frames::Link;

use crate::{CHILDREN, LIMIT, Scene};

/// Each child is heard from the address that the answer names, which is no other child's.
pub fn others(scene: &Scene) -> Result<()> {
    let mut machine = scene.start(&[])?;
    let _taps = scene.taps(1)?;
    let card = json!({
        "iface_id": "eth0", "host_dev_name": format!("{}-{{n}}", tests::native::line::TAP),
        "identity": "rewrite", "ip": "10.0.0.10", "guest_ip": "10.0.0.1",
    });
    let body = json!({ "count": CHILDREN, "network_overrides": [card] });
    let answer = machine.api.ask("PUT", "/fork", &body.to_string())?;
    ensure!(answer.status == 200, "{answer:?}");
    let answer = answer.json()?;
    let mut seen = Vec::new();
    for (number, child) in answer["children"].as_array().context("none")?.iter().enumerate() {
        let nic = &child["network_interfaces"][0];
        ensure!(nic["ip"] == format!("10.0.0.{}", 10 + number), "{nic}");
        let mac = nic["mac"].as_str().context("no address")?.to_owned();
        ensure!(mac != "02:00:00:00:00:01" && !seen.contains(&mac), "{mac} behind {seen:?}");
        let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
        let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
        let link = Link::open(nic["host_dev_name"].as_str().context("no TAP")?)?;
        let frame = link.hear_first(&bytes, LIMIT)?;
        ensure!(frame.is_some(), "silence of {mac}");
        seen.push(mac);
    }
    ensure!(seen.len() == CHILDREN);
    Ok(())
}
