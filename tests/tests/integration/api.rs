//! A machine's life over its API: configured, started, looked into, paused, limited, powered off.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::Api;
use tests::kernel::Release;
use tests::machine::{BOOT, Machine, Model, Running};
use tests::net::Network;

use crate::capture;
use crate::network::{ANSWER, printed, socket};
use crate::scenario::{OFF, Scenario, Wired, eventually, is_as_limited, long, machine};

pub fn scenarios() -> Vec<Scenario> {
    if long() { each_alone() } else { in_two_lives() }
}

/// What the quick round looks at: the same, but for flows by their numbers, as captures have each where it was said to go,
/// and the limit of an ENA card, which its allowances are.
fn in_two_lives() -> Vec<Scenario> {
    let by_requests = || {
        let mut served = Served::boot(Model::Virtio, 2)?;
        pauses(&mut served)?;
        capture::has_each_frame(&mut served).context("captured")?;
        life(&mut served)?;
        keeps_a_limit(&mut served)?;
        served.power_off()
    };
    let by_file = || {
        let mut served = Served::of_file(2)?;
        pauses(&mut served)?;
        capture::has_each_frame(&mut served).context("captured")?;
        life(&mut served)?;
        fault(&mut served)?;
        served.power_off()
    };
    vec![
        Scenario::new("api::a_machine_lives_pauses_and_is_captured_by_requests_alone", by_requests),
        Scenario::new("api::a_machine_of_a_file_lives_alike_and_has_faults_on_demand", by_file),
    ]
}

fn each_alone() -> Vec<Scenario> {
    let mut all = Vec::new();
    for model in [Model::Virtio, Model::Ena] {
        let name = format!("api::pauses_lose_no_frame_and_captures_have_each [{model:?}]");
        all.push(Scenario::new(name, move || {
            let mut served = Served::boot(model, 2)?;
            pauses(&mut served)?;
            capture::has_each_frame(&mut served).context("captured")?;
            served.power_off()
        }));
    }
    all.push(Scenario::new("api::a_machine_lives_by_requests_alone_and_keeps_a_limit", || {
        let mut served = Served::boot(Model::Virtio, 1)?;
        life(&mut served)?;
        keeps_a_limit(&mut served)?;
        served.power_off()
    }));
    all.push(Scenario::new(
        "api::a_machine_of_a_file_lives_alike_and_has_faults_on_demand",
        || {
            let mut served = Served::of_file(1)?;
            life(&mut served)?;
            keeps_a_limit(&mut served)?;
            fault(&mut served)?;
            served.power_off()
        },
    ));
    all.push(Scenario::new("api::flows_go_where_they_are_said_to", explained));
    all
}

pub const NIC: &str = "/network-interfaces/eth0";

/// A guest with one card, and the API of its machine.
pub struct Served {
    pub wired: Wired,
    pub api: Api,
    /// Of the API's socket, where files may be opened by then.
    pub folder: PathBuf,
}

/// Starts a machine; gives its API's socket.
type Start = fn(&Machine, Option<&Network>) -> Result<(Running, PathBuf)>;

impl Served {
    pub fn boot(model: Model, queues: u16) -> Result<Self> {
        Self::boot_by(model, queues, Machine::start_by_api)
    }

    /// One with an ENA card, of a configuration file.
    fn of_file(queues: u16) -> Result<Self> {
        let mut served = Self::boot_by(Model::Ena, queues, Machine::start_by_file)?;
        let config = served.api.get("/vm/config")?;
        ensure!(config["machine-config"]["vcpu_count"] == 2, "{config}");
        Ok(served)
    }

    fn boot_by(model: Model, queues: u16, start: Start) -> Result<Self> {
        let mut network = Network::new()?;
        let tap = network.tap(queues, 1500)?;
        let machine = machine(Release::Guest6_1)?.cpus(2).memory(512).card_of(model, &tap);
        let machine = machine.argument("--log-level").argument("info");
        let (running, socket) = start(&machine, Some(&network))?;
        let shell = running.shell(BOOT)?;
        let api = Api::wait(&socket, BOOT)?;
        let wired = Wired { shell, running, tap, network };
        wired.reaches_guest()?;
        let folder = socket.parent().context("the socket is in no folder")?.to_owned();
        Ok(Self { wired, api, folder })
    }

    /// Frames of one direction that each queue pair of the card has moved.
    pub fn frames(&mut self, counter: &str) -> Result<Vec<u64>> {
        frames(&mut self.api, counter)
    }

    pub fn set_state(&mut self, state: &str) -> Result<()> {
        self.api.done("PATCH", "/vm", &json!({ "state": state }))
    }

    /// Presses the power button, and waits for the guest to go.
    pub fn power_off(mut self) -> Result<()> {
        self.api.act("PowerButton")?;
        self.wired.running.expect_exit(0, OFF)
    }
}

