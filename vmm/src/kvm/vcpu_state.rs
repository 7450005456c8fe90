//! All of a vCPU that a guest could tell from another: read, and given to a fresh one, each in the one order in
//! which KVM loses nothing (KVM API, `Documentation/virt/kvm/api.rst`).

use std::io;

use arch::msr::{IA32_TIME_STAMP_COUNTER, IA32_TSC_DEADLINE};
use device_core::snapshot::blob;
use kvm_bindings::{
    CpuId, Msrs, Xsave, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::raw::Raw;
use super::tsc::{self, Passage};

/// What a vCPU has of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuState {
    /// Whether it runs, halts or waits to be started (`KVM_MP_STATE_*`).
    pub mp_state: u32,
    /// General registers.
    pub regs: Raw<kvm_regs>,
    /// Segments, control registers, and an interrupt that is on its way in.
    pub sregs: Raw<kvm_sregs>,
    /// Floating point and vectors, as XSAVE lays them out.
    #[serde(with = "blob")]
    pub xsave: Vec<u8>,
    /// Which of these are on.
    pub xcrs: Raw<kvm_xcrs>,
    /// Breakpoints.
    pub debug_registers: Raw<kvm_debugregs>,
    /// The local APIC's page.
    pub lapic: Raw<kvm_lapic_state>,
    /// Of its clock; `None` where KVM does not tell.
    pub tsc_khz: Option<u32>,
    /// What KVM added to the host's time-stamp counter; `None` where it does not tell.
    pub tsc_offset: Option<u64>,
    /// What it says that it is.
    pub cpuid: Vec<Raw<kvm_cpuid_entry2>>,
    /// In the order in which they are set.
    pub msrs: Vec<Msr>,
    /// Exceptions and interrupts that are neither here nor there.
    pub events: Raw<kvm_vcpu_events>,
}

/// One MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Msr {
    /// Its number.
    pub index: u32,
    /// Its value.
    pub data: u64,
}

/// How a time-stamp counter comes to be as fast as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The host's is.
    Host,
    /// KVM makes up for the difference.
    Scaled,
}

/// What a host's KVM has of each vCPU.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// MSRs that are a vCPU's own.
    msrs: Vec<u32>,
    /// Bytes of floating point and vectors.
    xsave: usize,
    /// Whether an MSR that KVM refuses is left out: where the host has no virtualization in hardware, KVM lists
    /// some that it does not have.
    lenient: bool,
}

/// Something of a vCPU that KVM does not tell, or does not take.
#[derive(Debug, thiserror::Error)]
pub enum VcpuStateError {
    #[error("KVM refused {0}")]
    Refused(&'static str, #[source] io::Error),
    #[error("KVM refused MSR {index:#x} with {data:#x}")]
    Msr { index: u32, data: u64 },
    #[error("its floating-point state has {found} bytes; this host's KVM takes 4096 to {most}")]
    Xsave { found: usize, most: usize },
    #[error(
        "its clock has {found} kHz and this host's {own} kHz, which KVM cannot make up for here; restore it on \
         a host like the one it comes from"
    )]
    Clock { found: u32, own: u32 },
    #[error("it was never set up")]
    Unset,
    #[error("it has {0} leaves of CPUID, more than KVM takes")]
    Leaves(usize),
}

type Result<T> = std::result::Result<T, VcpuStateError>;

