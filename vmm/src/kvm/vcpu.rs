//! One vCPU's descriptor: set-up, entry, and what an exit means.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};

use arch::template::{Template, TemplateError};
use kvm_bindings::{
    CpuId, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, Msrs, kvm_run,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::tsc::{self, Passage};
use super::vcpu_state::{self, HostFacts, Pace, VcpuState, VcpuStateError};

/// Where a vCPU begins after a reset.
const RESET_VECTOR: u64 = 0xfff0;

/// Internal error of KVM: it could not emulate an instruction (`KVM_INTERNAL_ERROR_EMULATION`).
const EMULATION_FAILURE: u32 = 1;
/// The data of an emulation failure has the instruction's bytes.
const HAS_INSTRUCTION_BYTES: u64 = 1;

/// Who answers the accesses of a vCPU.
pub trait Accesses {
    fn port_read(&mut self, port: u16, bytes: &mut [u8]);
    fn port_write(&mut self, port: u16, bytes: &[u8]);
    fn mmio_read(&mut self, address: u64, bytes: &mut [u8]);
    fn mmio_write(&mut self, address: u64, bytes: &[u8]);
}

/// Why an entry into the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An access was answered.
    Access,
    /// A signal: someone wants something of this thread.
    Kicked,
    /// The guest asked KVM itself to end or reset it.
    GuestOff,
    GuestReset,
    /// Shutdown state of the CPU: a third fault while delivering a double fault.
    TripleFault {
        /// Where, if the host's CPU keeps that: AMD's do not, and KVM resets the vCPU.
        rip: Option<u64>,
    },
    /// KVM gave up.
    InternalError {
        suberror: u32,
        rip: u64,
        instruction: Vec<u8>,
    },
    /// The CPU refused to enter the guest.
    FailedEntry {
        reason: u64,
        cpu: u32,
    },
    /// An exit that nothing we enabled can cause.
    Unexpected(String),
}

/// A vCPU, owned by its thread.
pub struct Vcpu {
    fd: VcpuFd,
    /// What it was given; empty until then.
    cpuid: Option<CpuId>,
    /// How its clock comes to be as fast as it is to be.
    pace: Pace,
}

impl Vcpu {
    /// vCPU number `index`. Fails if KVM refuses.
    pub fn new(vm: &VmFd, index: u8) -> io::Result<Vcpu> {
        Ok(Vcpu { fd: vm.create_vcpu(index.into())?, cpuid: None, pace: Pace::Host })
    }

    /// Sets what every vCPU starts with. Fails if KVM refuses.
    pub fn init(&mut self, cpuid: &CpuId) -> io::Result<()> {
        self.fd.set_cpuid2(cpuid)?;
        self.cpuid = Some(cpuid.clone());
        let entries = arch::msr::boot_msrs();
        let msrs = Msrs::from_entries(&entries)
            .map_err(|_| io::Error::other("the list of boot MSRs is too long"))?;
        let done = self.fd.set_msrs(&msrs)?;
        if let Some(refused) = entries.get(done) {
            let what = format!("KVM refused MSR {:#x}", refused.index);
            return Err(io::Error::other(what));
        }
        self.fd.set_fpu(&arch::regs::fpu())?;
        let mut lapic = self.fd.get_lapic()?;
        arch::regs::set_lints(&mut lapic);
        Ok(self.fd.set_lapic(&lapic)?)
    }

    /// Sets the MSRs that a template changes. Fails if KVM refuses to be asked; the inner error names one that
    /// it does not have.
    pub fn shape(&self, template: &Template) -> io::Result<Result<(), TemplateError>> {
        let too_many = |_| io::Error::other("the template has more MSRs than KVM takes");
        let entries = template.msrs_to_read();
        let missing = |count: usize| match entries.get(count) {
            Some(entry) => Err(TemplateError::NoMsr { index: entry.index }),
            None => Ok(()),
        };
        let mut held = Msrs::from_entries(&entries).map_err(too_many)?;
        if let Err(error) = missing(self.fd.get_msrs(&mut held)?) {
            return Ok(Err(error));
        }
        let wanted = template.msrs_to_set(held.as_slice());
        Ok(missing(self.fd.set_msrs(&Msrs::from_entries(&wanted).map_err(too_many)?)?))
    }