fn life(served: &mut Served) -> Result<()> {
    let instance = served.api.get("/")?;
    ensure!(instance["state"] == "Running", "{instance}");
    served.wired.ping_guest(&served.wired.tap.guest_ipv4, 5)?;
    let nic = served.api.get(NIC)?;
    let driver = &nic["driver"];
    ensure!(nic["condition"] == "running" && nic["link_up"] == true, "{nic}");
    ensure!(driver["about"].is_string() || driver["features"].is_array(), "{nic}");
    ensure!(nic["mac"] == served.wired.tap.mac.as_str(), "{nic}");
    let frames = |nic: &Value, way: &str| nic["totals"][way].as_u64().unwrap_or(0);
    ensure!(frames(&nic, "rx_frames") >= 5 && frames(&nic, "tx_frames") >= 5, "{nic}");

    // While it rests nothing answers, and afterwards everything.
    served.set_state("Paused")?;
    let resting = served.frames("tx_frames")?;
    ensure!(served.wired.is_silent()?, "it rests and answers");
    ensure!(served.frames("tx_frames")? == resting, "it rests and sends");
    served.set_state("Resumed")?;
    served.wired.reaches_guest()?;

    served.api.done("PUT", &format!("{NIC}/link"), &json!({ "up": false }))?;
    eventually("loss of the link", ANSWER, || {
        Ok(served.wired.shell.run("[ $(cat /sys/class/net/eth0/carrier) = 0 ]", ANSWER)?.status
            == 0)
    })?;
    served.api.done("PUT", &format!("{NIC}/link"), &json!({ "up": true }))?;
    served.wired.reaches_guest()
}

/// Pauses and goes on again and again, while a stream of bytes arrives whole each way and the guest
/// sends datagrams: what it counts as sent is what the host got.
fn pauses(served: &mut Served) -> Result<()> {
    let count = if long() { 1000 } else { 40 };
    let tap = served.wired.tap.clone();
    served.wired.shell.sh("sysctl -w net.ipv6.conf.eth0.disable_ipv6=1 >/dev/null 2>&1 || true")?;
    let to = socket(&tap.host_ipv4, 9);
    served
        .wired
        .shell
        .sh(&format!("traffic flood {to} --size 64 --seconds 600 >/dev/null 2>&1 &"))?;
    let flood = served.wired.traffic(&["flood", &socket(&tap.guest_ipv4, 9), "--seconds", "2"])?;
    for nth in 0..count {
        served.set_state("Paused")?;
        let resting: u64 = served.frames("tx_frames")?.iter().sum();
        served.set_state("Resumed")?;
        // Mostly at once again, before the guest has done anything.
        if nth % 4 == 0 {
            eventually("frames after a pause", ANSWER, || {
                Ok(served.frames("tx_frames")?.iter().sum::<u64>() > resting)
            })?;
        }
    }
    printed(flood, ANSWER)?;
    served.wired.shell.sh_within("killall traffic; wait", ANSWER)?;
    served.wired.reaches_guest()?;

    let mut told = String::new();
    let same = eventually("all frames", ANSWER, || {
        let sent = "cat /sys/class/net/eth0/statistics/tx_packets";
        let sent: u64 = served.wired.shell.sh(sent)?.trim().parse()?;
        let moved: u64 = served.frames("tx_frames")?.iter().sum();
        let got = served.wired.network.statistic(&tap, "rx_packets")?;
        told = format!("the guest sent {sent}, its card {moved}, and the host got {got}");
        Ok(sent == moved && moved == got)
    });
    same.with_context(|| told)?;
    let figures = served.api.ask("GET", "/metrics", "")?;
    ensure!(figures.body.contains(&format!("vmm_pauses_total {count}\n")), "{}", figures.body);
    served.wired.streams_each_way(200_000, &tap.host_ipv4, &tap.guest_ipv4)
}

/// Frames of one direction that each queue pair of the first card has moved.
pub fn frames(api: &mut Api, counter: &str) -> Result<Vec<u64>> {
    let nic = api.get(NIC)?;
    let pairs = nic["pairs"].as_array().context("no pairs")?;
    let of = |pair: &Value| pair["counters"][counter].as_u64().context("no counter");
    pairs.iter().map(of).collect()
}

/// Bytes per second that come to the guest, over some seconds.
fn received_rate(served: &mut Served) -> Result<f64> {
    let bytes = |served: &mut Served| -> Result<(Instant, u64)> {
        Ok((Instant::now(), served.frames("rx_bytes")?.iter().sum()))
    };
    let (begin, before) = bytes(served)?;
    std::thread::sleep(Duration::from_secs(if long() { 6 } else { 3 }));
    let (end, after) = bytes(served)?;
    Ok((after - before) as f64 / end.duration_since(begin).as_secs_f64())
}

