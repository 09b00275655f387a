//! The metrics table: one row per metric with its name, kind, labels, help and where its numbers come from. Adding a row
//! is the whole change. A row whose reader writes no sample does not appear in the output.

use super::cells::{Buckets, FROM_1_MS, FROM_10_MS, FROM_100_US, Totals};
use super::methods::{METHODS, MethodId};
use super::ops::{Op, OpTimes};
use super::probe::{ClientVersionId, ShardProbe};
use super::render::Samples;
use super::{CHECKS, Sources};
use net::grpc::Code;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram(Buckets),
}

#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    pub read: fn(&Sources<'_>, &mut Samples<'_>),
}

macro_rules! rows {
    ($($name:literal $kind:expr, [$($label:literal),*], $help:literal, $read:expr;)*) => {
        pub static ROWS: &[Row] = {
            use Kind::*;
            &[$(Row { name: $name, kind: $kind, labels: &[$($label),*], help: $help, read: $read },)*]
        };
    };
}

rows! {
    "etcd_cluster_version" Gauge, ["cluster_version"], "Version the cluster runs at: 1 for the current one.",
        |s, out| if let Some(version) = &s.facts.cluster_version { out.int(&[short(version)], 1) };
    "etcd_debugging_lease_granted_total" Counter, [], "Leases granted.",
        |s, out| out.count(&[], s.raft.leases_granted.get());
    "etcd_debugging_lease_renewed_total" Counter, [], "Leases renewed while this member led.",
        |s, out| out.count(&[], s.raft.leases_renewed.get());
    "etcd_debugging_lease_revoked_total" Counter, [], "Leases revoked.",
        |s, out| out.count(&[], s.raft.leases_revoked.get());
    "etcd_debugging_mvcc_compact_revision" Gauge, [], "Revision of the last compaction.",
        |s, out| out.int(&[], s.raft.compact_revision.get());
    "etcd_debugging_mvcc_current_revision" Gauge, [], "Current revision of the store.",
        |s, out| out.int(&[], s.raft.current_revision.get());
    "etcd_debugging_mvcc_events_total" Counter, [], "Events sent to watchers.",
        |s, out| out.count(&[], s.sum(|shard| shard.events.get()));
    "etcd_debugging_mvcc_keys_total" Gauge, [], "Keys in the store.",
        |s, out| out.int(&[], s.raft.keys.get());
    "etcd_debugging_mvcc_pending_events_total" Gauge, [], "Events waiting to be sent to watchers.",
        |s, out| out.int(&[], s.level(|shard| shard.pending_events.get()));
    "etcd_debugging_mvcc_slow_watcher_total" Gauge, [], "Watchers that have not caught up.",
        |s, out| out.int(&[], s.level(|shard| shard.slow_watchers.get()));
    "etcd_debugging_mvcc_total_put_size_in_bytes" Gauge, [], "Bytes of keys and values put since the start.",
        |s, out| out.int(&[], s.raft.put_bytes.get());
    "etcd_debugging_mvcc_watch_stream_total" Gauge, [], "Open watch streams.",
        |s, out| out.int(&[], s.level(|shard| shard.watch_streams.get()));
    "etcd_debugging_mvcc_watcher_total" Gauge, [], "Watchers.",
        |s, out| out.int(&[], s.level(|shard| shard.watchers.get()));
    "etcd_debugging_server_lease_expired_total" Counter, [], "Leases that ran out.",
        |s, out| out.count(&[], s.raft.leases_expired.get());
    "etcd_disk_wal_fsync_duration_seconds" Histogram(FROM_1_MS), [], "Time until a write to the log was durable.",
        |s, out| out.histogram(&[], &s.raft.wal_fsync.read());
    "etcd_disk_wal_write_bytes_total" Gauge, [], "Bytes written to the log.",
        |s, out| out.int(&[], s.raft.wal_write_bytes.get());
    "etcd_disk_wal_write_duration_seconds" Histogram(FROM_1_MS), [], "Time of a write to the log.",
        |s, out| out.histogram(&[], &s.raft.wal_write.read());
    "etcd_mvcc_db_open_read_transactions" Gauge, [], "Read transactions open on the database.",
        |s, out| out.int(&[], s.raft.db_open_read_transactions.get());
    "etcd_mvcc_db_total_size_in_bytes" Gauge, [], "Bytes the database takes on disk.",
        |s, out| out.int(&[], s.raft.db_bytes.get());
    "etcd_mvcc_db_total_size_in_use_in_bytes" Gauge, [], "Bytes of the database that hold data.",
        |s, out| out.int(&[], s.raft.db_bytes_in_use.get());
    "etcd_mvcc_delete_total" Counter, [], "Deletes seen by this member.",
        |s, out| out.count(&[], s.raft.deletes.get());
    "etcd_mvcc_hash_duration_seconds" Histogram(FROM_10_MS), [], "Time of hashing the whole database.",
        |s, out| out.histogram(&[], &s.raft.hash.read());
    "etcd_mvcc_hash_rev_duration_seconds" Histogram(FROM_10_MS), [], "Time of hashing the keys up to a revision.",
        |s, out| out.histogram(&[], &s.raft.hash_rev.read());
    "etcd_mvcc_put_total" Counter, [], "Puts seen by this member.",
        |s, out| out.count(&[], s.raft.puts.get());
    "etcd_mvcc_range_total" Counter, [], "Ranges seen by this member.",
        |s, out| out.count(&[], s.sum(|shard| shard.ranges.get()) + s.raft.ranges.get());
    "etcd_mvcc_txn_total" Counter, [], "Transactions seen by this member.",
        |s, out| out.count(&[], s.raft.txns.get());
    "etcd_network_client_grpc_received_bytes_total" Counter, [], "Bytes received from gRPC clients.",
        |s, out| out.count(&[], s.sum(|shard| shard.grpc_received_bytes.get()));
    "etcd_network_client_grpc_sent_bytes_total" Counter, [], "Bytes sent to gRPC clients.",
        |s, out| out.count(&[], s.sum(|shard| shard.grpc_sent_bytes.get()));
    "etcd_server_apply_duration_seconds" Histogram(FROM_100_US), ["version", "op", "success"], "Time of applying a request.",
        |s, out| each_op(|op, ok| s.raft.applies.histogram(op, ok).read(), |op, ok, totals| out.histogram(&["v3", op, ok], totals));
    "etcd_server_client_requests_total" Counter, ["type", "client_api_version"], "Requests by the API version of the client.",
        client_requests;
    "etcd_server_has_leader" Gauge, [], "1 when a leader is known.",
        |s, out| out.int(&[], s.raft.has_leader.get());
    "etcd_server_health_failures" Counter, [], "Answers of /health that were not healthy.",
        |s, out| out.count(&[], s.server.health_failures.get());
    "etcd_server_health_success" Counter, [], "Answers of /health that were healthy.",
        |s, out| out.count(&[], s.server.health_success.get());
    "etcd_server_healthcheck" Gauge, ["type", "name"], "1 when the last run of this check succeeded.",
        |s, out| for (at, (kind, name)) in checks_run(s) { out.int(&[kind, name], s.server.check(at).last_ok.get()) };
    "etcd_server_healthchecks_total" Counter, ["type", "name", "status"], "Runs of each check.",
        |s, out| for (at, (kind, name)) in checks_run(s) {
            let check = s.server.check(at);
            for (status, runs) in [("error", check.error.get()), ("success", check.success.get())] {
                if runs > 0 { out.count(&[kind, name, status], runs) }
            }
        };
    "etcd_server_heartbeat_send_failures_total" Counter, [], "Heartbeats of this leader that went out late.",
        |s, out| out.count(&[], s.raft.heartbeat_send_failures.get());
    "etcd_server_id" Gauge, ["server_id"], "1 for the id of this member in hexadecimal.",
        |s, out| if let Some(id) = s.facts.server_id { out.int(&[&format!("{id:x}")], 1) };
    "etcd_server_is_leader" Gauge, [], "1 when this member leads.",
        |s, out| out.int(&[], s.raft.is_leader.get());
    "etcd_server_is_learner" Gauge, [], "1 when this member is a learner.",
        |s, out| out.int(&[], s.raft.is_learner.get());
    "etcd_server_leader_changes_seen_total" Counter, [], "Changes of the leader seen by this member.",
        |s, out| out.count(&[], s.raft.leader_changes_seen.get());
    "etcd_server_proposals_applied_total" Gauge, [], "Proposals applied.",
        |s, out| out.int(&[], s.raft.proposals_applied.get());
    "etcd_server_proposals_committed_total" Gauge, [], "Proposals committed.",
        |s, out| out.int(&[], s.raft.proposals_committed.get());
    "etcd_server_proposals_failed_total" Counter, [], "Proposals that failed.",
        |s, out| out.count(&[], s.raft.proposals_failed.get());
    "etcd_server_proposals_pending" Gauge, [], "Proposals waiting to be applied.",
        |s, out| out.int(&[], s.raft.proposals_pending.get());
    "etcd_server_quota_backend_bytes" Gauge, [], "Bytes the database may take.",
        |s, out| if s.facts.quota_bytes > 0 { out.count(&[], s.facts.quota_bytes) };
    "etcd_server_range_duration_seconds" Histogram(FROM_100_US), ["success"], "Time of reading a range.",
        |s, out| {
            let bad = s.total(FROM_100_US, |totals, shard| totals.add(&shard.range_failed));
            let good = s.total(FROM_100_US, |totals, shard| totals.add(&shard.range_ok));
            for (label, totals) in [("false", bad), ("true", good)] {
                if totals.count() > 0 { out.histogram(&[label], &totals) }
            }
        };
    "etcd_server_read_indexes_failed_total" Counter, [], "Linearizable reads that could not be confirmed.",
        |s, out| out.count(&[], s.raft.read_indexes_failed.get());
    "etcd_server_request_duration_seconds" Histogram(FROM_1_MS), ["type", "success"], "Time of answering a request.",
        |s, out| each_op(
            |op, ok| s.total(FROM_1_MS, |totals, shard| totals.add(OpTimes::histogram(&shard.requests, op, ok))),
            |op, ok, totals| out.histogram(&[op, ok], totals));
    "etcd_server_slow_apply_total" Counter, [], "Requests whose applying took longer than the warning threshold.",
        |s, out| out.count(&[], s.raft.slow_applies.get());
    "etcd_server_slow_read_indexes_total" Counter, [], "Linearizable reads that waited long for their confirmation.",
        |s, out| out.count(&[], s.raft.slow_read_indexes.get());
    "etcd_server_snapshot_apply_in_progress_total" Gauge, [], "1 while a snapshot from the leader is being applied.",
        |s, out| out.int(&[], s.raft.snapshot_apply_in_progress.get());
    "etcd_server_version" Gauge, ["server_version"], "1 for the version of this server.",
        |_, out| out.int(&[env!("CARGO_PKG_VERSION")], 1);
    "etcd_uring_disk_stalled" Gauge, [], "1 while the log waits for the disk longer than an election timeout.",
        |s, out| out.int(&[], s.raft.disk_stalled.get());
    "etcd_uring_log_full" Gauge, [], "1 while writes are refused because the disk has no space for the log to grow.",
        |s, out| out.int(&[], s.raft.log_full.get());
    "grpc_server_handled_total" Counter, ["grpc_code", "grpc_method", "grpc_service", "grpc_type"], "Calls ended, by status.",
        |s, out| for (at, code) in Code::ALL.iter().map(|code| code.label()).enumerate() {
            each_method(|id, labels| {
                let count = s.sum(|shard| shard.method(id).handled_total(at));
                out.count(&[code, labels[0], labels[1], labels[2]], count);
            });
        };
    "grpc_server_msg_received_total" Counter, ["grpc_method", "grpc_service", "grpc_type"], "Messages received in calls.",
        |s, out| each_method(|id, labels| out.count(&labels, s.sum(|shard| shard.method(id).received.get())));
    "grpc_server_msg_sent_total" Counter, ["grpc_method", "grpc_service", "grpc_type"], "Messages sent in calls.",
        |s, out| each_method(|id, labels| out.count(&labels, s.sum(|shard| shard.method(id).sent.get())));
    "grpc_server_started_total" Counter, ["grpc_method", "grpc_service", "grpc_type"], "Calls started.",
        |s, out| each_method(|id, labels| out.count(&labels, s.sum(|shard| shard.method(id).started.get())));
    "os_fd_limit" Gauge, [], "File descriptors this process may open.",
        |s, out| if let Some(fds) = s.process.max_fds { out.count(&[], fds) };
    "os_fd_used" Gauge, [], "File descriptors this process has open.",
        |s, out| if let Some(fds) = s.process.open_fds { out.count(&[], fds) };
    "process_cpu_seconds_total" Counter, [], "CPU time used, in seconds.",
        |s, out| if let Some(seconds) = s.process.cpu_seconds { out.float(&[], seconds) };
    "process_max_fds" Gauge, [], "Most file descriptors this process may open.",
        |s, out| if let Some(fds) = s.process.max_fds { out.count(&[], fds) };
    "process_open_fds" Gauge, [], "File descriptors open now.",
        |s, out| if let Some(fds) = s.process.open_fds { out.count(&[], fds) };
    "process_resident_memory_bytes" Gauge, [], "Memory in RAM, in bytes.",
        |s, out| if let Some(bytes) = s.process.resident_bytes { out.count(&[], bytes) };
    "process_start_time_seconds" Gauge, [], "When this process started, in Unix seconds.",
        |s, out| if let Some(seconds) = s.process.start_time_seconds { out.float(&[], seconds) };
    "process_virtual_memory_bytes" Gauge, [], "Address space used, in bytes.",
        |s, out| if let Some(bytes) = s.process.virtual_bytes { out.count(&[], bytes) };
    "process_virtual_memory_max_bytes" Gauge, [], "Most address space this process may use, in bytes.",
        |s, out| if let Some(bytes) = s.process.virtual_max_bytes { out.count(&[], bytes) };
}

