//! `mvcc put`: the multi-version store alone, in this process: no server, no log, no disk.

use std::time::Instant;

use engine::apply::mvcc::Store;
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stderr, write_stdout};

use crate::generator::cpu_s;
use crate::keys::{random_bytes, size};
use crate::report::{Report, Results};
use crate::{exit, perfdash};

pub static COMMAND: Command = Command {
    name: "mvcc",
    short: "Benchmark mvcc",
    long: "Benchmark the multi-version store itself, inside this process, without a server.",
    shared_flags: &[
        Flag::new("batch-interval", Kind::Int, "100", "accepted without effect: no db file is written"),
        Flag::new("batch-limit", Kind::Int, "10000", "accepted without effect: no db file is written"),
    ],
    children: &[&PUT],
    ..Command::EMPTY
};

static PUT: Command = Command {
    name: "put",
    short: "Benchmark put performance of storage",
    long: "Benchmark put performance of storage. Every put, or every transaction with --txn, is published to readers\n\
           before the next one begins. With --txn latencies and rate are those of one key.",
    example: "  benchmark mvcc put --total=100000 --key-size=32 --value-size=256\n  \
              benchmark mvcc put --txn --txn-ops=100 --total=10000\n",
    flags: &[
        Flag::new("cpuprofile", Kind::Text, "", "not available: use `perf record`"),
        Flag::new("key-size", Kind::Int, "64", "bytes of a key"),
        Flag::new("memprofile", Kind::Text, "", "not available: use a heap profiler"),
        Flag::new("total", Kind::Int, "100", "number of puts, or of transactions"),
        Flag::new("txn", Kind::Bool, "false", "put in transactions of --txn-ops keys"),
        Flag::new("txn-ops", Kind::Int, "1", "keys in one transaction"),
        Flag::new("value-size", Kind::Int, "64", "bytes of a value"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    exit(put(matches))
}

fn put(matches: &Matches) -> Result<(), String> {
    for name in ["cpuprofile", "memprofile"] {
        if !matches.text(name).is_empty() {
            return Err(format!(
                "--{name} writes a profile for Go's pprof, which this program cannot: use perf record"
            ));
        }
    }
    for name in ["batch-interval", "batch-limit"] {
        if matches.changed(name) {
            write_stderr(format!("--{name} has no effect: this store writes no db file\n").as_bytes());
        }
    }
    let puts = Puts::new(matches)?;
    let cpu_start = cpu_s();
    let start = Instant::now();
    let results = puts.run();
    let wall_s = start.elapsed().as_secs_f64();
    let cpu_s = cpu_s() - cpu_start;
    let (precise, sample) = (matches.bool("precise"), matches.bool("sample"));
    let keys = puts.total as f64 * puts.keys_per_result() as f64;
    if matches.bool("report-perfdash") {
        let report = Report::new(results.clone(), wall_s, precise, sample);
        write_stdout(perfdash::write(&report, "put").as_bytes());
    }
    // etcd's tool weighs latencies by the keys of a transaction, except together with --sample.
    let report = match sample {
        true => Report::new(results, wall_s, precise, sample),
        false => Report::weighted(results, puts.keys_per_result(), wall_s, precise),
    };
    let each_us = cpu_s * 1e6 / keys.max(1.0);
    write_stdout(format!("{}\nCPU: {cpu_s:.4} secs, {each_us:.2} us/key\n", report.text()).as_bytes());
    Ok(())
}

/// The pairs to put, made before the clock starts.
struct Puts {
    key_bytes: usize,
    value_bytes: usize,
    total: usize,
    /// Keys of a transaction; None for puts on their own.
    txn_ops: Option<usize>,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Puts {
    fn new(matches: &Matches) -> Result<Puts, String> {
        let (key_bytes, value_bytes) = (size(matches, "key-size")?, size(matches, "value-size")?);
        let (total, ops) = (size(matches, "total")?, size(matches, "txn-ops")?);
        let txn_ops = matches.bool("txn").then_some(ops);
        // Transactions overlap: each begins one key after the one before.
        let count = total + ops.saturating_sub(1);
        let bytes = |each: usize| count.checked_mul(each).ok_or("too many bytes of keys and values");
        let keys = random_bytes(bytes(key_bytes)?)?;
        let values = random_bytes(bytes(value_bytes)?)?;
        Ok(Puts { key_bytes, value_bytes, total, txn_ops, keys, values })
    }

    fn pair(&self, at: usize) -> (&[u8], &[u8]) {
        let part = |each: usize| at * each..(at + 1) * each;
        (&self.keys[part(self.key_bytes)], &self.values[part(self.value_bytes)])
    }

    /// How many keys one latency is for.
    fn keys_per_result(&self) -> usize {
        self.txn_ops.unwrap_or(1)
    }

    fn run(&self) -> Results {
        let mut store = Store::new();
        let mut results = Results { latencies_ns: Vec::with_capacity(self.total), ..Results::default() };
        let unix_start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let start = Instant::now();
        // No put names a lease, so nothing is ever noted here.
        let mut lease_changes = Vec::new();
        for first in 0..self.total {
            let begin = start.elapsed();
            let mut txn = store.txn(&mut lease_changes);
            for at in first..first + self.keys_per_result() {
                let (key, value) = self.pair(at);
                txn.put(key, value, 0);
            }
            txn.finish();
            store.publish();
            let latency_ns = (start.elapsed() - begin).as_nanos() as u64;
            results.latencies_ns.push(latency_ns);
            results.add_to_second((unix_start + begin).as_secs(), latency_ns);
        }
        assert!(lease_changes.is_empty(), "puts without a lease change none");
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn puts(line: &str) -> Result<Puts, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Puts::new(&PROGRAM.matches(&words))
    }

    #[test]
    fn runs() {
        for (line, results) in [
            ("mvcc put", 100),
            ("mvcc put --total=0", 0),
            ("mvcc --batch-limit=5 put --total=10 --value-size=0", 10),
            ("mvcc put --txn --txn-ops=7 --total=5", 5),
            ("mvcc put --txn-ops=7 --total=5", 5),
            ("mvcc put --txn --txn-ops=0 --total=5", 5),
        ] {
            assert_eq!(puts(line).unwrap().run().latencies_ns.len(), results, "{line}");
        }
        assert!(puts("mvcc put --total=-1").is_err());
    }

    #[test]
    fn pairs_are_of_the_sizes_asked_for() {
        let puts = puts("mvcc put --key-size=3 --value-size=5 --txn --txn-ops=4 --total=2").unwrap();
        let (key, value) = puts.pair(4);
        assert_eq!((key.len(), value.len()), (3, 5));
        assert_ne!(puts.pair(0), puts.pair(1));
    }
}
