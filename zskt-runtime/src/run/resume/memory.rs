//! How much memory the program took.

/// The largest resident size so far, or since [`restart_peak`], in bytes; nothing where the system does not say.
pub fn peak_bytes() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Has [`peak_bytes`] begin anew from what is resident now. Whether the system does so.
pub fn restart_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_high_water_mark_is_in_bytes() {
        assert_eq!(super::parse("VmPeak:\t  900 kB\nVmHWM:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(super::parse("VmPeak:\t  900 kB\n"), None);
    }
}
