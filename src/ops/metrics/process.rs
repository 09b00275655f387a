//! What the kernel knows about this process. Read when metrics are asked for: a few small files of /proc, no state.

use std::fs;

/// Clock ticks per second in /proc: the kernel's USER_HZ, 100 on every architecture this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// One reading; what could not be read is `None` and its metric is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessStats {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub start_time_seconds: Option<f64>,
    pub open_fds: Option<u64>,
    /// `u64::MAX` is no limit.
    pub max_fds: Option<u64>,
    pub virtual_max_bytes: Option<u64>,
}

impl ProcessStats {
    pub fn read() -> ProcessStats {
        let mut stats = ProcessStats::default();
        if let Ok(text) = fs::read_to_string("/proc/self/stat") {
            stats.fill_stat(&text, boot_time_seconds());
        }
        if let Ok(text) = fs::read_to_string("/proc/self/status") {
            stats.fill_status(&text);
        }
        // The directory handle of this very count is one of the entries.
        stats.open_fds = fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1));
        if let Ok(text) = fs::read_to_string("/proc/self/limits") {
            stats.fill_limits(&text);
        }
        stats
    }

    fn fill_stat(&mut self, text: &str, boot: Option<u64>) {
        // The name in parentheses may contain anything, blanks and parentheses included.
        let Some((_, rest)) = text.rsplit_once(')') else { return };
        let cell: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| cell.get(at).and_then(|text| text.parse::<u64>().ok());
        // Fields 14, 15, 22 and 23 of proc(5); the state after the name is field 3.
        let seconds = |ticked: u64| ticked as f64 / TICKS_PER_SECOND as f64;
        self.cpu_seconds = number(11).zip(number(12)).map(|(user, system)| seconds(user + system));
        self.start_time_seconds = boot.zip(number(19)).map(|(boot, started)| boot as f64 + seconds(started));
        self.virtual_bytes = number(20);
    }

    fn fill_status(&mut self, text: &str) {
        let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
        self.resident_bytes = kib.and_then(|kib| kib.trim().parse::<u64>().ok()).map(|kib| kib << 10);
    }

    fn fill_limits(&mut self, text: &str) {
        let soft = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            match rest.split_whitespace().next()? {
                "unlimited" => Some(u64::MAX),
                number => number.parse().ok(),
            }
        };
        self.max_fds = soft("Max open files");
        self.virtual_max_bytes = soft("Max address space");
    }
}

fn boot_time_seconds() -> Option<u64> {
    fs::read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_and_limits() {
        let mut stats = ProcessStats::default();
        stats.fill_stat(
            "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 4 0 1000 1048576 256 18446744073709551615",
            Some(1_000_000),
        );
        stats.fill_status("VmPeak:    9 kB\nVmRSS:\t    1024 kB\nThreads: 1\n");
        stats.fill_limits("Limit  Soft\nMax open files            1024   4096   files\nMax address space  unlimited unlimited bytes\n");
        assert_eq!(
            stats,
            ProcessStats {
                cpu_seconds: Some(4.0),
                resident_bytes: Some(1_048_576),
                virtual_bytes: Some(1_048_576),
                start_time_seconds: Some(1_000_010.0),
                open_fds: None,
                max_fds: Some(1024),
                virtual_max_bytes: Some(u64::MAX),
            }
        );
        let mut nothing = ProcessStats::default();
        nothing.fill_stat("garbage", None);
        nothing.fill_status("VmRSS: much\n");
        nothing.fill_limits("");
        assert_eq!(nothing, ProcessStats::default());
    }

    #[test]
    fn this_process() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.unwrap() > 0 && stats.open_fds.unwrap() > 0 && stats.max_fds.unwrap() > 0);
        assert!(stats.start_time_seconds.unwrap() > 1_600_000_000.0);
    }
}
