//! Times of day in UTC, as the run directory writes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-22T11:06:08.125Z`.
pub fn timestamp(time: SystemTime) -> String {
    let Moment { year, month, day, hour, minute, second, millisecond } = moment(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// `20261122-110608`: fit for the name of a folder.
pub fn folder_timestamp(time: SystemTime) -> String {
    let Moment { year, month, day, hour, minute, second, .. } = moment(time);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

fn moment(time: SystemTime) -> Moment {
    // A clock set before 1970 is wrong anyway.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86400, since.as_secs() % 86400);
    // Years counted from March, in cycles of 400 years, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Moment {
        year: cycle * 400 + year_of_cycle + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * march_month + 2) / 5 + 1,
        hour: rest / 3600,
        minute: rest / 60 % 60,
        second: rest % 60,
        millisecond: since.subsec_millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::{folder_timestamp, timestamp};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_around_leap_days() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_200), "2024-03-01T00:00:00.000Z");
        assert_eq!(folder_timestamp(UNIX_EPOCH + Duration::from_millis(1_795_345_568_125)), "20261122-110608");
    }
}
