//! Slots of the PCI bus that cards come into and leave while the guest runs: what the host bridge's scope holds of them.
//!
//! Each slot but the bridge's is a device with an address, a number and `_EJ0` (ACPI 6.5, 6.3.3). The method
//! [`SCAN`] reads which slots have news, once for each news, and notifies their devices (ACPI 6.5, 5.6.6).

use acpi_tables::Aml;
use acpi_tables::aml::{
    self, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, OpRegion,
    OpRegionSpace,
};

use crate::layout::{HOTPLUG_PORT, HOTPLUG_PORTS, PCI_SLOTS};

/// The method that looks which slots have news.
pub const SCAN: &str = "SCAN";

const REGION: &str = "HPRG";
const UP: &str = "HPUP";
const DOWN: &str = "HPDN";
const EJECT: &str = "HPEJ";
/// Bits of a register.
const WORD: usize = 32;

/// Values of notifications: a device may have come, and a device is asked for.
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;

/// All of it, as terms of the host bridge's scope.
pub fn slots(body: &mut Vec<u8>) {
    OpRegion::new(REGION.into(), OpRegionSpace::SystemIO, &HOTPLUG_PORT, &HOTPLUG_PORTS)
        .to_aml_bytes(body);
    let fields = [UP, DOWN, EJECT].map(field).to_vec();
    Field::new(
        REGION.into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        fields,
    )
    .to_aml_bytes(body);
    for slot in 1..PCI_SLOTS {
        device(slot, body);
    }
    scan(body);
}

fn field(name: &str) -> FieldEntry {
    let mut bytes = [0; 4];
    bytes.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    FieldEntry::Named(bytes, WORD)
}

fn name(slot: u8) -> String {
    format!("S{slot:03}")
}

fn bit(slot: u8) -> u32 {
    1u32.checked_shl(slot.into()).unwrap_or(0)
}

fn device(slot: u8, body: &mut Vec<u8>) {
    let address = u32::from(slot) << 16;
    let (eject, bit) = (aml::Path::new(EJECT), bit(slot));
    aml::Device::new(
        name(slot).as_str().into(),
        vec![
            &aml::Name::new("_ADR".into(), &address),
            &aml::Name::new("_SUN".into(), &slot),
            &aml::Method::new("_EJ0".into(), 1, true, vec![&aml::Store::new(&eject, &bit)]),
        ],
    )
    .to_aml_bytes(body);
}

/// Reads each register once, as that takes the news away.
fn scan(body: &mut Vec<u8>) {
    let (up, down) = (aml::Path::new(UP), aml::Path::new(DOWN));
    let mut tests = Vec::new();
    for (news, what) in [(aml::Local(0), DEVICE_CHECK), (aml::Local(1), EJECT_REQUEST)] {
        for slot in 1..PCI_SLOTS {
            let (bit, device) = (bit(slot), aml::Path::new(&name(slot)));
            let has_news = aml::And::new(&aml::ZERO, &news, &bit);
            aml::If::new(&has_news, vec![&aml::Notify::new(&device, &what)])
                .to_aml_bytes(&mut tests);
        }
    }
    aml::Method::new(
        SCAN.into(),
        0,
        true,
        vec![
            &aml::Store::new(&aml::Local(0), &up),
            &aml::Store::new(&aml::Local(1), &down),
            &Terms(tests),
        ],
    )
    .to_aml_bytes(body);
}

/// Terms that are bytes already.
struct Terms(Vec<u8>);

impl Aml for Terms {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

#[cfg(test)]
#[path = "hotplug_test.rs"]
mod tests;
