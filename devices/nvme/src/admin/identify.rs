//! Identify: what controller and namespace are (NVMe base specification 1.4, 5.15).

use device_core::fields::PutLe;

use super::aborts;
use super::commands::Answer;
use super::events::{LIMIT, NAMESPACE_CHANGED};
use crate::abi::{ALL_NAMESPACES, BLOCK, Command, NAMESPACE, Status};
use crate::card::{Card, Control};
use crate::errors::ENTRIES;
use crate::identity::VENDOR;
use crate::page::Page;
use crate::prp::{self, MAX_TRANSFER};
use crate::registers::VERSION;

/// What is asked for (CNS).
mod structure {
    pub const NAMESPACE: u8 = 0x00;
    pub const CONTROLLER: u8 = 0x01;
    pub const NAMESPACES: u8 = 0x02;
    pub const DESCRIPTORS: u8 = 0x03;
    /// Of a command set.
    pub const SET_NAMESPACE: u8 = 0x05;
    pub const SET_CONTROLLER: u8 = 0x06;
}

/// Amazon's, as EBS shows it.
const IEEE: [u8; 3] = [0xa0, 0x02, 0xdc];
/// Where the vendor's area begins: the guest's name of the device.
const VENDOR_AREA: usize = 3072;
/// Physical blocks of 4 KiB, in logical ones, less one.
const PREFERRED: u16 = 7;
/// A namespace descriptor's kind: a UUID, of 16 bytes.
const UUID: [u8; 2] = [3, 16];

impl Card {
    pub(super) fn identify(&self, control: &Control, command: &Command) -> Result<Answer, Status> {
        let (structure, set) = (command.word(10) as u8, command.word(11) >> 24);
        let page = match structure {
            structure::CONTROLLER => self.controller_page(),
            structure::NAMESPACE => {
                is_ours(command)?;
                self.namespace_page(control)
            }
            structure::NAMESPACES => namespaces_after(command.namespace())?,
            structure::DESCRIPTORS => {
                is_ours(command)?;
                let mut page = Page::default();
                page.put(0, &UUID);
                page.put(4, &self.identity.uuid.to_be_bytes());
                page
            }
            // No limits but those of the controller.
            structure::SET_CONTROLLER | structure::SET_NAMESPACE if set == 0 => Page::default(),
            _ => return Err(Status::INVALID_FIELD),
        };
        prp::write(command.prps(), page.bytes(), &self.memory)?;
        Ok(Answer::Now(0))
    }

    fn controller_page(&self) -> Page {
        let mut page = Page::default();
        page.put_half(0, VENDOR);
        page.put_half(2, VENDOR);
        page.put_text(4, 20, &self.identity.serial);
        page.put_text(24, 40, self.identity.model);
        page.put_text(64, 8, self.identity.firmware);
        page.put_byte(72, 6); // RAB: commands in a row
        page.put(73, &IEEE);
        page.put_byte(77, (MAX_TRANSFER / 4096).ilog2() as u8); // MDTS, in pages
        page.put_word(80, VERSION);
        page.put_word(88, 10_000_000); // RTD3E: a shutdown takes at most so many microseconds
        page.put_word(92, NAMESPACE_CHANGED); // OAES
        page.put_byte(111, 1); // CNTRLTYPE: of I/O
        page.put_half(256, 1 << 8); // OACS: Doorbell Buffer Config
        page.put_byte(258, aborts::LIMIT); // ACL
        page.put_byte(259, LIMIT); // AERL
        page.put_byte(260, 3); // FRMW: one slot, not to be written
        page.put_byte(261, 0b110); // LPA: effects, and parts of pages
        page.put_byte(262, ENTRIES.saturating_sub(1)); // ELPE: entries of the error log, less one
        page.put_byte(264, 1); // AVSCC: vendor commands have the common form
        page.put_byte(512, 0x66); // SQES
        page.put_byte(513, 0x44); // CQES
        page.put_word(516, 1); // NN
        page.put_half(520, 0b1101); // ONCS: Compare, Dataset Management, Write Zeroes
        // VWC: there is one, and a flush of all namespaces is possible.
        page.put_byte(525, if self.has_cache { 0b111 } else { 0b110 });
        let subsystem = self.identity.subsystem();
        page.put(768, subsystem.as_bytes());
        page.put_half(2048, 1); // PSD0: 0.01 W
        page.put_word(2048 + 4, 1_000_000); // ENLAT
        page.put_word(2048 + 8, 1_000_000); // EXLAT
        if let Some(name) = &self.identity.name {
            page.put_text(VENDOR_AREA, 32, name);
        }
        page
    }

    fn namespace_page(&self, control: &Control) -> Page {
        let mut page = Page::default();
        let blocks = control.size / BLOCK;
        for at in [0, 8, 16] {
            page.put_double(at, blocks); // NSZE, NCAP, NUSE
        }
        page.put_byte(24, 1 << 4); // NSFEAT: preferred sizes are given
        page.put_byte(33, 0b1001); // DLFEAT: what is deallocated reads as zeroes, and can be by Write Zeroes
        page.put_wide(48, u128::from(control.size)); // NVMCAP
        page.put_half(64, PREFERRED); // NPWG
        page.put_half(66, PREFERRED); // NPWA
        page.put_half(68, PREFERRED); // NPDG
        page.put_half(70, PREFERRED); // NPDA
        page.put_half(72, PREFERRED); // NOWS
        page.put_byte(99, self.read_only.into()); // NSATTR: not to be written now
        page.put_byte(128 + 2, BLOCK.ilog2() as u8); // LBAF0
        page
    }
}

fn is_ours(command: &Command) -> Result<(), Status> {
    match command.namespace() {
        NAMESPACE => Ok(()),
        _ => Err(Status::INVALID_NAMESPACE),
    }
}

/// The numbers of namespaces beyond `number`.
fn namespaces_after(number: u32) -> Result<Page, Status> {
    if number >= ALL_NAMESPACES.wrapping_sub(1) {
        return Err(Status::INVALID_NAMESPACE);
    }
    let mut page = Page::default();
    if number < NAMESPACE {
        page.put_word(0, NAMESPACE);
    }
    Ok(page)
}

#[cfg(test)]
#[path = "identify_test.rs"]
mod tests;
