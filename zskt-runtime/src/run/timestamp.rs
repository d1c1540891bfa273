//! Times of day in UTC, as the run directory writes them.

use std::time::SystemTime;

/// `2026-11-22T11:06:08.125Z`.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// `20261122-110608`: fit for the name of a folder.
pub fn folder_timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':', 'Z'], "").replace('T', "-")
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
    }
}