/// etcd shows the cluster version without its patch level.
fn short(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| if minor.contains('.') { minor } else { version })
}

/// Checks that ran at least once; etcd shows no others.
fn checks_run<'a>(s: &'a Sources<'_>) -> impl Iterator<Item = (usize, (&'static str, &'static str))> + 'a {
    let ran = |at: usize| s.server.check(at).success.get() + s.server.check(at).error.get() > 0;
    CHECKS.iter().copied().enumerate().filter(move |(at, _)| ran(*at))
}

fn each_method(mut work: impl FnMut(MethodId, [&str; 3])) {
    for (at, method) in METHODS.iter().enumerate() {
        let id = MethodId(u16::try_from(at).expect("few methods"));
        work(id, [method.name, method.service, method.stream.label()]);
    }
}

/// Kinds of requests that were seen at least once; etcd shows no others.
fn each_op(read: impl Fn(usize, bool) -> Totals, mut write: impl FnMut(&str, &str, &Totals)) {
    for (at, name) in Op::NAMES.iter().enumerate() {
        for ok in [false, true] {
            let totals = read(at, ok);
            if totals.count() > 0 {
                write(name, if ok { "true" } else { "false" }, &totals);
            }
        }
    }
}

fn client_requests(s: &Sources<'_>, out: &mut Samples<'_>) {
    for (at, version) in s.server.client_versions().iter().enumerate() {
        let id = ClientVersionId(u8::try_from(at).expect("few versions"));
        let count = |read: fn(&ShardProbe, ClientVersionId) -> u64| s.sum(|shard| read(shard, id));
        let stream = count(|shard, id| shard.client_version(id).stream.get());
        let unary = count(|shard, id| shard.client_version(id).unary.get());
        for (kind, requests) in [("stream", stream), ("unary", unary)] {
            if requests > 0 {
                out.count(&[kind, version], requests);
            }
        }
    }
}
