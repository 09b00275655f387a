//! The report of a run, in the exact shape of etcd's benchmark tool: scripts read `Requests/sec` and `Average` from it.
//! All latencies are kept, so percentiles are exact.

use std::collections::BTreeMap;

use etcd_uring::client::gotext;

/// Steps of the histogram between the fastest and the slowest request.
const HISTOGRAM_STEPS: usize = 10;

/// Blocks of the longest bar.
const BAR_BLOCKS_MAX: u64 = 40;

const PERCENTS: [f64; 8] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    min_ns: u64,
    max_ns: u64,
    total_ns: u64,
    count: u64,
}

/// What a run, or one thread of it, measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Of the requests that succeeded.
    pub latencies_ns: Vec<u64>,
    /// Texts of errors and how often they came.
    pub errors: BTreeMap<String, u64>,
    /// By the Unix second in which a request started; only kept when a sample is asked for.
    pub seconds: BTreeMap<u64, Second>,
}

impl Results {
    /// Requests that are over, well or badly.
    pub fn requests(&self) -> u64 {
        self.latencies_ns.len() as u64 + self.errors.values().sum::<u64>()
    }

    pub fn add_to_second(&mut self, unix_s: u64, latency_ns: u64) {
        let second = self.seconds.entry(unix_s).or_insert(Second { min_ns: u64::MAX, ..Second::default() });
        second.min_ns = second.min_ns.min(latency_ns);
        second.max_ns = second.max_ns.max(latency_ns);
        second.total_ns += latency_ns;
        second.count += 1;
    }

    pub fn merge(&mut self, other: Results) {
        self.latencies_ns.extend(other.latencies_ns);
        for (text, count) in other.errors {
            *self.errors.entry(text).or_default() += count;
        }
        for (unix_s, theirs) in other.seconds {
            let ours = self.seconds.entry(unix_s).or_insert(Second { min_ns: u64::MAX, ..Second::default() });
            ours.min_ns = ours.min_ns.min(theirs.min_ns);
            ours.max_ns = ours.max_ns.max(theirs.max_ns);
            ours.total_ns += theirs.total_ns;
            ours.count += theirs.count;
        }
    }
}

/// Figures of a run, in seconds where they are times.
pub struct Report {
    total_s: f64,
    /// Requests that one latency stands for.
    weight: f64,
    average_s: f64,
    stddev_s: f64,
    /// Sorted.
    latencies_s: Vec<f64>,
    errors: BTreeMap<String, u64>,
    seconds: Option<BTreeMap<u64, Second>>,
    precise: bool,
}

impl Report {
    pub fn new(results: Results, total_s: f64, precise: bool, sample: bool) -> Report {
        Report::weighing(results, 1.0, total_s, precise, sample)
    }

    /// Latencies and rate of one request, when each result is that of `weight` requests done together.
    pub fn weighted(results: Results, weight: usize, total_s: f64, precise: bool) -> Report {
        // What etcd's tool makes of no weight at all.
        Report::weighing(results, weight.max(1) as f64, total_s, precise, false)
    }

    fn weighing(results: Results, weight: f64, total_s: f64, precise: bool, sample: bool) -> Report {
        let mut latencies_s: Vec<f64> = results.latencies_ns.iter().map(|ns| *ns as f64 / weight / 1e9).collect();
        // Summed in order of arrival, as etcd's tool does it: with --precise the last digits depend on the order.
        let count = latencies_s.len() as f64;
        let average_s = latencies_s.iter().sum::<f64>() / count;
        let variance = latencies_s.iter().map(|s| (s - average_s) * (s - average_s)).sum::<f64>() / count;
        latencies_s.sort_by(f64::total_cmp);
        let (stddev_s, seconds) = (variance.sqrt(), sample.then_some(results.seconds));
        Report { total_s, weight, average_s, stddev_s, latencies_s, errors: results.errors, seconds, precise }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.latencies_s.is_empty() {
            text += &self.summary();
            text += &self.histogram();
            text += &self.distribution();
            if let Some(seconds) = &self.seconds {
                text += &sample(seconds);
            }
        }
        if !self.errors.is_empty() {
            text += "\nError distribution:\n";
            for (error, count) in &self.errors {
                text += &format!("  [{count}]\t{error}\n");
            }
        }
        text
    }

    fn number(&self, value: f64) -> String {
        if self.precise { gotext::float_g(value) } else { format!("{value:.4}") }
    }

    fn summary(&self) -> String {
        let count = self.latencies_s.len() as f64;
        let seconds = |label: &str, value: f64| format!("  {label}:\t{} secs.\n", self.number(value));
        let mut text = "\nSummary:\n".to_string();
        text += &seconds("Total", self.total_s);
        text += &seconds("Slowest", self.slowest());
        text += &seconds("Fastest", self.latencies_s[0]);
        text += &seconds("Average", self.average_s);
        text += &seconds("Stddev", self.stddev_s);
        text + &format!("  Requests/sec:\t{}\n", self.number(count * self.weight / self.total_s))
    }

    fn slowest(&self) -> f64 {
        self.latencies_s[self.latencies_s.len() - 1]
    }

