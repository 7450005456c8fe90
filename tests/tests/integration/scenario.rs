//! A named test, and what most of them start from.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libtest_mimic::{Completion, Failed, Trial};
use tests::console::last_lines;
use tests::guest::{Shell, Tool};
use tests::host::PATIENCE;
use tests::kernel::{Format, Release};
use tests::machine::{BOOT, Hypervisor, Machine, Model, Running};
use tests::net::{Network, Tap};
use tests::told::Told;

pub use tests::host::eventually;

/// A test of the product, by a name that says what holds.
pub struct Scenario {
    name: String,
    run: Box<dyn Fn() -> Result<()> + Send>,
    lacking: fn() -> Option<&'static str>,
    /// The kernel of one whose like there is for each, and of which the quick round takes one.
    turn: Option<Release>,
}

impl Scenario {
    pub fn new(name: impl Into<String>, run: impl Fn() -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run), lacking: || None, turn: None }
    }

    /// Skipped where something else is `lacking`, for the reason that this says.
    pub fn unless(self, lacking: fn() -> Option<&'static str>) -> Self {
        Self { lacking, ..self }
    }

    /// One test for each of the two guest kernels, whose own versions of drivers or of a boot it is about: each round has
    /// both.
    pub fn for_each_version(
        name: &str,
        run: impl Fn(Release) -> Result<()> + Copy + Send + 'static,
    ) -> Vec<Self> {
        let named = |release: Release| {
            Self::new(format!("{name} [{}]", release.name()), move || run(release))
        };
        Release::GUESTS.into_iter().map(named).collect()
    }

    /// One test for each of the two guest kernels, of which the quick round has one, as [`of_this_round`] says.
    pub fn for_each_kernel(
        name: &str,
        run: impl Fn(Release) -> Result<()> + Copy + Send + 'static,
    ) -> Vec<Self> {
        let named = Self::for_each_version(name, run).into_iter().zip(Release::GUESTS);
        named.map(|(scenario, release)| Self { turn: Some(release), ..scenario }).collect()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is that of this kernel.
    pub fn is_of(&self, release: Release) -> bool {
        self.name.ends_with(&format!("[{}]", release.name()))
    }

    /// The test for the runner; where the machine is `unable` to run guests it is skipped for that reason.
    pub fn into_trial(self, unable: Option<&'static str>) -> Trial {
        let name = self.name.clone();
        Trial::ignorable_test(self.name, move || match unable.or_else(self.lacking) {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                let begun = Instant::now();
                let ended = (self.run)();
                // The runner may have begun a line with its name.
                println!("\n{}", Told::Took { time: begun.elapsed(), test: name });
                match ended {
                    Ok(()) => Ok(Completion::Completed),
                    Err(error) => {
                        // The runner shows why at its end, to which a testbed may not come.
                        println!("failed: {error:#}");
                        Err(Failed::from(format!("{error:#}")))
                    }
                }
            }
        })
    }
}

/// What this round has of tests: the long one all. In the quick one the kernels take turns at those that are alike for
/// each, in the order of the list, in which those of a device stand together: so each kernel meets each device.
pub fn of_this_round(all: impl Iterator<Item = Scenario>) -> impl Iterator<Item = Scenario> {
    let (long, mut turns, mut turn) = (long(), Release::GUESTS.into_iter().cycle(), None);
    all.filter(move |scenario| {
        // They come in pairs.
        if scenario.turn == Some(Release::GUESTS[0]) {
            turn = turns.next();
        }
        long || scenario.turn.is_none() || scenario.turn == turn
    })
}

/// Whether everything is to run at full length.
pub fn long() -> bool {
    std::env::var_os("VMM_LONG").is_some()
}

/// Whether a guest gets what it may. It asks for less where a busy host leaves it little CPU; long runs have nothing beside them.
pub fn is_as_limited(rate: f64, limit: f64) -> bool {
    let least = if long() { 0.9 } else { 0.5 };
    (least..1.1).contains(&(rate / limit))
}

/// A machine of ours with the tools of tests, for what a guest does once it is up. Where the CPU is
/// emulated a third of its boot would go into unpacking the kernel, its guards against flaws of real
/// CPUs and the trials of its ciphers, and a third of what is left into telling of it; `dmesg` has it all.
pub fn machine(release: Release) -> Result<Machine> {
    let machine = quick(stock(release)?);
    Ok(if long() { machine } else { machine.parameter(&format!("sysctl.{BRISK}")) })
}

/// One that has these tools alone, for what is no matter of networks.
pub fn bare(release: Release, tools: &[Tool]) -> Result<Machine> {
    Ok(quick(Machine::new(Hypervisor::ours()?, release).tools(tools).parameter("loglevel=5")))
}