fn keeps_a_limit(served: &mut Served) -> Result<()> {
    const RATE: u32 = 100_000;
    let to = socket(&served.wired.tap.guest_ipv4, 9);
    let flood = served.wired.traffic(&["flood", &to, "--size", "1400", "--seconds", "20"])?;
    let bucket = json!({ "size": RATE / 10, "refill_time": 100 });
    let patch = json!({ "iface_id": "eth0", "rx_rate_limiter": { "bandwidth": bucket } });
    served.api.done("PATCH", NIC, &patch)?;
    // What the limit let through at once is over by then.
    std::thread::sleep(Duration::from_secs(1));
    let rate = received_rate(served)?;
    ensure!(is_as_limited(rate, RATE.into()), "{rate} bytes a second instead of {RATE}");
    let exceeded = served.api.get(NIC)?;
    ensure!(exceeded["allowances"]["bw_in_exceeded"].as_u64() > Some(0), "{exceeded}");
    drop(flood);
    Ok(())
}

/// Flows that are tried, and the port that nobody listens on.
const FLOWS: u16 = 1000;
const PORT: u16 = 9;

fn explained() -> Result<()> {
    const QUEUES: u16 = 4;
    let mut served = Served::boot(Model::Ena, QUEUES)?;
    let tap = served.wired.tap.clone();
    let mut expected = vec![0u64; QUEUES.into()];
    let ports: Vec<u16> = (0..FLOWS).map(|n| 20_000 + n * 37).collect();
    for port in &ports {
        let flow = json!({
            "source": tap.host_ipv4, "destination": tap.guest_ipv4, "protocol": "udp",
            "source_port": port, "destination_port": PORT,
        });
        let answer = served.api.ask("POST", &format!("{NIC}/explain-flow"), &flow.to_string())?;
        let said = answer.json()?;
        let queue = said["queue"].as_u64().with_context(|| format!("no queue: {said}"))?;
        ensure!(said["hash"].is_u64() && said["vector"].is_u64(), "{said}");
        ensure!(said["vcpus"].as_array().is_some_and(|vcpus| !vcpus.is_empty()), "{said}");
        expected[usize::try_from(queue)?] += 1;
    }
    let before = served.frames("rx_frames")?;
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let to = socket(&tap.guest_ipv4, PORT);
    printed(served.wired.traffic(&["send-from", &to, &format!("1:{ports}")])?, ANSWER)?;
    let mut arrived = Vec::new();
    eventually("datagrams", ANSWER, || {
        let now = served.frames("rx_frames")?;
        arrived = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        Ok(arrived.iter().sum::<u64>() >= u64::from(FLOWS))
    })?;
    // Besides there may be a few packets that nobody asked for.
    let told = format!("said {expected:?}, arrived {arrived:?}");
    let off = |(said, came): (&u64, &u64)| said.abs_diff(*came);
    ensure!(expected.iter().zip(&arrived).map(off).sum::<u64>() < 20, "{told}");
    let rss = served.api.get(&format!("{NIC}/rss"))?;
    let hits = rss["table"].as_array().context("no table")?.iter();
    let hits: u64 = hits.filter_map(|bucket| bucket["hits"].as_u64()).sum();
    ensure!(hits >= u64::from(FLOWS), "{hits} hits of {rss}");
    served.power_off()
}

/// Linux's driver resets a card whose keep-alives stop, for reason 1.
fn fault(served: &mut Served) -> Result<()> {
    let faults = format!("{NIC}/faults");
    let resets = |nic: &Value| nic["resets"].as_u64().unwrap_or(0);
    let before = resets(&served.api.get(NIC)?);
    // A driver may have missed keep-alives before, where its guest stood still for long.
    let missed = |served: &Served| served.wired.resets().iter().filter(|code| **code == 1).count();
    let missed_before = missed(served);
    served.api.done("PUT", &faults, &json!({ "fault": "stop-keep-alive" }))?;
    let nic = served.api.get(NIC)?;
    ensure!(nic["faults"] == json!(["stop-keep-alive"]), "{nic}");
    // It is followed by that of the driver's new beginning, and then the last one is for no reason.
    eventually("the reset", ANSWER, || Ok(missed(served) > missed_before))?;
    let nic = served.api.get(NIC)?;
    let last = nic["last_reset"]["code"].as_u64();
    ensure!(resets(&nic) > before && last.is_some_and(|code| code <= 1), "{nic}");
    ensure!(nic["faults"] == json!([]), "{nic}");
    served.wired.reaches_guest()?;

    served.api.done("PUT", &faults, &json!({ "fault": "no-answer" }))?;
    let cleared = served.api.ask("DELETE", &faults, "")?;
    ensure!(cleared.status == 204, "{cleared:?}");
    let nic = served.api.get(NIC)?;
    ensure!(nic["faults"] == json!([]), "{nic}");
    served.wired.shell.sh("ethtool -S eth0 >/dev/null")?;
    Ok(())
}