fn refused(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> VcpuStateError {
    move |error| VcpuStateError::Refused(what, error.into())
}

/// Bytes that every processor's state has at least (`struct kvm_xsave`).
const LEAST_XSAVE: usize = 4096;
/// MSRs in one call (`KVM_MAX_MSR_ENTRIES`).
const MOST_MSRS: usize = 256;
/// Hosts of one kind differ by less, as each measures its clock when it boots: parts in a million.
const CLOCK_TOLERANCE_PPM: u64 = 250;

/// Of [`kvm_vcpu_events::flags`]: what KVM takes without being told to before. NMI pending, SIPI vector,
/// interrupt shadow, SMM.
const EVENT_FLAGS: u32 = 0xf;

impl HostFacts {
    /// Of this host; `vm` is any VM of it. Fails if KVM does not list its MSRs.
    pub fn of(kvm: &Kvm, vm: &VmFd, lenient: bool) -> io::Result<HostFacts> {
        let listed = kvm.get_msr_index_list()?;
        let own = listed.as_slice().iter().copied().filter(|index| arch::msr::is_saved(*index));
        let told = usize::try_from(vm.check_extension_int(Cap::Xsave2)).unwrap_or(0);
        Ok(HostFacts { msrs: own.collect(), xsave: told.max(LEAST_XSAVE), lenient })
    }
}

/// Reads the state of a vCPU that has settled: no access of it waits for its answer. `cpuid` is what it was given;
/// KVM makes what it changes of it from the rest, and where the host has no virtualization in hardware tells the
/// host's instead. Fails if KVM refuses.
pub fn save(fd: &VcpuFd, cpuid: &CpuId, host: &HostFacts) -> Result<VcpuState> {
    // First, as it does what an interrupt that starts the vCPU asked for, which changes registers.
    let mp_state = fd.get_mp_state().map_err(refused("to tell whether it runs"))?.mp_state;
    let regs = fd.get_regs().map_err(refused("to tell its registers"))?;
    let sregs = fd.get_sregs().map_err(refused("to tell its control registers"))?;
    let xsave = read_xsave(fd, host.xsave)?;
    let xcrs = fd.get_xcrs().map_err(refused("to tell its extended control registers"))?;
    let debug = fd.get_debug_regs().map_err(refused("to tell its debug registers"))?;
    let lapic = fd.get_lapic().map_err(refused("to tell its local APIC"))?;
    let tsc_khz = fd.get_tsc_khz().ok();
    let tsc_offset = tsc::offset(fd);
    let cpuid = cpuid.as_slice().iter().copied().map(Raw).collect();
    let msrs = read_msrs(fd, &host.msrs)?;
    let events = fd.get_vcpu_events().map_err(refused("to tell its events"))?;
    Ok(VcpuState {
        mp_state,
        regs: Raw(regs),
        sregs: Raw(sregs),
        xsave,
        xcrs: Raw(xcrs),
        debug_registers: Raw(debug),
        lapic: Raw(lapic),
        tsc_khz,
        tsc_offset,
        cpuid,
        msrs,
        events: Raw(events),
    })
}

/// Makes a vCPU that has never run what `state` says, but for its time and what that brings about, which
/// [`load_time`] and [`load_rest`] do. Says how its clock comes to be as fast as it was. Fails if this host has less
/// than the one it comes from.
pub fn load(fd: &VcpuFd, state: &VcpuState, host: &HostFacts) -> Result<Pace> {
    // MSRs, control registers and the size of vectors are judged by it.
    fd.set_cpuid2(&cpuid_of(state)?).map_err(refused("its CPUID"))?;
    let pace = set_clock(fd, state.tsc_khz)?;
    let mp_state = kvm_mp_state { mp_state: state.mp_state };
    fd.set_mp_state(mp_state).map_err(refused("whether it runs"))?;
    // Takes pending exceptions away, which come back with the events.
    fd.set_regs(&state.regs.0).map_err(refused("its registers"))?;
    // Has the APIC's mode, by which the page below is read.
    fd.set_sregs(&state.sregs.0).map_err(refused("its control registers"))?;
    write_xsave(fd, &state.xsave, host.xsave)?;
    // A CPU without XSAVE has none, and does not take none.
    if state.xcrs.0.nr_xcrs > 0 {
        fd.set_xcrs(&state.xcrs.0).map_err(refused("its extended control registers"))?;
    }
    fd.set_debug_regs(&state.debug_registers.0).map_err(refused("its debug registers"))?;
    fd.set_lapic(&state.lapic.0).map_err(refused("its local APIC"))?;
    let is_time = |msr: &&Msr| matches!(msr.index, IA32_TIME_STAMP_COUNTER | IA32_TSC_DEADLINE);
    let others: Vec<_> = state.msrs.iter().filter(|msr| !is_time(msr)).copied().collect();
    write_msrs(fd, &others, host)?;
    Ok(pace)
}

/// Lets its time-stamp counter go on from where it was, with what has passed by the VM's clock, which has been set.
/// Fails if KVM refuses.
pub fn load_time(
    fd: &VcpuFd,
    state: &VcpuState,
    passage: &Passage,
    pace: Pace,
    host: &HostFacts,
) -> Result<()> {
    let Some(clock) = time_of(state, passage) else { return Ok(()) };
    write_msrs(fd, &[Msr { index: IA32_TIME_STAMP_COUNTER, data: clock }], host)?;
    // What was written goes on from the moment of the writing, and KVM takes one that is near to another vCPU's for
    // the same. An offset says it to the tick, unless KVM makes up for another frequency.
    let (Some(khz), Some(then)) = (state.tsc_khz, state.tsc_offset) else { return Ok(()) };
    let Some(offset) = passage.offset(then, khz).filter(|_| pace == Pace::Host) else {
        return Ok(());
    };
    tsc::set_offset(fd, offset)
        .map_err(|error| VcpuStateError::Refused("the offset of its time-stamp counter", error))
}

/// Gives a vCPU that knows the time the deadline of its timer, and what is on its way into it. Fails if KVM refuses.
pub fn load_rest(
    fd: &VcpuFd,
    state: &VcpuState,
    passage: &Passage,
    host: &HostFacts,
) -> Result<()> {
    write_msrs(fd, &deadlines(state, passage), host)?;
    let mut events = state.events.0;
    events.flags &= EVENT_FLAGS;
    fd.set_vcpu_events(&events).map_err(refused("its events"))
}

/// What a vCPU of this state says that it is. Fails if that is more than KVM takes.
pub fn cpuid_of(state: &VcpuState) -> Result<CpuId> {
    let leaves: Vec<_> = state.cpuid.iter().map(|leaf| leaf.0).collect();
    CpuId::from_entries(&leaves).map_err(|_| VcpuStateError::Leaves(leaves.len()))
}

fn read_xsave(fd: &VcpuFd, size: usize) -> Result<Vec<u8>> {
    let mut xsave = new_xsave(size)?;
    match size {
        // A kernel before 5.17 has no other call.
        LEAST_XSAVE => {
            let old = fd.get_xsave().map_err(refused("to tell its floating-point state"))?;
            return Ok(old.region.iter().flat_map(|word| word.to_ne_bytes()).collect());
        }
        // SAFETY: it has room for as many bytes as the kernel has said that it writes.
        _ => unsafe { fd.get_xsave2(&mut xsave) }
            .map_err(refused("to tell its floating-point state"))?,
    }
    let fixed = xsave.as_fam_struct_ref().xsave.region.iter();
    let words = fixed.chain(xsave.as_slice());
    Ok(words.flat_map(|word| word.to_ne_bytes()).take(size).collect())
}

fn write_xsave(fd: &VcpuFd, bytes: &[u8], most: usize) -> Result<()> {
    if !(LEAST_XSAVE..=most).contains(&bytes.len()) {
        return Err(VcpuStateError::Xsave { found: bytes.len(), most });
    }
    let mut xsave = new_xsave(most)?;
    let mut words = bytes.chunks(4).map(|word| {
        let mut whole = [0; 4];
        whole.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
        u32::from_ne_bytes(whole)
    });
    // SAFETY: only the words of the structure change, not the length behind them.
    let fixed = unsafe { &mut xsave.as_mut_fam_struct().xsave.region };
    fixed.iter_mut().zip(&mut words).for_each(|(to, from)| *to = from);
    xsave.as_mut_slice().iter_mut().zip(words).for_each(|(to, from)| *to = from);
    // SAFETY: it has as many bytes as the kernel reads.
    unsafe { fd.set_xsave2(&xsave) }.map_err(refused("its floating-point state"))
}

/// Room for `size` bytes of floating-point state.
fn new_xsave(size: usize) -> Result<Xsave> {
    let more = size.saturating_sub(LEAST_XSAVE).div_ceil(4);
    let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    Xsave::new(more)
        .map_err(too_large)
        .map_err(|error| VcpuStateError::Refused("the size of its floating-point state", error))
}

/// Lets its clock go as fast as it did.
fn set_clock(fd: &VcpuFd, khz: Option<u32>) -> Result<Pace> {
    let (Some(found), Ok(own)) = (khz, fd.get_tsc_khz()) else { return Ok(Pace::Host) };
    let apart = u64::from(found.abs_diff(own)).saturating_mul(1_000_000);
    if apart <= u64::from(own).saturating_mul(CLOCK_TOLERANCE_PPM) {
        return Ok(Pace::Host);
    }
    let set = fd.set_tsc_khz(found).map(|()| Pace::Scaled);
    set.map_err(|_| VcpuStateError::Clock { found, own })
}

/// The values of `wanted`, without those that KVM lists and does not have.
fn read_msrs(fd: &VcpuFd, wanted: &[u32]) -> Result<Vec<Msr>> {
    let mut values = Vec::with_capacity(wanted.len());
    let mut left = wanted;
    while !left.is_empty() {
        let (part, _) = left.split_at(left.len().min(MOST_MSRS));
        let entry = |&index| kvm_msr_entry { index, ..Default::default() };
        let mut msrs = entries(&part.iter().map(entry).collect::<Vec<_>>())?;
        let done = fd.get_msrs(&mut msrs).map_err(refused("to tell its MSRs"))?;
        let read = msrs.as_slice().iter().take(done);
        values.extend(read.map(|entry| Msr { index: entry.index, data: entry.data }));
        // The one behind those that it read is the one that it does not have.
        let passed = if done < part.len() { done.saturating_add(1) } else { done };
        left = left.get(passed..).unwrap_or_default();
    }
    Ok(values)
}

fn entries(entries: &[kvm_msr_entry]) -> Result<Msrs> {
    Msrs::from_entries(entries)
        .map_err(|_| VcpuStateError::Refused("so many MSRs", io::ErrorKind::InvalidInput.into()))
}

/// What its time-stamp counter shows now; `None` if it has none.
fn time_of(state: &VcpuState, passage: &Passage) -> Option<u64> {
    let clock = state.msrs.iter().find(|msr| msr.index == IA32_TIME_STAMP_COUNTER)?;
    let passed = state.tsc_khz.map_or(0, |khz| passage.ticks(khz));
    Some(clock.data.wrapping_add(passed))
}

/// The deadline of its timer, which counts if the clock is there by which it is measured. One of 0 may have fired
/// just now and not have been heard: it becomes one that is over, so that it is heard, if once too often.
fn deadlines(state: &VcpuState, passage: &Passage) -> Vec<Msr> {
    let deadlines = state.msrs.iter().filter(|msr| msr.index == IA32_TSC_DEADLINE);
    let over = |msr: &Msr| match msr.data {
        0 => Msr { data: time_of(state, passage).unwrap_or_default(), ..*msr },
        _ => *msr,
    };
    deadlines.map(over).collect()
}

fn write_msrs(fd: &VcpuFd, msrs: &[Msr], host: &HostFacts) -> Result<()> {
    let mut left = msrs;
    let mut lost = 0u32;
    while !left.is_empty() {
        let (part, _) = left.split_at(left.len().min(MOST_MSRS));
        let entry =
            |msr: &Msr| kvm_msr_entry { index: msr.index, data: msr.data, ..Default::default() };
        let values = entries(&part.iter().map(entry).collect::<Vec<_>>())?;
        let done = fd.set_msrs(&values).map_err(refused("its MSRs"))?;
        let mut passed = done;
        if let Some(&Msr { index, data }) = part.get(done) {
            if !host.lenient {
                return Err(VcpuStateError::Msr { index, data });
            }
            tracing::debug!("KVM refused MSR {index:#x} with {data:#x}, and it is left out");
            lost = lost.saturating_add(1);
            passed = done.saturating_add(1);
        }
        left = left.get(passed..).unwrap_or_default();
    }
    if lost > 0 {
        tracing::info!("{lost} MSRs are left out, as KVM of this host does not take them");
    }
    Ok(())
}

#[cfg(test)]
#[path = "vcpu_state_test.rs"]
mod tests;
