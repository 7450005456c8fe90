//! Get Log Page (NVMe base specification 1.4, 5.14): as much as the page has, and not a byte more.

use device_core::fields::PutLe;

use super::commands::Answer;
use super::events::log;
use crate::abi::{ALL_NAMESPACES, Command, NAMESPACE, Status, admin, io};
use crate::card::{Card, Control};
use crate::errors;
use crate::page::Page;
use crate::prp;

const HEALTH: u8 = 0x02;
const FIRMWARE: u8 = 0x03;
const EFFECTS: u8 = 0x05;
/// Amazon's statistics.
const STATISTICS: u8 = 0xd0;

/// In doubleword 10: the event that goes with the page is not to be told again.
const RETAIN: u32 = 1 << 15;
/// Kelvin, of nothing.
const TEMPERATURE: u16 = 300;
/// In the log of effects: there is such a command, and it changes blocks.
const SUPPORTED: u32 = 1 << 0;
const CHANGES_BLOCKS: u32 = 1 << 1;

impl Card {
    pub(super) fn get_log_page(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        if !matches!(command.namespace(), 0 | NAMESPACE | ALL_NAMESPACES) {
            return Err(Status::INVALID_NAMESPACE);
        }
        let (which, upper) = (command.word(10), command.word(11));
        let (id, last) = (which as u8, u64::from(which >> 16 | upper << 16));
        let wanted = last.wrapping_add(1).wrapping_mul(4); // of 2^32 doublewords at most
        let offset = u64::from(command.word(12)) | u64::from(command.word(13)) << 32;
        let (page, len) = match id {
            log::ERRORS => (self.errors.page(), errors::LEN),
            HEALTH => (self.health(), 512),
            FIRMWARE => (self.firmware(), 512),
            log::NAMESPACES => (changed_namespaces(control), 4096),
            EFFECTS => (effects(), 4096),
            STATISTICS => (self.statistics(control), 4096),
            _ => return Err(Status::LOG_PAGE),
        };
        if offset & 3 != 0 || offset > len {
            return Err(Status::INVALID_FIELD);
        }
        let end = offset.saturating_add(wanted).min(len) as usize;
        let bytes = page.bytes().get(offset as usize..end).unwrap_or_default();
        // Amazon's tool asks for four bytes more than there are, and has no room for them.
        prp::write(command.prps(), bytes, &self.memory)?;
        if which & RETAIN == 0 {
            control.events.was_read(id);
        }
        Ok(Answer::Now(0))
    }

    /// SMART: nothing wears here.
    fn health(&self) -> Page {
        let total = self.total();
        let mut page = Page::default();
        page.put_half(1, TEMPERATURE);
        page.put_byte(3, 100); // spare, in percent
        page.put_byte(4, 10); // its threshold
        let units = |bytes: u64| u128::from(bytes.div_ceil(512 * 1000));
        page.put_wide(32, units(total.read_bytes));
        page.put_wide(48, units(total.write_bytes));
        page.put_wide(64, total.reads.into());
        page.put_wide(80, total.writes.into());
        page.put_wide(160, total.media_errors.into());
        page.put_wide(176, self.errors.count().into());
        page
    }

    fn firmware(&self) -> Page {
        let mut page = Page::default();
        page.put_byte(0, 1); // the first slot is active
        page.put_text(8, 8, self.identity.firmware);
        page
    }
}

fn changed_namespaces(control: &Control) -> Page {
    let mut page = Page::default();
    if control.events.has_changed() {
        page.put_word(0, NAMESPACE);
    }
    page
}

fn effects() -> Page {
    const IO: usize = 1024;
    let mut page = Page::default();
    let mut put = |base: usize, opcode: u8, effects: u32| {
        page.put_word(base.saturating_add(usize::from(opcode).saturating_mul(4)), effects);
    };
    for opcode in [
        admin::DELETE_SQ,
        admin::CREATE_SQ,
        admin::GET_LOG_PAGE,
        admin::DELETE_CQ,
        admin::CREATE_CQ,
        admin::IDENTIFY,
        admin::ABORT,
        admin::SET_FEATURES,
        admin::GET_FEATURES,
        admin::ASYNC_EVENT,
        admin::DOORBELL_BUFFER,
    ] {
        put(0, opcode, SUPPORTED);
    }
    for opcode in [io::FLUSH, io::READ, io::COMPARE] {
        put(IO, opcode, SUPPORTED);
    }
    for opcode in [io::WRITE, io::WRITE_ZEROES, io::DATASET] {
        put(IO, opcode, SUPPORTED | CHANGES_BLOCKS);
    }
    page
}

#[cfg(test)]
#[path = "logs_test.rs"]
mod tests;