    fn histogram(&self) -> String {
        let (fastest, slowest) = (self.latencies_s[0], self.slowest());
        let step = (slowest - fastest) / HISTOGRAM_STEPS as f64;
        let mut bounds: Vec<f64> = (0..HISTOGRAM_STEPS).map(|at| fastest + step * at as f64).collect();
        bounds.push(slowest);
        let mut counts = vec![0u64; bounds.len()];
        let mut bucket = 0;
        for latency in &self.latencies_s {
            while *latency > bounds[bucket] && bucket < HISTOGRAM_STEPS {
                bucket += 1;
            }
            counts[bucket] += 1;
        }
        let longest = counts.iter().copied().max().unwrap_or(0);
        let mut text = "\nResponse time histogram:\n".to_string();
        for (bound, count) in bounds.iter().zip(counts) {
            let bar = "∎".repeat((count * BAR_BLOCKS_MAX).checked_div(longest).unwrap_or(0) as usize);
            text += &format!("  {} [{count}]\t|{bar}\n", self.number(*bound));
        }
        text
    }

    /// For each percentage the first latency at or above that share of the requests; None if there are too few.
    pub fn percentiles_s(&self) -> [(f64, Option<f64>); PERCENTS.len()] {
        let mut found = PERCENTS.map(|percent| (percent, None));
        let mut next = 0;
        for (at, latency) in self.latencies_s.iter().enumerate() {
            if next == PERCENTS.len() {
                break;
            }
            // One step per latency, as etcd's tool does it: with few requests the upper percentages stay empty.
            if at as f64 * 100.0 / self.latencies_s.len() as f64 >= PERCENTS[next] {
                found[next].1 = Some(*latency);
                next += 1;
            }
        }
        found
    }

    fn distribution(&self) -> String {
        let mut text = "\nLatency distribution:\n".to_string();
        for (percent, latency) in self.percentiles_s() {
            if let Some(latency) = latency.filter(|s| *s > 0.0) {
                text += &format!("  {percent}% in {} secs.\n", self.number(latency));
            }
        }
        text
    }
}

fn sample(seconds: &BTreeMap<u64, Second>) -> String {
    let mut text = "\nSample in one second (unix latency throughput):\n".to_string();
    text += "UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,AVG-THROUGHPUT\n";
    let (Some(first), Some(last)) = (seconds.keys().next(), seconds.keys().next_back()) else { return text + "\n" };
    for unix_s in *first..=*last {
        let second = seconds.get(&unix_s).copied().unwrap_or_default();
        let average_ns = second.total_ns.checked_div(second.count).unwrap_or(0);
        let [min, average, max] = [second.min_ns, average_ns, second.max_ns].map(|ns| gotext::duration(ns as i64));
        text += &format!("{unix_s},{min},{average},{max},{}\n", second.count);
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Report of etcd's tool for the same latencies; its wall time is its own, so two lines are left out.
    fn check(expected: &str, latencies_ns: impl Iterator<Item = u64>, precise: bool) {
        let results = Results { latencies_ns: latencies_ns.collect(), ..Results::default() };
        let text = Report::new(results, 1.0, precise, false).text();
        let lines = |text: &str| -> Vec<String> {
            let timed = |line: &str| line.starts_with("  Total:") || line.starts_with("  Requests/sec:");
            text.lines().map(|line| if timed(line) { String::new() } else { line.to_string() }).collect()
        };
        assert_eq!(lines(&text), lines(expected));
    }

    /// Latencies with a long tail, the same as those the captured reports are of.
    fn tail(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|i| 100_000 + i * 977 + (i * i * i) % 7919 * 1000)
    }

    #[test]
    fn as_etcd_reports_it() {
        check(include_str!("testdata/report_1000.txt"), tail(1000), false);
        check(include_str!("testdata/report_1000_precise.txt"), tail(1000), true);
        check(include_str!("testdata/report_5.txt"), tail(5), false);
        check(include_str!("testdata/report_1.txt"), tail(1), false);
    }

    #[test]
    fn weights() {
        let results = Results { latencies_ns: vec![4_000_000, 8_000_000], ..Results::default() };
        let text = Report::weighted(results.clone(), 4, 2.0, true).text();
        for line in ["Slowest:\t0.002 secs.", "Average:\t0.0015 secs.", "Requests/sec:\t4\n"] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(
            Report::weighted(results.clone(), 0, 2.0, false).text(),
            Report::new(results, 2.0, false, false).text()
        );
    }

    #[test]
    fn errors_and_samples() {
        let mut results = Results::default();
        results.errors.insert("etcdserver: key is not provided".to_string(), 10);
        let text = Report::new(results, 1.0, false, true).text();
        assert_eq!(text, "\nError distribution:\n  [10]\tetcdserver: key is not provided\n");

        let mut results = Results { latencies_ns: vec![80_087, 1_500_000], ..Results::default() };
        results.add_to_second(1000, 80_087);
        results.add_to_second(1002, 1_500_000);
        let text = Report::new(results, 1.0, false, true).text();
        let expected = "\nSample in one second (unix latency throughput):\n\
                        UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,AVG-THROUGHPUT\n\
                        1000,80.087µs,80.087µs,80.087µs,1\n\
                        1001,0s,0s,0s,0\n\
                        1002,1.5ms,1.5ms,1.5ms,1\n\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
