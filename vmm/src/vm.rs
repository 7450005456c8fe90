//! What a built machine owns, and how it rests, runs and ends.

pub mod attach;
pub mod backing;
pub mod balloon;
pub mod board;
mod boot;
pub mod boot_timer;
pub mod build;
pub mod config;
pub mod disk;
pub mod generation;
pub mod hot_memory;
pub mod hotplug;
pub mod identity;
pub mod imds;
pub mod kernels;
pub mod memory_report;
pub mod metadata;
pub mod migrate;
pub mod nic;
pub mod patch;
pub mod pmem;
pub mod restore;
pub mod root;
#[cfg(test)]
pub mod samples;
pub mod save;
pub mod saved;
pub mod seed;
mod share;
pub mod slots;
pub mod spec;
pub mod state;
mod tentative;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use device_core::GuestRam;
use device_core::thread::{self, Shut};
use devices::balloon::Balloon;
use devices::block::control::DiskControl;
use devices::legacy::{Console, KeyboardNotReady};
use devices::memory::HotMemory;
use devices::pmem::Pmem;
use devices::vsock::VsockControl;
use kvm_ioctls::VmFd;

use crate::kvm::vcpu_state::HostFacts;
use crate::kvm::window::Windows;
use crate::memory;
use crate::memory::changes::Changes;
use crate::observe;
use crate::observe::metrics::{Figures, VcpuCounters, VmmFigures};
use crate::pager::helper::Helper;
use crate::shield::Shield;
use crate::shield::row::Kind;
use crate::vcpu::run::Unmapped;
use crate::vcpu::thread::VcpuThread;
use attach::{Registry, Supplies};
use backing::Backing;
use board::Board;
use boot_timer::BootTimer;
use nic::Nic;
use spec::DeviceBus;
use state::{Event, NotAllowed, State};

/// A machine. Fields are dropped in order: vCPUs stop before what they access goes.
pub struct Vm {
    state: State,
    vcpus: Vec<VcpuThread>,
    /// Of each vCPU.
    counters: Vec<Arc<VcpuCounters>>,
    pauses: u64,
    /// It is another process's.
    is_parted: bool,
    registry: Registry,
    board: Board,
    /// The host side of the serial port.
    console: Console,
    boot_timer: Option<Arc<BootTimer>>,
    unmapped: Arc<Unmapped>,
    /// It comes from a snapshot, and nobody was told yet where it is.
    arrives: bool,
    /// CPU time spent on reading the boot files, until the machine runs for the first time.
    reading: Option<Duration>,
    supplies: Supplies,
    bus: DeviceBus,
    /// What KVM has of each vCPU.
    host: HostFacts,
    /// What of the memory may have changed since it was written last.
    changes: Changes,
    backing: Backing,
    /// Who brings pages of its memory; he is there until nobody waits for one any more.
    pager: Option<Helper>,
    /// Closing it would take all irqfds away, even while vCPUs run.
    fd: Arc<VmFd>,
    /// Memory of its cards.
    windows: Arc<Windows>,
    ram: GuestRam,
}

/// How threads of devices are shut in by `shield`.
fn how_to_shut(shield: &Arc<Shield>) -> Shut {
    let shield = shield.clone();
    Arc::new(move |duty| match thread::stays() {
        // It did the same for another device, and is.
        true => Ok(()),
        false => shield.shut(duty.into()),
    })
}

impl Vm {
    /// The machine with who brings its memory.
    fn with_pager(self, pager: Option<Helper>) -> Vm {
        Vm { pager, ..self }
    }

    /// What the machine is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// Has each thread of the machine shut itself in. Fails if the host refuses; then the machine must not run.
    pub fn shut(&self, shield: &Arc<Shield>) -> io::Result<()> {
        self.supplies.threads.shut(&how_to_shut(shield))?;
        for vcpu in &self.vcpus {
            let shield = shield.clone();
            vcpu.shut(move || shield.shut(Kind::Vcpu))?;
        }
        if let Some(pager) = &self.pager {
            let shield = shield.clone();
            pager.shut(move || shield.shut(Kind::Pager))?;
        }
        memory::resident::begin();
        memory::touched::begin();
        Ok(())
    }

    /// Lets devices and vCPUs go on where they stopped. Devices are born started. Fails in a state that
    /// does not allow it.
    pub fn resume(&mut self) -> Result<(), NotAllowed> {
        if self.is_parted {
            return Err(NotAllowed { state: self.state, event: Event::Resume });
        }
        let after = self.state.after(Event::Resume)?;
        // Before the guest's first frame.
        if std::mem::take(&mut self.arrives) {
            self.nics().iter().for_each(|nic| nic.control.announce());
        }
        let start = self.reading.take().map(observe::start::Start::until_now);
        if start.is_none() {
            self.registry.iter().for_each(|device| device.start());
        }
        self.vcpus.iter().for_each(VcpuThread::resume);
        if self.pauses == 0 {
            // Not before: somebody waits for the guest.
            memory::forget_start();
        }
        if let Some(start) = start {
            start.report();
        }
        self.state = after;
        Ok(())
    }

    /// Brings vCPUs out of the guest, each behind its last access, then rings of devices home.
    /// Afterwards nothing of the machine touches its memory until [`Vm::resume`], and images of disks with
    /// `cache=writeback` would survive a power cut as they are. Fails in a state that does not allow it.
    pub fn pause(&mut self) -> Result<(), NotAllowed> {
        self.state = self.state.after(Event::Pause)?;
        self.rest();
        self.disks().iter().for_each(|disk| disk.sync());
        self.pauses += 1;
        Ok(())
    }