/// One that boots as quickly as it can.
pub fn quick(machine: Machine) -> Machine {
    QUICK.iter().fold(machine.format(Format::Vmlinux), |machine, word| machine.parameter(word))
}

/// Boot options of a guest that need not be as others are. Programs that always lie at the same addresses
/// are translated once by an emulator, not at each start.
const QUICK: [&str; 3] = ["mitigations=off", "cryptomgr.notests", "norandmaps"];

/// Segments that TCP sends at once, if it has them, on both sides: the slower a link, the fewer it takes, down
/// to two, and that keeps an emulated one slow.
const BRISK: &str = "net.ipv4.tcp_min_tso_segs=8";

/// One that boots as Debian's kernels boot, but says nothing below a warning on the console.
pub fn stock(release: Release) -> Result<Machine> {
    Ok(talkative(release)?.parameter("loglevel=5"))
}

/// One that also says on the console what it does.
pub fn talkative(release: Release) -> Result<Machine> {
    Ok(Machine::new(Hypervisor::ours()?, release).tools(&[Tool::Ethtool, Tool::Traffic]))
}

/// A network for such machines.
pub fn network() -> Result<Network> {
    let network = Network::new()?;
    if !long() {
        network.set(BRISK)?;
    }
    Ok(network)
}

/// A booted guest and the card of it that is looked at.
pub struct Wired {
    // Dropped in this order: the guest goes before its network.
    pub shell: Shell,
    pub running: Running,
    pub tap: Tap,
    pub network: Network,
}

impl Wired {
    /// Boots a guest on a TAP with `queues` and an MTU; `adjust` has the last word on the machine.
    pub fn boot(
        release: Release,
        model: Model,
        queues: u16,
        mtu: u16,
        adjust: impl FnOnce(Machine) -> Machine,
    ) -> Result<Self> {
        let mut network = network()?;
        let tap = network.tap(queues, mtu)?;
        Self::of(&adjust(machine(release)?.card_of(model, &tap)), network, &tap)
    }

    /// Boots a machine on TAPs of this network, of which one is looked at first.
    pub fn of(machine: &Machine, network: Network, tap: &Tap) -> Result<Self> {
        let (running, shell) = machine.boot(Some(&network))?;
        Ok(Self { shell, running, tap: tap.clone(), network })
    }

    /// The same, but restored if there was a machine like it before.
    pub fn ready(machine: &Machine, network: Network, tap: &Tap) -> Result<Self> {
        let (running, shell) = machine.ready(Some(&network))?;
        Ok(Self { shell, running, tap: tap.clone(), network })
    }

    /// Powers the guest off; fails if its kernel complained meanwhile.
    pub fn finish(mut self) -> Result<()> {
        finish(&mut self.running, &mut self.shell)
    }
}

/// Time a guest may take to power off.
pub const OFF: Duration = PATIENCE;

/// What no kernel says of a healthy machine, and no driver of a healthy card.
pub const COMPLAINTS: &[&str] = &[
    "BUG:",
    "Oops",
    "NETDEV WATCHDOG",
    "soft lockup",
    "detected stalls",
    // The rest is said by the driver of ENA cards.
    "Trigger reset",
    "Keep alive watchdog",
    "Potential MSIX",
    "Reset indication",
    "Device isn.t ready",
    "Cannot init",
    "Unknown event",
    "Failed to set MTU",
    "not in running state",
    "wasn.t completed",
    "hasn.t completed",
    "above the threshold",
    "didn.t send a completion",
    "didn.t receive a MSI-X",
    "Failed to set LLQ",
    "Invalid req.id",
    "Can not reset device",
    // And by that of virtio-net.
    "RSS disabled because",
    "issue with committing",
];

/// Checks that the guest's kernel had no complaint.
pub fn is_healthy(shell: &mut Shell) -> Result<()> {
    let complaints = shell.run(&format!("dmesg | grep -E '{}'", COMPLAINTS.join("|")), BOOT)?;
    if complaints.status == 0 {
        let log = shell.run("dmesg", BOOT)?;
        bail!(
            "the guest's kernel complained:\n{}\n{}",
            complaints.output,
            last_lines(&log.output, 30)
        );
    }
    Ok(())
}

/// Checks that the guest's kernel had no complaint, powers off, and checks the exit code.
pub fn finish(running: &mut Running, shell: &mut Shell) -> Result<()> {
    is_healthy(shell)?;
    shell.send("poweroff -f")?;
    running.expect_exit(0, OFF)
}
