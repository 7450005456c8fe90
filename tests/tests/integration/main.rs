//! Integration tests: stock kernels in machines of the vmm binary, on hosts with working KVM.
//!
//! `cargo verify` runs them in testbeds, each with some of them by the names in `$VMM_TESTS`; by hand: `cargo testbed -- PATH-OF-THIS-TEST [FILTER]`.
#![forbid(unsafe_code)]

mod api;
mod boot;
mod capture;
mod clients;
mod console;
mod debian;
mod disk_cuts;
mod disk_faults;
mod disk_resets;
mod disk_scene;
mod disk_steps;
mod disk_tools;
mod disk_work;
mod disks;
mod dpdk;
mod early;
mod ena;
mod ena_changes;
mod ena_faults;
mod ena_limits;
mod ena_queues;
mod ends;
mod hotplug;
mod identity;
mod keyboard;
mod manual;
mod memory;
mod metadata;
mod migrate;
mod mmio;
mod network;
mod odd;
mod options;
mod queues;
mod scenario;
mod serial;
mod sleep;
mod snapshot;
mod stall;
mod vhost;
mod vsock;
mod walk;

use libtest_mimic::Arguments;
use scenario::Scenario;
use tests::host;

fn main() {
    let mut arguments = Arguments::from_args();
    // A guest is two busy threads at least.
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    arguments.test_threads.get_or_insert(cpus.min(2));
    let unable = host::no_hardware_kvm();
    let scenarios = [
        boot::scenarios(),
        api::scenarios(),
        network::scenarios(),
        queues::scenarios(),
        vhost::scenarios(),
        mmio::scenarios(),
        disks::scenarios(),
        memory::scenarios(),
        debian::scenarios(),
        disk_work::scenarios(),
        disk_faults::scenarios(),
        disk_cuts::scenarios(),
        disk_resets::scenarios(),
        vsock::scenarios(),
        snapshot::scenarios(),
        identity::scenarios(),
        migrate::scenarios(),
        ena::scenarios(),
        ena_queues::scenarios(),
        ena_changes::scenarios(),
        ena_limits::scenarios(),
        ena_faults::scenarios(),
        dpdk::scenarios(),
        stall::scenarios(),
        ends::scenarios(),
        clients::scenarios(),
        hotplug::scenarios(),
        early::scenarios(),
        options::scenarios(),
        metadata::scenarios(),
        sleep::scenarios(),
        keyboard::scenarios(),
        console::scenarios(),
        serial::scenarios(),
        manual::scenarios(),
        walk::scenarios(),
    ];
    let chosen = std::env::var("VMM_TESTS").ok();
    let chosen: Option<Vec<_>> = chosen.as_ref().map(|names| names.lines().collect());
    let trials = scenarios
        .into_iter()
        .flatten()
        .filter(|scenario| chosen.as_ref().is_none_or(|names| names.contains(&scenario.name())))
        .map(|scenario: Scenario| scenario.into_trial(unable))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