    /// Ends the guest after `event`: vCPUs leave it, devices bring their rings home, the console
    /// says its last. A guest that reset itself is not started again.
    pub fn stop(mut self, event: Event) -> Result<(), NotAllowed> {
        let runs = self.state == State::Running;
        self.state = self.state.after(event)?;
        if self.state != State::Stopped {
            self.state = self.state.after(Event::Stop)?;
        }
        if runs {
            self.rest();
        }
        self.disks().iter().for_each(|disk| disk.write_map());
        let (reads, writes) = (self.unmapped.reads.get(), self.unmapped.writes.get());
        tracing::info!("accesses that no device covers: {reads} reads, {writes} writes");
        // Before the console, so that nothing of them writes to it.
        drop(self.vcpus);
        self.console.close();
        Ok(())
    }

    fn rest(&self) {
        self.vcpus.iter().for_each(VcpuThread::park);
        self.vcpus.iter().for_each(VcpuThread::wait_parked);
        self.registry.iter().rev().for_each(|device| device.stop());
    }

    /// Fills in what the machine knows.
    pub fn figures(&self, figures: &mut Figures) {
        figures.vmm = VmmFigures {
            unmapped_reads: self.unmapped.reads.get(),
            unmapped_writes: self.unmapped.writes.get(),
            pauses: self.pauses,
        };
        figures.of_vcpus(&self.counters);
        for nic in self.registry.nics() {
            let queues = nic.control.counters();
            let counts = queues.into_iter().map(|queue| queue.0.into_iter().collect()).collect();
            figures.network.insert(nic.control.id().to_string(), counts);
            for (name, count) in nic.control.served().into_iter().flat_map(|counts| counts.0) {
                let sum = figures.mmds.entry(name).or_default();
                *sum = sum.wrapping_add(count);
            }
        }
        for disk in self.registry.disks() {
            let counters = disk.inspect().counters.into_iter().collect();
            figures.block.insert(disk.id().to_string(), counters);
            figures.block_timings.insert(disk.id().to_string(), disk.timings());
        }
        figures.vsock = self.vsock().map(|vsock| vsock.counters()).unwrap_or_default();
        for pmem in self.pmems() {
            let counts = pmem.counters().values().collect();
            figures.pmem.insert(pmem.name().to_string(), counts);
        }
        figures.balloon = self.balloon().map(|balloon| balloon.counters().values().collect());
        let hot = self.hot_memory();
        figures.hot_memory = hot.map(|memory| memory.counters().values().collect());
        figures.entropy = self.registry.entropy().map(|rng| rng.counters().values().collect());
    }

    /// Network cards that let themselves be looked into, in order of their attachment.
    pub fn nics(&self) -> &[Nic] {
        self.registry.nics()
    }

    /// Whether the card of this name has its cable in, and something at its other end.
    pub fn is_link_up(&self, id: &str) -> bool {
        let nic = self.nics().iter().find(|nic| nic.control.id() == id);
        nic.is_some_and(|nic| nic.control.port().is_link_up())
    }

    /// Pulls the cables of these cards out, or puts them in again.
    pub fn set_links(&self, ids: &[String], up: bool) {
        let of = |id: &String| self.nics().iter().find(|nic| nic.control.id() == id);
        ids.iter().filter_map(of).for_each(|nic| nic.control.set_link(up));
    }

    /// Has the driver of this card reset it, if it is of a kind whose drivers can be asked.
    pub fn ask_for_reset(&self, id: &str) {
        let Some(nic) = self.nics().iter().find(|nic| nic.control.id() == id) else { return };
        if let Err(why) = nic.control.ask_for_reset() {
            tracing::warn!("network card {id}: {why}");
        }
    }

    /// Disks, in order of their attachment.
    pub fn disks(&self) -> &[Arc<dyn DiskControl>] {
        self.registry.disks()
    }

    /// The vsock, if there is one.
    pub fn vsock(&self) -> Option<&Arc<dyn VsockControl>> {
        self.registry.vsock()
    }

    /// Where the guest reports that it is up, if it may.
    pub fn boot_timer(&self) -> Option<&Arc<BootTimer>> {
        self.boot_timer.as_ref()
    }

    /// Persistent memory, in order of its attachment.
    pub fn pmems(&self) -> &[Arc<Pmem>] {
        self.registry.pmems()
    }

    /// The balloon, if it has one.
    pub fn balloon(&self) -> Option<&Balloon> {
        self.registry.balloon().map(|balloon| &**balloon)
    }

    /// Memory that is plugged while the guest runs, if it has some.
    pub fn hot_memory(&self) -> Option<&HotMemory> {
        self.registry.hot_memory().map(|memory| &**memory)
    }

    /// Gives the console's terminal back until [`Vm::take_terminal`], as the process is about to stop.
    pub fn give_terminal_back(&self) {
        self.console.suspend();
    }

    /// Lets the console take its terminal if that is ours again.
    pub fn take_terminal(&self) {
        self.console.resume();
    }

    /// Presses the guest's ACPI power button. On a hardware-reduced machine Linux does not let it wake
    /// a sleeping system, but does so for the keyboard.
    pub fn press_power_button(&self) {
        self.board.power_button.press();
        // A guest without a keyboard driver has none to wake it.
        let _ = self.board.keyboard.press_wake();
    }

    /// Whether the guest would read what is typed on its keyboard.
    pub fn has_keyboard_driver(&self) -> bool {
        self.board.keyboard.is_ready().is_ok()
    }

    /// Presses Ctrl-Alt-Del on the guest's keyboard.
    pub fn press_ctrl_alt_del(&self) -> Result<(), KeyboardNotReady> {
        self.board.keyboard.press_ctrl_alt_del()
    }
}
