//! The two 8259 interrupt controllers, left as firmware leaves them.
//!
//! KVM makes them with every line unmasked and vectors from 0, where the processor's exceptions are,
//! and the boot CPU takes what they send from its first `sti` on. A kernel on a hardware-reduced
//! machine never touches them, so that any line raised before it has closed that pin is an exception
//! to it: COM1's is an overflow. Firmware hands them over with vectors of their own and closed; a
//! kernel that wants them, as one told `noapic acpi=off`, starts them anew.

use kvm_bindings::{KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip};
use kvm_ioctls::{Error, VmFd};

/// First vectors of both, as every PC's firmware sets them.
const CHIPS: [(u32, u8); 2] = [(KVM_IRQCHIP_PIC_MASTER, 0x08), (KVM_IRQCHIP_PIC_SLAVE, 0x70)];
const ALL_MASKED: u8 = 0xff;

/// Closes every line of both. Fails if KVM refuses.
pub fn close(vm: &VmFd) -> Result<(), Error> {
    for (chip_id, first_vector) in CHIPS {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        vm.get_irqchip(&mut chip)?;
        chip.chip.pic.imr = ALL_MASKED;
        chip.chip.pic.irq_base = first_vector;
        vm.set_irqchip(&chip)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "pic_test.rs"]
mod tests;
