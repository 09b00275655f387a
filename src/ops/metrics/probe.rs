//! Where the roles leave their numbers. Each probe has one owner that writes and any number of readers; fields that any
//! thread may write are `Shared`. Names and labels of the metrics are not here but in the table.

use super::cells::{Counter, FROM_1_MS, FROM_10_MS, FROM_100_US, Gauge, Histogram, SharedCounter};
use super::methods::{METHODS, MethodId};
use super::ops::OpTimes;
use net::grpc::Code;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most different client API versions counted apart, count: there are about eight releases; anything beyond, which a
/// client could invent, counts as `unknown`.
pub const CLIENT_VERSIONS_MAX: usize = 16;
/// Longest client API version kept, in bytes.
const CLIENT_VERSION_BYTES_MAX: usize = 32;

/// Calls of one method.
#[derive(Debug, Default)]
pub struct MethodProbe {
    pub started: Counter,
    pub received: Counter,
    pub sent: Counter,
    handled: [Counter; Code::ALL.len()],
}

impl MethodProbe {
    /// One call ended with this gRPC status; codes gRPC does not know count as Unknown.
    pub fn handled(&self, code: u32) {
        let unknown = &self.handled[2];
        self.handled.get(code as usize).unwrap_or(unknown).add(1);
    }

    pub fn handled_total(&self, code: usize) -> u64 {
        self.handled[code].get()
    }
}

/// Requests of clients with one API version.
#[derive(Debug, Default)]
pub struct ClientVersionProbe {
    pub unary: Counter,
    pub stream: Counter,
}

/// Index of a client API version; look it up once per connection. The default is `unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientVersionId(pub u8);

/// Of one shard role.
#[derive(Debug)]
pub struct ShardProbe {
    methods: Box<[MethodProbe]>,
    client_versions: [ClientVersionProbe; CLIENT_VERSIONS_MAX],
    pub grpc_received_bytes: Counter,
    pub grpc_sent_bytes: Counter,
    /// Ranges answered from this shard's reader.
    pub ranges: Counter,
    pub range_ok: Histogram,
    pub range_failed: Histogram,
    /// From the arrival of a request to its answer.
    pub requests: OpTimes,
    pub watch_streams: Gauge,
    pub watchers: Gauge,
    pub slow_watchers: Gauge,
    pub pending_events: Gauge,
    pub events: Counter,
}

impl Default for ShardProbe {
    fn default() -> ShardProbe {
        ShardProbe {
            methods: METHODS.iter().map(|_| MethodProbe::default()).collect(),
            client_versions: Default::default(),
            grpc_received_bytes: Counter::default(),
            grpc_sent_bytes: Counter::default(),
            ranges: Counter::default(),
            range_ok: Histogram::new(FROM_100_US),
            range_failed: Histogram::new(FROM_100_US),
            requests: OpTimes::new(FROM_1_MS),
            watch_streams: Gauge::default(),
            watchers: Gauge::default(),
            slow_watchers: Gauge::default(),
            pending_events: Gauge::default(),
            events: Counter::default(),
        }
    }
}

impl ShardProbe {
    pub fn method(&self, id: MethodId) -> &MethodProbe {
        &self.methods[usize::from(id.0)]
    }

    pub fn client_version(&self, id: ClientVersionId) -> &ClientVersionProbe {
        &self.client_versions[usize::from(id.0)]
    }
}

/// Of the raft role: consensus, log and apply.
#[derive(Debug)]
pub struct RaftProbe {
    pub has_leader: Gauge,
    pub is_leader: Gauge,
    pub is_learner: Gauge,
    pub leader_changes_seen: Counter,
    /// The commit index: etcd sets this gauge to it.
    pub proposals_committed: Gauge,
    /// The applied index.
    pub proposals_applied: Gauge,
    pub proposals_pending: Gauge,
    pub proposals_failed: Counter,
    pub heartbeat_send_failures: Counter,
    pub snapshot_apply_in_progress: Gauge,
    pub slow_applies: Counter,
    pub applies: OpTimes,
    pub slow_read_indexes: Counter,
    pub read_indexes_failed: Counter,
    pub wal_fsync: Histogram,
    pub wal_write: Histogram,
    pub wal_write_bytes: Gauge,
    /// 1 while writes are refused because the log cannot grow.
    pub log_full: Gauge,
    /// 1 while the log waits for the disk longer than it may.
    pub disk_stalled: Gauge,
    pub puts: Counter,
    pub deletes: Counter,
    pub txns: Counter,
    /// Ranges inside transactions; others are counted by the shards.
    pub ranges: Counter,
    pub hash: Histogram,
    pub hash_rev: Histogram,
    pub db_bytes: Gauge,
    pub db_bytes_in_use: Gauge,
    pub db_open_read_transactions: Gauge,
    pub keys: Gauge,
    pub current_revision: Gauge,
    pub compact_revision: Gauge,
    pub put_bytes: Gauge,
    pub leases_granted: Counter,
    pub leases_renewed: Counter,
    pub leases_revoked: Counter,
    pub leases_expired: Counter,
}

