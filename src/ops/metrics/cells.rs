//! Counters, gauges and histograms as plain cells. A cell has one writing thread unless it says otherwise; readers see a
//! value that is at most a moment old. Nothing here locks or allocates after it is made.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Only grows. One writer: adding is a load and a store, not a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Takes over a count that is kept elsewhere.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Only grows; any thread may add. For rare events.
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down, or is set. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, n: i64) {
        self.set(self.get().wrapping_add(n));
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bucket bounds that double: `first_ns`, twice that, and so on, `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    pub first_ns: u64,
    pub count: usize,
}

/// Of syncs, commits and requests: 1 ms to 8.192 s.
pub const FROM_1_MS: Buckets = Buckets { first_ns: 1_000_000, count: 14 };
/// Of applies and ranges: 0.1 ms to 52 s.
pub const FROM_100_US: Buckets = Buckets { first_ns: 100_000, count: 20 };
/// Of hashes: 10 ms to 163.84 s.
pub const FROM_10_MS: Buckets = Buckets { first_ns: 10_000_000, count: 15 };

impl Buckets {
    pub fn bound_ns(self, i: usize) -> u64 {
        self.first_ns << i
    }

    /// The bucket a duration falls in; `count` is the one without a bound.
    fn index(self, ns: u64) -> usize {
        if ns <= self.first_ns {
            return 0;
        }
        // The first power of two that reaches it: a bound belongs to its own bucket.
        let steps = ns.div_ceil(self.first_ns).next_power_of_two().trailing_zeros() as usize;
        steps.min(self.count)
    }
}

/// How long something took. One writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: Buckets,
    /// Not cumulative; one more than there are bounds.
    counts: Box<[Counter]>,
    sum_ns: Counter,
}

impl Histogram {
    pub fn new(buckets: Buckets) -> Histogram {
        Histogram {
            buckets,
            counts: (0..=buckets.count).map(|_| Counter::default()).collect(),
            sum_ns: Counter::default(),
        }
    }

    pub fn observe_ns(&self, ns: u64) {
        // A clock that went wrong must not lead out of the table.
        let index =
            if ns > self.buckets.bound_ns(self.buckets.count) { self.buckets.count } else { self.buckets.index(ns) };
        self.counts[index].add(1);
        self.sum_ns.add(ns);
    }

    /// Cumulative counts per bound, the last without bound, and the sum in nanoseconds.
    pub fn read(&self) -> Totals {
        let mut totals = Totals::empty(self.buckets);
        totals.add(self);
        totals
    }
}

/// Histograms of several threads added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    pub buckets: Buckets,
    pub cumulative: Vec<u64>,
    pub sum_ns: u64,
}

impl Totals {
    pub fn empty(buckets: Buckets) -> Totals {
        Totals { buckets, cumulative: vec![0; buckets.count + 1], sum_ns: 0 }
    }

    pub fn add(&mut self, histogram: &Histogram) {
        assert_eq!(self.buckets, histogram.buckets, "histograms with other bounds do not add up");
        let mut running = 0;
        for (total, cell) in self.cumulative.iter_mut().zip(&histogram.counts) {
            running += cell.get();
            *total += running;
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.get());
    }

    pub fn count(&self) -> u64 {
        self.cumulative[self.buckets.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for buckets in [FROM_1_MS, FROM_100_US, FROM_10_MS] {
            for i in 0..buckets.count {
                let bound = buckets.bound_ns(i);
                for (ns, expect) in [(bound - 1, i), (bound, i), (bound + 1, i + 1)] {
                    let histogram = Histogram::new(buckets);
                    histogram.observe_ns(ns);
                    let first = histogram.read().cumulative.iter().position(|count| *count == 1);
                    assert_eq!(first, Some(expect), "{ns} ns in {buckets:?}");
                }
            }
        }
        let histogram = Histogram::new(FROM_1_MS);
        for ns in [0, u64::MAX, 1 << 63] {
            histogram.observe_ns(ns);
        }
        assert_eq!((histogram.read().cumulative[0], histogram.read().count()), (1, 3));
    }

    #[test]
    fn several_threads_add_up() {
        let (a, b) = (Histogram::new(FROM_1_MS), Histogram::new(FROM_1_MS));
        a.observe_ns(500_000);
        b.observe_ns(3_000_000);
        let mut totals = a.read();
        totals.add(&b);
        assert_eq!(&totals.cumulative[..4], &[1, 1, 2, 2]);
        assert_eq!((totals.count(), totals.sum_ns), (2, 3_500_000));
    }
}
