//! Faults that an ENA card rehearses: its driver tells what went wrong, resets the card, and traffic resumes.

use anyhow::{Context, Result, ensure};
use tests::kernel::Release;

use crate::ena::boot;
use crate::network::ANSWER;
use crate::scenario::{Scenario, Wired, eventually};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (fault, short) in FAULTS.iter().zip(Release::GUESTS.into_iter().cycle()) {
        let name = format!("ena::a_driver_recovers_from_{}", fault.kind);
        all.extend(Scenario::for_kernel(short, &name, move |release| recover(release, fault)));
    }
    all
}

/// A thing that goes wrong, and what the driver makes of it.
struct Fault {
    kind: &'static str,
    /// What vmm says when the time has come.
    told: &'static str,
    /// What a guest does meanwhile, so that its driver can notice; `{host}` is the host's address.
    meanwhile: &'static str,
    complaint: &'static str,
    reason: u32,
}

const FAULTS: &[Fault] = &[
    Fault {
        kind: "wrong-tx-id",
        told: "WrongTxRequestId",
        meanwhile: "ping -c 3 -W 1 {host}",
        complaint: "Invalid req id",
        reason: 5,
    },
    Fault {
        kind: "no-answer",
        told: "NoAnswer",
        meanwhile: "ethtool -S eth0",
        complaint: "didn't send a completion",
        reason: 2,
    },
    Fault {
        kind: "stop-keep-alive",
        told: "StopKeepAlive",
        meanwhile: "sleep 6",
        complaint: "Keep alive watchdog timeout",
        reason: 1,
    },
    Fault {
        kind: "swallow-tx",
        told: "SwallowTxCompletions",
        meanwhile: "traffic flood {host}:9 --size 16 --seconds 8",
        complaint: "above the threshold",
        reason: 3,
    },
];

fn recover(release: Release, fault: &Fault) -> Result<()> {
    let mut guest = boot(release, 1, 1500, |machine| {
        // Drivers of these kernels cannot be asked to reset: the card must not try.
        machine.card_option("fault=request-reset@1").card_option(&format!("fault={}@6", fault.kind))
    })?;
    // The kernel's own limit would stop a queue before its driver misses anything.
    guest.shell.sh("echo 1000000 >/sys/class/net/eth0/queues/tx-0/byte_queue_limits/limit_min")?;
    guest.reaches_guest()?;
    let recovered = recovers(&mut guest, fault);
    recovered.with_context(|| format!("vmm said {}", guest.running.errors.text()))?;
    // The reset for a reason is followed by that of the driver's new beginning.
    let (resets, expected) = (guest.resets(), [0, fault.reason, 0]);
    ensure!(resets == expected, "the driver's resets were for {resets:?}, not {expected:?}");
    // The complaints were called for.
    guest.shell.sh("dmesg -c >/dev/null")?;
    guest.finish()
}

fn recovers(guest: &mut Wired, fault: &Fault) -> Result<()> {
    let tap = guest.tap.clone();
    guest.running.errors.wait_for(0, "as planned: RequestReset", ANSWER)?;
    guest.running.errors.wait_for(0, &format!("as planned: {}", fault.told), ANSWER)?;
    // What is sent may get lost, and what is asked for may fail.
    guest.shell.run(&fault.meanwhile.replace("{host}", &tap.host_ipv4), ANSWER)?;
    eventually("the driver's reset", ANSWER, || Ok(guest.resets().contains(&fault.reason)))?;
    eventually("the driver's recovery", ANSWER, || {
        let said = guest.shell.sh("dmesg | grep ' ena '")?;
        let recovered = said.contains("Device reset completed successfully");
        Ok(recovered && said.contains(fault.complaint))
    })?;
    guest.reaches_guest()?;
    guest.streams_each_way(1 << 20, &tap.host_ipv4, &tap.guest_ipv4)
}
