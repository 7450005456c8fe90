//! What a built machine owns, and how it rests, runs and ends.

pub mod attach;
pub mod board;
pub mod build;
pub mod spec;
pub mod state;

use std::sync::Arc;
use std::time::Duration;

use device_core::GuestRam;
use device_core::worker::Threads;
use devices::legacy::PowerButton;
use kvm_ioctls::VmFd;

use crate::observe;
use crate::vcpu::run::Unmapped;
use crate::vcpu::thread::VcpuThread;
use attach::Registry;
use board::Board;
use state::{Event, NotAllowed, State};

/// A machine. Fields are dropped in order: vCPUs stop before what they access goes.
pub struct Vm {
    state: State,
    vcpus: Vec<VcpuThread>,
    registry: Registry,
    board: Board,
    unmapped: Arc<Unmapped>,
    /// CPU time spent on reading the boot files.
    reading: Duration,
    _threads: Threads,
    /// Closing it would take all irqfds away, even while vCPUs run.
    _fd: Arc<VmFd>,
    _ram: GuestRam,
}

impl Vm {
    /// Lets the vCPUs run. Devices are born started.
    pub fn resume(&mut self) -> Result<(), NotAllowed> {
        let after = self.state.after(Event::Resume)?;
        observe::start::report(self.reading);
        self.vcpus.iter().for_each(VcpuThread::resume);
        self.state = after;
        Ok(())
    }

    /// Ends the guest after `event`: vCPUs leave it, devices bring their rings home, the console
    /// says its last. A guest that reset itself is not started again.
    pub fn stop(mut self, event: Event) -> Result<(), NotAllowed> {
        self.state = self.state.after(event)?;
        if self.state != State::Stopped {
            self.state = self.state.after(Event::Stop)?;
        }
        self.vcpus.iter().for_each(VcpuThread::park);
        self.vcpus.iter().for_each(VcpuThread::wait_parked);
        self.registry.iter().rev().for_each(|device| device.stop());
        let (reads, writes) = (self.unmapped.reads.get(), self.unmapped.writes.get());
        tracing::info!("accesses that no device covers: {reads} reads, {writes} writes");
        // Before the console, so that nothing of them writes to it.
        drop(self.vcpus);
        self.board.close();
        Ok(())
    }

    pub fn power_button(&self) -> Arc<PowerButton> {
        self.board.power_button.clone()
    }
}
