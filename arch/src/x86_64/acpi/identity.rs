//! How a guest learns that it is another machine now: the generation id, which drivers of random numbers follow, and
//! the virtual machine clock, which programs can map.
//!
//! Names are those that Linux matches: its driver of the generation id (`drivers/virt/vmgenid.c`) knew `_HID` alone
//! before 6.10; that of the clock is `drivers/ptp/ptp_vmclock.c`.

use acpi_tables::{Aml, aml};

use crate::layout::{GENERATION_ID, PAGE_SIZE, VM_CLOCK};

/// Both, in the order in which they are to be told of a change.
pub const DEVICES: [&str; 2] = ["\\_SB_.VGEN", "\\_SB_.VCLK"];

/// Present, enabled, shown and working (ACPI 6.5, 6.3.7).
const WORKS: u8 = 0xf;

/// Both, as terms of the name space's root.
pub fn devices(body: &mut Vec<u8>) {
    let [generation, clock] = DEVICES;
    let address = [GENERATION_ID.0 as u32, (GENERATION_ID.0 >> 32) as u32];
    let [low, high] = &address;
    let name = |field: &str, text: &'static str| aml::Name::new(field.into(), &text);
    aml::Device::new(
        generation.into(),
        vec![
            &name("_HID", "VMGENCTR"),
            &name("_CID", "VM_Gen_Counter"),
            &name("_DDN", "VM_Gen_Counter"),
            &aml::Name::new("_STA".into(), &WORKS),
            &aml::Name::new("ADDR".into(), &aml::Package::new(vec![low, high])),
        ],
    )
    .to_aml_bytes(body);
    let page = aml::Memory32Fixed::new(true, VM_CLOCK.0 as u32, PAGE_SIZE as u32);
    aml::Device::new(
        clock.into(),
        vec![
            &name("_HID", "AMZNC10C"),
            &name("_CID", "VMCLOCK"),
            &name("_DDN", "VMCLOCK"),
            &aml::Name::new("_STA".into(), &WORKS),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&page])),
        ],
    )
    .to_aml_bytes(body);
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod tests;
