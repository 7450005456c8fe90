//! Get and Set Features (NVMe base specification 1.4, 5.14 and 5.21). None outlives a reset, and none has
//! data beside its doubleword.

use std::sync::atomic::Ordering;

use super::commands::Answer;
use super::settings::{ATOMICITY, COALESCING, DEALLOCATED_ERRORS, feature};
use crate::abi::{Command, Status};
use crate::card::{Card, Control, Reason};

/// In doubleword 10: other than the current value is asked for, or the value is to be saved.
const SELECT: u32 = 7 << 8;
const SAVE: u32 = 1 << 31;
/// In doubleword 11 of the power state.
const POWER_STATE: u32 = 0x1f;

impl Card {
    pub(super) fn get_features(
        &self,
        control: &Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        let (which, argument) = (command.word(10), command.word(11));
        if which & SELECT != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let settings = &control.settings;
        Ok(Answer::Now(match which as u8 {
            feature::ARBITRATION => settings.arbitration,
            feature::POWER => 0,
            feature::TEMPERATURE => match argument >> 20 & 3 {
                // Never too hot and never too cold; FreeBSD takes this for no sensor.
                0 => 0xffff,
                1 => 0,
                _ => return Err(Status::INVALID_FIELD),
            },
            feature::ERROR_RECOVERY => settings.error_recovery,
            feature::WRITE_CACHE if self.has_cache => {
                self.write_cache.load(Ordering::Relaxed).into()
            }
            feature::QUEUES => self.queue_counts(),
            feature::COALESCING => settings.coalescing,
            feature::VECTOR => {
                let uncoalesced = settings.uncoalesced.get(usize::from(argument as u16));
                let uncoalesced = uncoalesced.ok_or(Status::INVALID_FIELD)?;
                argument & 0xffff | u32::from(*uncoalesced) << 16
            }
            feature::ATOMICITY => settings.atomicity,
            feature::EVENTS => control.events.enabled,
            _ => return Err(Status::INVALID_FIELD),
        }))
    }

    pub(super) fn set_features(
        &self,
        control: &mut Control,
        command: &Command,
    ) -> Result<Answer, Status> {
        let (which, value) = (command.word(10), command.word(11));
        if which & SAVE != 0 {
            return Err(Status::NOT_SAVEABLE);
        }
        let settings = &mut control.settings;
        match which as u8 {
            feature::ARBITRATION => settings.arbitration = value,
            feature::POWER if value & POWER_STATE == 0 => {}
            feature::TEMPERATURE if value >> 20 & 3 < 2 => {}
            feature::ERROR_RECOVERY if value & DEALLOCATED_ERRORS == 0 => {
                settings.error_recovery = value;
            }
            feature::WRITE_CACHE if self.has_cache => {
                return self.set_write_cache(control, command.id(), value & 1 != 0);
            }
            feature::QUEUES => return self.agree_on_queues(control, value),
            feature::COALESCING => settings.coalescing = value & COALESCING,
            feature::VECTOR => {
                let uncoalesced = settings.uncoalesced.get_mut(usize::from(value as u16));
                *uncoalesced.ok_or(Status::INVALID_FIELD)? = value >> 16 & 1 != 0;
            }
            feature::ATOMICITY => settings.atomicity = value & ATOMICITY,
            feature::EVENTS => control.events.enabled = value,
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(Answer::Now(0))
    }

    /// Each write is durable from now on, or no more. What was written before is made so first.
    fn set_write_cache(&self, control: &mut Control, id: u16, on: bool) -> Result<Answer, Status> {
        if on {
            self.write_cache.store(true, Ordering::Relaxed);
        } else if self.write_cache.load(Ordering::Relaxed) {
            if control.is_busy() {
                return Err(Status::INTERNAL);
            }
            self.send(control, Reason::CacheOff { id });
            return Ok(Answer::Later);
        }
        Ok(Answer::Now(0))
    }

    /// Numbers of queues of either kind, each less one: always the same, as FreeBSD takes another answer
    /// after a reset for a broken controller.
    fn queue_counts(&self) -> u32 {
        let last = u32::from(self.queue_count().saturating_sub(1));
        last | last << 16
    }

    fn agree_on_queues(&self, control: &Control, wanted: u32) -> Result<Answer, Status> {
        if wanted & 0xffff == 0xffff || wanted >> 16 == 0xffff {
            return Err(Status::INVALID_FIELD);
        }
        let mut completions = self.completions.iter().skip(1);
        if control.queues.iter().next().is_some() || completions.any(|queue| queue.is_open()) {
            return Err(Status::SEQUENCE);
        }
        Ok(Answer::Now(self.queue_counts()))
    }
}

#[cfg(test)]
#[path = "features_test.rs"]
mod tests;
