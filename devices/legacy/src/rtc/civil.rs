//! Seconds since 1970 to date and time of day and back, in the Gregorian calendar.

const SECONDS_PER_DAY: i64 = 86_400;

const DAYS_PER_400_YEARS: i64 = 146_097;
/// Days from 0000-03-01, where the counting below starts, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    /// Of the Gregorian calendar.
    pub year: i64,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Sunday is 1.
    pub weekday: u8,
}

impl Civil {
    /// The latest moment that two digits of century and two of year can show: the end of 9999.
    const LATEST: i64 = 253_402_300_799;
    /// The start of year 0.
    const EARLIEST: i64 = -62_167_219_200;

    /// Moments outside the years 0 to 9999 show as the nearest inside.
    pub fn from_seconds(seconds: i64) -> Civil {
        let seconds = seconds.clamp(Civil::EARLIEST, Civil::LATEST);
        let day_number = seconds.div_euclid(SECONDS_PER_DAY);
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);

        // Years that begin in March have their leap day at the end, so that a day's month follows
        // from a line through the month lengths: (153 m + 2) / 5 days lie before month m.
        let days = day_number.wrapping_add(EPOCH);
        let era = days.div_euclid(DAYS_PER_400_YEARS);
        let of_era = days.rem_euclid(DAYS_PER_400_YEARS);
        let year_of_era = year_of_era(of_era);
        let of_year = of_era.wrapping_sub(days_before_year(year_of_era));
        let from_march = of_year.wrapping_mul(5).wrapping_add(2).wrapping_div(153);
        let day = of_year.wrapping_sub(days_before_month(from_march)).wrapping_add(1);
        let (month, next_year) = if from_march < 10 {
            (from_march.wrapping_add(3), 0)
        } else {
            (from_march.wrapping_sub(9), 1)
        };
        let year = era.wrapping_mul(400).wrapping_add(year_of_era).wrapping_add(next_year);

        Civil {
            year,
            month: month as u8,
            day: day as u8,
            hour: of_day.wrapping_div(3600) as u8,
            minute: of_day.wrapping_div(60).wrapping_rem(60) as u8,
            second: of_day.wrapping_rem(60) as u8,
            // 1970-01-01 was a Thursday.
            weekday: day_number.wrapping_add(4).rem_euclid(7).wrapping_add(1) as u8,
        }
    }

    /// `None` if there is no such moment (a 30th of February, a 25th hour) or it lies outside the
    /// years 0 to 9999. The weekday is not looked at.
    pub fn to_seconds(self) -> Option<i64> {
        let valid = (0..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !valid {
            return None;
        }
        let month = i64::from(self.month);
        let (year, from_march) = if month > 2 {
            (self.year, month.wrapping_sub(3))
        } else {
            (self.year.wrapping_sub(1), month.wrapping_add(9))
        };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_number = era
            .wrapping_mul(DAYS_PER_400_YEARS)
            .wrapping_add(days_before_year(year_of_era))
            .wrapping_add(days_before_month(from_march))
            .wrapping_add(i64::from(self.day).wrapping_sub(1))
            .wrapping_sub(EPOCH);
        let seconds = day_number
            .wrapping_mul(SECONDS_PER_DAY)
            .wrapping_add(i64::from(self.hour).wrapping_mul(3600))
            .wrapping_add(i64::from(self.minute).wrapping_mul(60))
            .wrapping_add(i64::from(self.second));
        // A day that its month has not would come back as another date.
        let back = Civil::from_seconds(seconds);
        (back.month == self.month && back.day == self.day).then_some(seconds)
    }

    /// The last two digits of the year.
    pub fn year_of_century(self) -> u8 {
        self.year.rem_euclid(100) as u8
    }

    /// The digits of the year before those.
    pub fn century(self) -> u8 {
        self.year.div_euclid(100) as u8
    }
}

/// Days of a 400-year era, counted from March, that lie before one of its years.
fn days_before_year(year_of_era: i64) -> i64 {
    let leap_days = year_of_era.wrapping_div(4).wrapping_sub(year_of_era.wrapping_div(100));
    year_of_era.wrapping_mul(365).wrapping_add(leap_days)
}

fn days_before_month(from_march: i64) -> i64 {
    from_march.wrapping_mul(153).wrapping_add(2).wrapping_div(5)
}

/// The year of an era that holds a day: every 4 years have 1461 days, but centuries one less.
fn year_of_era(day_of_era: i64) -> i64 {
    let mut year = day_of_era.wrapping_div(365).min(399);
    while days_before_year(year) > day_of_era {
        year = year.wrapping_sub(1);
    }
    year
}

#[cfg(test)]
#[path = "civil_test.rs"]
mod tests;
