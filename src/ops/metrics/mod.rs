//! Metrics. The roles write plain cells in their probes; names, labels and help are in one table; `render` joins both
//! when somebody asks. Nothing on the way of a request locks or allocates for the sake of a metric.

mod cells;
mod methods;
mod ops;
mod probe;
mod process;
mod render;
mod table;

pub use cells::{Counter, Gauge, Histogram, SharedCounter};
pub use methods::{METHODS, Method, MethodId, Stream, method_id};
pub use ops::{Op, OpTimes};
pub use probe::{ClientVersionId, MethodProbe, RaftProbe, ServerProbe, ShardProbe};
pub use process::ProcessStats;
pub use render::CONTENT_TYPE;

use cells::{Buckets, Totals};
use probe::Facts;
use std::sync::Arc;

/// Endpoint and name of every sub-check of health, in the order they run.
pub const CHECKS: [(&str, &str); 5] = [
    ("livez", "serializable_read"),
    ("readyz", "data_corruption"),
    ("readyz", "serializable_read"),
    ("readyz", "linearizable_read"),
    ("readyz", "non_learner"),
];

/// What the rows of the table read from.
pub struct Sources<'a> {
    shards: &'a [Arc<ShardProbe>],
    raft: &'a RaftProbe,
    server: &'a ServerProbe,
    process: &'a ProcessStats,
    facts: Facts,
}

impl Sources<'_> {
    fn sum(&self, read: impl Fn(&ShardProbe) -> u64) -> u64 {
        self.shards.iter().map(|shard| read(shard)).fold(0, u64::wrapping_add)
    }

    fn level(&self, read: impl Fn(&ShardProbe) -> i64) -> i64 {
        self.shards.iter().map(|shard| read(shard)).fold(0, i64::wrapping_add)
    }

    fn total(&self, buckets: Buckets, add: impl Fn(&mut Totals, &ShardProbe)) -> Totals {
        let mut totals = Totals::empty(buckets);
        for shard in self.shards {
            add(&mut totals, shard);
        }
        totals
    }
}

/// Everything in the Prometheus text format. Costs some 100 KB of text and, for `process`, a few reads of /proc.
pub fn render(shards: &[Arc<ShardProbe>], raft: &RaftProbe, server: &ServerProbe, process: &ProcessStats) -> String {
    let sources = Sources { shards, raft, server, process, facts: server.facts() };
    let mut out = String::with_capacity(128 << 10);
    for row in table::ROWS {
        (row.read)(&sources, &mut render::Samples::new(&mut out, row));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::table::{Kind, ROWS};
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const SPEC: &str = include_str!("../../../tests/spec/metrics.tsv");

    /// Metrics that etcd does not have: what they tell about, etcd does not tell.
    const OWN: &[&str] = &["etcd_uring_disk_stalled", "etcd_uring_log_full"];

    fn sorted<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut labels: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
        labels.sort_unstable();
        labels
    }

    #[test]
    fn every_row_is_one_of_etcd() {
        let spec: BTreeMap<&str, Vec<&str>> =
            SPEC.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()).map(|cell| (cell[0], cell)).collect();
        let mut names = BTreeSet::new();
        for row in ROWS {
            assert!(names.insert(row.name), "{} is there twice", row.name);
            if OWN.contains(&row.name) {
                assert!(!spec.contains_key(row.name), "{} is etcd's", row.name);
                continue;
            }
            let cell = spec.get(row.name).unwrap_or_else(|| panic!("{} is not a metric of etcd", row.name));
            let (kind, buckets) = match row.kind {
                Kind::Counter => ("counter", String::new()),
                Kind::Gauge => ("gauge", String::new()),
                Kind::Histogram(Buckets { first_ns, count }) => {
                    ("histogram", format!("ExponentialBuckets({},2,{count})", first_ns as f64 / 1e9))
                }
            };
            assert_eq!(cell[1], kind, "{}", row.name);
            assert_eq!(sorted(cell[2].split(',')), sorted(row.labels.iter().copied()), "{}", row.name);
            assert_eq!(cell[3].replace("(.", "(0."), buckets, "{}", row.name);
            assert_eq!(cell[6], "y", "{} is in 3.7", row.name);
        }
    }

    #[test]
    fn names_are_in_order() {
        assert!(ROWS.windows(2).all(|pair| pair[0].name < pair[1].name), "Prometheus clients list names in order");
    }

    fn sample<'a>(text: &'a str, series: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
    }

    #[test]
    fn what_is_counted_is_shown() {
        let shards = [Arc::new(ShardProbe::default()), Arc::new(ShardProbe::default())];
        let (raft, server) = (RaftProbe::default(), ServerProbe::default());
        let put = method_id("/etcdserverpb.KV/Put").unwrap();
        for shard in &shards {
            shard.method(put).started.add(2);
            shard.method(put).handled(0);
            shard.client_version(server.client_version("3.7")).unary.add(1);
            shard.requests.observe_ns(Op::Put, true, 3_000_000);
            shard.watchers.add(5);
        }
        shards[1].watchers.add(-2);
        raft.has_leader.set(1);
        raft.wal_fsync.observe_ns(400_000);
        raft.applies.observe_ns(Op::Txn, false, 1);
        server.set_server_id(0x8e9e_05c5_2164_694d);
        server.set_cluster_version("3.7.0");
        server.set_quota_bytes(2 << 30);
        server.checked("readyz", "non_learner", false);
        server.checked("readyz", "no such check", false);
        let text = render(&shards, &raft, &server, &ProcessStats::read());
        for (series, value) in [
            (
                "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
                "4",
            ),
            (
                "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
                 grpc_type=\"unary\"}",
                "2",
            ),
            (
                "grpc_server_handled_total{grpc_code=\"DataLoss\",grpc_method=\"Watch\",\
                 grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}",
                "0",
            ),
            ("etcd_server_client_requests_total{type=\"unary\",client_api_version=\"3.7\"}", "2"),
            ("etcd_server_request_duration_seconds_count{type=\"Put\",success=\"true\"}", "2"),
            (
                "etcd_server_apply_duration_seconds_bucket{version=\"v3\",op=\"Txn\",success=\"false\",le=\"0.0001\"}",
                "1",
            ),
            ("etcd_debugging_mvcc_watcher_total", "8"),
            ("etcd_server_has_leader", "1"),
            ("etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"}", "1"),
            ("etcd_disk_wal_fsync_duration_seconds_sum", "0.0004"),
            ("etcd_server_id{server_id=\"8e9e05c52164694d\"}", "1"),
            ("etcd_cluster_version{cluster_version=\"3.7\"}", "1"),
            ("etcd_server_version{server_version=\"3.7.1\"}", "1"),
            ("etcd_server_quota_backend_bytes", "2147483648"),
            ("etcd_server_healthcheck{type=\"readyz\",name=\"non_learner\"}", "0"),
            ("etcd_server_healthchecks_total{type=\"readyz\",name=\"non_learner\",status=\"error\"}", "1"),
        ] {
            assert_eq!(sample(&text, series), Some(value), "{series}");
        }
        assert_eq!(sample(&text, "etcd_server_healthchecks_total{type=\"livez\""), None);
        assert!(sample(&text, "process_resident_memory_bytes").is_some());
        well_formed(&text);
    }

    /// What `promtool check metrics` would complain about: samples without TYPE before them, or a family twice.
    fn well_formed(text: &str) {
        let mut family = "";
        let mut seen = BTreeSet::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(seen.insert(name) && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
                family = name;
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not under its TYPE"));
                assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
