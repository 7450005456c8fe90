//! Captures of a card's frames, as tshark reads them, and its latencies.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::net::Tap;
use tests::tshark::{self, Flow, Frame};

use crate::api::{NIC, Served};
use crate::network::{ANSWER, printed, socket};

/// Flows that the host sends to the guest, datagrams of each, and the port that nobody listens on.
const PORTS: std::ops::Range<u16> = 20_000..20_020;
const EACH: usize = 3;
const PORT: u16 = 9;
/// Bytes of a TCP stream each way: some segments at once, where the card takes them so.
const STREAM: u64 = 50_000;
/// More than any frame has, so that all are captured whole.
const WHOLE: u64 = 100_000;

/// A card of more than one queue is captured, and times its frames.
pub fn has_each_frame(served: &mut Served) -> Result<()> {
    let tap = served.wired.tap.clone();
    let path = served.folder.join("frames.pcapng");
    let capture = format!("{NIC}/capture");
    let explained = PORTS.map(|port| explain(served, &tap, port)).collect::<Result<Vec<_>>>()?;
    served.api.done("PUT", &format!("{NIC}/latency"), &json!({ "on": true }))?;

    // A card that rests moves no frame, so that it counts what is captured, and nothing else.
    served.set_state("Paused")?;
    let before = moved(served)?;
    served.api.done("PUT", &capture, &json!({ "path": path, "snap_len": WHOLE }))?;
    served.set_state("Resumed")?;
    served.wired.ping_guest(&tap.guest_ipv4, 10)?;
    let ports = PORTS.map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    let to = socket(&tap.guest_ipv4, PORT);
    printed(served.wired.traffic(&["send-from", &to, &format!("{EACH}:{ports}")])?, ANSWER)?;
    served.wired.streams_each_way(STREAM, &tap.host_ipv4, &tap.guest_ipv4)?;
    let running = served.api.get(&capture)?;
    ensure!(running["ended"].is_null(), "{running}");
    served.set_state("Paused")?;
    let after = moved(served)?;
    let ended = served.api.ask("DELETE", &capture, "")?.json()?;
    served.set_state("Resumed")?;
    ensure!(ended["ended"] == "stopped" && ended["dropped"] == 0, "{ended}");

    let frames = tshark::read(&path)?;
    ensure!(ended["frames"] == frames.len(), "{} frames of {ended}", frames.len());
    are_what_the_card_moved(&frames, &before, &after)?;
    have_the_flows(&frames, &tap, &explained)?;
    // What the guest's kernel leaves to its card.
    ensure!(frames.iter().any(|frame| frame.comment.contains("still to be stored")), "no offload");
    is_nobodys_to_overwrite(served, &path)?;
    has_latencies(served)
}

/// Frames and bytes that the card moved: by queue, and to the guest or from it.
type Moved = BTreeMap<(u64, bool), (u64, u64)>;

fn moved(served: &mut Served) -> Result<Moved> {
    let mut moved = Moved::new();
    for (inbound, frames, bytes) in
        [(true, "rx_frames", "rx_bytes"), (false, "tx_frames", "tx_bytes")]
    {
        let (frames, bytes) = (served.frames(frames)?, served.frames(bytes)?);
        for (queue, both) in (0..).zip(frames.into_iter().zip(bytes)) {
            moved.insert((queue, inbound), both);
        }
    }
    Ok(moved)
}

fn are_what_the_card_moved(frames: &[Frame], before: &Moved, after: &Moved) -> Result<()> {
    let mut found: Moved = before.keys().map(|key| (*key, (0, 0))).collect();
    for frame in frames {
        ensure!(frame.interface == "eth0" && !frame.malformed, "{frame:?}");
        ensure!(frame.len == frame.kept, "{frame:?} is not whole");
        let sum = found.get_mut(&(frame.queue, frame.inbound));
        let sum = sum.with_context(|| format!("no such queue: {frame:?}"))?;
        *sum = (sum.0 + 1, sum.1 + frame.len);
    }
    for (key, (frames, bytes)) in found {
        let (from, to) = (before[&key], after[&key]);
        let counted = (to.0 - from.0, to.1 - from.1);
        ensure!(
            (frames, bytes) == counted,
            "{key:?}: {frames} frames of {bytes} bytes, counted {counted:?}"
        );
    }
    Ok(())
}

/// Where the host's datagrams from a port go, and what is said of their hash; nothing where the guest
/// has no hash table.
fn explain(served: &mut Served, tap: &Tap, port: u16) -> Result<Option<(u64, String)>> {
    let flow = json!({
        "source": tap.host_ipv4, "destination": tap.guest_ipv4, "protocol": "udp",
        "source_port": port, "destination_port": PORT,
    });
    let answer = served.api.ask("POST", &format!("{NIC}/explain-flow"), &flow.to_string())?;
    if answer.status == 400 && answer.fault()?.contains("no hash key") {
        return Ok(None);
    }
    let said = answer.json()?;
    let queue = said["queue"].as_u64().with_context(|| format!("no queue: {said}"))?;
    let hash = said["hash"].as_u64().filter(|_| said["hash_type"] == "udp4");
    let hash = hash.with_context(|| format!("no hash: {said}"))?;
    Ok(Some((queue, format!("hash {hash:#010x} of UDP over IPv4"))))
}

/// Each flow that was sent, and each of its datagrams, where it was said to go.
fn have_the_flows(frames: &[Frame], tap: &Tap, explained: &[Option<(u64, String)>]) -> Result<()> {
    let mut seen: BTreeMap<Flow, Vec<&Frame>> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.inbound) {
        let flow = frame.udp.iter().filter(|flow| flow.destination_port == PORT);
        flow.for_each(|flow| seen.entry(flow.clone()).or_default().push(frame));
    }
    ensure!(seen.len() == PORTS.len(), "{} flows: {seen:?}", seen.len());
    for (port, said) in PORTS.zip(explained) {
        let flow = Flow {
            source: tap.host_ipv4.clone(),
            destination: tap.guest_ipv4.clone(),
            source_port: port,
            destination_port: PORT,
        };
        let datagrams = seen.get(&flow).with_context(|| format!("no {flow:?}"))?;
        ensure!(datagrams.len() == EACH, "{} of {flow:?}", datagrams.len());
        let Some((queue, hashed)) = said else { continue };
        let right = |frame: &&Frame| frame.queue == *queue && frame.comment.contains(hashed);
        ensure!(datagrams.iter().all(right), "not in queue {queue} with {hashed}: {datagrams:?}");
    }
    Ok(())
}

fn is_nobodys_to_overwrite(served: &mut Served, path: &Path) -> Result<()> {
    let capture = json!({ "path": path }).to_string();
    let again = served.api.ask("PUT", &format!("{NIC}/capture"), &capture)?;
    ensure!(again.status == 400 && again.fault()?.contains("exists"), "{again:?}");
    Ok(())
}

fn has_latencies(served: &mut Served) -> Result<()> {
    let latency = served.api.get(&format!("{NIC}/latency"))?;
    let pairs = latency["pairs"].as_array().context("no pairs")?;
    for stretch in ["doorbell_to_tap", "tap_to_completion", "tap_to_guest"] {
        let told: Vec<&Value> = pairs.iter().map(|pair| &pair[stretch]).collect();
        let count: u64 = told.iter().filter_map(|told| told["count"].as_u64()).sum();
        ensure!(count >= 10, "{stretch}: {latency}");
        let ordered = |told: &&Value| told["p50"].as_u64() <= told["p999"].as_u64();
        ensure!(told.iter().all(ordered), "{stretch}: {latency}");
    }
    Ok(())
}
