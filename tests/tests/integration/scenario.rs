//! A named test, and what most of them start from.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libtest_mimic::{Completion, Failed, Trial};
use tests::console::last_lines;
use tests::guest::{Shell, Tool};
use tests::host;
use tests::kernel::Release;
use tests::machine::{BOOT, Hypervisor, Machine, Running};
use tests::net::{Network, Tap};

/// A test of the product, by a name that says what holds.
pub struct Scenario {
    name: String,
    run: Box<dyn Fn() -> Result<()> + Send>,
}

impl Scenario {
    pub fn new(name: impl Into<String>, run: impl Fn() -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// One test for each of the two guest kernels.
    pub fn for_each_kernel(name: &str, run: fn(Release) -> Result<()>) -> Vec<Self> {
        let named = |release: Release| {
            Self::new(format!("{name} [{}]", release.name()), move || run(release))
        };
        Release::GUESTS.into_iter().map(named).collect()
    }

    /// The test for the runner; where the machine is `unable` to run guests it is skipped for that reason.
    pub fn into_trial(self, unable: Option<&'static str>) -> Trial {
        let name = self.name.clone();
        Trial::ignorable_test(self.name, move || match unable {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => match repeated(&name, &self.run) {
                Ok(()) => Ok(Completion::Completed),
                Err(error) => {
                    // The runner tells at the very end, which may be an hour away.
                    eprintln!("---- {name}: {error:#}\n----");
                    Err(Failed::from(format!("{error:#}")))
                }
            },
        })
    }
}

/// Runs again what QEMU's software CPU has broken: about one guest in fifteen, of any hypervisor,
/// dies or hangs there while its kernel starts up. On real processors nothing is repeated.
fn repeated(name: &str, run: &dyn Fn() -> Result<()>) -> Result<()> {
    const TRIES: u32 = 3;
    for nth in 1..TRIES {
        let Err(error) = run() else { return Ok(()) };
        let text = format!("{error:#}");
        let at_start = text.contains(BEFORE_USER_SPACE);
        if !at_start || !host::has_emulated_cpu() {
            return Err(error);
        }
        eprintln!(
            "{name}: try {nth} was lost to the emulated CPU: {}",
            text.lines().next().unwrap_or_default()
        );
    }
    run()
}

/// What the harness says of a guest that did not come up.
const BEFORE_USER_SPACE: &str = "without \"guest: user space";

/// Whether everything is to run at full length.
pub fn long() -> bool {
    std::env::var_os("VMM_LONG").is_some()
}

/// A machine of ours with the tools of tests.
pub fn machine(release: Release) -> Result<Machine> {
    Ok(Machine::new(Hypervisor::ours()?, release).tools(&[Tool::Ethtool, Tool::Traffic]))
}

/// A booted guest with one card.
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
        queues: u16,
        mtu: u16,
        adjust: impl FnOnce(Machine) -> Machine,
    ) -> Result<Self> {
        let mut network = Network::new()?;
        let tap = network.tap(queues, mtu)?;
        let machine = adjust(machine(release)?.card(&tap));
        let (running, shell) = machine.boot(Some(&network))?;
        Ok(Self { shell, running, tap, network })
    }

    /// Powers the guest off; fails if its kernel complained meanwhile.
    pub fn finish(mut self) -> Result<()> {
        finish(&mut self.running, &mut self.shell)
    }
}

/// Time a guest may take to power off.
pub const OFF: Duration = Duration::from_secs(60);

/// Checks that the guest's kernel had no complaint, powers off, and checks the exit code.
pub fn finish(running: &mut Running, shell: &mut Shell) -> Result<()> {
    let complaints = shell
        .run("dmesg | grep -E 'BUG:|Oops|NETDEV WATCHDOG|soft lockup|detected stalls'", BOOT)?;
    if complaints.status == 0 {
        let log = shell.run("dmesg", BOOT)?;
        bail!(
            "the guest's kernel complained:\n{}\n{}",
            complaints.output,
            last_lines(&log.output, 30)
        );
    }
    shell.send("poweroff -f")?;
    running.expect_exit(0, OFF)
}

/// Waits until `done` says yes, asking again and again.
pub fn eventually(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
