//! Faults that an ENA card rehearses: its driver tells what went wrong, resets the card, and traffic resumes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, from_str, json};
use tests::api::Api;
use tests::kernel::Release;

use crate::api::NIC;
use crate::ena::boot;
use crate::network::ANSWER;
use crate::scenario::{COMPLAINTS, Scenario, Wired, eventually};

pub fn scenarios() -> Vec<Scenario> {
    Scenario::for_each_kernel("ena::a_driver_recovers_from_fault_after_fault", recover)
}

/// How a thing comes to go wrong.
enum Call {
    /// By the card's option, at its time; what vmm says then.
    Planned(&'static str),
    /// By a request; its words for the fault.
    Asked(&'static str),
}

/// A thing that goes wrong, and what the driver makes of it.
struct Fault {
    call: Call,
    /// What a guest does meanwhile, so that its driver can notice; `{host}` is the host's address.
    meanwhile: &'static str,
    complaint: &'static str,
    reason: u32,
}

/// In this order: the planned one's time runs while the guest gets ready.
const FAULTS: &[Fault] = &[
    Fault {
        call: Call::Planned("stop-keep-alive"),
        meanwhile: "true",
        complaint: "Keep alive watchdog timeout",
        reason: 1,
    },
    Fault {
        call: Call::Asked(r#""wrong-tx-id""#),
        meanwhile: "ping -c 1 -W 1 {host}",
        complaint: "Invalid req id",
        reason: 5,
    },
    Fault {
        call: Call::Asked(r#""no-answer""#),
        meanwhile: "ethtool -S eth0",
        complaint: "didn't send a completion",
        reason: 2,
    },
    Fault {
        call: Call::Asked(r#"{ "swallow-tx": 256 }"#),
        // More than are swallowed, and from more than one socket, each of which waits for its own.
        meanwhile: "traffic send-from {host}:9 100:20001,20002,20003,20004",
        complaint: "above the threshold",
        reason: 3,
    },
];

fn recover(release: Release) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let socket = folder.path().join("api");
    let mut guest = boot(release, 1, 1500, |machine| {
        // Drivers of these kernels cannot be asked to reset: the card must not try.
        let planned = machine.card_option("fault=request-reset@0");
        planned.card_option("fault=stop-keep-alive@1").argument("--api-sock").argument(&socket)
    })?;
    // The kernel's own limit would stop a queue before its driver misses anything.
    guest.shell.sh("echo 1000000 >/sys/class/net/eth0/queues/tx-0/byte_queue_limits/limit_min")?;
    guest.running.errors.wait_for(0, "as planned: request-reset", ANSWER)?;
    // The reset for a reason is followed by that of the driver's new beginning.
    let mut expected = vec![0];
    for fault in FAULTS {
        let recovered = recovers(&mut guest, &socket, fault);
        recovered.with_context(|| {
            format!("{:?}; vmm said {}", fault.complaint, guest.running.errors.text())
        })?;
        expected.extend([fault.reason, 0]);
        let resets = guest.resets();
        ensure!(resets == expected, "the driver's resets were for {resets:?}, not {expected:?}");
    }
    guest.finish()
}

fn recovers(guest: &mut Wired, socket: &Path, fault: &Fault) -> Result<()> {
    let tap = guest.tap.clone();
    match fault.call {
        Call::Planned(told) => {
            let told = format!("as planned: {told}");
            guest.running.errors.wait_for(0, &told, ANSWER)?;
        }
        Call::Asked(words) => {
            let words: Value = from_str(words)?;
            let body = json!({ "fault": words });
            Api::connect(socket)?.done("PUT", &format!("{NIC}/faults"), &body)?;
        }
    }
    // What is sent may get lost, and what is asked for may fail.
    guest.shell.run(&fault.meanwhile.replace("{host}", &tap.host_ipv4), ANSWER)?;
    eventually("the driver's reset", ANSWER, || Ok(guest.resets().contains(&fault.reason)))?;
    eventually("the driver's recovery", ANSWER, || {
        // Looked for in the guest: all that was said would take its console seconds each time.
        let said = |words: &str| format!("dmesg | grep ' ena ' | grep -qF \"{words}\"");
        let both = [said("Device reset completed successfully"), said(fault.complaint)];
        Ok(guest.shell.run(&both.join(" && "), ANSWER)?.status == 0)
    })?;
    guest.reaches_guest()?;
    guest.streams_each_way(1 << 20, &tap.host_ipv4, &tap.guest_ipv4)?;
    // What the driver said was called for, and shall not stand for its word of the next fault.
    let others = format!("dmesg -c | grep -v ' ena ' | grep -E '{}'", COMPLAINTS.join("|"));
    let odd = guest.shell.run(&others, ANSWER)?;
    ensure!(odd.status == 1, "the guest's kernel complained: {}", odd.output);
    Ok(())
}
