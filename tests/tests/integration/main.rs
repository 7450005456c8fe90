//! Integration tests: stock kernels in machines of the vmm binary, on hosts with working KVM.
//!
//! `cargo verify` runs them in testbeds, each with some of them by the names in `$VMM_TESTS`; by hand: `cargo testbed -- PATH-OF-THIS-TEST [FILTER]`.
#![forbid(unsafe_code)]

mod api;
mod bare;
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
mod usual;
mod vhost;
mod vsock;
mod walk;

use libtest_mimic::Arguments;
use scenario::{Scenario, of_this_round};
use tests::host;
use tests::kernel::Release;
use tests::machine::kept;
use tests::told::Told;

/// Those that have a guest in common with others, which stand side by side. The ones of a kernel are at an end of the list,
/// so that few testbeds have to boot it.
fn sharing() -> impl Iterator<Item = Scenario> {
    let all = [
        bare::scenarios(),
        ends::scenarios(),
        sleep::scenarios(),
        keyboard::scenarios(),
        console::scenarios(),
        ena::scenarios(),
        ena_changes::scenarios(),
        ena_limits::scenarios(),
        network::scenarios(),
        metadata::scenarios(),
        disks::scenarios(),
        vsock::scenarios(),
    ];
    all.into_iter().flatten()
}

/// The longest come first and last, so that testbeds end at about the same time.
fn others() -> impl Iterator<Item = Scenario> {
    let all = [
        debian::scenarios(),
        api::scenarios(),
        disk_faults::scenarios(),
        disk_work::scenarios(),
        disk_cuts::scenarios(),
        disk_resets::scenarios(),
        ena_queues::scenarios(),
        ena_faults::scenarios(),
        queues::scenarios(),
        vhost::scenarios(),
        boot::scenarios(),
        early::scenarios(),
        options::scenarios(),
        serial::scenarios(),
        manual::scenarios(),
        mmio::scenarios(),
        hotplug::scenarios(),
        memory::scenarios(),
        snapshot::scenarios(),
        identity::scenarios(),
        migrate::scenarios(),
        dpdk::scenarios(),
        stall::scenarios(),
        clients::scenarios(),
        walk::scenarios(),
    ];
    all.into_iter().flatten()
}

fn main() {
    let mut arguments = Arguments::from_args();
    // A guest is two busy threads at least.
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    arguments.test_threads.get_or_insert(cpus.min(2));
    let unable = host::no_hardware_kvm();
    let (of_6_1, of_others): (Vec<_>, Vec<_>) =
        of_this_round(sharing()).partition(|scenario| scenario.is_of(Release::Guest6_1));
    let scenarios = of_6_1.into_iter().chain(of_this_round(others())).chain(of_others);
    let chosen = std::env::var("VMM_TESTS").ok();
    let chosen: Option<Vec<_>> = chosen.as_ref().map(|names| names.lines().collect());
    let trials = scenarios
        .filter(|scenario| chosen.as_ref().is_none_or(|names| names.contains(&scenario.name())))
        .map(|scenario| scenario.into_trial(unable))
        .collect();
    let ended = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        let (booted, restored) = kept::counts();
        println!("{}", Told::Guests { booted, restored });
    }
    kept::forget();
    ended.exit();
}
