//! Latency distributions (the hdrhistogram door) and what a process costs: CPU time and memory, from `/proc`. Each
//! recorder is owned by one thread; `merge` joins them afterwards. Recording never fails and never allocates.

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::io;

/// Longest latency told apart, in nanoseconds (10 minutes); longer ones count as this.
pub const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// Decimal digits kept of each latency.
const SIGNIFICANT_DIGITS: u8 = 3;
/// Ticks per second in `/proc/PID/stat`: part of the kernel's ABI, whatever its own clock does.
const PROC_TICKS_PER_SECOND: u64 = 100;

/// Latencies of one kind of operation.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        Latencies { histogram: histogram.expect("constant bounds") }
    }

    pub fn record_ns(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns.min(LATENCY_NS_MAX));
    }

    pub fn record_us(&mut self, latency_us: u64) {
        self.record_ns(latency_us.saturating_mul(1000));
    }

    /// The latency that this share of all (0 to 100) does not exceed, to the digits kept; 0 when there is none.
    pub fn percentile_ns(&self, percentile: f64) -> u64 {
        self.histogram.value_at_percentile(percentile).min(self.max_ns())
    }

    pub fn min_ns(&self) -> u64 {
        self.histogram.min()
    }

    pub fn max_ns(&self) -> u64 {
        self.histogram.max()
    }

    pub fn mean_ns(&self) -> f64 {
        self.histogram.mean()
    }

    pub fn stddev_ns(&self) -> f64 {
        self.histogram.stdev()
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }
}

/// CPU time this process used so far, user and system, in microseconds, ended threads included.
pub fn own_cpu_us() -> io::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

/// The same of another process, in steps of 10 ms: the kernel tells no more about others.
pub fn cpu_us(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: {text:?}")))
}

/// Memory of a process that is in RAM, in bytes.
pub fn rss_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    // A process that has just ended has no such line.
    parse_status(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/status: no VmRSS")))
}

/// utime and stime are the 14th and 15th field; the second is the program's name in parentheses, which may hold
/// anything.
fn parse_stat(text: &str) -> Option<u64> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * (1_000_000 / PROC_TICKS_PER_SECOND))
}

fn parse_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_distribution() {
        let mut latencies = Latencies::new();
        assert_eq!((latencies.percentile_ns(99.0), latencies.max_ns(), latencies.count()), (0, 0, 0));
        (1..=1000).for_each(|latency_us| latencies.record_us(latency_us));
        let near = |got: f64, expect: f64| assert!((got - expect).abs() <= expect / 500.0, "{got} is not {expect}");
        near(latencies.percentile_ns(50.0) as f64, 500_000.0);
        near(latencies.percentile_ns(99.9) as f64, 999_000.0);
        near(latencies.mean_ns(), 500_500.0);
        near(latencies.stddev_ns(), 288_675.0);
        near(latencies.min_ns() as f64, 1000.0);
        assert_eq!(latencies.percentile_ns(100.0), latencies.max_ns());
        assert_eq!(latencies.count(), 1000);
    }

    #[test]
    fn extremes_are_kept_and_merged() {
        let (mut left, mut right) = (Latencies::new(), Latencies::new());
        left.record_ns(0);
        right.record_us(u64::MAX);
        left.merge(&right);
        assert_eq!((left.count(), left.min_ns()), (2, 0));
        assert!(left.max_ns() >= LATENCY_NS_MAX / 1000 * 999);
    }

    #[test]
    fn proc_files() {
        let stat = "7 (a) S (b) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(parse_stat(stat), Some(3_000_000));
        assert_eq!(parse_stat("7 (a) R 1 2"), None);
        assert_eq!(parse_status("Name:\tx\nVmRSS:\t    1234 kB\nThreads: 1\n"), Some(1234 * 1024));
        assert_eq!(parse_status("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_and_another() {
        let before_us = own_cpu_us().expect("getrusage");
        let mut sum = 0u64;
        while own_cpu_us().expect("getrusage") < before_us + 30_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let pid = std::process::id();
        assert!(cpu_us(pid).expect("proc") >= 10_000);
        assert!(rss_bytes(pid).expect("proc") > 100_000);
        assert!(cpu_us(std::os::unix::process::parent_id()).is_ok());
        assert!(cpu_us(u32::MAX).is_err() && rss_bytes(u32::MAX).is_err());
    }
}
