//! Integration tests: stock kernels in machines of the vmm binary, on hosts with working KVM.
//!
//! `cargo verify` runs them in the testbed; by hand: `cargo testbed -- PATH-OF-THIS-TEST [FILTER]`.
#![forbid(unsafe_code)]

mod boot;
mod console;
mod ends;
mod network;
mod queues;
mod scenario;
mod serial;
mod stall;

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
        network::scenarios(),
        queues::scenarios(),
        stall::scenarios(),
        ends::scenarios(),
        console::scenarios(),
        serial::scenarios(),
    ];
    let trials = scenarios
        .into_iter()
        .flatten()
        .map(|scenario: Scenario| scenario.into_trial(unable))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