impl Default for RaftProbe {
    fn default() -> RaftProbe {
        RaftProbe {
            has_leader: Gauge::default(),
            is_leader: Gauge::default(),
            is_learner: Gauge::default(),
            leader_changes_seen: Counter::default(),
            proposals_committed: Gauge::default(),
            proposals_applied: Gauge::default(),
            proposals_pending: Gauge::default(),
            proposals_failed: Counter::default(),
            heartbeat_send_failures: Counter::default(),
            snapshot_apply_in_progress: Gauge::default(),
            slow_applies: Counter::default(),
            applies: OpTimes::new(FROM_100_US),
            slow_read_indexes: Counter::default(),
            read_indexes_failed: Counter::default(),
            wal_fsync: Histogram::new(FROM_1_MS),
            wal_write: Histogram::new(FROM_1_MS),
            wal_write_bytes: Gauge::default(),
            log_full: Gauge::default(),
            disk_stalled: Gauge::default(),
            puts: Counter::default(),
            deletes: Counter::default(),
            txns: Counter::default(),
            ranges: Counter::default(),
            hash: Histogram::new(FROM_10_MS),
            hash_rev: Histogram::new(FROM_10_MS),
            db_bytes: Gauge::default(),
            db_bytes_in_use: Gauge::default(),
            db_open_read_transactions: Gauge::default(),
            keys: Gauge::default(),
            current_revision: Gauge::default(),
            compact_revision: Gauge::default(),
            put_bytes: Gauge::default(),
            leases_granted: Counter::default(),
            leases_renewed: Counter::default(),
            leases_revoked: Counter::default(),
            leases_expired: Counter::default(),
        }
    }
}

/// Rare events and facts of the whole server; any thread may write.
#[derive(Debug, Default)]
pub struct ServerProbe {
    pub health_success: SharedCounter,
    pub health_failures: SharedCounter,
    checks: [CheckProbe; super::CHECKS.len()],
    facts: Mutex<Facts>,
    client_versions: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
pub struct CheckProbe {
    pub success: SharedCounter,
    pub error: SharedCounter,
    /// 1 when the last run succeeded.
    pub last_ok: Gauge,
}

/// Texts that turn into labels.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub server_id: Option<u64>,
    /// `3.7.0`; `None` until the cluster has decided.
    pub cluster_version: Option<String>,
    pub quota_bytes: u64,
}

impl ServerProbe {
    pub fn set_server_id(&self, id: u64) {
        self.lock().server_id = Some(id);
    }

    pub fn set_cluster_version(&self, version: &str) {
        self.lock().cluster_version = Some(version.to_string());
    }

    pub fn set_quota_bytes(&self, bytes: u64) {
        self.lock().quota_bytes = bytes;
    }

    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Keeps the outcome of one sub-check of /livez or /readyz.
    pub fn checked(&self, endpoint: &str, name: &str, ok: bool) {
        let Some(at) = super::CHECKS.iter().position(|row| *row == (endpoint, name)) else { return };
        let check = &self.checks[at];
        if ok {
            check.success.add(1)
        } else {
            check.error.add(1)
        }
        check.last_ok.set(i64::from(ok));
    }

    pub fn check(&self, at: usize) -> &CheckProbe {
        &self.checks[at]
    }

    /// The index of a client's API version; one table for all shards, so that their counts add up.
    pub fn client_version(&self, version: &str) -> ClientVersionId {
        let unknown = ClientVersionId::default();
        if version.is_empty() || version.len() > CLIENT_VERSION_BYTES_MAX || version == "unknown" {
            return unknown;
        }
        let mut known = self.client_versions.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|other| other == version).or_else(|| {
            // Index 0 is `unknown` and is not in the list.
            (known.len() + 1 < CLIENT_VERSIONS_MAX).then(|| {
                known.push(version.to_string());
                known.len() - 1
            })
        });
        at.map_or(unknown, |at| ClientVersionId(u8::try_from(at + 1).expect("few versions")))
    }

    /// All versions seen, `unknown` first; a version's place is its index.
    pub fn client_versions(&self) -> Vec<String> {
        let known = self.client_versions.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once("unknown".to_string()).chain(known.iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_versions_are_bounded() {
        let server = ServerProbe::default();
        assert_eq!(server.client_version("3.7"), ClientVersionId(1));
        assert_eq!(server.client_version("3.6"), ClientVersionId(2));
        assert_eq!(server.client_version("3.7"), ClientVersionId(1));
        for i in 0..100 {
            server.client_version(&format!("x{i}"));
        }
        assert_eq!(server.client_version("y"), ClientVersionId(0));
        assert_eq!(server.client_version(&"z".repeat(99)), ClientVersionId(0));
        assert_eq!(server.client_versions().len(), CLIENT_VERSIONS_MAX);
        assert_eq!(server.client_versions()[..3], ["unknown", "3.7", "3.6"]);
    }

    #[test]
    fn odd_status_codes_count_as_unknown() {
        let method = MethodProbe::default();
        method.handled(0);
        method.handled(99);
        assert_eq!((method.handled_total(0), method.handled_total(2)), (1, 1));
    }
}
