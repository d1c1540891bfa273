//! Times of day in UTC, as the run directory writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999, in seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// `2026-11-22T11:06:08.125Z`.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(writable(time)).to_string()
}

/// `20261122-110608`: fit for the name of a folder.
pub fn folder_timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(writable(time)).to_string().replace(['-', ':', 'Z'], "").replace('T', "-")
}

/// The nearest time that can be written: a clock may show any.
fn writable(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LAST_SECOND))
}

#[cfg(test)]
mod tests {
    use super::{folder_timestamp, timestamp};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_time_is_written_in_full_and_for_a_folder() {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_345_568_125);
        assert_eq!(timestamp(time), "2026-11-22T11:06:08.125Z");
        assert_eq!(folder_timestamp(time), "20261122-110608");
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1 << 40)), "1970-01-01T00:00:00.000Z");
        assert_eq!(folder_timestamp(UNIX_EPOCH + Duration::from_secs(1 << 60)), "99991231-235959");
    }
}