    /// Sets the registers of the boot CPU. Fails if KVM refuses.
    pub fn boot(&self, entry: &arch::boot::Entry) -> io::Result<()> {
        let current = self.fd.get_sregs()?;
        self.fd.set_sregs(&arch::regs::special(&current, entry))?;
        Ok(self.fd.set_regs(&arch::regs::general(entry))?)
    }

    /// Becomes what `state` says, instead of being set up; [`Vcpu::load_time`] and [`Vcpu::load_rest`] are to follow.
    /// Fails if this host has less than the one that it comes from, or KVM refuses.
    pub fn load(&mut self, state: &VcpuState, host: &HostFacts) -> Result<(), VcpuStateError> {
        self.cpuid = Some(vcpu_state::cpuid_of(state)?);
        self.pace = vcpu_state::load(&self.fd, state, host)?;
        Ok(())
    }

    /// Takes the time of `state`, and `passage` since then, which the VM's clock shows already. Fails if KVM refuses.
    pub fn load_time(
        &self,
        state: &VcpuState,
        passage: &Passage,
        host: &HostFacts,
    ) -> Result<(), VcpuStateError> {
        vcpu_state::load_time(&self.fd, state, passage, self.pace, host)
    }

    /// Takes what hangs on the time, once all vCPUs have theirs. Fails if KVM refuses.
    pub fn load_rest(
        &self,
        state: &VcpuState,
        passage: &Passage,
        host: &HostFacts,
    ) -> Result<(), VcpuStateError> {
        vcpu_state::load_rest(&self.fd, state, passage, host)?;
        excuse_pause(&self.fd);
        Ok(())
    }

    /// What KVM adds to the host's time-stamp counter for it, if it tells.
    pub fn tsc_offset(&self) -> Option<u64> {
        tsc::offset(&self.fd)
    }

    /// Replaces that. Fails if KVM refuses.
    pub fn set_tsc_offset(&self, offset: u64) -> io::Result<()> {
        tsc::set_offset(&self.fd, offset)
    }

    /// Starts in real mode with all segments at 0, for the tests of this crate.
    #[cfg(test)]
    pub fn real_mode(&self, rip: u64) -> io::Result<()> {
        let mut sregs = self.fd.get_sregs()?;
        (sregs.cs.base, sregs.cs.selector) = (0, 0);
        self.fd.set_sregs(&sregs)?;
        let regs = kvm_bindings::kvm_regs { rip, rflags: 2, rsp: 0x8000, ..Default::default() };
        Ok(self.fd.set_regs(&regs)?)
    }

    /// Ties the vCPU to the calling thread: from now on [`kick_signal`] to this thread brings it out of
    /// the guest, or keeps it from entering.
    pub fn bind(mut self) -> BoundVcpu {
        RUN.set(self.fd.get_kvm_run());
        BoundVcpu { fd: self.fd, cpuid: self.cpuid, _not_send: PhantomData }
    }
}

/// A vCPU on its thread.
pub struct BoundVcpu {
    fd: VcpuFd,
    cpuid: Option<CpuId>,
    /// The thread-local pointer to the run page belongs to this thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for BoundVcpu {
    fn drop(&mut self) {
        // Before the run page is unmapped.
        RUN.set(std::ptr::null_mut());
    }
}

