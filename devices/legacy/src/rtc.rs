//! The CMOS clock (MC146818): time of day in UTC, and 128 bytes of CMOS RAM.
//!
//! The registers 0 to 9 and 0x32 are computed from the host's clock when they are read, in the form
//! that status B asks for. Setting the clock moves an offset and leaves the host alone. Alarm,
//! periodic and update interrupts are never delivered, and status C says so.

mod civil;
pub mod saved;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use device_core::bus::{BusDevice, Width};

use crate::ports::{read_bytes, write_bytes};
use civil::Civil;

/// How many there are.
const CELLS: usize = 128;
const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
/// Where PCs keep the century; the FADT names it.
const CENTURY: u8 = 0x32;

const A_UPDATING: u8 = 1 << 7;
/// 32.768 kHz oscillator, 1024 Hz periodic rate: what firmware leaves behind.
const A_DEFAULT: u8 = 0x26;
const B_SET: u8 = 1 << 7;
const B_BINARY: u8 = 1 << 2;
const B_24_HOURS: u8 = 1 << 1;
const D_VALID: u8 = 1 << 7;
/// In 12-hour form.
const HOUR_PM: u8 = 1 << 7;

/// How long before the second ends the update flag is up (data sheet: 244 µs).
const UPDATE_WARNING: Duration = Duration::from_micros(244);
/// How long the time stands still once a part of it was read, so that a slow reader, who saw no
/// update coming, still reads one moment.
const STILL: Duration = Duration::from_millis(5);

