//! The calendar, against known dates and a count day by day.

use super::*;

fn at(year: i64, month: u8, day: u8) -> Civil {
    Civil { year, month, day, hour: 0, minute: 0, second: 0, weekday: 1 }
}

#[test]
fn known_moments() {
    let known = [
        (0, 1970, 1, 1, 5),
        (951_782_400, 2000, 2, 29, 3),
        (2_147_483_648, 2038, 1, 19, 3),
        (4_107_542_400, 2100, 3, 1, 2),
        (32_503_680_000, 3000, 1, 1, 4),
    ];
    for (seconds, year, month, day, weekday) in known {
        let civil = Civil::from_seconds(seconds);
        assert_eq!((civil.year, civil.month, civil.day), (year, month, day), "{seconds}");
        assert_eq!(civil.weekday, weekday, "{seconds}");
    }
    let last = Civil::from_seconds(2_147_483_647);
    assert_eq!((last.hour, last.minute, last.second), (3, 14, 7));
}

#[test]
fn every_day_of_400_years_follows_the_one_before() {
    let month_days = |year: i64, month: u8| match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let mut expected = at(1970, 1, 1);
    let mut weekday = 5;
    for day in 0..DAYS_PER_400_YEARS {
        let civil = Civil::from_seconds(day * SECONDS_PER_DAY + 86_399);
        assert_eq!((civil.hour, civil.minute, civil.second), (23, 59, 59));
        assert_eq!(
            (civil.year, civil.month, civil.day, civil.weekday),
            (expected.year, expected.month, expected.day, weekday),
            "day {day}"
        );
        assert_eq!(expected.to_seconds(), Some(day * SECONDS_PER_DAY));

        weekday = weekday % 7 + 1;
        expected.day += 1;
        if expected.day > month_days(expected.year, expected.month) {
            (expected.day, expected.month) = (1, expected.month + 1);
        }
        if expected.month > 12 {
            (expected.month, expected.year) = (1, expected.year + 1);
        }
    }
}

#[test]
fn the_ends_of_what_can_be_shown() {
    assert_eq!(Civil::from_seconds(i64::MAX), Civil::from_seconds(Civil::LATEST));
    assert_eq!(Civil::from_seconds(i64::MIN), Civil::from_seconds(Civil::EARLIEST));
    let latest = Civil::from_seconds(Civil::LATEST);
    assert_eq!((latest.year, latest.month, latest.day, latest.second), (9999, 12, 31, 59));
    assert_eq!(latest.to_seconds(), Some(Civil::LATEST));
    let earliest = Civil::from_seconds(Civil::EARLIEST);
    assert_eq!((earliest.year, earliest.month, earliest.day), (0, 1, 1));
    assert_eq!(earliest.to_seconds(), Some(Civil::EARLIEST));
}

#[test]
fn dates_that_are_none_are_refused() {
    for (year, month, day) in
        [(2023, 2, 29), (2100, 2, 29), (2024, 2, 30), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1)]
    {
        assert_eq!(at(year, month, day).to_seconds(), None, "{year}-{month}-{day}");
    }
    assert_eq!(at(2024, 1, 0).to_seconds(), None);
    assert_eq!(at(10_000, 1, 1).to_seconds(), None);
    assert_eq!(Civil { hour: 24, ..at(2024, 1, 1) }.to_seconds(), None);
    assert_eq!(Civil { minute: 60, ..at(2024, 1, 1) }.to_seconds(), None);
    assert_eq!(Civil { second: 60, ..at(2024, 1, 1) }.to_seconds(), None);
}
