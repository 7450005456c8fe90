//! What KVM keeps for a VM beside its vCPUs: interrupt controllers, timer, clock.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use kvm_bindings::{
    KVM_CLOCK_REALTIME, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    kvm_clock_data, kvm_irqchip, kvm_pit_state2,
};
use kvm_ioctls::{Cap, VmFd};
use serde::{Deserialize, Serialize};

use super::raw::Raw;
use super::tsc::Passage;

/// All of that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmState {
    /// The first 8259 interrupt controller.
    pub pic_master: Raw<kvm_irqchip>,
    /// The second.
    pub pic_slave: Raw<kvm_irqchip>,
    /// The IOAPIC.
    pub ioapic: Raw<kvm_irqchip>,
    /// The 8254 timer.
    pub pit: Raw<kvm_pit_state2>,
    /// The paravirtual clock, and what the host's said then.
    pub clock: Raw<kvm_clock_data>,
}

/// Something that KVM does not tell, or does not take.
#[derive(Debug, thiserror::Error)]
#[error("KVM refused {what}")]
pub struct VmStateError {
    what: &'static str,
    source: io::Error,
}

fn refused(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> VmStateError {
    move |error| VmStateError { what, source: error.into() }
}

/// Reads it. No vCPU runs, and no interrupt is on its way. Fails if KVM refuses.
pub fn save(vm: &VmFd) -> Result<VmState, VmStateError> {
    let chip = |chip_id, what| {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        vm.get_irqchip(&mut chip).map_err(refused(what))?;
        Ok(Raw(chip))
    };
    Ok(VmState {
        pic_master: chip(KVM_IRQCHIP_PIC_MASTER, "to tell the first PIC")?,
        pic_slave: chip(KVM_IRQCHIP_PIC_SLAVE, "to tell the second PIC")?,
        ioapic: chip(KVM_IRQCHIP_IOAPIC, "to tell the IOAPIC")?,
        pit: Raw(vm.get_pit2().map_err(refused("to tell the timer"))?),
        clock: Raw(read_clock(vm)?),
    })
}

/// The clock, and what the host's says.
fn read_clock(vm: &VmFd) -> Result<kvm_clock_data, VmStateError> {
    let mut clock = vm.get_clock().map_err(refused("to tell the clock"))?;
    if clock.flags & KVM_CLOCK_REALTIME == 0 {
        // KVM tells it only where the host's own clock is the time-stamp counter.
        clock.realtime = now_ns();
        clock.flags |= KVM_CLOCK_REALTIME;
    }
    Ok(clock)
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What to set a clock to that said `then`: with the time that passed if it is to `advance`. KVM adds that by
/// itself if it is `known` to.
fn clock_to_set(then: &kvm_clock_data, advance: bool, known: u32) -> kvm_clock_data {
    // Others are told, and not taken.
    let wanted = if advance { then.flags & KVM_CLOCK_REALTIME } else { 0 };
    let passed = if wanted & !known != 0 { now_ns().saturating_sub(then.realtime) } else { 0 };
    kvm_clock_data { clock: then.clock.wrapping_add(passed), flags: wanted & known, ..*then }
}

/// Gives it to a VM whose vCPUs have their state, but for their time, and have not run. The clock goes on with the
/// time that passed if `advance` is so, else from where it was; what has passed by it. Fails if KVM refuses.
pub fn load(vm: &VmFd, state: &VmState, advance: bool) -> Result<Passage, VmStateError> {
    vm.set_pit2(&state.pit.0).map_err(refused("the timer"))?;
    let known = u32::try_from(vm.check_extension_int(Cap::AdjustClock)).unwrap_or(0);
    let then = &state.clock.0;
    vm.set_clock(&clock_to_set(then, advance, known)).map_err(refused("the clock"))?;
    let now = vm.get_clock().map_err(refused("to tell the clock"))?;
    let chips = [
        (KVM_IRQCHIP_PIC_MASTER, &state.pic_master.0, "the first PIC"),
        (KVM_IRQCHIP_PIC_SLAVE, &state.pic_slave.0, "the second PIC"),
        (KVM_IRQCHIP_IOAPIC, &state.ioapic.0, "the IOAPIC"),
    ];
    for (chip_id, chip, what) in chips {
        vm.set_irqchip(&kvm_irqchip { chip_id, ..*chip }).map_err(refused(what))?;
    }
    Ok(Passage::between(then, &now))
}

#[cfg(test)]
#[path = "vm_state_test.rs"]
mod tests;

#[cfg(test)]
#[path = "cycles_test.rs"]
mod cycles;
