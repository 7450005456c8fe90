//! A vCPU's thread: parked or running, as its owner wants.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use device_core::thread::{self, Running};

use crate::end::End;
use crate::kvm::probe;
use crate::kvm::vcpu::{BoundVcpu, Exit, Vcpu, kick_signal};
use crate::signals::me;
use crate::vcpu::run::{self, AddressSpaces};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Parked,
    Running,
    Gone,
}

/// Something to do with a vCPU that rests.
type Job = Box<dyn FnOnce(&BoundVcpu) + Send>;

struct Modes {
    wanted: Mode,
    now: Mode,
    /// The guest ended on this vCPU and cannot be entered again.
    over: bool,
    /// What is to be done as soon as the thread is parked.
    job: Option<Job>,
}

struct Control {
    modes: Mutex<Modes>,
    changed: Condvar,
    /// Whether the guest must be left; looked at before each entry.
    stop: Arc<AtomicBool>,
    /// The thread as the kernel knows it; 0 before it has begun.
    id: AtomicI32,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Modes> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told, on the vCPU's thread, how the guest ended there.
pub type OnEnd = Arc<dyn Fn(End) + Send + Sync>;

/// The owner's handle on a vCPU; the thread ends when it is dropped.
pub struct VcpuThread {
    control: Arc<Control>,
    thread: Option<Running>,
}

impl VcpuThread {
    /// Starts the thread called `name` and `index`, parked.
    pub fn spawn(
        name: &str,
        index: u8,
        vcpu: Vcpu,
        spaces: AddressSpaces,
        on_end: OnEnd,
    ) -> io::Result<VcpuThread> {
        let control = Arc::new(Control {
            modes: Mutex::new(Modes {
                wanted: Mode::Parked,
                now: Mode::Parked,
                over: false,
                job: None,
            }),
            changed: Condvar::new(),
            stop: Arc::new(AtomicBool::new(false)),
            id: AtomicI32::new(0),
        });
        let body = Body { index, control: control.clone(), spaces, on_end };
        let thread = thread::start(&format!("{name}{index}"), move || body.live(vcpu))?;
        Ok(VcpuThread { control, thread: Some(thread) })
    }

    /// Has the thread shut itself in by `how`, while it is parked, and waits for that. Fails if `how` does.
    pub fn shut(&self, how: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let heard = self.ask(move |_| how());
        let gone = || io::Error::other("the thread is gone");
        heard.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Lets the guest run.
    pub fn resume(&self) {
        self.control.stop.store(false, Ordering::Release);
        self.want(Mode::Running);
    }

    /// Asks the thread to leave the guest; [`VcpuThread::wait_parked`] tells when it has.
    pub fn park(&self) {
        self.leave_guest(Mode::Parked);
    }

    /// Returns once the thread is out of the guest and its last access is complete.
    pub fn wait_parked(&self) {
        let modes = self.control.lock();
        let running = |modes: &mut Modes| modes.now == Mode::Running;
        drop(self.control.changed.wait_while(modes, running));
    }

    /// Has the thread do `job` with its vCPU, one at a time, which is parked and stays so. The answer comes when it
    /// is done, and never from a thread that is gone.
    pub fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&BoundVcpu) -> R + Send + 'static,
    ) -> Receiver<R> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.control.lock().job = Some(Box::new(move |vcpu| {
            // Who asked may have lost interest.
            let _ = answer.send(job(vcpu));
        }));
        self.control.changed.notify_all();
        answers
    }

    fn leave_guest(&self, wanted: Mode) {
        self.want(wanted);
        self.control.stop.store(true, Ordering::Release); // pairs with the look in `run`
        // One that has not begun looks before it enters the guest. It ends only with this.
        match self.control.id.load(Ordering::Acquire) {
            0 => {}
            id => me::send(id, kick_signal()),
        }
    }

    fn want(&self, mode: Mode) {
        self.control.lock().wanted = mode;
        self.control.changed.notify_all();
    }
}

impl Drop for VcpuThread {
    fn drop(&mut self) {
        self.leave_guest(Mode::Gone);
        if let Some(thread) = self.thread.take() {
            thread.finish();
        }
    }
}

struct Body {
    index: u8,
    control: Arc<Control>,
    spaces: AddressSpaces,
    on_end: OnEnd,
}

impl Body {
    fn live(mut self, vcpu: Vcpu) {
        self.control.id.store(me::thread(), Ordering::Release);
        let mut vcpu = vcpu.bind();
        while self.wait_to_run(&vcpu) {
            let end = match run::run(&mut vcpu, &mut self.spaces, &self.control.stop) {
                Ok(None) => continue,
                Ok(Some(exit)) => self.end_of(exit),
                Err(source) => End::VcpuFailed { cpu: self.index, source },
            };
            self.control.lock().over = true;
            (self.on_end)(end);
        }
    }

    /// Parks until the owner wants the guest to run, and does what he asks for meanwhile; false when he wants the
    /// thread to end. Whoever is parked holds no device.
    fn wait_to_run(&mut self, vcpu: &BoundVcpu) -> bool {
        self.spaces.forget();
        let mut modes = self.control.lock();
        modes.now = Mode::Parked;
        self.control.changed.notify_all();
        loop {
            if let Some(job) = modes.job.take() {
                drop(modes);
                job(vcpu);
                modes = self.control.lock();
                continue;
            }
            match modes.wanted {
                Mode::Parked => {}
                Mode::Running if modes.over => {}
                Mode::Running | Mode::Gone => break,
            }
            modes = self.control.changed.wait(modes).unwrap_or_else(PoisonError::into_inner);
        }
        modes.now = modes.wanted;
        modes.now == Mode::Running
    }

    fn end_of(&self, exit: Exit) -> End {
        let cpu = self.index;
        match exit {
            Exit::GuestOff => End::GuestOff,
            Exit::GuestReset => End::GuestReset,
            Exit::TripleFault { rip } => End::TripleFault { cpu, rip },
            Exit::InternalError { suberror, rip, instruction } => {
                let hardware = probe::has_hardware_virtualization();
                End::InternalError { cpu, suberror, rip, instruction, hardware }
            }
            Exit::FailedEntry { reason, cpu: host_cpu } => {
                let hardware = probe::has_hardware_virtualization();
                End::FailedEntry { cpu, reason, host_cpu, hardware }
            }
            Exit::Access | Exit::Kicked | Exit::Unexpected(_) => End::VcpuFailed {
                cpu,
                source: io::Error::other(format!(
                    "KVM ended with an exit nobody enabled: {exit:?}"
                )),
            },
        }
    }
}

#[cfg(test)]
#[path = "thread_test.rs"]
mod tests;