/// The clock at its two ports: index and data.
pub struct Rtc {
    core: Mutex<Core>,
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Rtc {
    /// Shows the host's time.
    pub fn new() -> Rtc {
        // A host clock before 1970 shows as 1970.
        Rtc::with_clock(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Shows the time that `clock` tells, since the start of 1970 in UTC.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Rtc {
        Rtc { core: Mutex::new(Core::new()), clock: Arc::new(clock) }
    }

    fn with_core<R>(&self, access: impl FnOnce(&mut Core, Duration) -> R) -> R {
        let now = (self.clock)();
        access(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

impl Default for Rtc {
    fn default() -> Rtc {
        Rtc::new()
    }
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, width: Width) -> u64 {
        read_bytes(offset, width, |port| match port {
            1 => self.with_core(Core::read),
            _ => 0xff, // the index is write-only
        })
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        write_bytes(offset, width, value, |port, byte| match port {
            // Bit 7 masks NMIs, which the machine has none of.
            0 => self.with_core(|core, _| core.index = byte & 0x7f),
            1 => self.with_core(|core, now| core.write(byte, now)),
            _ => {}
        });
    }
}

struct Core {
    index: u8,
    /// All 128 cells. Those of the time are in use only while status B has SET.
    ram: [u8; CELLS],
    /// What the guest's clock is ahead of the host's, in seconds.
    ahead: i64,
    /// The moment that the registers show, and the host's time at which it was taken.
    shown: Option<(Duration, i64)>,
}

impl Core {
    fn new() -> Core {
        let mut core = Core { index: 0, ram: [0; CELLS], ahead: 0, shown: None };
        core.put(STATUS_A, A_DEFAULT);
        core.put(STATUS_B, B_24_HOURS);
        core.put(STATUS_D, D_VALID);
        core
    }

    fn get(&self, index: u8) -> u8 {
        self.ram.get(usize::from(index)).copied().unwrap_or_default()
    }

    fn put(&mut self, index: u8, value: u8) {
        if let Some(cell) = self.ram.get_mut(usize::from(index)) {
            *cell = value;
        }
    }

    fn is_being_set(&self) -> bool {
        self.get(STATUS_B) & B_SET != 0
    }

    fn read(&mut self, now: Duration) -> u8 {
        match self.index {
            SECONDS | MINUTES | HOURS | WEEKDAY | DAY | MONTH | YEAR | CENTURY
                if !self.is_being_set() =>
            {
                self.show(now);
                self.get(self.index)
            }
            STATUS_A if self.is_updating(now) => self.get(STATUS_A) | A_UPDATING,
            STATUS_C => 0,
            index => self.get(index),
        }
    }

    fn is_updating(&self, now: Duration) -> bool {
        let ends = Duration::from_nanos(now.subsec_nanos().into()).saturating_add(UPDATE_WARNING);
        !self.is_being_set() && ends >= Duration::from_secs(1)
    }

    fn stands_still(&self, now: Duration) -> bool {
        let age = self.shown.and_then(|(taken, _)| now.checked_sub(taken));
        age.is_some_and(|age| age < STILL)
    }

    /// Brings the time cells up to now, unless they stand still.
    fn show(&mut self, now: Duration) {
        if self.stands_still(now) {
            return;
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_add(self.ahead);
        self.shown = Some((now, seconds));
        self.show_seconds(seconds);
    }

    fn show_seconds(&mut self, seconds: i64) {
        let civil = Civil::from_seconds(seconds);
        let hour = if self.get(STATUS_B) & B_24_HOURS != 0 {
            self.encode(civil.hour)
        } else {
            let pm = if civil.hour >= 12 { HOUR_PM } else { 0 };
            self.encode(civil.hour.wrapping_add(11).wrapping_rem(12).wrapping_add(1)) | pm
        };
        let cells = [
            (SECONDS, self.encode(civil.second)),
            (MINUTES, self.encode(civil.minute)),
            (HOURS, hour),
            (WEEKDAY, self.encode(civil.weekday)),
            (DAY, self.encode(civil.day)),
            (MONTH, self.encode(civil.month)),
            (YEAR, self.encode(civil.year_of_century())),
            (CENTURY, self.encode(civil.century())),
        ];
        for (index, value) in cells {
            self.put(index, value);
        }
    }

    fn write(&mut self, value: u8, now: Duration) {
        match self.index {
            SECONDS | MINUTES | HOURS | WEEKDAY | DAY | MONTH | YEAR | CENTURY => {
                let set_at_once = !self.is_being_set();
                if set_at_once {
                    self.shown = None;
                    self.show(now);
                }
                self.put(self.index, value);
                if set_at_once {
                    self.take_time(now);
                }
            }
            STATUS_A => self.put(STATUS_A, value & !A_UPDATING),
            STATUS_B => {
                let was_being_set = self.is_being_set();
                if !was_being_set {
                    self.shown = None;
                    self.show(now);
                }
                // The cells keep their form until the time is taken from them: a changed form is
                // for what is written next.
                self.put(STATUS_B, value);
                if was_being_set && !self.is_being_set() {
                    self.take_time(now);
                } else if !self.is_being_set() {
                    self.shown = None;
                }
            }
            STATUS_C | STATUS_D => {} // read-only
            index => self.put(index, value),
        }
    }

    /// Sets the clock to what the cells say; leaves it alone if they say no time.
    fn take_time(&mut self, now: Duration) {
        if let Some(seconds) = self.cells_as_seconds() {
            let host = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            self.ahead = seconds.saturating_sub(host);
        }
        self.shown = None;
    }

    fn cells_as_seconds(&self) -> Option<i64> {
        let cell = |index| self.decode(self.get(index));
        let hour = if self.get(STATUS_B) & B_24_HOURS != 0 {
            cell(HOURS)?
        } else {
            let raw = self.get(HOURS);
            let hour = self.decode(raw & !HOUR_PM).filter(|hour| (1..=12).contains(hour))?;
            let noon = if raw & HOUR_PM != 0 { 12 } else { 0 };
            hour.checked_rem(12)?.checked_add(noon)?
        };
        Civil {
            year: i64::from(cell(CENTURY)?).checked_mul(100)?.checked_add(cell(YEAR)?.into())?,
            month: cell(MONTH)?,
            day: cell(DAY)?,
            hour,
            minute: cell(MINUTES)?,
            second: cell(SECONDS)?,
            weekday: 1, // follows from the date
        }
        .to_seconds()
    }

    /// A number below 100 as status B wants it.
    fn encode(&self, number: u8) -> u8 {
        if self.get(STATUS_B) & B_BINARY != 0 {
            return number;
        }
        let (tens, ones) = (number.wrapping_div(10), number.wrapping_rem(10));
        (tens << 4) | ones
    }

    fn decode(&self, cell: u8) -> Option<u8> {
        if self.get(STATUS_B) & B_BINARY != 0 {
            return Some(cell).filter(|&number| number < 100);
        }
        let (tens, ones) = (cell >> 4, cell & 0xf);
        (tens < 10 && ones < 10).then(|| tens.wrapping_mul(10).wrapping_add(ones))
    }
}

#[cfg(test)]
#[path = "rtc_test.rs"]
mod tests;