impl BoundVcpu {
    /// Enters the guest once; what it accesses is answered by `accesses` before this returns.
    pub fn run(&mut self, accesses: &mut impl Accesses) -> io::Result<Exit> {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                self.fd.set_kvm_immediate_exit(0);
                return Ok(Exit::Kicked);
            }
            Err(error) => return Err(error.into()),
        };
        match exit {
            VcpuExit::IoOut(port, data) => {
                let (data, width) = (data.as_ptr(), io_width(data.len(), self.fd.get_kvm_run()));
                // SAFETY: the data of this exit, in the mapped run page until the next entry.
                let data = unsafe { std::slice::from_raw_parts(data, width.1) };
                data.chunks(width.0).for_each(|item| accesses.port_write(port, item));
            }
            VcpuExit::IoIn(port, data) => {
                let (data, width) =
                    (data.as_mut_ptr(), io_width(data.len(), self.fd.get_kvm_run()));
                // SAFETY: the data of this exit, in the mapped run page until the next entry.
                let data = unsafe { std::slice::from_raw_parts_mut(data, width.1) };
                data.chunks_mut(width.0).for_each(|item| accesses.port_read(port, item));
            }
            VcpuExit::MmioRead(address, data) => accesses.mmio_read(address, data),
            VcpuExit::MmioWrite(address, data) => accesses.mmio_write(address, data),
            VcpuExit::Intr | VcpuExit::IrqWindowOpen => return Ok(Exit::Kicked),
            VcpuExit::Shutdown => {
                let rip = Some(self.rip()).filter(|rip| *rip != RESET_VECTOR);
                return Ok(Exit::TripleFault { rip });
            }
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _) => return Ok(Exit::GuestOff),
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET | KVM_SYSTEM_EVENT_CRASH, _) => {
                return Ok(Exit::GuestReset);
            }
            VcpuExit::InternalError => return Ok(self.internal_error()),
            VcpuExit::FailEntry(reason, cpu) => return Ok(Exit::FailedEntry { reason, cpu }),
            other => return Ok(Exit::Unexpected(format!("{other:?}"))),
        }
        Ok(Exit::Access)
    }

    /// Lets KVM finish the last access, whose answer it takes at the next entry only, without
    /// running the guest. An access that KVM cuts into parts goes on until its last part.
    pub fn settle(&mut self, accesses: &mut impl Accesses) {
        loop {
            self.fd.set_kvm_immediate_exit(1);
            // The flag makes it return EINTR; another error will show at the next real entry.
            if !matches!(self.run(accesses), Ok(Exit::Access)) {
                break;
            }
        }
        self.fd.set_kvm_immediate_exit(0);
    }

    /// Tells the guest, if it has a paravirtual clock, that time went on while it did not: its
    /// watchdogs then do not take the pause for a hang.
    pub fn excuse_pause(&self) {
        excuse_pause(&self.fd);
    }

    /// Reads its state, once it has settled. Fails if KVM refuses.
    pub fn save(&self, host: &HostFacts) -> Result<VcpuState, VcpuStateError> {
        match &self.cpuid {
            Some(cpuid) => vcpu_state::save(&self.fd, cpuid, host),
            None => Err(VcpuStateError::Unset),
        }
    }

    fn rip(&self) -> u64 {
        self.fd.get_regs().map_or(0, |regs| regs.rip)
    }

    fn internal_error(&mut self) -> Exit {
        let rip = self.rip();
        let run = self.fd.get_kvm_run();
        // SAFETY: KVM_EXIT_INTERNAL_ERROR fills these members of the union, which are integers.
        let (internal, failure) =
            unsafe { (run.__bindgen_anon_1.internal, run.__bindgen_anon_1.emulation_failure) };
        let mut instruction = Vec::new();
        if internal.suberror == EMULATION_FAILURE
            && failure.ndata >= 3
            && failure.flags & HAS_INSTRUCTION_BYTES != 0
        {
            // SAFETY: the flag says that these bytes are filled; they are integers.
            let bytes = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
            let len = usize::from(bytes.insn_size).min(bytes.insn_bytes.len());
            instruction = bytes.insn_bytes[..len].to_vec();
        }
        Exit::InternalError { suberror: internal.suberror, rip, instruction }
    }
}

fn excuse_pause(fd: &VcpuFd) {
    // Refused if the guest has no such clock.
    let _ = fd.kvmclock_ctrl();
}

/// Bytes of one item and of all items of a port access (`rep outs` moves several in one exit).
fn io_width(len: usize, run: &mut kvm_run) -> (usize, usize) {
    // SAFETY: the last exit was KVM_EXIT_IO, which fills this member; its fields are integers.
    let size = unsafe { run.__bindgen_anon_1.io.size };
    (usize::from(size).max(1), len)
}

thread_local! {
    static RUN: Cell<*mut kvm_run> = const { Cell::new(std::ptr::null_mut()) };
}

/// The signal that brings a thread out of the guest.
pub fn kick_signal() -> libc::c_int {
    SIGRTMIN()
}

/// Installs the handler of [`kick_signal`] for the process.
pub fn install_kick_handler() -> io::Result<()> {
    Ok(register_signal_handler(kick_signal(), on_kick)?)
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    RUN.with(|run| {
        let page = run.get();
        if !page.is_null() {
            // SAFETY: RUN holds the address of a mapped page, or null: `BoundVcpu` sets it and
            // takes it back before the page goes.
            let flag = unsafe { AtomicU8::from_ptr(&raw mut (*page).immediate_exit) };
            flag.store(1, Ordering::Release);
        }
    });
}
